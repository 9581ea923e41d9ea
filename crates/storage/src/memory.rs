//! A storage in memory: the model that other storages are compared with, and a database for tests.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::claims::Claims;
use crate::draft::{Draft, View};
use crate::{
    Changes, Commit, CommitError, DataRecord, Iterate, Oid, Pack, Resolver, Revision, Storage,
    StorageError, StorageStats, Tid, TransactionMeta, Undo, UndoRefusal,
};

mod commit;
mod look;
mod pack;

use commit::MemoryCommit;

/// Revisions in a map, with their whole history: it can be iterated, undone and packed.
#[derive(Default)]
pub struct MemoryStorage {
    state: RwLock<State>,
    claims: Arc<Claims>,
    /// Held while a transaction gets its id, is shown and published, so that the order is one.
    finishing: Mutex<()>,
    packing: Mutex<()>,
    options: MemoryOptions,
}

/// How a storage in memory behaves.
#[derive(Clone)]
pub struct MemoryOptions {
    /// Where transaction ids come from: time stamps of this clock (since 1970, UTC). Without one they
    /// count up from one, so that runs repeat exactly.
    pub clock: Option<Clock>,
    /// How many bytes all records may have together. A transaction that does not fit is refused at
    /// its vote.
    pub bytes_max: u64,
    /// Merges changes of one object that were made side by side.
    pub resolver: Option<Arc<dyn Resolver>>,
    /// Reads what a record refers to. Without it no garbage is collected.
    pub references: Option<References>,
}

/// Tells the time since 1970, UTC.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Reads the objects that a record keeps alive, or says what is wrong with it.
pub type References = Arc<dyn Fn(&[u8]) -> Result<Vec<Oid>, String> + Send + Sync>;

impl Default for MemoryOptions {
    /// No clock, no limit, nothing merged.
    fn default() -> Self {
        Self {
            clock: None,
            bytes_max: u64::MAX,
            resolver: None,
            references: None,
        }
    }
}

impl fmt::Debug for MemoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOptions")
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct State {
    /// What became of each object, oldest first: the last record of each transaction.
    revisions: BTreeMap<Oid, Vec<DataRecord>>,
    transactions: Vec<Arc<Transaction>>,
    last_tid: Tid,
    /// The newest id handed out or stored, as a number; the root counts as handed out.
    last_oid: u64,
    /// Of all records.
    bytes: u64,
    /// Of the transactions that have voted.
    reserved: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            revisions: BTreeMap::new(),
            transactions: Vec::new(),
            last_tid: Tid::ZERO,
            last_oid: Oid::ROOT.number(),
            bytes: 0,
            reserved: 0,
        }
    }
}

struct Transaction {
    tid: Tid,
    is_packed: bool,
    meta: TransactionMeta,
    /// All records, in the order they were stored.
    records: Vec<DataRecord>,
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty storage with other than the usual options.
    pub fn with(options: MemoryOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }
}

impl State {
    fn transaction(&self, tid: Tid) -> Option<&Arc<Transaction>> {
        let found = self.transactions.binary_search_by_key(&tid, |t| t.tid);
        found.ok().map(|at| &self.transactions[at])
    }

    fn revisions(&self, oid: Oid) -> Result<&[DataRecord], StorageError> {
        let revisions = self.revisions.get(&oid);
        revisions
            .map(Vec::as_slice)
            .ok_or(StorageError::NotFound { oid })
    }

    /// The revision that the transaction gave the object.
    fn revision(&self, oid: Oid, tid: Tid) -> Option<&DataRecord> {
        let revisions = self.revisions.get(&oid)?;
        let found = revisions.binary_search_by_key(&tid, |revision| revision.tid);
        found.ok().map(|at| &revisions[at])
    }

    fn append(&mut self, transaction: Transaction) {
        assert!(self.last_tid < transaction.tid, "transaction ids rise");
        self.last_tid = transaction.tid;
        for record in &transaction.records {
            self.bytes += own_bytes(record);
            self.last_oid = self.last_oid.max(record.oid.number());
            let revisions = self.revisions.entry(record.oid).or_default();
            if revisions.last().is_some_and(|last| last.tid == record.tid) {
                revisions.pop();
            }
            revisions.push(record.clone());
        }
        self.transactions.push(Arc::new(transaction));
    }
}

impl View for State {
    fn revision_before(&self, oid: Oid, before: Tid) -> Result<Option<DataRecord>, StorageError> {
        let revisions = self.revisions.get(&oid).map_or(&[][..], Vec::as_slice);
        let after = revisions.partition_point(|revision| revision.tid < before);
        Ok(after.checked_sub(1).map(|at| revisions[at].clone()))
    }

    fn undoable(&self, tid: Tid) -> Result<Vec<DataRecord>, CommitError> {
        let refused = |reason| CommitError::NotUndoable { tid, reason };
        let transaction = self
            .transaction(tid)
            .ok_or_else(|| refused(UndoRefusal::Unknown))?;
        if transaction.is_packed {
            return Err(refused(UndoRefusal::Packed));
        }
        Ok(transaction.records.clone())
    }
}

/// How many bytes the record has itself: none where it refers to an older one, or removes the object.
fn own_bytes(record: &DataRecord) -> u64 {
    let own = record.data.as_ref().filter(|_| record.data_tid.is_none());
    own.map_or(0, |data| data.len() as u64)
}

impl Storage for MemoryStorage {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn last_tid(&self) -> Tid {
        self.state.read().last_tid
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        let state = self.state.read();
        let revisions = state.revisions(oid)?;
        let after = revisions.partition_point(|revision| revision.tid < before);
        let Some(found) = after.checked_sub(1).map(|at| &revisions[at]) else {
            return Ok(None);
        };
        Ok(Some(Revision {
            tid: found.tid,
            next: revisions.get(after).map(|revision| revision.tid),
            record: found.data.clone().ok_or(StorageError::NotFound { oid })?,
        }))
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        let mut state = self.state.write();
        let last = state.last_oid;
        let count = count as u64;
        state.last_oid = last.checked_add(count).ok_or(StorageError::Limit {
            what: "the largest object id",
            found: last,
            max: u64::MAX,
        })?;
        Ok((last + 1..=last + count).map(Oid::new).collect())
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        Ok(Box::new(MemoryCommit::new(self, Draft::new(meta))))
    }

    fn begin_restore(
        self: Arc<Self>,
        meta: TransactionMeta,
        tid: Tid,
        is_packed: bool,
    ) -> Result<Box<dyn Commit>, StorageError> {
        let draft = Draft::restoring(meta, tid, is_packed);
        Ok(Box::new(MemoryCommit::new(self, draft)))
    }

    fn votes_side_by_side(&self) -> bool {
        true
    }

    fn stats(&self) -> StorageStats {
        let state = self.state.read();
        StorageStats {
            objects: state.revisions.len() as u64,
            bytes: state.bytes,
        }
    }

    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        let state = self.state.read();
        let start = state.transactions.partition_point(|t| t.tid <= since);
        let newer = &state.transactions[start..];
        Ok((newer.len() <= transactions_max).then(|| changes(newer)))
    }

    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError> {
        let state = self.state.read();
        let start = state.transactions.len().saturating_sub(transactions_max);
        Ok(changes(&state.transactions[start..]))
    }

    fn iterate(&self) -> Option<&dyn Iterate> {
        Some(self)
    }

    fn undo(&self) -> Option<&dyn Undo> {
        Some(self)
    }

    fn packer(&self) -> Option<&dyn Pack> {
        Some(self)
    }
}

fn changes(transactions: &[Arc<Transaction>]) -> Vec<Changes> {
    let changes = transactions.iter().map(|transaction| Changes {
        tid: transaction.tid,
        oids: transaction.records.iter().map(|r| r.oid).collect(),
    });
    changes.collect()
}
