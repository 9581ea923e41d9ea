//! The storage: reads, ids, listings. Opening is in `open`, writing in `commit`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use storage::{
    Changes, Commit, Iterate, Oid, Pack, Record, Revision, Storage, StorageError, StorageStats,
    Tid, TransactionMeta, Undo,
};
use vfs::{Disk, DiskLock};

use crate::commit::FileCommit;
use crate::commit_lock::CommitLock;
use crate::compress::Compression;
use crate::format::{LOG_START, Offset, Status};
use crate::index::Index;
use crate::index_file;
use crate::log::Log;
use crate::open::{Alarm, Clock};
use crate::transactions::Transactions;

/// A Data.fs that is open.
pub struct FileStorage {
    pub(crate) path: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) read_only: bool,
    pub(crate) clock: Clock,
    pub(crate) compression: Compression,
    pub(crate) state: RwLock<State>,
    /// The newest id handed out or stored, as a number; the root counts as handed out.
    pub(crate) last_oid: AtomicU64,
    pub(crate) commit_lock: Arc<CommitLock>,
    /// Held by a pack from its beginning to its end.
    pub(crate) pack_lock: Mutex<()>,
    /// Why nothing is written any more.
    pub(crate) poison: OnceLock<String>,
    pub(crate) on_poison: Alarm,
    pub(crate) disk_lock: Mutex<Option<Box<dyn DiskLock>>>,
}

/// What a finish or a pack changes, all at once. Whoever reads takes the file and an offset in it
/// from the same state: a pack puts another file in its place, and those who began to read the old
/// one finish there.
pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) index: Index,
    /// Behind the last finished transaction; nothing beyond is ever read.
    pub(crate) end: Offset,
    pub(crate) last_tid: Tid,
}

impl FileStorage {
    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the writing: waits for a commit under way, gives up a pack, writes the `.index` that makes the next open
    /// quick, and releases the lock file. Later commits report [`StorageError::Poisoned`]; reads go
    /// on as long as somebody holds the storage. A second call does nothing.
    ///
    /// Dropping without closing loses nothing but the `.index`.
    ///
    /// # Errors
    /// The `.index` could not be written. The storage is closed all the same.
    pub fn close(&self) -> Result<(), StorageError> {
        let commits_are_over = self.commit_lock.acquire();
        let closed_before = self
            .poison
            .set("the storage was closed".to_owned())
            .is_err();
        drop(commits_are_over);
        // A pack gives up when it sees that. Until then the lock file must stay ours.
        let _pack_is_over = self.pack_lock.lock();
        let disk_lock = self.disk_lock.lock().take();
        if self.read_only || closed_before {
            return Ok(());
        }
        let result = self.save_index();
        drop(disk_lock);
        result
    }

    pub(crate) fn save_index(&self) -> Result<(), StorageError> {
        let state = self.state.read();
        if state.index.len() == 0 && state.end > LOG_START {
            // Beside an index without entries the original cannot open a file of empty transactions.
            return Ok(());
        }
        index_file::save(&*self.disk, &self.path, &state.index, state.end)
    }

    /// The data that `oid` got in the transaction `tid`.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when that transaction did not change the object, or removed it.
    pub fn load_serial(&self, oid: Oid, tid: Tid) -> Result<Record, StorageError> {
        let (log, mut at, end) = self.locate(oid)?;
        loop {
            let page = log.page(at, oid, end)?;
            if page.header.tid == tid {
                let data = log.data(&page)?;
                return data.record.ok_or(StorageError::NotFound { oid });
            }
            at = page
                .header
                .previous
                .some()
                .filter(|_| page.header.tid > tid)
                .ok_or(StorageError::NotFound { oid })?;
        }
    }

    /// The finished transactions from `from` to `to`, both included, oldest first, with all they
    /// hold. Transactions that finish later are not among them.
    ///
    /// # Errors
    /// The way to `from` is damaged.
    pub fn transactions(&self, from: Tid, to: Tid) -> Result<Transactions, StorageError> {
        let (log, end) = self.log_and_end();
        Transactions::between(log, from, to, end)
    }

    /// The log, where the current record of the object is in it, and where it ends.
    pub(crate) fn locate(&self, oid: Oid) -> Result<(Log, Offset, Offset), StorageError> {
        let state = self.state.read();
        let at = state.index.get(oid).ok_or(StorageError::NotFound { oid })?;
        Ok((state.log.clone(), at, state.end))
    }

    /// The log, and where it ends.
    pub(crate) fn log_and_end(&self) -> (Log, Offset) {
        let state = self.state.read();
        (state.log.clone(), state.end)
    }

    /// The log as it is now. It stays the log as long as the commit lock is held.
    pub(crate) fn log(&self) -> Log {
        self.state.read().log.clone()
    }

    pub(crate) fn check_writable(&self) -> Result<(), StorageError> {
        if self.read_only {
            return Err(StorageError::ReadOnly);
        }
        match self.poison.get() {
            Some(cause) => Err(StorageError::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The newest transactions as long as `wanted` says so, oldest first.
    fn walk_back(
        &self,
        mut wanted: impl FnMut(usize, Tid) -> bool,
    ) -> Result<Vec<Changes>, StorageError> {
        let (log, end) = self.log_and_end();
        let mut found = Vec::new();
        let mut at = end;
        while at > LOG_START {
            let (start, header) = log.transaction_before(at)?;
            at = start;
            if header.status == Status::UNDONE {
                continue;
            }
            if !wanted(found.len(), header.tid) {
                break;
            }
            found.push(start);
        }
        let read = |start: Offset| Transactions::changes_of(&log, start, end);
        found.into_iter().rev().map(read).collect()
    }
}

impl Storage for FileStorage {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn last_tid(&self) -> Tid {
        self.state.read().last_tid
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        let (log, mut at, end) = self.locate(oid)?;
        let mut next = None;
        loop {
            let page = log.page(at, oid, end)?;
            let tid = page.header.tid;
            if tid < before {
                let data = log.data(&page)?;
                let record = data.record.ok_or(StorageError::NotFound { oid })?;
                return Ok(Some(Revision { tid, next, record }));
            }
            next = Some(tid);
            match page.header.previous.some() {
                Some(previous) => at = previous,
                None => return Ok(None),
            }
        }
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.check_writable()?;
        let count = count as u64;
        let exhausted = |last| StorageError::Limit {
            what: "the largest object id",
            found: last,
            max: u64::MAX,
        };
        let last = self
            .last_oid
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                last.checked_add(count)
            })
            .map_err(exhausted)?;
        Ok((last + 1..=last + count).map(Oid::new).collect())
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        Ok(Box::new(FileCommit::begin(self, meta)?))
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn stats(&self) -> StorageStats {
        let state = self.state.read();
        StorageStats {
            objects: state.index.len(),
            bytes: state.end.number(),
        }
    }

    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        let mut too_many = false;
        let changes = self.walk_back(|count, tid| {
            let newer = tid > since;
            too_many = newer && count == transactions_max;
            newer && !too_many
        })?;
        Ok((!too_many).then_some(changes))
    }

    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError> {
        self.walk_back(|count, _| count < transactions_max)
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
