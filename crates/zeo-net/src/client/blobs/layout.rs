//! How directories and files are named.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use storage::{Oid, StorageError, Tid};

/// Which directories and files there are; see `docs/formats/data-fs.md` for those of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The cache of a client.
    Cache,
    /// A server's: eight directories in one another.
    Bushy,
    /// A server's: all side by side.
    Lawn,
}

/// The directories of a cache.
pub(super) const BUCKETS: u64 = 997;
/// The lock in each of them.
pub(super) const LOCK: &str = ".lock";
/// What files of blobs end with.
pub(super) const SUFFIX: &str = ".blob";
const MARKER: &str = ".layout";
const CACHE: &str = "zeocache";
/// More than any name of a layout.
const MARKER_BYTES_MAX: u64 = 100;

impl Layout {
    /// That of the directory of a server, which says so itself.
    pub(super) fn of_server(root: &Path) -> Result<Self, StorageError> {
        match &*read_marker(root)?.unwrap_or_default() {
            "bushy" => Ok(Self::Bushy),
            "lawn" => Ok(Self::Lawn),
            "" => Err(unusable(
                root,
                "it has no .layout: a server has not used it yet",
            )),
            other => Err(unusable(
                root,
                &format!("its layout {other:?} is no server's"),
            )),
        }
    }

    /// The file of a revision, below the root.
    pub(super) fn file(self, oid: Oid, tid: Tid) -> PathBuf {
        match self {
            Self::Cache => {
                let (base, bucket) = (oid.number() / BUCKETS, oid.number() % BUCKETS);
                let name = format!("{base}.{:016x}{SUFFIX}", tid.number());
                Path::new(&bucket.to_string()).join(name)
            }
            Self::Bushy => {
                let bytes = oid.to_bytes();
                let directory: PathBuf = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
                directory.join(even_hex(tid.number()) + SUFFIX)
            }
            Self::Lawn => Path::new(&even_hex(oid.number())).join(even_hex(tid.number()) + SUFFIX),
        }
    }
}

/// Makes a cache where there is none. A directory of something else stays as it is.
pub(super) fn prepare_cache(root: &Path) -> Result<Layout, StorageError> {
    super::make_directory(root)?;
    match read_marker(root)?.as_deref() {
        Some(CACHE) => Ok(Layout::Cache),
        Some(other) => Err(unusable(
            root,
            &format!("its layout is {other:?}; a cache of blobs needs a directory of its own"),
        )),
        None => {
            let entries = fs::read_dir(root).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            let entries = entries.map_err(|error| StorageError::io(root, "list", error))?;
            let is_foreign = |entry: &fs::DirEntry| entry.file_name() != super::TEMPORARY;
            if entries.iter().any(is_foreign) {
                return Err(unusable(root, "it is in use, and no cache of blobs"));
            }
            let (draft, marker) = (root.join(".layout.new"), root.join(MARKER));
            fs::write(&draft, CACHE)
                .and_then(|()| fs::rename(&draft, &marker))
                .map_err(|error| StorageError::io(marker, "make", error))?;
            Ok(Layout::Cache)
        }
    }
}

/// Whether the directory is still a cache.
pub(super) fn is_cache(root: &Path) -> Result<bool, StorageError> {
    Ok(read_marker(root)?.as_deref() == Some(CACHE))
}

fn read_marker(root: &Path) -> Result<Option<String>, StorageError> {
    let path = root.join(MARKER);
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io(path, "look at", error)),
    };
    if length > MARKER_BYTES_MAX {
        return Err(unusable(root, "its .layout is none"));
    }
    let text = fs::read_to_string(&path);
    let text = text.map_err(|error| StorageError::io(path, "read", error))?;
    Ok(Some(text.trim().to_owned()))
}

fn unusable(root: &Path, what: &str) -> StorageError {
    StorageError::io(root, "use for blobs", io::Error::other(what.to_owned()))
}

/// Whole bytes, no leading zeros, at least one byte.
fn even_hex(number: u64) -> String {
    let digits = format!("{number:x}");
    let zero = if digits.len().is_multiple_of(2) {
        ""
    } else {
        "0"
    };
    format!("0x{zero}{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `BlobCacheLayout`, `BushyLayout` and `LawnLayout` of the originals have them.
    #[test]
    fn files_have_the_originals_names() {
        let (oid, tid) = (Oid::new(0x1234), Tid::new(0x03f5_0000_0000_00aa));
        let names = [Layout::Cache, Layout::Bushy, Layout::Lawn].map(|layout| {
            let file = layout.file(oid, tid);
            file.to_str().unwrap().to_owned()
        });
        let expected = [
            "672/4.03f50000000000aa.blob",
            "0x00/0x00/0x00/0x00/0x00/0x00/0x12/0x34/0x03f50000000000aa.blob",
            "0x1234/0x03f50000000000aa.blob",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_directory_of_something_else_is_not_taken_for_a_cache() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("cache");
        assert_eq!(prepare_cache(&root).unwrap(), Layout::Cache);
        assert_eq!(prepare_cache(&root).unwrap(), Layout::Cache);
        let foreign = folder.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("letter"), "dear").unwrap();
        assert!(prepare_cache(&foreign).is_err());
        fs::write(foreign.join(MARKER), "bushy").unwrap();
        assert!(prepare_cache(&foreign).is_err());
        assert_eq!(Layout::of_server(&foreign).unwrap(), Layout::Bushy);
        assert!(Layout::of_server(&root).is_err());
    }
}
