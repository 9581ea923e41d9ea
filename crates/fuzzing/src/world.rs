//! A disk and a clock for one input.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filestorage::{FileStorage, Options};
use sim::SimDisk;
use storage::{CommitError, Oid, Record, Storage, StorageError, Tid, TransactionMeta};

pub(crate) const PATH: &str = "/db/Data.fs";

pub(crate) fn put(disk: &SimDisk, suffix: &str, bytes: &[u8]) {
    disk.put(Path::new(&format!("{PATH}{suffix}")), bytes);
}

pub(crate) fn open(disk: &SimDisk, read_only: bool) -> Result<Arc<FileStorage>, StorageError> {
    let seconds = AtomicU64::new(1_800_000_000);
    let options = Options {
        clock: Arc::new(move || Duration::from_secs(seconds.fetch_add(1, Ordering::Relaxed))),
        disk: Arc::new(disk.clone()),
        read_only,
        ..Options::default()
    };
    FileStorage::open(PATH, options)
}

/// Commits a change of an object, whatever is current.
pub(crate) fn change(storage: &Arc<FileStorage>, oid: Oid) -> Result<Tid, CommitError> {
    let base = storage.current_tid(oid).unwrap_or(Tid::ZERO);
    let mut commit = storage.clone().begin(TransactionMeta::default())?;
    // The class and the state of a record: two pickles.
    let record = Record::from(&b"\x80\x03ca\nB\n.}."[..]);
    commit.store(oid, base, record)?;
    commit.vote()?.finish(Box::new(|_| {}))
}

/// How many transactions iteration shows, where it meets nothing broken. Looks at everything.
pub(crate) fn look_at_all(storage: &FileStorage) -> Option<usize> {
    let transactions = storage.transactions(Tid::ZERO, Tid::MAX).ok()?;
    let mut count = Some(0);
    for transaction in transactions {
        let Ok(transaction) = transaction else {
            return None;
        };
        count = count.map(|count| count + 1);
        for record in transaction.records() {
            match record {
                Ok(record) => {
                    let _ = storage.load_before(record.oid, Tid::MAX);
                    let _ = storage.load_before(record.oid, record.tid);
                    let _ = storage.load_serial(record.oid, record.tid);
                }
                Err(_) => count = None,
            }
        }
    }
    count
}
