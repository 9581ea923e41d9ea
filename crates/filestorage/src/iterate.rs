//! Looking at everything the file holds: transactions, histories, current records.

use storage::{
    CurrentRecord, HistoryEntry, Iterate, Oid, Record, Storage, StorageError, Tid,
    TransactionEntry, TransactionStream,
};

use crate::file_storage::FileStorage;
use crate::format::Status;

impl Iterate for FileStorage {
    fn iterate_transactions(&self, from: Tid, to: Tid) -> Result<TransactionStream, StorageError> {
        let transactions = self.transactions(from, to)?;
        Ok(Box::new(transactions.map(|transaction| {
            let transaction = transaction?;
            let records = Box::new(transaction.records());
            Ok(TransactionEntry {
                tid: transaction.tid,
                is_packed: transaction.status == Status::PACKED,
                meta: transaction.meta,
                records,
            })
        })))
    }

    fn load_serial(&self, oid: Oid, tid: Tid) -> Result<Record, StorageError> {
        self.load_serial(oid, tid)
    }

    fn history(&self, oid: Oid, revisions_max: usize) -> Result<Vec<HistoryEntry>, StorageError> {
        let generation = self.generation.load();
        let (log, (at, end)) = (&generation.log, generation.locate(oid)?);
        let mut found = Vec::new();
        let mut next = Some(at);
        while let Some(at) = next.take_if(|_| found.len() < revisions_max) {
            let record = log.page(at, oid, end)?.header;
            let transaction = log.transaction_header(record.transaction, end)?;
            found.push(HistoryEntry {
                tid: record.tid,
                meta: log.meta(record.transaction, &transaction)?,
                bytes: record.data_length,
            });
            next = record.previous.some();
        }
        Ok(found)
    }

    fn current_record(&self, from: Oid) -> Result<Option<CurrentRecord>, StorageError> {
        let (oid, next) = {
            let generation = self.generation.load();
            let index = generation.index.whole()?;
            let Some((oid, _)) = index.first_from(from) else {
                return Ok(None);
            };
            let after = (oid.next() > oid).then(|| index.first_from(oid.next()));
            (oid, after.flatten().map(|(oid, _)| oid))
        };
        let found = self.load_before(oid, Tid::MAX)?;
        let revision = found.ok_or(StorageError::NotFound { oid })?;
        Ok(Some(CurrentRecord {
            oid,
            tid: revision.tid,
            record: revision.record,
            next,
        }))
    }
}
