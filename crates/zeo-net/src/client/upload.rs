//! Sending the file of a blob, piece by piece.

use std::fs::File;
use std::io::Read as _;

use storage::{Oid, Record, StorageError, Tid};
use zeo::{Request, Value};

use super::Shared;
use super::blobs::StagedFile;
use super::link::Link;

/// As large as the original's pieces.
const PIECE_BYTES: u64 = 59_000;

/// A new revision of a blob.
pub(super) struct Blob {
    pub(super) oid: Oid,
    pub(super) base: Tid,
    pub(super) record: Record,
    pub(super) file: StagedFile,
}

impl Blob {
    /// Tells the server of it, and brings it the file. It may take any time, as long as the server
    /// takes the pieces. When the connection breaks meanwhile, the vote will tell.
    pub(super) fn send(
        &mut self,
        shared: &Shared,
        link: &Link,
        id: &Value<'static>,
    ) -> Result<(), StorageError> {
        let files = shared.blob_files()?;
        let (oid, base) = (self.oid, self.base);
        let (record, id) = (self.record.clone(), id.clone());
        let last = if files.is_shared() {
            Request::BlobShared {
                oid,
                base,
                record,
                name: files.hand_over(&mut self.file, oid)?,
                id,
            }
        } else {
            self.send_pieces(shared, link)?;
            Request::BlobEnd {
                oid,
                base,
                record,
                id,
            }
        };
        link.send_all(std::iter::once(last), shared.deadline());
        Ok(())
    }

    fn send_pieces(&self, shared: &Shared, link: &Link) -> Result<(), StorageError> {
        let path = self.file.path();
        let mut file = File::open(path).map_err(|error| StorageError::io(path, "open", error))?;
        link.send_all(std::iter::once(Request::BlobStart), shared.deadline());
        while !link.is_dead() {
            let mut piece = Vec::new();
            let read = (&mut file).take(PIECE_BYTES).read_to_end(&mut piece);
            read.map_err(|error| StorageError::io(path, "read", error))?;
            if piece.is_empty() {
                break;
            }
            link.send_all(
                std::iter::once(Request::BlobChunk(piece)),
                shared.deadline(),
            );
        }
        Ok(())
    }
}
