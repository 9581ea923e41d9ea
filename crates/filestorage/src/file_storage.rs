//! The storage: reads, ids, listings. Opening is in `open`, writing in `commit`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use storage::{
    Blobs, Changes, Commit, Iterate, Oid, Pack, Record, Resolver, Revision, Storage, StorageError,
    StorageStats, Tid, TransactionMeta, Undo,
};
use vfs::{Disk, DiskLock};

use crate::blobs::{BlobDirectory, StagedBlobs};
use crate::checkpoint::Checkpointer;
use crate::commit::FileCommit;
use crate::compress::Compression;
use crate::figures::Counters;
use crate::format::{LOG_START, Offset, Status};
use crate::generation::Generation;
use crate::index_file;
use crate::log::{Log, Past};
use crate::object_locks::ObjectLocks;
use crate::open::{Alarm, Background, Clock, Durability};
use crate::room::Room;
use crate::spill::Spills;
use crate::transactions::{Transactions, TransactionsBackwards};
use crate::votes::Votes;
use crate::writer::Writer;

/// A Data.fs that is open.
pub struct FileStorage {
    pub(crate) path: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) read_only: bool,
    pub(crate) clock: Clock,
    pub(crate) checkpoint_every: Option<u64>,
    pub(crate) background: Background,
    pub(crate) compression: Compression,
    /// The file as it is now. Replaced by a pack, while the writer pauses.
    pub(crate) generation: ArcSwap<Generation>,
    /// The newest id handed out or stored, as a number; the root counts as handed out.
    pub(crate) last_oid: AtomicU64,
    pub(crate) durability: Durability,
    /// How long the file may become.
    pub(crate) quota: Option<u64>,
    pub(crate) room: Arc<Room>,
    pub(crate) spills: Spills,
    pub(crate) resolver: Option<Arc<dyn Resolver>>,
    pub(crate) object_locks: Arc<ObjectLocks>,
    pub(crate) votes: Arc<Votes>,
    pub(crate) writer: Writer,
    /// Whether something was finished without a sync.
    pub(crate) unsynced: AtomicBool,
    /// Blobs that were finished since the last sync.
    pub(crate) unsynced_blobs: Mutex<Vec<StagedBlobs>>,
    /// Held while both are synced.
    pub(crate) syncing: Mutex<()>,
    /// Keeps the thread going that syncs from time to time.
    pub(crate) housekeeper: Mutex<Option<Sender<()>>>,
    pub(crate) pack_gc: bool,
    pub(crate) pack_keep_old: bool,
    pub(crate) pack_sorts_at_once: usize,
    /// Held by a pack from its beginning to its end.
    pub(crate) pack_lock: Mutex<()>,
    /// Why nothing is written any more.
    pub(crate) poison: OnceLock<String>,
    pub(crate) on_poison: Alarm,
    pub(crate) disk_lock: Mutex<Option<Box<dyn DiskLock>>>,
    pub(crate) blobs: Option<Arc<BlobDirectory>>,
    pub(crate) counters: Counters,
}

impl FileStorage {
    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends the writing: waits for the transactions that are being finished, gives up a pack, writes
    /// the `.index` that makes the next open quick, and releases the lock file. Later votes and
    /// finishes report [`StorageError::Poisoned`]; reads go on as long as somebody holds the storage.
    /// A second call does nothing.
    ///
    /// Dropping without closing loses nothing but the `.index`, except with [`Durability::Async`].
    ///
    /// # Errors
    /// The `.index` could not be written, or the file not be synced. The storage is closed all the
    /// same.
    pub fn close(&self) -> Result<(), StorageError> {
        let closed_before = self.writer.close();
        // A pack gives up when it sees that. Until then the lock file must stay ours.
        let _pack_is_over = self.pack_lock.lock();
        drop(self.housekeeper.lock().take());
        let disk_lock = self.disk_lock.lock().take();
        if self.read_only || closed_before {
            self.generation().checkpointer.stop();
            return Ok(());
        }
        if self.poison.get().is_some() {
            // What was finished without a sync may be lost.
            self.generation().checkpointer.stop();
            return self.sync_if_due();
        }
        let result = self
            .sync_if_due()
            .inspect(|()| self.generation().give_room_back())
            .and_then(|()| self.save_index());
        if result.is_ok() {
            self.last_checkpoint();
        }
        // Two processes must not write one checkpoint.
        self.generation().checkpointer.stop();
        drop(disk_lock);
        result
    }

    /// For a new log, of which the next open would read what is behind `saved_to`.
    pub(crate) fn new_checkpointer(&self, saved_to: Offset) -> Checkpointer {
        Checkpointer::new(
            self.disk.clone(),
            &self.path,
            self.checkpoint_every,
            saved_to,
        )
    }

    pub(crate) fn save_index(&self) -> Result<(), StorageError> {
        let end = self.generation.load().end();
        self.save_index_until(end)
    }

    /// Saves the index as it was when the log ended there. Commits may go on meanwhile.
    pub(crate) fn save_index_until(&self, end: Offset) -> Result<(), StorageError> {
        let generation = self.generation.load();
        let (log, index) = (&generation.log, generation.index.whole()?);
        let past = Past { log, end };
        let entries = index.iter().map(|(oid, now)| past.offset(oid, now));
        let has_entries = entries.filter_map(Result::transpose).next().transpose()?;
        if has_entries.is_none() && end > LOG_START {
            // Beside an index without entries the original cannot open a file of empty transactions.
            return Ok(());
        }
        index_file::save_past(&*self.disk, &self.path, index, &past)
    }

    /// The data that `oid` got in the transaction `tid`.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when that transaction did not change the object, or removed it.
    pub fn load_serial(&self, oid: Oid, tid: Tid) -> Result<Record, StorageError> {
        self.generation.load().load_serial(oid, tid)
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

    /// As [`FileStorage::transactions`], newest first. From the end of a large file the way to its last
    /// transactions is short.
    ///
    /// # Errors
    /// The way to `to` is damaged.
    pub fn transactions_backwards(
        &self,
        from: Tid,
        to: Tid,
    ) -> Result<TransactionsBackwards, StorageError> {
        let (log, end) = self.log_and_end();
        TransactionsBackwards::between(log, from, to, end)
    }

    /// The file as it is now.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// The log, and where it ends.
    pub(crate) fn log_and_end(&self) -> (Log, Offset) {
        let generation = self.generation.load();
        (generation.log.clone(), generation.end())
    }

    pub(crate) fn check_writable(&self) -> Result<(), StorageError> {
        if self.read_only {
            return Err(StorageError::ReadOnly);
        }
        if self.writer.is_closed() {
            return Err(closed());
        }
        self.check_poison()
    }

    pub(crate) fn check_poison(&self) -> Result<(), StorageError> {
        match self.poison.get() {
            Some(cause) => Err(StorageError::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// After a failed write nobody knows what is on the disk, and after a failed sync a second one
    /// proves nothing: so the first failure is the last write.
    pub(crate) fn poison_with(&self, operation: &'static str, error: io::Error) -> StorageError {
        let error = StorageError::io(self.path.as_path(), operation, error);
        self.poison(&error.to_string());
        error
    }

    pub(crate) fn poison(&self, cause: &str) {
        tracing::error!(
            cause,
            "nothing is written any more until the storage is reopened"
        );
        // Only the first cause is kept.
        if self.poison.set(cause.to_owned()).is_ok() {
            (self.on_poison)();
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

impl Drop for FileStorage {
    /// The lock file is released behind this, and two processes must not write one checkpoint.
    fn drop(&mut self) {
        self.generation().checkpointer.stop();
    }
}

impl Storage for FileStorage {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn last_tid(&self) -> Tid {
        self.generation.load().last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        let generation = self.generation.load();
        let (mut at, limit) = generation.locate(oid)?;
        let mut next = None;
        loop {
            let page = generation.log.page(at, oid, limit)?;
            let tid = page.header.tid;
            if tid < before {
                let data = generation.log.data(&page)?;
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

    fn begin_restore(
        self: Arc<Self>,
        meta: TransactionMeta,
        tid: Tid,
        is_packed: bool,
    ) -> Result<Box<dyn Commit>, StorageError> {
        let commit = FileCommit::begin_restore(self, meta, tid, is_packed)?;
        Ok(Box::new(commit))
    }

    fn current_tid(&self, oid: Oid) -> Result<Tid, StorageError> {
        let current = self.generation.load().current(oid)?;
        let existing = current.filter(|(_, exists)| *exists);
        Ok(existing.ok_or(StorageError::NotFound { oid })?.0)
    }

    fn votes_side_by_side(&self) -> bool {
        true
    }

    fn votes_quickly(&self, bytes: u64) -> bool {
        // A pack that comes to its end keeps votes waiting.
        !self.pack_lock.is_locked() && self.has_room(bytes)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn stats(&self) -> StorageStats {
        let generation = self.generation.load();
        StorageStats {
            objects: generation.index.len(),
            bytes: generation.end().number(),
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

    fn blobs(&self) -> Option<&dyn Blobs> {
        self.blobs.as_ref().map(|_| self as &dyn Blobs)
    }
}

/// What who comes too late is told.
pub(crate) fn closed() -> StorageError {
    StorageError::Poisoned {
        cause: "the storage was closed".to_owned(),
    }
}

#[cfg(test)]
mod tests;
