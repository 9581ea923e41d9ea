//! A blob on its way to a client: pushes with its pieces, then the reply, and nothing in between.

use std::sync::Arc;

use storage::{Oid, StorageError, Tid};
use vfs::{Disk, File, OpenMode, RealDisk};

use super::calls::Part;
use super::outbox::ReplyTo;
use super::served::Served;
use crate::message::{write_error, write_one_way};
use crate::{ProtocolError, Refusal, Value};

/// A blob that is sent. Its frames are made when there is room for them.
pub struct BlobStream {
    served: Arc<Served>,
    oid: Oid,
    tid: Tid,
    to: ReplyTo,
    /// What is sent, once it was begun.
    open: Option<Open>,
}

struct Open {
    file: Arc<dyn File>,
    offset: u64,
}

/// How large a piece is: as in the original.
const CHUNK_BYTES: usize = 59_000;
/// How many pieces are made at once.
const CHUNKS: usize = 4;

impl BlobStream {
    pub(super) fn new(served: Arc<Served>, oid: Oid, tid: Tid, to: ReplyTo) -> Self {
        Self {
            served,
            oid,
            tid,
            to,
            open: None,
        }
    }

    /// Appends the next frames, not more than about 256 kB. Whether there are more. Reads the file, so
    /// it may wait.
    ///
    /// # Errors
    /// The file cannot be read on: the connection must be closed, as the client has a part of it.
    pub fn produce(&mut self, out: &mut Vec<u8>) -> Result<bool, ProtocolError> {
        if self.open.is_none() {
            match self.begin() {
                Ok(file) => self.open = Some(Open { file, offset: 0 }),
                Err(refusal) => {
                    if let Some(id) = &self.to.id {
                        let (class, data) = (refusal.class(), refusal.data());
                        write_error(self.to.encoding, id, class, data, out);
                    }
                    self.to.watch.refuse(0);
                    return Ok(false);
                }
            }
            self.push("receiveBlobStart", None, out);
        }
        let mut buffer = vec![0; CHUNK_BYTES];
        for _ in 0..CHUNKS {
            let Some(open) = &mut self.open else {
                return Ok(false);
            };
            let length = open.file.read_most_at(&mut buffer, open.offset);
            let length = length.map_err(|error| ProtocolError::Blob {
                reason: error.to_string(),
            })?;
            open.offset += length as u64;
            let sent = open.offset;
            if length > 0 {
                self.push("receiveBlobChunk", Some(&buffer[..length]), out);
            }
            if length < CHUNK_BYTES {
                self.push("receiveBlobStop", None, out);
                let bytes = usize::try_from(sent).unwrap_or(usize::MAX);
                self.to.write(Value::None, out);
                self.to.watch.end(Part::Storage, bytes);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn begin(&self) -> Result<Arc<dyn File>, Refusal> {
        let Some(blobs) = self.served.storage.blobs() else {
            return Err(Refusal::arguments("this storage keeps no blobs"));
        };
        let missing = |error: StorageError| match error {
            StorageError::NotFound { .. } => Refusal::no_blob(self.oid, self.tid),
            other => Refusal::from(&other),
        };
        let path = blobs.load_blob(self.oid, self.tid).map_err(missing)?;
        match RealDisk.open(&path, OpenMode::Read) {
            Ok(file) => Ok(file),
            // A pack has come in between.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Refusal::no_blob(self.oid, self.tid))
            }
            Err(error) => Err(Refusal::from(&StorageError::io(&path, "open", error))),
        }
    }

    fn push(&self, method: &str, chunk: Option<&[u8]>, out: &mut Vec<u8>) {
        let (oid, tid) = (self.oid.to_bytes(), self.tid.to_bytes());
        let mut args = vec![Value::id(oid), Value::id(tid)];
        args.extend(chunk.map(Value::bytes));
        write_one_way(self.to.encoding, method, Value::Tuple(args), out);
    }
}
