//! A client's transaction before its vote: a log, as nothing is checked or locked until then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use storage::{
    Commit, CommitError, Conflict, Oid, Record, Storage, StorageError, Tid, TransactionMeta, Voted,
    is_blob_record,
};

use super::blob_file::BlobFile;
use super::claims::{Claim, Intent};
use crate::refusal::serials;
use crate::{Refusal, Value};

/// Names one transaction of one connection among all of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TransactionKey(pub(super) u64);

/// The open transaction of a connection.
pub(super) struct Transaction {
    /// The client's name for it.
    pub(super) id: Value<'static>,
    pub(super) key: TransactionKey,
    pub(super) log: Arc<Log>,
    /// Set by the job that ended it: failed at its vote, or finished.
    pub(super) ended: Ended,
    /// Why it cannot commit: something it needs is not offered, or it is too large.
    pub(super) failed: Option<Refusal>,
    /// The file that comes.
    pub(super) upload: Option<Arc<BlobFile>>,
    /// How much all its files have.
    pub(super) blob_bytes: u64,
    /// Its vote waits for its turn, as far as the connection knows.
    pub(super) is_waiting: bool,
}

/// What a transaction leaves behind that takes a while to drop.
#[derive(Default)]
pub(super) struct Leftovers {
    pub(super) log: Option<Arc<Log>>,
    pub(super) upload: Option<Arc<BlobFile>>,
}

impl Leftovers {
    /// Whether there is anything.
    pub(super) fn are_some(&self) -> bool {
        self.upload.is_some() || self.log.as_ref().is_some_and(|log| log.has_files())
    }
}

/// Tells the connection that a job ended its transaction.
#[derive(Clone, Default)]
pub(super) struct Ended(Arc<AtomicBool>);

impl Ended {
    /// Whether this call ended it.
    pub(super) fn set(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a transaction will do. The last store of an object counts: after a conflict the client
/// sends the merged state as one more store, and the vote replays the log.
#[derive(Clone, Default)]
pub(super) struct Log {
    pub(super) meta: TransactionMeta,
    /// The id of a transaction that is copied, and whether a pack wrote it.
    copied: Option<(Tid, bool)>,
    changes: Vec<Change>,
    by_oid: HashMap<Oid, usize>,
    checks: Vec<(Oid, Tid)>,
    bytes: usize,
}

#[derive(Clone)]
enum Change {
    Store(Store),
    Delete {
        oid: Oid,
        base: Tid,
    },
    Restore {
        oid: Oid,
        data: Option<Record>,
        data_tid: Option<Tid>,
    },
    Undo(Tid),
}

#[derive(Clone)]
struct Store {
    oid: Oid,
    base: Tid,
    record: Record,
    /// The file of a blob.
    file: Option<Arc<BlobFile>>,
}

impl Log {
    pub(super) fn new(meta: TransactionMeta) -> Self {
        Self {
            meta,
            ..Self::default()
        }
    }

    pub(super) fn copying(meta: TransactionMeta, tid: Tid, is_packed: bool) -> Self {
        Self {
            copied: Some((tid, is_packed)),
            ..Self::new(meta)
        }
    }

    pub(super) fn store(&mut self, oid: Oid, base: Tid, record: Record) {
        self.put(Store {
            oid,
            base,
            record,
            file: None,
        });
    }

    /// A store of a blob. The client has sent an ordinary one of the same record before it.
    pub(super) fn store_blob(&mut self, oid: Oid, base: Tid, record: Record, file: Arc<BlobFile>) {
        self.put(Store {
            oid,
            base,
            record,
            file: Some(file),
        });
    }

    fn put(&mut self, mut store: Store) {
        let oid = store.oid;
        self.bytes += store.record.len() + STORE_BYTES;
        match self.by_oid.get(&oid) {
            Some(&index) => {
                if let Change::Store(old) = &mut self.changes[index] {
                    self.bytes -= old.record.len() + STORE_BYTES;
                    // A merged record does not come with its file once more.
                    if store.file.is_none() && is_blob_record(&store.record) {
                        store.file = old.file.take();
                    }
                }
                self.changes[index] = Change::Store(store);
            }
            None => {
                self.by_oid.insert(oid, self.changes.len());
                self.changes.push(Change::Store(store));
            }
        }
    }

    pub(super) fn delete(&mut self, oid: Oid, base: Tid) {
        self.bytes += STORE_BYTES;
        // A store that comes later is a later one.
        self.by_oid.remove(&oid);
        self.changes.push(Change::Delete { oid, base });
    }

    pub(super) fn restore(&mut self, oid: Oid, data: Option<Record>, data_tid: Option<Tid>) {
        self.bytes += STORE_BYTES + data.as_ref().map_or(0, |data| data.len());
        self.by_oid.remove(&oid);
        self.changes.push(Change::Restore {
            oid,
            data,
            data_tid,
        });
    }

    pub(super) fn undo(&mut self, tid: Tid) {
        self.bytes += STORE_BYTES;
        self.changes.push(Change::Undo(tid));
    }

    pub(super) fn check(&mut self, oid: Oid, base: Tid) {
        self.bytes += STORE_BYTES;
        self.checks.push((oid, base));
    }

    /// Whether it takes back what others did.
    pub(super) fn undoes(&self) -> bool {
        let is_undo = |change: &Change| matches!(change, Change::Undo(_));
        self.changes.iter().any(is_undo)
    }

    /// Whether it stores blobs, so that to drop it takes a while.
    pub(super) fn has_files(&self) -> bool {
        let has_file =
            |change: &Change| matches!(change, Change::Store(store) if store.file.is_some());
        self.changes.iter().any(has_file)
    }

    /// Whether its vote is done in no time where the storage does not make it wait: it merges little,
    /// and looks up little.
    pub(super) fn is_small(&self) -> bool {
        let is_plain =
            |change: &Change| matches!(change, Change::Store(store) if store.file.is_none());
        self.bytes <= SMALL_BYTES && self.copied.is_none() && self.changes.iter().all(is_plain)
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The objects it changes, each once, and those that the storage has changed besides.
    pub(super) fn oids_with(&self, resolved: &[Oid]) -> Vec<Oid> {
        let changed = self.changes.iter().filter_map(|change| match change {
            Change::Store(Store { oid, .. })
            | Change::Delete { oid, .. }
            | Change::Restore { oid, .. } => Some(*oid),
            Change::Undo(_) => None,
        });
        let mut known = HashSet::new();
        let all = changed.chain(resolved.iter().copied());
        all.filter(|oid| known.insert(*oid)).collect()
    }

    /// What it claims for itself between its vote and its end. Which objects an undo touches only the
    /// storage knows; and a copy with an id of its own must not be overtaken by a later one.
    pub(super) fn claim(&self) -> Claim {
        let mut objects = BTreeMap::new();
        objects.extend(self.checks.iter().map(|(oid, _)| (*oid, Intent::Rely)));
        for change in &self.changes {
            match change {
                Change::Store(Store { oid, .. })
                | Change::Delete { oid, .. }
                | Change::Restore { oid, .. } => objects.insert(*oid, Intent::Change),
                Change::Undo(_) => return Claim::Everything,
            };
        }
        match self.copied {
            Some(_) => Claim::Everything,
            None => Claim::Objects(objects),
        }
    }

    /// Whether it stores the object, so that the client could merge a conflict.
    pub(super) fn stores(&self, oid: Oid) -> bool {
        self.by_oid.contains_key(&oid)
    }

    /// Does it all in the storage, up to the vote.
    pub(super) fn vote(&self, storage: &Arc<dyn Storage>) -> Result<Box<dyn Voted>, CommitError> {
        let (storage, meta) = (storage.clone(), self.meta.clone());
        let blobs = Arc::clone(&storage);
        let staging = || {
            let blobs = blobs.blobs().ok_or(StorageError::Unsupported {
                operation: "storing blobs",
            })?;
            Ok(blobs.staging_file())
        };
        let mut commit: Box<dyn Commit> = match self.copied {
            Some((tid, is_packed)) => storage.begin_restore(meta, tid, is_packed)?,
            None => storage.begin(meta)?,
        };
        for change in &self.changes {
            match change {
                Change::Store(store) => store.replay(&mut *commit, &staging)?,
                Change::Delete { oid, base } => commit.delete(*oid, *base)?,
                Change::Restore {
                    oid,
                    data,
                    data_tid,
                } => commit.restore(*oid, data.clone(), *data_tid)?,
                Change::Undo(tid) => commit.undo(*tid)?,
            }
        }
        for &(oid, base) in &self.checks {
            commit.check_current(oid, base)?;
        }
        commit.vote()
    }

    /// The conflict as handed to the client, which has the class and may merge.
    pub(super) fn describe(&self, conflict: &Conflict) -> Value<'_> {
        let index = self.by_oid.get(&conflict.oid);
        let record = index.and_then(|&index| match &self.changes[index] {
            Change::Store(store) => Some(&store.record),
            _ => None,
        });
        Value::Map(vec![
            (Value::text("oid"), Value::id(conflict.oid.to_bytes())),
            (Value::text("serials"), serials(conflict)),
            (
                Value::text("data"),
                record.map_or(Value::None, |record| Value::bytes(record)),
            ),
        ])
    }
}

impl Store {
    fn replay(
        &self,
        commit: &mut dyn Commit,
        staging: &dyn Fn() -> Result<PathBuf, StorageError>,
    ) -> Result<(), StorageError> {
        let record = self.record.clone();
        match &self.file {
            None => commit.store(self.oid, self.base, record),
            Some(file) => {
                let path = file.name_again(staging()?)?;
                commit.store_blob(self.oid, self.base, record, path)
            }
        }
    }
}

/// What a vote has to do with so much is done sooner than another thread is woken.
const SMALL_BYTES: usize = 16 << 10;
/// What one entry of the log takes beside its record.
const STORE_BYTES: usize = 64;
