//! The calls that bring the files of blobs.

use std::sync::Arc;

use super::Peer;
use crate::server::blob_file::BlobFile;
use crate::server::job::{Job, Piece};
use crate::server::outbox::ReplyTo;
use crate::server::served::Served;
use crate::server::transaction::Transaction;
use crate::{Refusal, Request, Value};

/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

impl Peer {
    pub(super) fn blob(
        &mut self,
        served: &Arc<Served>,
        request: Request,
        to: &ReplyTo,
    ) -> Result<Option<Job>, Refusal> {
        let Some(blobs) = served.storage.blobs() else {
            return self.decline("blobs for this storage", to);
        };
        let bytes_max = self.hub.options().blob_bytes_max;
        let Some(transaction) = self.open_transaction() else {
            return Err(Refusal::no_transaction(None, Value::None));
        };
        let job = match request {
            // The vote tells why.
            _ if transaction.failed.is_some() => None,
            Request::BlobStart if transaction.upload.is_some() => {
                return Err(Refusal::transaction("a blob comes already"));
            }
            Request::BlobStart => {
                let file = Arc::new(BlobFile::new(blobs.staging_file()));
                transaction.upload = Some(Arc::clone(&file));
                Some((file, Piece::Start))
            }
            Request::BlobChunk(piece) => Some(append(transaction, piece, bytes_max)?),
            Request::BlobEnd {
                oid,
                base,
                record,
                id,
            } => {
                let file = transaction.upload.take().ok_or_else(no_blob_comes)?;
                let stored = Arc::clone(&file);
                self.log(id, |log| log.store_blob(oid, base, record, stored))?;
                Some((file, Piece::End))
            }
            Request::BlobShared {
                oid,
                base,
                record,
                name,
                id,
            } => {
                if !is_shared_name(&name) {
                    return Err(Refusal::new("builtins.ValueError", name));
                }
                let Some(path) = blobs.shared_file(oid, &name) else {
                    return self.decline("a shared directory of blobs", to);
                };
                let file = Arc::new(BlobFile::new(path));
                self.log(id, |log| log.store_blob(oid, base, record, file))?;
                None
            }
            other => return Err(Refusal::arguments(format!("{other:?} brings no blob"))),
        };
        to.reply(Value::None);
        Ok(job.map(|(file, piece)| Job::upload(served.clone(), file, piece)))
    }
}

fn append(
    transaction: &mut Transaction,
    piece: Vec<u8>,
    bytes_max: u64,
) -> Result<(Arc<BlobFile>, Piece), Refusal> {
    let file = transaction.upload.clone().ok_or_else(no_blob_comes)?;
    transaction.blob_bytes += piece.len() as u64;
    if transaction.blob_bytes <= bytes_max {
        return Ok((file, Piece::Chunk(piece)));
    }
    let text = format!("the blobs are larger than the server's limit of {bytes_max}");
    transaction.failed = Some(Refusal::new("ZODB.POSException.StorageError", text));
    transaction.upload = None;
    Ok((file, Piece::End))
}

fn no_blob_comes() -> Refusal {
    Refusal::transaction("no blob comes")
}

/// Whether a client may have made a file of that name in the shared directory: `mkstemp` with the
/// suffix `.tmp`, and maybe one more character. Not a way into another directory.
fn is_shared_name(name: &str) -> bool {
    let mut shorter = name.chars();
    shorter.next_back();
    let is_temporary = name.ends_with(".tmp") || shorter.as_str().ends_with(".tmp");
    is_temporary && name.len() <= NAME_BYTES_MAX && !name.contains(['/', '\\', '\0'])
}
