//! A client's transaction before its vote: a log, as nothing is checked or locked until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use storage::{Commit, CommitError, Conflict, Oid, Record, Storage, Tid, TransactionMeta, Voted};

use crate::refusal::serials;
use crate::{Refusal, Value};

/// Names one transaction of one connection among all of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    changes: Vec<Change>,
    by_oid: HashMap<Oid, usize>,
    checks: Vec<(Oid, Tid)>,
    bytes: usize,
}

#[derive(Clone)]
enum Change {
    Store(Store),
    Undo(Tid),
}

#[derive(Clone)]
struct Store {
    oid: Oid,
    base: Tid,
    record: Record,
}

impl Log {
    pub(super) fn new(meta: TransactionMeta) -> Self {
        Self {
            meta,
            ..Self::default()
        }
    }

    pub(super) fn store(&mut self, oid: Oid, base: Tid, record: Record) {
        self.bytes += record.len() + STORE_BYTES;
        let store = Store { oid, base, record };
        match self.by_oid.get(&oid) {
            Some(&index) => {
                let old = std::mem::replace(&mut self.changes[index], Change::Store(store));
                if let Change::Store(old) = old {
                    self.bytes -= old.record.len() + STORE_BYTES;
                }
            }
            None => {
                self.by_oid.insert(oid, self.changes.len());
                self.changes.push(Change::Store(store));
            }
        }
    }

    pub(super) fn undo(&mut self, tid: Tid) {
        self.bytes += STORE_BYTES;
        self.changes.push(Change::Undo(tid));
    }

    pub(super) fn check(&mut self, oid: Oid, base: Tid) {
        self.bytes += STORE_BYTES;
        self.checks.push((oid, base));
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The objects it stores, and those that the storage has changed besides.
    pub(super) fn oids_with(&self, resolved: &[Oid]) -> Vec<Oid> {
        let stored = self.changes.iter().filter_map(|change| match change {
            Change::Store(store) => Some(store.oid),
            Change::Undo(_) => None,
        });
        let others = resolved.iter().copied();
        stored
            .chain(others.filter(|oid| !self.by_oid.contains_key(oid)))
            .collect()
    }

    /// Does it all in the storage, up to the vote.
    pub(super) fn vote(&self, storage: &Arc<dyn Storage>) -> Result<Box<dyn Voted>, CommitError> {
        let mut commit: Box<dyn Commit> = storage.clone().begin(self.meta.clone())?;
        for change in &self.changes {
            match change {
                Change::Store(store) => {
                    commit.store(store.oid, store.base, store.record.clone())?;
                }
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
            Change::Undo(_) => None,
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

/// What one entry of the log takes beside its record.
const STORE_BYTES: usize = 64;
