//! The checkpoint: the index beside the log in a file of ours, `Data.fs.zidx`, renewed while
//! commits go on, so that an open after a crash reads the end of the log and not all of it.
//!
//! It is never needed. A checkpoint that is missing, torn, or of another file costs a scan.
//!
//! # What it says
//!
//! A checkpoint stands for a position `end` in the log between two transactions, and says for each
//! object where its current record was when the log ended there, exactly:
//!
//! * Every entry below `end` is in the index when the writing begins ([`Checkpointer::write`]
//!   demands it), entries only move to later records, and a part of the index that is looked at
//!   while others change it shows some value of each entry that was true then or later.
//! * So what is found for an object is its entry at `end` or a later one. A later one lies at `end`
//!   or behind it, and the previous pointers of its records lead back to the one that was current
//!   at `end`; a chain that ends before it belongs to an object that did not exist.
//! * Entries move between the two kinds of parts in one direction only, and the parts are looked at
//!   in that direction, so none is missed. One may be found twice, and says the same twice.
//!
//! So nothing in the file leads behind `end`, where a crash may leave nothing, or something else.
//!
//! # How it gets to the disk
//!
//! Pages are copied on write: a changed page goes to a slot that neither the last durable header
//! nor this checkpoint uses. Then sync, then the header, in the copy that the last one is not in,
//! then sync. The slots of what was replaced are free only after that. A checkpoint costs the
//! changed pages, the tables that name them, and one header. The first one of a process that did not
//! begin with a checkpoint goes to a new file, which takes the place of the old one when it is
//! whole.
//!
//! # Which log it belongs to
//!
//! The header has checksums of the beginning of the log and of its last bytes before `end`; these
//! hold ids and offsets, which no two files have in common. A pack, which makes another file of the
//! same transactions, [retires](Checkpointer::retire) the checkpoint first.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use storage::{StorageError, Tid};
use vfs::Disk;

use crate::format::Offset;
use crate::index::Index;
use crate::log::Log;
use crate::open::{sync_parent, with_suffix};

mod background;
mod format;
mod load;
mod tree;
mod write;

pub(crate) use load::{Found, find, find_at};
pub(crate) use tree::Tree;

/// Keeps the checkpoint of one log.
pub(crate) struct Checkpointer {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// How much log there may be behind the last one; nothing where there shall be none.
    every_bytes: Option<u64>,
    /// Up to where the last one, or another saved index, saves the work at the next open.
    last_end: AtomicU64,
    is_retired: AtomicBool,
    /// Nothing where the next checkpoint makes a new file.
    tree: Mutex<Option<Tree>>,
}

impl Checkpointer {
    /// For the log of that path, of which the next open would scan what is behind `last_end`.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        data_path: &Path,
        every_bytes: Option<u64>,
        last_end: Offset,
    ) -> Self {
        Self {
            disk,
            path: path_of(data_path),
            every_bytes,
            last_end: AtomicU64::new(last_end.number()),
            is_retired: AtomicBool::new(false),
            tree: Mutex::new(None),
        }
    }

    /// Goes on with the file that the open began with.
    pub(crate) fn adopt(&self, tree: Tree) {
        *self.tree.lock() = Some(tree);
    }

    /// Whether there is a file to go on with, so that a checkpoint costs little.
    pub(crate) fn is_begun(&self) -> bool {
        self.tree.lock().is_some()
    }

    /// Whether a log that ends there needs a checkpoint. Of all who ask, one is told so: it writes
    /// the checkpoint, or nobody does before as much log again has come.
    pub(crate) fn due(&self, end: Offset) -> bool {
        let Some(every) = self.every_bytes else {
            return false;
        };
        let claim = |last: u64| {
            let grown = end.number().saturating_sub(last);
            (grown >= every).then_some(end.number())
        };
        !self.is_retired.load(Ordering::Relaxed)
            && self
                .last_end
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim)
                .is_ok()
    }

    /// Writes a checkpoint of the log up to `end`, where `last_tid` was the last transaction before
    /// the caller took `end`. Commits may go on meanwhile. Does nothing once the checkpoint is
    /// retired.
    ///
    /// The caller has made sure that the log is durable up to `end`, and that every record before
    /// `end` has been entered in the index; how far it is beyond does not matter.
    ///
    /// # Errors
    /// After an error the file on the disk is as good as it was before, and the next checkpoint
    /// begins anew.
    pub(crate) fn write(
        &self,
        log: &Log,
        index: &Index,
        end: Offset,
        last_tid: Tid,
    ) -> Result<(), StorageError> {
        // What was said before counts no more, should this fail.
        let mut tree = self.tree.lock();
        if self.is_retired.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (mut next, is_new) = match tree.take() {
            Some(known) => (known, false),
            None => (Tree::new(self.open_draft()?), true),
        };
        let written = next.renew(log, index, end, last_tid, &self.is_retired);
        if is_new && !matches!(written, Ok(true)) {
            // The room may be what is missing. If that fails too, the next one empties the file.
            self.disk.remove(&self.draft_path()).ok();
        }
        if !written.map_err(|failure| failure.at(&self.path))? {
            return Ok(());
        }
        if is_new {
            self.disk
                .rename(&self.draft_path(), &self.path)
                .map_err(|error| StorageError::io(self.path.as_path(), "replace", error))?;
            sync_parent(&*self.disk, &self.path)?;
        }
        *tree = Some(next);
        self.last_end.fetch_max(end.number(), Ordering::Relaxed);
        Ok(())
    }

    /// Takes the checkpoint away and writes no other: the log is about to be replaced, once the
    /// directory is synced. Waits for one that is being written, which is given up.
    pub(crate) fn retire(&self) -> Result<(), StorageError> {
        self.is_retired.store(true, Ordering::Relaxed);
        let mut tree = self.tree.lock();
        *tree = None;
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::io(self.path.as_path(), "remove", error))
            }
            _ => Ok(()),
        }
    }

    /// Writes no other; one that is being written is given up or finished when this returns. What
    /// is on the disk stays.
    pub(crate) fn stop(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
        *self.tree.lock() = None;
    }

    /// Goes on after all: the log was not replaced.
    pub(crate) fn resume(&self) {
        self.is_retired.store(false, Ordering::Relaxed);
    }

    fn draft_path(&self) -> PathBuf {
        with_suffix(&self.path, "_tmp")
    }

    fn open_draft(&self) -> Result<Arc<dyn vfs::File>, StorageError> {
        let draft = self.draft_path();
        self.disk
            .open(&draft, vfs::OpenMode::Truncate)
            .map_err(|error| StorageError::io(draft, "open", error))
    }
}

pub(crate) fn path_of(data_path: &Path) -> PathBuf {
    with_suffix(data_path, ".zidx")
}

/// How much log an open may have to scan behind the last checkpoint: a second or less.
pub(crate) const CHECKPOINT_EVERY_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests;
