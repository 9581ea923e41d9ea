//! How directories and files of blobs are named, and which of the two ways a directory uses.

use std::fmt;
use std::path::{Path, PathBuf};

use storage::{Oid, StorageError, Tid};
use vfs::Disk;

use super::{TEMPORARY, list, read_text, write_text};

/// How the directory of an object is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobLayout {
    /// Eight directories in one another, one for each byte: `0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x01`.
    Bushy,
    /// One directory, all of them side by side: `0x01`.
    Lawn,
}

impl BlobLayout {
    /// The directory of an object, below that of the blobs.
    pub(super) fn directory(self, oid: Oid) -> PathBuf {
        match self {
            Self::Bushy => {
                let bytes = oid.to_bytes();
                bytes.iter().map(|byte| format!("0x{byte:02x}")).collect()
            }
            Self::Lawn => even_hex(oid.number()).into(),
        }
    }

    /// How many directories lead to the files of an object.
    pub(super) fn depth(self) -> usize {
        match self {
            Self::Bushy => size_of::<Oid>(),
            Self::Lawn => 1,
        }
    }

    /// The number of an object after one more directory on the way to its files.
    pub(super) fn step(self, number: u64, directory: &str) -> Option<u64> {
        match self {
            Self::Bushy => {
                let byte = parse_hex(directory).filter(|_| directory.len() == "0x00".len())?;
                Some(number << u8::BITS | byte)
            }
            Self::Lawn => parse_even_hex(directory),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            BUSHY => Some(Self::Bushy),
            LAWN => Some(Self::Lawn),
            _ => None,
        }
    }
}

impl fmt::Display for BlobLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bushy => BUSHY,
            Self::Lawn => LAWN,
        })
    }
}

/// The file of the revision that a transaction wrote.
pub(super) fn file_name(tid: Tid) -> String {
    even_hex(tid.number()) + SUFFIX
}

/// The transaction that a file is named after.
pub(super) fn parse_file_name(name: &str) -> Option<Tid> {
    parse_even_hex(name.strip_suffix(SUFFIX)?).map(Tid::new)
}

/// Makes the directory with its `.layout` and its `tmp/`, as far as they are missing.
pub(super) fn prepare(disk: &dyn Disk, root: &Path) -> Result<BlobLayout, StorageError> {
    let (layout, is_marked) = detect(disk, root)?;
    let make = |path: &Path| {
        disk.create_directory(path)
            .map_err(|error| StorageError::io(path, "make", error))
    };
    let sync = |path: &Path| {
        disk.sync_directory(path)
            .map_err(|error| StorageError::io(path, "sync", error))
    };
    let exists = |path: &Path| {
        disk.exists(path)
            .map_err(|error| StorageError::io(path, "look for", error))
    };
    if !exists(root)? {
        make(root)?;
        sync(root.parent().unwrap_or(root))?;
    }
    // First the marker: the original takes a directory for a lawn that has a `tmp` and no marker.
    if !is_marked {
        // It takes an empty marker for an unknown layout.
        let (draft, marker) = (root.join(MARKER_DRAFT), root.join(MARKER));
        write_text(disk, &draft, &layout.to_string())?;
        disk.rename(&draft, &marker)
            .map_err(|error| StorageError::io(marker, "make", error))?;
    }
    let temporary = root.join(TEMPORARY);
    let has_temporary = exists(&temporary)?;
    if !has_temporary {
        make(&temporary)?;
    }
    if !is_marked || !has_temporary {
        sync(root)?;
    }
    Ok(layout)
}

/// The layout of a directory, and whether a marker says so.
///
/// The original takes each directory in use without a marker for a lawn. Here its looks decide: a
/// tree that was copied without its hidden file is still a tree.
pub(super) fn detect(disk: &dyn Disk, root: &Path) -> Result<(BlobLayout, bool), StorageError> {
    let marker = root.join(MARKER);
    let text = read_text(disk, &marker, MARKER_BYTES_MAX)?.unwrap_or_default();
    // The original does not sync its marker, so that a power loss may leave it empty.
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || letter == '\0');
    if let Some(layout) = BlobLayout::parse(text) {
        return Ok((layout, true));
    }
    if !text.is_empty() {
        return Err(StorageError::Corrupt {
            path: marker,
            offset: 0,
            what: format!("the layout \"{}\" is unknown", text.escape_default()),
        });
    }
    let mut objects = list(disk, root)?
        .into_iter()
        .filter(|entry| entry.is_directory)
        .filter_map(|entry| entry.name.into_string().ok())
        .filter(|name| BlobLayout::Lawn.step(0, name).is_some())
        .peekable();
    if objects.peek().is_none() {
        return Ok((BlobLayout::Bushy, false));
    }
    for object in objects {
        let inside = list(disk, &root.join(object))?;
        if inside.iter().any(|entry| entry.is_directory) {
            return Ok((BlobLayout::Bushy, false));
        }
    }
    Ok((BlobLayout::Lawn, false))
}

/// As `ZODB.utils.oid_repr` has it: whole bytes, no leading zeros, at least one byte.
fn even_hex(number: u64) -> String {
    let digits = format!("{number:x}");
    let zero = if digits.len().is_multiple_of(2) {
        ""
    } else {
        "0"
    };
    format!("0x{zero}{digits}")
}

/// Reads what [`even_hex`] writes, and nothing else, so that a number has one name.
fn parse_even_hex(text: &str) -> Option<u64> {
    parse_hex(text).filter(|number| even_hex(*number) == text)
}

pub(super) fn parse_hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let is_plain = digits
        .bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(digits, 16).ok().filter(|_| is_plain)
}

pub(super) const MARKER: &str = ".layout";
/// Hidden, so that it does not look like a blob's directory.
const MARKER_DRAFT: &str = ".layout.new";
const MARKER_BYTES_MAX: u64 = 64;
const BUSHY: &str = "bushy";
const LAWN: &str = "lawn";
pub(super) const SUFFIX: &str = ".blob";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_original() {
        let oid = Oid::new(0x1_02ab);
        let [bushy, lawn] = [BlobLayout::Bushy, BlobLayout::Lawn];
        let directory = |layout: BlobLayout, oid| layout.directory(oid).display().to_string();
        assert_eq!(
            directory(bushy, oid),
            "0x00/0x00/0x00/0x00/0x00/0x01/0x02/0xab"
        );
        assert_eq!(directory(lawn, oid), "0x0102ab");
        assert_eq!(directory(lawn, Oid::ROOT), "0x00");
        assert_eq!(
            file_name(Tid::new(0x03f5_0bd1_2345_6789)),
            "0x03f50bd123456789.blob"
        );
        assert_eq!(file_name(Tid::new(1)), "0x01.blob");
    }

    #[test]
    fn a_number_has_one_name() {
        for number in [0, 1, 0x10, 0xabc, u64::MAX] {
            assert_eq!(parse_even_hex(&even_hex(number)), Some(number));
        }
        let others = [
            "",
            "0x",
            "00",
            "0x1",
            "0x001",
            "0X01",
            "0xAB",
            "0x+1",
            "0x0000000000000001",
            "0x010000000000000000",
            "tmp",
        ];
        for other in others {
            assert_eq!(parse_even_hex(other), None, "{other}");
        }
        assert_eq!(parse_file_name("0x01.blob.tmp"), None);
        assert_eq!(BlobLayout::Bushy.step(1, "0xff"), Some(0x1ff));
        assert_eq!(BlobLayout::Bushy.step(1, "0x0ff"), None);
    }
}
