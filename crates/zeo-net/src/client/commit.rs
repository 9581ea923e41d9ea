//! A commit over the wire: gathered here, sent in one go at the vote.
//!
//! It has the wait limit twice: once up to the vote's answer (for its turn among the writers of
//! this client, for a connection, for sending, and for its turn at the server, all together), and
//! once more for its finish, which must not be given up for having voted late. If the finish is not
//! answered, it has as long again to find out what became of it (see `outcome`). So a server, or a
//! stranger who keeps what others wait for, holds up each writer once, not each in turn.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{ArcMutexGuard, Mutex, RawMutex};
use storage::{
    Commit, CommitError, Iterate, Oid, Publish, Record, Storage, StorageError, Tid,
    TransactionMeta, Voted,
};
use zeo::{Copied, Refusal, Reply, Request, Value};

use super::blobs::{BlobFiles, StagedFile};
use super::link::{Answer, Link};
use super::outcome::{self, Evidence, Outcome};
use super::upload::Blob;
use super::{Shared, ZeoStorage, unexpected};

/// A transaction being filled. Nothing is sent before the vote, so it may be given up at no cost
/// and does not keep others of this client waiting.
pub(super) struct ZeoCommit {
    shared: Arc<Shared>,
    /// Keeps the connection open as long as there is something to commit.
    storage: Arc<ZeoStorage>,
    meta: TransactionMeta,
    copied: Option<Copied>,
    changes: Vec<Change>,
    /// Where in `changes` the store of an object is: its last record counts.
    places: HashMap<Oid, usize>,
    checks: Vec<(Oid, Tid)>,
}

enum Change {
    Store(Oid, Tid, Record),
    Blob(Box<Blob>),
    Delete(Oid, Tid),
    Restore(Oid, Option<Record>, Option<Tid>),
    Undo(Tid),
}

impl Change {
    /// What is to be said of it; of a blob there is more to say.
    fn request(&self, id: &Value<'static>, copied: Option<Copied>) -> Option<Request> {
        let id = id.clone();
        Some(match *self {
            Self::Blob(_) => return None,
            Self::Store(oid, base, ref record) => Request::Store {
                oid,
                base,
                record: record.clone(),
                id,
            },
            Self::Delete(oid, base) => Request::Delete { oid, base, id },
            Self::Restore(oid, ref data, data_tid) => Request::Restore {
                oid,
                tid: copied.and_then(|copied| copied.tid).unwrap_or(Tid::ZERO),
                data: data.clone(),
                data_tid,
                id,
            },
            Self::Undo(tid) => Request::undo(tid, id),
        })
    }

    /// The object that it changes, and its record where that is certain to be current afterwards.
    fn stored(&self) -> Option<(Oid, Option<&Record>)> {
        match self {
            Self::Store(oid, _, record) => Some((*oid, Some(record))),
            Self::Blob(blob) => Some((blob.oid, Some(&blob.record))),
            Self::Delete(oid, _) | Self::Restore(oid, ..) => Some((*oid, None)),
            Self::Undo(_) => None,
        }
    }
}

/// The client's names for its transactions: the server only compares them.
static NEXT_ID: AtomicI64 = AtomicI64::new(1);

impl ZeoCommit {
    pub(super) fn new(
        storage: Arc<ZeoStorage>,
        meta: TransactionMeta,
        copied: Option<Copied>,
    ) -> Self {
        Self {
            shared: storage.shared.clone(),
            storage,
            meta,
            copied,
            changes: Vec::new(),
            places: HashMap::new(),
            checks: Vec::new(),
        }
    }

    /// Sends all of it, blobs at last.
    fn send(
        &mut self,
        link: &Link,
        id: &Value<'static>,
        deadline: Instant,
    ) -> Result<(), StorageError> {
        let begin = Request::TpcBegin {
            id: id.clone(),
            meta: self.meta.clone(),
            copied: self.copied,
        };
        let changes = self.changes.iter();
        let changes = changes.filter_map(|change| change.request(id, self.copied));
        let checks = self.checks.iter().map(|(oid, base)| Request::CheckCurrent {
            oid: *oid,
            base: *base,
            id: id.clone(),
        });
        let all = std::iter::once(begin).chain(changes).chain(checks);
        link.send_all(all, deadline);
        for change in &mut self.changes {
            if let Change::Blob(blob) = change {
                blob.send(&self.shared, link, id)?;
            }
        }
        Ok(())
    }

    fn has_blobs(&self) -> bool {
        self.changes
            .iter()
            .any(|change| matches!(change, Change::Blob(_)))
    }

    fn check_copies(&self) -> Result<(), StorageError> {
        if self.copied.is_some() {
            return Ok(());
        }
        Err(StorageError::Unsupported {
            operation: "restoring records in a transaction that was not begun for that",
        })
    }

    /// The transaction that wrote the newest revision of an object, also where that says that the
    /// object is no more; [`Tid::ZERO`] where there is none.
    fn newest(&self, oid: Oid) -> Result<Tid, StorageError> {
        match self.storage.current_tid(oid) {
            Err(StorageError::NotFound { .. }) => {}
            found => return found,
        }
        match self.storage.history(oid, 1) {
            Ok(entries) => Ok(entries.first().map_or(Tid::ZERO, |entry| entry.tid)),
            Err(StorageError::NotFound { .. }) => Ok(Tid::ZERO),
            Err(error) => Err(error),
        }
    }

    /// The last record of an object counts.
    fn put(&mut self, oid: Oid, change: Change) {
        match self.places.entry(oid) {
            Entry::Occupied(place) => self.changes[*place.get()] = change,
            Entry::Vacant(place) => {
                place.insert(self.changes.len());
                self.changes.push(change);
            }
        }
    }
}

impl Commit for ZeoCommit {
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError> {
        self.put(oid, Change::Store(oid, base, record));
        Ok(())
    }

    fn store_blob(
        &mut self,
        oid: Oid,
        base: Tid,
        record: Record,
        file: PathBuf,
    ) -> Result<(), StorageError> {
        let file = StagedFile::new(file);
        self.shared.blob_files()?;
        let blob = Blob {
            oid,
            base,
            record,
            file,
        };
        self.put(oid, Change::Blob(Box::new(blob)));
        Ok(())
    }

    fn delete(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        // A store that comes later is a later one.
        self.places.remove(&oid);
        self.changes.push(Change::Delete(oid, base));
        Ok(())
    }

    fn restore(
        &mut self,
        oid: Oid,
        data: Option<Record>,
        data_tid: Option<Tid>,
    ) -> Result<(), StorageError> {
        self.check_copies()?;
        self.changes.push(Change::Restore(oid, data, data_tid));
        Ok(())
    }

    /// The protocol has no call for that. So the blob is stored, on top of what is current, in the
    /// transaction that has the id: its record does not refer to earlier data, but repeats them.
    fn restore_blob(
        &mut self,
        oid: Oid,
        data: Record,
        _data_tid: Option<Tid>,
        file: PathBuf,
    ) -> Result<(), StorageError> {
        let file = StagedFile::new(file);
        self.check_copies()?;
        self.shared.blob_files()?;
        let blob = Blob {
            oid,
            base: self.newest(oid)?,
            record: data,
            file,
        };
        self.put(oid, Change::Blob(Box::new(blob)));
        Ok(())
    }

    fn undo(&mut self, tid: Tid) -> Result<(), StorageError> {
        if !self.storage.can().undoes {
            return Err(StorageError::Unsupported { operation: "undo" });
        }
        self.places.clear();
        self.changes.push(Change::Undo(tid));
        Ok(())
    }

    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.checks.push((oid, base));
        Ok(())
    }

    fn vote(mut self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        let mut deadline = self.shared.deadline();
        let Some(turn) = Turn::wait_until(&self.shared.commit_turn, deadline) else {
            tracing::warn!("gave up waiting for earlier commits of this client");
            return Err(self.shared.disconnected().into());
        };
        let link = self.shared.link_until(deadline)?;
        if link.peer().is_read_only {
            // The server would end the connection.
            return Err(StorageError::ReadOnly.into());
        }
        if let Some(Copied { tid: Some(tid), .. }) = self.copied {
            // Genuine servers take it, and their file is in disorder.
            let last = self.shared.cache.last_tid();
            if tid <= last {
                return Err(StorageError::NotLater { tid, last }.into());
            }
        }
        let id = Value::Int(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        if let Err(error) = self.send(&link, &id, deadline) {
            link.send_all(std::iter::once(Request::TpcAbort(id)), deadline);
            return Err(error.into());
        }
        if self.has_blobs() {
            // However long they took, the vote has its time.
            deadline = self.shared.deadline();
        }
        let vote = link.call(&Request::Vote(id.clone()), deadline);
        let Some(answer) = vote.wait_until(deadline) else {
            tracing::warn!("the storage server did not vote in time: the connection is given up");
            self.shared.abandon(&link);
            return Err(self.shared.disconnected().into());
        };
        let error = match answer {
            Answer::Lost => return Err(broken_off()),
            Answer::Said(Ok(Reply::Voted(resolved))) => {
                let went_back = self.shared.state.lock().status.went_back;
                return Ok(Box::new(ZeoVoted {
                    storage: self.storage,
                    copied: self.copied,
                    went_back,
                    link,
                    id,
                    changes: self.changes,
                    resolved,
                    is_open: true,
                    _turn: turn,
                }));
            }
            Answer::Said(Ok(Reply::Conflicts(conflicts))) => CommitError::Conflict(conflicts),
            Answer::Said(Ok(other)) => unexpected(&other).into(),
            Answer::Said(Err(refusal)) => self.refused(&refusal),
        };
        link.send_all(std::iter::once(Request::TpcAbort(id)), deadline);
        Err(error)
    }
}

/// The connection broke before the order to finish: nothing was committed, and the work may be done
/// again at once, on the next connection.
fn broken_off() -> CommitError {
    let waited = Duration::ZERO;
    StorageError::Disconnected { waited }.into()
}

/// The turn to commit on this connection. It goes to whoever has waited longest.
struct Turn(Option<ArcMutexGuard<RawMutex, ()>>);

impl Turn {
    fn wait_until(turns: &Arc<Mutex<()>>, deadline: Instant) -> Option<Self> {
        turns
            .try_lock_arc_until(deadline)
            .map(|turn| Self(Some(turn)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turn) = self.0.take() {
            ArcMutexGuard::unlock_fair(turn);
        }
    }
}

struct ZeoVoted {
    storage: Arc<ZeoStorage>,
    link: Arc<Link>,
    id: Value<'static>,
    changes: Vec<Change>,
    resolved: Vec<Oid>,
    copied: Option<Copied>,
    /// How often a server had gone back when this was voted.
    went_back: u64,
    is_open: bool,
    /// Others of this client may not vote meanwhile.
    _turn: Turn,
}

impl Voted for ZeoVoted {
    fn resolved(&self) -> &[Oid] {
        &self.resolved
    }

    fn finish(mut self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        let evidence = self.evidence();
        let (stored, blobs) = self.stored();
        let request = Request::TpcFinish(self.id.clone());
        let shared = &self.storage.shared;
        let deadline = shared.deadline();
        let Some(slot) = self.link.finish(&request, stored, deadline) else {
            return Err(broken_off());
        };
        self.is_open = false;
        match slot.wait_until(deadline) {
            Some(Answer::Said(Ok(Reply::Tid(tid)))) => {
                publish(tid);
                keep(shared, blobs, tid);
                return Ok(tid);
            }
            Some(Answer::Said(Ok(other))) => {
                tracing::error!(reply = ?other, "a finish was answered without a transaction id");
            }
            Some(Answer::Said(Err(refusal))) => {
                if let Some(error) = refused_finish(&refusal) {
                    return Err(error);
                }
            }
            Some(Answer::Lost) => {}
            None => {
                tracing::error!("a finish was not answered in time: the connection is given up");
            }
        }
        shared.abandon(&self.link);
        let id = Value::Int(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let outcome = outcome::find(shared, &evidence, &id);
        tracing::warn!(
            ?outcome,
            "the connection to the storage server broke during a finish; its outcome was looked for"
        );
        match outcome {
            Outcome::Committed(tid) => {
                publish(tid);
                keep(shared, blobs, tid);
                Ok(tid)
            }
            Outcome::NotCommitted => Err(broken_off()),
            Outcome::Unknown => {
                if shared.blob_files().is_ok_and(BlobFiles::is_shared) {
                    // The server may still come for them.
                    blobs.into_iter().for_each(|blob| blob.file.leave());
                }
                Err(CommitError::Unknown)
            }
        }
    }
}

/// Keeps the files of blobs that are committed; from a shared directory the server has taken them.
fn keep(shared: &Shared, blobs: Vec<Blob>, tid: Tid) {
    let Ok(files) = shared.blob_files() else {
        return;
    };
    for Blob { oid, file, .. } in blobs {
        if !files.is_shared() {
            files.adopt(file, oid, tid, shared.deadline());
        }
    }
}

/// Objects, and their records where these are certain.
type Stored = Vec<(Oid, Option<Record>)>;

impl ZeoVoted {
    /// What tells later whether the transaction is there. An undo in it leaves nothing certain, and
    /// neither does an object that is changed twice.
    fn evidence(&self) -> Evidence {
        let mut times: HashMap<Oid, usize> = HashMap::new();
        let changed = self.changes.iter().filter_map(Change::stored);
        changed.for_each(|(oid, _)| *times.entry(oid).or_default() += 1);
        let is_certain = |oid: &Oid| times.get(oid) == Some(&1) && !self.resolved.contains(oid);
        let stores = self.changes.iter().filter_map(|change| match change {
            Change::Store(oid, base, record) => Some((*oid, *base, record.clone())),
            Change::Blob(blob) => Some((blob.oid, blob.base, blob.record.clone())),
            _ => None,
        });
        let mut stores: Vec<_> = stores.filter(|(oid, ..)| is_certain(oid)).collect();
        if self
            .changes
            .iter()
            .any(|change| matches!(change, Change::Undo(_)))
        {
            stores.clear();
        }
        Evidence {
            stores,
            tid: self.copied.and_then(|copied| copied.tid),
            server: self.link.peer().address.clone(),
            went_back: self.went_back,
        }
    }

    /// What is known of the objects that it changes: nothing of those that the server has changed
    /// besides, by a merge or an undo. And the blobs among them.
    fn stored(&mut self) -> (Stored, Vec<Blob>) {
        let changes = std::mem::take(&mut self.changes);
        let known = changes.iter().filter_map(Change::stored);
        let others = self.resolved.iter().map(|oid| (*oid, None));
        let mut places = HashMap::new();
        let mut stored = Stored::new();
        for (oid, record) in known.chain(others) {
            let place = *places.entry(oid).or_insert(stored.len());
            match stored.get_mut(place) {
                Some((_, known)) => *known = record.cloned(),
                None => stored.push((oid, record.cloned())),
            }
        }
        let blobs = changes.into_iter().filter_map(|change| match change {
            Change::Blob(blob) => Some(*blob),
            _ => None,
        });
        (stored, blobs.collect())
    }
}

impl ZeoCommit {
    /// An error names the transaction to undo only where there is just one.
    fn refused(&self, refusal: &Refusal) -> CommitError {
        let mut undos = self.changes.iter().filter_map(|change| match change {
            Change::Undo(tid) => Some(*tid),
            _ => None,
        });
        match (undos.next(), undos.next(), refusal.undo_refusal()) {
            (Some(tid), None, Some(reason)) => CommitError::NotUndoable { tid, reason },
            _ => refusal.to_commit_error(),
        }
    }
}

/// A server that fails while it finishes may have written the final word already. Only a refusal
/// that comes before anything is done promises that nothing was written.
fn refused_finish(refusal: &Refusal) -> Option<CommitError> {
    match refusal.to_commit_error() {
        error @ CommitError::Storage(StorageError::ReadOnly) => Some(error),
        error if refusal.class() == NOT_VOTED => Some(error),
        error => {
            tracing::error!(%error, "a finish failed in the storage server");
            None
        }
    }
}

/// How servers, ours and the genuine one, refuse to finish what they did not vote.
const NOT_VOTED: &str = "ZODB.POSException.StorageTransactionError";

impl Drop for ZeoVoted {
    fn drop(&mut self) {
        if self.is_open {
            let abort = Request::TpcAbort(self.id.clone());
            let deadline = self.storage.shared.deadline();
            self.link.send_all(std::iter::once(abort), deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::MemoryStorage;
    use zeo::{Event, FRAME_BYTES_MAX, Hub, HubOptions, Session};

    use super::*;
    use crate::clock;

    /// How a server of ours refuses to finish what was begun, but not voted.
    fn refusal(read_only: bool) -> Refusal {
        let storages = vec![("1".to_owned(), Arc::new(MemoryStorage::new()) as _)];
        let hub = Hub::new(storages, HubOptions::default()).unwrap();
        let mut server = hub.connect("test".to_owned(), || {});
        let mut client = Session::new(clock::now(), FRAME_BYTES_MAX);
        let mut bytes = Vec::new();
        server.outbox().take(&mut bytes).unwrap();
        client.receive(&bytes).unwrap();
        let id = Value::Int(1);
        client.call(&Request::Register {
            storage: "1".to_owned(),
            read_only,
        });
        client.call(&Request::TpcBegin {
            id: id.clone(),
            meta: TransactionMeta::default(),
            copied: None,
        });
        client.call(&Request::TpcFinish(id));
        bytes.clear();
        client.poll_transmit(&mut bytes);
        server.receive(&bytes);
        assert!(server.next_job().unwrap().is_none(), "nothing to finish");
        bytes.clear();
        server.outbox().take(&mut bytes).unwrap();
        client.receive(&bytes).unwrap();
        let events = std::iter::from_fn(|| client.poll_event());
        let refusals = events.filter_map(|event| match event {
            Event::Replied { outcome, .. } => outcome.err(),
            _ => None,
        });
        refusals.last().unwrap()
    }

    #[test]
    fn a_finish_that_is_refused_before_anything_is_done_wrote_nothing() {
        let error = refused_finish(&refusal(false)).unwrap();
        assert!(
            matches!(&error, CommitError::Storage(StorageError::Remote { class, .. }) if class == NOT_VOTED),
            "{error:?}"
        );
        let error = refused_finish(&refusal(true)).unwrap();
        assert!(
            matches!(error, CommitError::Storage(StorageError::ReadOnly)),
            "{error:?}"
        );
    }
}
