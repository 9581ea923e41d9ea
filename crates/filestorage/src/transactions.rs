//! Walking the log transaction by transaction.

use storage::{Changes, DataRecord, StorageError, Tid, TransactionMeta};

use crate::format::{DataHeader, LENGTH_LEN, LOG_START, Offset, Status, TransactionHeader};
use crate::log::Log;

/// The transactions of a span, oldest first; see [`crate::FileStorage::transactions`]. One
/// transaction's texts are in memory at a time, and one record of those that are asked for.
pub struct Transactions {
    log: Log,
    at: Offset,
    end: Offset,
    to: Tid,
}

impl Transactions {
    pub(crate) fn between(log: Log, from: Tid, to: Tid, end: Offset) -> Result<Self, StorageError> {
        let at = find(&log, from, end)?;
        Ok(Self { log, at, end, to })
    }

    /// What the transaction that begins at `start` changed.
    pub(crate) fn changes_of(
        log: &Log,
        start: Offset,
        end: Offset,
    ) -> Result<Changes, StorageError> {
        let header = log.transaction_header(start, end)?;
        let mut records = Headers::of(start, &header);
        let mut oids = Vec::new();
        while let Some((_, record)) = records.next(log)? {
            oids.push(record.oid);
        }
        let tid = header.tid;
        Ok(Changes { tid, oids })
    }

    fn advance(&mut self) -> Result<Option<TransactionRecord>, StorageError> {
        while self.at < self.end {
            let start = self.at;
            let header = self.log.transaction_header(start, self.end)?;
            if header.tid > self.to {
                break;
            }
            self.at = start + header.length + LENGTH_LEN;
            if header.status != Status::UNDONE {
                return TransactionRecord::read(&self.log, start, &header).map(Some);
            }
        }
        Ok(None)
    }
}

impl Iterator for Transactions {
    type Item = Result<TransactionRecord, StorageError>;

    /// After an error there is nothing more: where the next transaction begins is unknown.
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.at = self.end;
        }
        item
    }
}

/// The transactions of a span, newest first; see [`crate::FileStorage::transactions_backwards`].
pub struct TransactionsBackwards {
    log: Log,
    /// Behind the next one.
    at: Offset,
    from: Tid,
}

impl TransactionsBackwards {
    pub(crate) fn between(log: Log, from: Tid, to: Tid, end: Offset) -> Result<Self, StorageError> {
        let at = if to == Tid::MAX {
            end
        } else {
            find(&log, to.next(), end)?
        };
        Ok(Self { log, at, from })
    }

    fn advance(&mut self) -> Result<Option<TransactionRecord>, StorageError> {
        while self.at > LOG_START {
            let (start, header) = self.log.transaction_before(self.at)?;
            if header.tid < self.from {
                break;
            }
            self.at = start;
            if header.status != Status::UNDONE {
                return TransactionRecord::read(&self.log, start, &header).map(Some);
            }
        }
        Ok(None)
    }
}

impl Iterator for TransactionsBackwards {
    type Item = Result<TransactionRecord, StorageError>;

    /// After an error there is nothing more: where the one before begins is unknown.
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.at = LOG_START;
        }
        item
    }
}

/// Where the first transaction begins that is not before `from`. Looks from both ends at once, so
/// that recent and early ones are both found quickly.
pub(crate) fn find(log: &Log, from: Tid, end: Offset) -> Result<Offset, StorageError> {
    let (mut front, mut back) = (LOG_START, end);
    while front < back {
        let header = log.transaction_header(front, end)?;
        if header.tid >= from {
            return Ok(front);
        }
        front = front + header.length + LENGTH_LEN;
        let (start, header) = log.transaction_before(back)?;
        if header.tid < from {
            return Ok(back);
        }
        back = start;
    }
    Ok(front)
}

/// A finished transaction in the log.
pub struct TransactionRecord {
    /// Its id.
    pub tid: Tid,
    /// Whether a pack wrote it.
    pub status: Status,
    /// What it says of itself.
    pub meta: TransactionMeta,
    log: Log,
    start: Offset,
    header: TransactionHeader,
}

impl TransactionRecord {
    fn read(log: &Log, start: Offset, header: &TransactionHeader) -> Result<Self, StorageError> {
        let meta = log.meta(start, header)?;
        Ok(Self {
            tid: header.tid,
            status: header.status,
            meta,
            log: log.clone(),
            start,
            header: *header,
        })
    }

    /// Its records, in the order they were stored, read as they are asked for.
    pub fn records(&self) -> DataRecords {
        DataRecords {
            log: self.log.clone(),
            headers: Headers::of(self.start, &self.header),
        }
    }
}

/// The records of a transaction.
pub struct DataRecords {
    log: Log,
    headers: Headers,
}

impl DataRecords {
    fn advance(&mut self) -> Result<Option<DataRecord>, StorageError> {
        let Some((at, DataHeader { oid, tid, .. })) = self.headers.next(&self.log)? else {
            return Ok(None);
        };
        let page = self.log.page(at, oid, self.headers.end)?;
        let data = self.log.data(&page)?;
        Ok(Some(DataRecord {
            oid,
            tid,
            data: data.record,
            data_tid: data.tid,
        }))
    }
}

impl Iterator for DataRecords {
    type Item = Result<DataRecord, StorageError>;

    /// An error in the data of one record does not hide the next ones; one in its header does.
    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

/// The headers of a transaction's records, one after the other.
pub(crate) struct Headers {
    start: Offset,
    at: Offset,
    end: Offset,
}

impl Headers {
    pub(crate) fn of(start: Offset, header: &TransactionHeader) -> Self {
        Self {
            start,
            at: start + header.records_start(),
            end: start + header.length,
        }
    }

    pub(crate) fn next(&mut self, log: &Log) -> Result<Option<(Offset, DataHeader)>, StorageError> {
        if self.at >= self.end {
            return Ok(None);
        }
        // An error leaves nothing behind it: where the next record begins is unknown.
        let at = std::mem::replace(&mut self.at, self.end);
        let header = DataHeader::decode(&log.read_array(at)?);
        if header.record_length() > self.end - at || header.transaction != self.start {
            let what = format!(
                "a record of {} bytes does not fit into the transaction from {} to {}",
                header.data_length,
                self.start.number(),
                self.end.number()
            );
            return Err(log.corrupt(at, what));
        }
        self.at = at + header.record_length();
        Ok(Some((at, header)))
    }
}
