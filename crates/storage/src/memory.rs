//! A storage in memory: the model that other storages are compared with, and a database for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{ArcMutexGuard, Mutex, RawMutex, RwLock};

use crate::revision::Stored;
use crate::{
    Changes, Commit, CommitError, Conflict, Oid, Publish, Record, Revision, Storage, StorageError,
    StorageStats, Tid, TransactionMeta, Voted,
};

/// Revisions in a map. Transaction ids count up from one, so that runs repeat exactly.
#[derive(Default)]
pub struct MemoryStorage {
    state: RwLock<State>,
    commit_lock: Arc<Mutex<()>>,
}

#[derive(Default)]
struct State {
    revisions: BTreeMap<Oid, Vec<(Tid, Record)>>,
    transactions: Vec<Changes>,
    /// The newest id handed out or stored, as a number; the root counts as handed out.
    last_oid: u64,
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }
}

impl State {
    fn last_tid(&self) -> Tid {
        self.transactions
            .last()
            .map_or(Tid::ZERO, |changes| changes.tid)
    }

    fn current(&self, oid: Oid) -> Option<Tid> {
        self.revisions.get(&oid)?.last().map(|(tid, _)| *tid)
    }
}

impl Storage for MemoryStorage {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn last_tid(&self) -> Tid {
        self.state.read().last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        let state = self.state.read();
        let revisions = state
            .revisions
            .get(&oid)
            .ok_or(StorageError::NotFound { oid })?;
        let after = revisions.partition_point(|(tid, _)| *tid < before);
        Ok(after.checked_sub(1).map(|index| Revision {
            tid: revisions[index].0,
            next: revisions.get(after).map(|(tid, _)| *tid),
            record: revisions[index].1.clone(),
        }))
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        let mut state = self.state.write();
        Ok((0..count)
            .map(|_| {
                state.last_oid += 1;
                Oid::new(state.last_oid)
            })
            .collect())
    }

    fn begin(self: Arc<Self>, _meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        Ok(Box::new(MemoryCommit {
            storage: self,
            stored: Vec::new(),
            checked: Vec::new(),
        }))
    }

    fn stats(&self) -> StorageStats {
        let state = self.state.read();
        let bytes = state
            .revisions
            .values()
            .flatten()
            .map(|(_, record)| record.len() as u64)
            .sum();
        StorageStats {
            objects: state.revisions.len() as u64,
            bytes,
        }
    }

    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        let state = self.state.read();
        let start = state
            .transactions
            .partition_point(|changes| changes.tid <= since);
        let newer = &state.transactions[start..];
        Ok((newer.len() <= transactions_max).then(|| newer.to_vec()))
    }

    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError> {
        let state = self.state.read();
        let start = state.transactions.len().saturating_sub(transactions_max);
        Ok(state.transactions[start..].to_vec())
    }
}

struct MemoryCommit {
    storage: Arc<MemoryStorage>,
    stored: Vec<Stored>,
    checked: Vec<(Oid, Tid)>,
}

impl MemoryCommit {
    fn check(&self) -> Result<(), CommitError> {
        let state = self.storage.state.read();
        for &(oid, base) in &self.checked {
            let committed = state.current(oid).ok_or(StorageError::NotFound { oid })?;
            if committed != base {
                return Err(CommitError::ReadConflict(Conflict {
                    oid,
                    committed,
                    base,
                }));
            }
        }
        let conflicts: Vec<_> = self
            .stored
            .iter()
            .filter_map(|stored| {
                let committed = state.current(stored.oid)?;
                let (oid, base) = (stored.oid, stored.base);
                (committed != base).then_some(Conflict {
                    oid,
                    committed,
                    base,
                })
            })
            .collect();
        if conflicts.is_empty() {
            Ok(())
        } else {
            Err(CommitError::Conflict(conflicts))
        }
    }
}

impl Commit for MemoryCommit {
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError> {
        self.stored.push(Stored { oid, base, record });
        Ok(())
    }

    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.checked.push((oid, base));
        Ok(())
    }

    fn vote(self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        let lock = self.storage.commit_lock.lock_arc();
        self.check()?;
        Ok(Box::new(MemoryVoted {
            storage: self.storage,
            stored: self.stored,
            _lock: lock,
        }))
    }
}

struct MemoryVoted {
    storage: Arc<MemoryStorage>,
    stored: Vec<Stored>,
    _lock: ArcMutexGuard<RawMutex, ()>,
}

impl Voted for MemoryVoted {
    fn resolved(&self) -> &[Oid] {
        &[]
    }

    fn finish(self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        let mut state = self.storage.state.write();
        let tid = state.last_tid().next();
        let oids = self.stored.iter().map(|stored| stored.oid).collect();
        for Stored { oid, record, .. } in self.stored {
            let revisions = state.revisions.entry(oid).or_default();
            revisions.retain(|(written, _)| *written != tid);
            revisions.push((tid, record));
            state.last_oid = state.last_oid.max(oid.number());
        }
        state.transactions.push(Changes { tid, oids });
        drop(state);
        publish(tid);
        Ok(tid)
    }
}
