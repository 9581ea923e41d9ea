//! What a file tells of itself to those who watch over it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::{Histogram, Spans, StorageError};

use crate::file_storage::FileStorage;
use crate::log::Log;

/// Counts since the file was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// How long the syncs of the log took, each.
    pub syncs: Spans,
    /// How long the sync has taken that is under way.
    pub syncing: Option<Duration>,
    /// Transactions that were finished.
    pub transactions: u64,
}

/// Where they are counted.
#[derive(Default)]
pub(crate) struct Counters {
    syncs: Histogram,
    /// When the sync began that is under way.
    sync_began: Mutex<Option<Instant>>,
    transactions: AtomicU64,
}

impl Counters {
    /// Syncs the log.
    pub(crate) fn sync(&self, log: &Log) -> io::Result<()> {
        let began = vfs::instant();
        let outer = self.sync_began.lock().replace(began);
        let synced = log.file.sync_data();
        *self.sync_began.lock() = outer;
        self.syncs.record(began.elapsed());
        synced
    }

    pub(crate) fn count_transactions(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or_default();
        self.transactions.fetch_add(count, Ordering::Relaxed);
    }
}

impl FileStorage {
    /// Counts since the file was opened.
    pub fn figures(&self) -> Figures {
        let counters = &self.counters;
        let began = *counters.sync_began.lock();
        Figures {
            syncs: counters.syncs.spans(),
            syncing: began.map(|began| began.elapsed()),
            transactions: counters.transactions.load(Ordering::Relaxed),
        }
    }

    /// Why the next transaction would be refused, whatever it is, if that is known: the storage is
    /// closed, a write has failed, or there is no room. A storage that is only read is what it should be.
    ///
    /// After a vote that found no room this looks whether there is some now.
    pub fn obstacle(&self) -> Option<StorageError> {
        match self.check_writable() {
            Err(StorageError::ReadOnly) => return None,
            Err(error) => return Some(error),
            Ok(()) => {}
        }
        if !self.room.was_refused() {
            return None;
        }
        self.reserve(&self.generation(), SMALL_TRANSACTION_BYTES)
            .err()
    }
}

/// What has no room while there is less than this is any transaction.
const SMALL_TRANSACTION_BYTES: u64 = 64 << 10;
