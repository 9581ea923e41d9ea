//! Looking at all that is in memory: transactions, histories, current records, what may be undone.

use std::sync::Arc;

use super::{MemoryStorage, own_bytes};
use crate::{
    CurrentRecord, HistoryEntry, Iterate, Oid, Record, StorageError, Tid, TransactionEntry,
    TransactionStream, Undo, UndoEntry,
};

impl Iterate for MemoryStorage {
    fn iterate_transactions(&self, from: Tid, to: Tid) -> Result<TransactionStream, StorageError> {
        let state = self.state.read();
        let start = state.transactions.partition_point(|t| t.tid < from);
        let end = state.transactions.partition_point(|t| t.tid <= to);
        let wanted = state.transactions.get(start..end).unwrap_or_default();
        let wanted: Vec<_> = wanted.iter().map(Arc::clone).collect();
        Ok(Box::new(wanted.into_iter().map(|transaction| {
            let shared = Arc::clone(&transaction);
            let records = (0..shared.records.len()).map(move |at| Ok(shared.records[at].clone()));
            Ok(TransactionEntry {
                tid: transaction.tid,
                is_packed: transaction.is_packed,
                meta: transaction.meta.clone(),
                records: Box::new(records),
            })
        })))
    }

    fn load_serial(&self, oid: Oid, tid: Tid) -> Result<Record, StorageError> {
        let state = self.state.read();
        let data = state
            .revision(oid, tid)
            .and_then(|found| found.data.clone());
        data.ok_or(StorageError::NotFound { oid })
    }

    fn history(&self, oid: Oid, revisions_max: usize) -> Result<Vec<HistoryEntry>, StorageError> {
        let state = self.state.read();
        let newest = state.revisions(oid)?.iter().rev().take(revisions_max);
        let entries = newest.map(|revision| HistoryEntry {
            tid: revision.tid,
            meta: state
                .transaction(revision.tid)
                .map(|transaction| transaction.meta.clone())
                .unwrap_or_default(),
            bytes: own_bytes(revision),
        });
        Ok(entries.collect())
    }

    fn current_record(&self, from: Oid) -> Result<Option<CurrentRecord>, StorageError> {
        let state = self.state.read();
        let mut objects = state.revisions.range(from..);
        let Some((&oid, revisions)) = objects.next() else {
            return Ok(None);
        };
        let current = revisions.last().expect("an object has a revision");
        let record = current.data.clone();
        Ok(Some(CurrentRecord {
            oid,
            tid: current.tid,
            record: record.ok_or(StorageError::NotFound { oid })?,
            next: objects.next().map(|(oid, _)| *oid),
        }))
    }
}

impl Undo for MemoryStorage {
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        is_wanted: &mut dyn FnMut(&UndoEntry) -> bool,
    ) -> Result<Vec<UndoEntry>, StorageError> {
        let state = self.state.read();
        let newest = state.transactions.iter().rev();
        let mut found: Vec<_> = newest
            .take_while(|transaction| !transaction.is_packed)
            .map(|transaction| UndoEntry {
                tid: transaction.tid,
                meta: transaction.meta.clone(),
                bytes: transaction.records.iter().map(own_bytes).sum(),
            })
            .filter(|entry| is_wanted(entry))
            .take(last)
            .collect();
        Ok(found.split_off(first.min(found.len())))
    }
}
