//! Blobs: objects whose data are a file beside the storage.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{Oid, StorageError, Tid};

/// The capability to keep blobs, reached by [`Storage::blobs`](crate::Storage::blobs). Blobs are
/// stored as part of a transaction: [`Commit::store_blob`](crate::Commit::store_blob).
pub trait Blobs: Send + Sync {
    /// The file of the revision that the transaction `tid` gave the blob. It is complete, never
    /// changes, and stays until a pack removes that revision; where the storage is far away and its
    /// files are copies in a cache, until the cache needs the room. Who wants to read it uses
    /// [`Blobs::open_blob`].
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when that transaction did not change the blob.
    fn load_blob(&self, oid: Oid, tid: Tid) -> Result<PathBuf, StorageError>;

    /// The same file, open for reading. It can be read to its end whatever becomes of its name.
    ///
    /// # Errors
    /// As [`Blobs::load_blob`], and when the file cannot be opened.
    fn open_blob(&self, oid: Oid, tid: Tid) -> Result<File, StorageError> {
        let mut path = self.load_blob(oid, tid)?;
        for _ in 0..OPENINGS_MAX {
            match File::open(&path) {
                // The cache needed the room just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    path = self.load_blob(oid, tid)?;
                }
                opened => return opened.map_err(|error| StorageError::io(path, "open", error)),
            }
        }
        Err(StorageError::NotFound { oid })
    }

    /// Where files that are to be stored should be made: on the file system of the blobs, so that
    /// they can be renamed into their place.
    fn staging_directory(&self) -> &Path;

    /// A name in that directory which is given once. A file that is left there under it, because its
    /// maker was stopped, is removed when the storage is opened again.
    fn staging_file(&self) -> PathBuf;

    /// A copy of a blob's file, under a name of [`Blobs::staging_file`]: to be stored as another
    /// revision.
    ///
    /// # Errors
    /// The file could not be copied, for want of room, say.
    fn stage_copy(&self, from: &Path) -> Result<PathBuf, StorageError> {
        let staged = self.staging_file();
        if let Err(error) = fs::copy(from, &staged) {
            // It may not even have been made.
            fs::remove_file(&staged).ok();
            return Err(StorageError::io(from, "copy", error));
        }
        Ok(staged)
    }

    /// Where a program that shares the directory leaves a file of that name for the object, which it
    /// then hands over (`storeBlobShared`). Nothing where the directory is not for sharing.
    fn shared_file(&self, _oid: Oid, _name: &str) -> Option<PathBuf> {
        None
    }
}

/// Whether a record is a blob's: its first pickle is the bare name of the class
/// (`ZODB.blob.is_blob_record`).
pub fn is_blob_record(record: &[u8]) -> bool {
    let first = match record {
        [PROTO, _, first @ ..] => first,
        all => all,
    };
    first.starts_with(BLOB_CLASS)
}

/// The opcode that a pickle of protocol 2 or 3 begins with; the protocol's number follows.
const PROTO: u8 = 0x80;
const BLOB_CLASS: &[u8] = b"cZODB.blob\nBlob\n";
/// How often a file is looked for that goes away before it is open.
const OPENINGS_MAX: usize = 10;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use parking_lot::Mutex;

    use super::*;

    /// A cache that removes what it has just named, some times.
    struct Short {
        folder: PathBuf,
        removals: Mutex<usize>,
    }

    impl Blobs for Short {
        fn load_blob(&self, _oid: Oid, _tid: Tid) -> Result<PathBuf, StorageError> {
            let path = self.folder.join("blob");
            fs::write(&path, "data").unwrap();
            let mut removals = self.removals.lock();
            if *removals > 0 {
                *removals -= 1;
                fs::remove_file(&path).unwrap();
            }
            Ok(path)
        }

        fn staging_directory(&self) -> &Path {
            &self.folder
        }

        fn staging_file(&self) -> PathBuf {
            self.folder.join("staged")
        }
    }

    #[test]
    fn a_file_that_is_removed_before_it_is_open_is_fetched_again() {
        let folder = std::env::temp_dir().join(format!("zodiac-blob-test-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let short = |removals| Short {
            folder: folder.clone(),
            removals: Mutex::new(removals),
        };
        let mut text = String::new();
        let mut file = short(3).open_blob(Oid::ROOT, Tid::new(1)).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "data");
        let error = short(usize::MAX)
            .open_blob(Oid::ROOT, Tid::new(1))
            .unwrap_err();
        assert!(matches!(error, StorageError::NotFound { .. }), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
