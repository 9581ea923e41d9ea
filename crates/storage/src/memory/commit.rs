//! Committing to memory.

use std::sync::Arc;

use super::{MemoryStorage, Transaction, own_bytes};
use crate::claims::ClaimGuard;
use crate::draft::{Draft, Planned};
use crate::{
    Commit, CommitError, DataRecord, Oid, Publish, Record, StorageError, Tid, TransactionMeta,
    Voted,
};

pub(super) struct MemoryCommit {
    storage: Arc<MemoryStorage>,
    draft: Draft,
}

impl MemoryCommit {
    pub(super) fn new(storage: Arc<MemoryStorage>, draft: Draft) -> Self {
        Self { storage, draft }
    }
}

impl Commit for MemoryCommit {
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError> {
        self.draft.store(oid, base, record);
        Ok(())
    }

    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.draft.check_current(oid, base);
        Ok(())
    }

    fn delete(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.draft.delete(oid, base);
        Ok(())
    }

    fn restore(
        &mut self,
        oid: Oid,
        data: Option<Record>,
        data_tid: Option<Tid>,
    ) -> Result<(), StorageError> {
        self.draft.restore(oid, data, data_tid)
    }

    fn undo(&mut self, tid: Tid) -> Result<(), StorageError> {
        self.draft.undo(tid);
        Ok(())
    }

    fn vote(self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        let Self { storage, draft } = *self;
        let claim = draft.claim(&*storage.state.read());
        let claim = storage.claims.acquire(claim);
        let mut state = storage.state.write();
        if let Some((tid, _)) = draft.restored
            && tid <= state.last_tid
        {
            let last = state.last_tid;
            return Err(StorageError::NotLater { tid, last }.into());
        }
        let resolver = storage.options.resolver.as_deref();
        let Planned {
            records, resolved, ..
        } = draft.plan(&*state, resolver)?;
        let bytes = records.iter().map(own_bytes).sum::<u64>();
        let found = state.bytes.saturating_add(state.reserved) + bytes;
        if found > storage.options.bytes_max {
            return Err(CommitError::Storage(StorageError::Limit {
                what: "the size of the storage in memory",
                found,
                max: storage.options.bytes_max,
            }));
        }
        state.reserved += bytes;
        drop(state);
        Ok(Box::new(MemoryVoted {
            storage,
            meta: draft.meta,
            restored: draft.restored,
            records,
            resolved,
            reserved: bytes,
            _claim: claim,
        }))
    }
}

struct MemoryVoted {
    storage: Arc<MemoryStorage>,
    meta: TransactionMeta,
    restored: Option<(Tid, bool)>,
    records: Vec<DataRecord>,
    resolved: Vec<Oid>,
    reserved: u64,
    _claim: ClaimGuard,
}

impl Voted for MemoryVoted {
    fn resolved(&self) -> &[Oid] {
        &self.resolved
    }

    fn finish(mut self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        let storage = Arc::clone(&self.storage);
        let _in_order = storage.finishing.lock();
        let mut state = storage.state.write();
        let (tid, is_packed) = self.restored.unwrap_or_else(|| {
            let clock = storage.options.clock.as_ref();
            let now = clock.map(|clock| Tid::from_unix_time(clock()));
            let next = state.last_tid.next();
            (now.map_or(next, |now| now.max(next)), false)
        });
        let mut records = std::mem::take(&mut self.records);
        for record in &mut records {
            record.tid = tid;
            // A pack may have taken away since what the record would refer to.
            let referred = record.data_tid;
            record.data_tid = referred.filter(|tid| state.revision(record.oid, *tid).is_some());
        }
        state.append(Transaction {
            tid,
            is_packed,
            meta: std::mem::take(&mut self.meta),
            records,
        });
        drop(state);
        publish(tid);
        Ok(tid)
    }
}

impl Drop for MemoryVoted {
    fn drop(&mut self) {
        self.storage.state.write().reserved -= self.reserved;
    }
}
