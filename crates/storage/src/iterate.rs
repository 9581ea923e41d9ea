//! Walking a storage through its transactions, its history and its current records.

use crate::{Oid, Record, StorageError, Tid, TransactionMeta};

/// The capability to look at everything a storage holds, reached by
/// [`Storage::iterate`](crate::Storage::iterate).
pub trait Iterate: Send + Sync {
    /// The finished transactions from `from` to `to`, both included, oldest first. Transactions that
    /// finish later are not among them. After an error there is nothing more.
    ///
    /// # Errors
    /// The way to `from` is damaged.
    fn iterate_transactions(&self, from: Tid, to: Tid) -> Result<TransactionStream, StorageError>;

    /// The record that `oid` got in the transaction `tid`.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when that transaction did not change the object, or removed it.
    fn load_serial(&self, oid: Oid, tid: Tid) -> Result<Record, StorageError>;

    /// The newest `revisions_max` revisions of an object at most, newest first, those in which it
    /// was removed included.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when the object was never stored.
    fn history(&self, oid: Oid, revisions_max: usize) -> Result<Vec<HistoryEntry>, StorageError>;

    /// The current record of the first object from `from` on, and which object comes after it; nothing
    /// behind the last one.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] names the object where that first one was removed.
    fn current_record(&self, from: Oid) -> Result<Option<CurrentRecord>, StorageError>;
}

/// Transactions as they are read.
pub type TransactionStream =
    Box<dyn Iterator<Item = Result<TransactionEntry, StorageError>> + Send>;

/// The records of one transaction as they are read.
pub type RecordStream = Box<dyn Iterator<Item = Result<DataRecord, StorageError>> + Send>;

/// A finished transaction.
pub struct TransactionEntry {
    /// Its id.
    pub tid: Tid,
    /// Whether a pack wrote it, so that records of it may be missing.
    pub is_packed: bool,
    /// What it says of itself.
    pub meta: TransactionMeta,
    /// Its records, in the order they were stored.
    pub records: RecordStream,
}

/// One object's part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataRecord {
    /// The object.
    pub oid: Oid,
    /// The transaction.
    pub tid: Tid,
    /// Its data from here on; `None` where it ceased to exist, because its creation was undone.
    pub data: Option<Record>,
    /// The transaction whose data this record refers to instead of having its own: an undo.
    pub data_tid: Option<Tid>,
}

/// One revision in the history of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The transaction that wrote it.
    pub tid: Tid,
    /// What that transaction says of itself.
    pub meta: TransactionMeta,
    /// The length of the data that was written: 0 where the record refers to an older one.
    pub bytes: u64,
}

/// The current record of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentRecord {
    /// The object.
    pub oid: Oid,
    /// The transaction that wrote it.
    pub tid: Tid,
    /// Its bytes.
    pub record: Record,
    /// The object after it.
    pub next: Option<Oid>,
}
