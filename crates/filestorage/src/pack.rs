//! Packing: the history up to a time is taken out of the file, and objects that nothing reaches.
//!
//! The pack writes a new file beside the old one, `Data.fs.pack`, while reads and commits go on in
//! the old one; see `mark` for what is kept and `copy` for how it is written. Only the end of it
//! holds commits up: the last few transactions are copied, and the new file takes the place.
//!
//! # What a crash leaves
//!
//! The new file is synced before it gets the name of the old one, and it gets it by one rename. So
//! there is always a Data.fs, the old one or the new one, and each is whole: no transaction can end
//! in between. The `.index` and the checkpoint, which speak of the old file, are removed before that,
//! durably. (The original renames twice, without a sync, so that a crash can leave no Data.fs or an
//! empty one.) A `.pack` that is found at open is the rest of a pack that did not come to its end, and
//! is removed: packs are not resumed. Files of blobs are removed behind the switch, from a list that
//! was durable before it: see [`crate::blobs`].
//!
//! # Memory
//!
//! A few bits an object, and buffers: see `mark` for which records are kept, `current` for where they are, `sorter`
//! for the new index. Only a file whose pointers do not prove themselves, and objects that changed since
//! the pack time, cost some six bytes each, and with those the pages of the new index that they are in.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::{PackError, PackOptions, PackProgress, PackReport, Stage, StorageError, Tid};
use vfs::{Disk, OpenMode};

use crate::blobs::RemovedList;
use crate::file_storage::FileStorage;
use crate::format::{LOG_START, Offset};
use crate::generation::Generation;
use crate::log::Log;
use crate::open::{sync_parent, with_suffix};

mod check;
mod copy;
mod current;
mod draft;
mod follow;
mod ledger;
mod mark;
mod oid_set;
mod read;
mod sorter;

use copy::Copier;
use mark::mark;

impl FileStorage {
    /// Takes old revisions and garbage out of the file: see [`PackOptions`]. Reads and commits go on
    /// meanwhile.
    ///
    /// # Errors
    /// See [`PackError`]. The file is what it was before.
    pub fn pack(&self, options: &PackOptions) -> Result<PackReport, PackError> {
        self.check_writable()?;
        let _one_at_a_time = self.pack_lock.try_lock().ok_or(PackError::Running)?;
        let pack = Pack {
            storage: self,
            to: options.to,
            gc: options.gc,
            keep_old: options.keep_old,
            options,
            told: Cell::new(None),
            moved: Cell::new(0),
        };
        let report = pack.run_until_not_overtaken()?;
        if report.packed
            // As it was at the switch: that much is durable, and commits have gone on since.
            && let Err(error) = self.save_index_until(Offset::new(report.bytes_after))
        {
            tracing::warn!(%error, "the index is not saved; the next open reads the whole file");
        }
        Ok(report)
    }
}

impl storage::Pack for FileStorage {
    fn pack(&self, options: &PackOptions) -> Result<PackReport, PackError> {
        Self::pack(self, options)
    }

    fn options(&self) -> PackOptions {
        PackOptions {
            gc: self.pack_gc,
            keep_old: self.pack_keep_old,
            ..PackOptions::default()
        }
    }

    fn is_packing(&self) -> bool {
        self.pack_lock.is_locked()
    }
}

/// A pack under way.
struct Pack<'a> {
    storage: &'a FileStorage,
    to: Tid,
    gc: bool,
    keep_old: bool,
    options: &'a PackOptions,
    told: Cell<Option<PackProgress>>,
    /// Bytes that [`PackOptions::pace`] was not told of.
    moved: Cell<u64>,
}

impl Pack<'_> {
    /// It is rare that a commit takes up again what was garbage just before. The next attempt sees it
    /// in time.
    fn run_until_not_overtaken(&self) -> Result<PackReport, PackError> {
        for _ in 1..ATTEMPTS_MAX {
            match self.run() {
                Err(error @ PackError::Overtaken { .. }) => {
                    tracing::warn!(%error, "the pack begins again");
                }
                result => return result,
            }
        }
        self.run()
    }

    fn run(&self) -> Result<PackReport, PackError> {
        let (log, end) = self.storage.log_and_end();
        if self.storage.generation.load().index.len() == 0 {
            return Ok(self.nothing_done());
        }
        let marks = mark(self, &log, end)?;
        if marks.redundant || marks.pack_end == LOG_START {
            return Ok(self.nothing_done());
        }
        // From here on the disk needs the room. Nobody was refused who counts on the old file.
        let disk = &*self.storage.disk;
        let list = self.begin_list()?;
        remove(disk, &self.old_path())?;
        let leftover = Leftover {
            disk,
            path: self.draft_path(),
        };
        let file = disk
            .open(&leftover.path, OpenMode::Truncate)
            .map_err(|error| StorageError::io(leftover.path.as_path(), "open", error))?;
        let mut copier = Copier::new(self, &log, marks, file, list)?;
        if !copier.copy_packed()? {
            return Ok(self.nothing_done());
        }
        self.catch_up(&mut copier)?;
        if let Some(list) = &mut copier.removed {
            list.sync()?;
        }
        let before = self.storage.generation();
        let mut switched = match self.remove_sidecars(&before) {
            Ok(()) => self.switch(copier, &before),
            Err(error) => Err(error),
        };
        match &mut switched {
            Ok(report) => {
                // Its index makes room for the new one.
                drop(before);
                self.fetch_index();
                report.blobs_removed = self.remove_blobs();
            }
            Err(_) => before.checkpointer.resume(),
        }
        switched
    }

    /// Brings the new index into memory, of which only those parts are there that somebody asked for.
    fn fetch_index(&self) {
        let storage = self.storage;
        if let Err(error) = storage.generation().index.whole() {
            // The new file is sound and in its place; whoever opens it makes the index anew.
            storage.poison(&error.to_string());
        }
    }

    /// Prepares the list of blobs that the pack drops, where blobs are kept.
    fn begin_list(&self) -> Result<Option<RemovedList<'_>>, PackError> {
        let Some(blobs) = &self.storage.blobs else {
            return Ok(None);
        };
        blobs.remove_listed(self.storage)?;
        blobs.prepare_old(self.keep_old)?;
        Ok(Some(RemovedList::begin(blobs)?))
    }

    /// Removes the files of dropped blobs, and tells how many. What fails here is done by the next pack
    /// or open.
    fn remove_blobs(&self) -> Option<u64> {
        let blobs = self.storage.blobs.as_ref()?;
        let mut done = blobs.remove_listed(self.storage);
        if done.is_ok()
            && self.keep_old
            && let Err(error) = blobs.link_old()
        {
            done = Err(error);
        }
        match done {
            Ok(removed) => Some(removed),
            Err(error) => {
                tracing::error!(%error, "the pack is done, but not all of its blobs are in their place");
                None
            }
        }
    }

    /// Copies what is committed meanwhile, until little is left that commits would have to wait for.
    fn catch_up(&self, copier: &mut Copier<'_>) -> Result<(), PackError> {
        for _ in 0..ROUNDS_MAX {
            let (_, end) = self.storage.log_and_end();
            let rest = end - copier.copied_to;
            copier.copy_later(end)?;
            copier.sync()?;
            if rest < REST_BYTES {
                break;
            }
        }
        Ok(())
    }

    /// What speaks of the old file goes, durably, before the new file has the name. It takes a while,
    /// and no commit need wait for that.
    fn remove_sidecars(&self, before: &Generation) -> Result<(), PackError> {
        let (disk, path) = (&*self.storage.disk, self.storage.path.as_path());
        remove(disk, &with_suffix(path, ".index"))?;
        before.checkpointer.retire()?;
        Ok(sync_parent(disk, path)?)
    }

    /// Puts the new file in the place of the old one, while no transaction is under way.
    fn switch(&self, mut copier: Copier<'_>, before: &Generation) -> Result<PackReport, PackError> {
        let storage = self.storage;
        let votes_wait = storage.votes.halt();
        let commits_wait = storage.writer.pause();
        storage.check_writable()?;
        let end = before.end();
        copier.copy_in_haste(end)?;
        for vote in storage.votes.all() {
            copier.check_vote(&vote)?;
        }
        assert_eq!(copier.copied_to, end, "everything is copied");
        let (records_dropped, transactions_dropped) =
            (copier.records_dropped, copier.transactions_dropped);
        let list = copier.removed.take();
        let (file, index, new_end) = copier.finish()?;
        let log = Log::new(file, storage.path.clone());
        // What was written is read once: the last transaction must be where it should be.
        if new_end > LOG_START {
            log.transaction_before(new_end)?;
        }
        // Whether a switch that fails took place may be unknown.
        if let Some(list) = list {
            list.keep();
        }
        self.replace_file()?;
        let report = PackReport {
            packed: true,
            bytes_before: end.number(),
            bytes_after: new_end.number(),
            objects_removed: before.index.len().saturating_sub(index.len()),
            records_dropped: Some(records_dropped),
            transactions_dropped: Some(transactions_dropped),
            blobs_removed: None,
        };
        let checkpointer = storage.new_checkpointer(new_end);
        let after = Generation::new(log, index, checkpointer, new_end, before.last_tid());
        storage.generation.store(Arc::new(after));
        drop(commits_wait);
        drop(votes_wait);
        Ok(report)
    }

    /// The names on the disk. What fails before the rename leaves the old file; whether a rename
    /// that failed took place is unknown, so nothing may be written after it.
    ///
    /// Names reach the disk in the order they change. So a power loss keeps the link without the
    /// rename at most, which the next open undoes.
    fn replace_file(&self) -> Result<(), PackError> {
        let (storage, disk) = (self.storage, &*self.storage.disk);
        let (path, old) = (storage.path.as_path(), self.old_path());
        let mut moved_away = false;
        if self.keep_old
            && let Err(error) = disk.link(path, &old)
        {
            if !has_no_links(&error) {
                return Err(StorageError::io(old, "make the link", error).into());
            }
            // As the original does it everywhere. For a moment there is no Data.fs; whoever opens it
            // then gives the old one its name back.
            disk.rename(path, &old)
                .map_err(|error| storage.poison_with("move away", error))?;
            moved_away = true;
        }
        if let Err(error) = disk.rename(&self.draft_path(), path) {
            let error = storage.poison_with("replace", error);
            if moved_away {
                disk.rename(&old, path).ok();
            } else if self.keep_old && matches!(disk.is_same_file(path, &old), Ok(true)) {
                // It is another name of a file that goes on changing, and no copy.
                remove(disk, &old).ok();
            }
            return Err(error.into());
        }
        disk.sync_directory(path.parent().unwrap_or(path))
            .map_err(|error| storage.poison_with("sync the directory of", error))?;
        Ok(())
    }

    fn nothing_done(&self) -> PackReport {
        let (_, end) = self.storage.log_and_end();
        PackReport {
            packed: false,
            bytes_before: end.number(),
            bytes_after: end.number(),
            objects_removed: 0,
            records_dropped: Some(0),
            transactions_dropped: Some(0),
            blobs_removed: self.storage.blobs.as_ref().map(|_| 0),
        }
    }

    /// Tells the progress now and then, and gives up when somebody wants that or the storage was
    /// closed.
    fn tick(&self, stage: Stage, done: u64, total: u64) -> Result<(), PackError> {
        self.storage.check_writable()?;
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(PackError::Cancelled);
        }
        let due = self.told.get().is_none_or(|told: PackProgress| {
            told.stage != stage || done.saturating_sub(told.done) >= total / PROGRESS_STEPS
        });
        if due {
            let progress = PackProgress { stage, done, total };
            self.told.set(Some(progress));
            (self.options.progress)(progress);
        }
        Ok(())
    }

    /// Counts bytes that were read or written, and goes no faster than it may.
    fn moved(&self, bytes: u64) {
        let moved = self.moved.get() + bytes;
        if moved < PACED_BYTES {
            self.moved.set(moved);
        } else {
            self.moved.set(0);
            (self.options.pace)(moved);
        }
    }

    fn draft_path(&self) -> PathBuf {
        draft_path(&self.storage.path)
    }

    fn old_path(&self) -> PathBuf {
        with_suffix(&self.storage.path, ".old")
    }
}

/// Whether the file system knows no second names, or does not allow this one.
fn has_no_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied | io::ErrorKind::TooManyLinks
    )
}

/// The new file, which has another name after a pack that succeeded, and is removed after one that
/// failed.
struct Leftover<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
}

impl Drop for Leftover<'_> {
    fn drop(&mut self) {
        if let Err(error) = remove(self.disk, &self.path) {
            tracing::warn!(%error, "the rest of a pack stays until the next pack or open");
        }
    }
}

/// Where a pack writes the new file.
pub(crate) fn draft_path(data_path: &Path) -> PathBuf {
    with_suffix(data_path, ".pack")
}

/// Takes a file away that need not be there.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io(path, "remove", error))
        }
        _ => Ok(()),
    }
}

/// How much may be left to copy when commits begin to wait.
const REST_BYTES: u64 = 256 << 10;
/// Where commits come faster than the pack copies, it ends all the same.
const ROUNDS_MAX: u32 = 20;
/// How often a pack begins that is overtaken each time.
const ATTEMPTS_MAX: u32 = 3;
const PROGRESS_STEPS: u64 = 100;
const PACED_BYTES: u64 = 256 << 10;
