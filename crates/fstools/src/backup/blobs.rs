//! A directory of blobs as ZODB lays it out: one file for each revision of a blob.
//!
//! In the layout `bushy` an object has a directory eight levels down, one for each byte of its id; in
//! `lawn` one directory below the top. The file `.layout` names the layout. A revision is the file
//! `0x<tid>.blob` in its object's directory, never changed once it has that name; what is being
//! written is elsewhere (`tmp`) or has another name.

use std::io;
use std::path::{Path, PathBuf};

use storage::{Oid, StorageError, Tid};
use vfs::Disk;

use super::catalog::RepositoryError;
use super::chunk;
use crate::listener::ToolError;

/// A revision of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlobId {
    pub(crate) oid: Oid,
    pub(crate) tid: Tid,
}

/// How ids become paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Bushy,
    Lawn,
}

impl Layout {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bushy => "bushy",
            Self::Lawn => "lawn",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "bushy" => Some(Self::Bushy),
            "lawn" => Some(Self::Lawn),
            _ => None,
        }
    }

    /// The file of a revision, below the directory of blobs.
    pub(crate) fn path(self, blob: BlobId) -> PathBuf {
        let mut path = PathBuf::new();
        match self {
            Self::Bushy => path.extend(blob.oid.to_bytes().map(|byte| format!("0x{byte:02x}"))),
            Self::Lawn => path.push(shown(blob.oid.number())),
        }
        path.push(format!("{}{BLOB_SUFFIX}", shown(blob.tid.number())));
        path
    }

    fn depth(self) -> usize {
        match self {
            Self::Bushy => 8,
            Self::Lawn => 1,
        }
    }
}

/// The revisions in a directory.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) layout: Layout,
    /// In the order of ids.
    pub(crate) blobs: Vec<BlobId>,
}

impl Directory {
    /// Lists what is there of transactions up to that one.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, last: Tid) -> Result<Self, ToolError> {
        let layout = layout(disk, path)?;
        let mut walk = Walk {
            disk,
            layout,
            last,
            blobs: Vec::new(),
        };
        walk.enter(path, 0, 0)?;
        let mut blobs = walk.blobs;
        blobs.sort_unstable();
        Ok(Self {
            path: path.to_owned(),
            layout,
            blobs,
        })
    }

    pub(crate) fn file(&self, blob: BlobId) -> PathBuf {
        self.path.join(self.layout.path(blob))
    }
}

/// Which layout a directory has, by ZODB's own rules.
fn layout(disk: &dyn Disk, path: &Path) -> Result<Layout, ToolError> {
    let refuse = |what: String| RepositoryError::NoBlobDirectory {
        path: path.to_owned(),
        what,
    };
    let marker = path.join(LAYOUT_MARKER);
    match chunk::read_small(disk, &marker) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let name = text.trim();
            Ok(Layout::parse(name).ok_or_else(|| {
                refuse(format!("{LAYOUT_MARKER} names an unknown layout: {name:?}"))
            })?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let entries = match disk.list_directory(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(refuse("no such directory".to_owned()).into());
                }
                entries => entries.map_err(|error| StorageError::io(path, "list", error))?,
            };
            let is_used = entries
                .iter()
                .any(|entry| !entry.name.as_encoded_bytes().starts_with(b"."));
            Ok(if is_used { Layout::Lawn } else { Layout::Bushy })
        }
        Err(error) => Err(StorageError::io(marker, "read", error).into()),
    }
}

struct Walk<'a> {
    disk: &'a dyn Disk,
    layout: Layout,
    last: Tid,
    blobs: Vec<BlobId>,
}

impl Walk<'_> {
    /// Goes down to where the revisions are. `number` is the id as far as the path tells it.
    fn enter(&mut self, path: &Path, depth: usize, number: u64) -> Result<(), ToolError> {
        let entries = match self.disk.list_directory(path) {
            // Removed since its name was read: a pack is at work.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| StorageError::io(path, "list", error))?,
        };
        for entry in entries {
            let Some(name) = entry.name.to_str() else {
                continue;
            };
            if depth == self.layout.depth() {
                let tid = name.strip_suffix(BLOB_SUFFIX).and_then(parse).map(Tid::new);
                if let Some(tid) = tid.filter(|tid| !entry.is_directory && *tid <= self.last) {
                    let oid = Oid::new(number);
                    self.blobs.push(BlobId { oid, tid });
                }
                continue;
            }
            if !entry.is_directory {
                continue;
            }
            let number = match self.layout {
                Layout::Lawn => parse(name),
                Layout::Bushy => parse(name)
                    .filter(|byte| *byte <= 0xff)
                    .map(|byte| number << 8 | byte),
            };
            if let Some(number) = number {
                self.enter(&path.join(name), depth + 1, number)?;
            }
        }
        Ok(())
    }
}

/// An id as ZODB writes it in names: no zeros in front, but whole bytes.
fn shown(number: u64) -> String {
    let digits = format!("{number:x}");
    let zero = if digits.len() % 2 == 1 { "0" } else { "" };
    format!("0x{zero}{digits}")
}

/// The id, if the name is the one that it has. Under another name ZODB does not find it.
fn parse(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_prefix("0x")?, 16).ok()?;
    (shown(number) == name).then_some(number)
}

pub(crate) const LAYOUT_MARKER: &str = ".layout";
const BLOB_SUFFIX: &str = ".blob";

#[cfg(test)]
mod tests {
    use sim::SimDisk;

    use super::*;

    fn blob(oid: u64, tid: u64) -> BlobId {
        BlobId {
            oid: Oid::new(oid),
            tid: Tid::new(tid),
        }
    }

    /// `FilesystemHelper.getBlobFilename` of ZODB 6.4 says the same.
    #[test]
    fn paths_are_those_of_the_original() {
        let id = blob(0x1f05, 0x03f0_0001_0000_0000);
        let name = "0x03f0000100000000.blob";
        let bushy = format!("0x00/0x00/0x00/0x00/0x00/0x00/0x1f/0x05/{name}");
        assert_eq!(Layout::Bushy.path(id), Path::new(&bushy));
        assert_eq!(Layout::Lawn.path(id), Path::new("0x1f05").join(name));
        assert_eq!(
            Layout::Lawn.path(blob(0, 0x123)),
            Path::new("0x00/0x0123.blob")
        );
    }

    #[test]
    fn a_directory_lists_its_revisions_up_to_a_transaction() {
        let disk = SimDisk::new();
        for layout in [Layout::Bushy, Layout::Lawn] {
            let top = Path::new("/blobs").join(layout.name());
            disk.put(
                &top.join(LAYOUT_MARKER),
                format!("{}\n", layout.name()).as_bytes(),
            );
            for id in [
                blob(0x1f05, 7),
                blob(0x1f05, 0x100),
                blob(3, 8),
                blob(3, 0x101),
            ] {
                disk.put(&top.join(layout.path(id)), b"x");
            }
            let inside = top.join(layout.path(blob(3, 8)));
            for stray in ["0x07.blobx", "0x7.blob", "0x07.tmp", "y.blob"] {
                disk.put(&inside.with_file_name(stray), b"x");
            }
            disk.put(&top.join("tmp/0x01/0x01.blob"), b"x");
            let found = Directory::open(&disk, &top, Tid::new(0x100)).unwrap();
            assert_eq!(found.layout, layout);
            assert_eq!(
                found.blobs,
                [blob(3, 8), blob(0x1f05, 7), blob(0x1f05, 0x100)]
            );
        }
    }

    #[test]
    fn a_directory_without_a_marker_is_judged_as_the_original_does() {
        let disk = SimDisk::new();
        disk.put(Path::new("/old/0x01/0x02.blob"), b"");
        disk.put(Path::new("/new/.hidden"), b"");
        disk.put(Path::new("/odd/.layout"), b"zipper");
        let layout = |path| layout(&disk, Path::new(path));
        assert_eq!(layout("/old").unwrap(), Layout::Lawn);
        assert_eq!(layout("/new").unwrap(), Layout::Bushy);
        assert!(layout("/odd").unwrap_err().to_string().contains("zipper"));
        assert!(layout("/none").is_err());
    }
}
