//! Blobs: objects whose data are a file beside the storage.

use std::path::{Path, PathBuf};

use crate::{Oid, StorageError, Tid};

/// The capability to keep blobs, reached by [`Storage::blobs`](crate::Storage::blobs). Blobs are
/// stored as part of a transaction: [`Commit::store_blob`](crate::Commit::store_blob).
pub trait Blobs: Send + Sync {
    /// The file of the revision that the transaction `tid` gave the blob. It is complete, never
    /// changes, and stays until a pack removes that revision.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when that transaction did not change the blob.
    fn load_blob(&self, oid: Oid, tid: Tid) -> Result<PathBuf, StorageError>;

    /// Where files that are to be stored should be made: on the file system of the blobs, so that
    /// they can be renamed into their place.
    fn staging_directory(&self) -> &Path;

    /// A name in that directory which is given once. A file that is left there under it, because its
    /// maker was stopped, is removed when the storage is opened again.
    fn staging_file(&self) -> PathBuf;

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
