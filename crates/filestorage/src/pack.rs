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
//! in between. The `.index`, which speaks of the old file, is removed before that, durably. (The
//! original renames twice, without a sync, so that a crash can leave no Data.fs or an empty one.)
//! A `.pack` that is found at open is the rest of a pack that did not come to its end.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};

use storage::{PackError, PackOptions, PackProgress, PackReport, Stage, StorageError, Tid};
use vfs::{Disk, OpenMode};

use crate::file_storage::FileStorage;
use crate::format::LOG_START;
use crate::log::Log;
use crate::open::{sync_parent, with_suffix};

mod copy;
mod mark;
mod oid_set;

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
            progress: &*options.progress,
            told: Cell::new(None),
        };
        let report = pack.run()?;
        if report.packed
            && let Err(error) = self.save_index()
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
    progress: &'a (dyn Fn(PackProgress) + Send + Sync),
    told: Cell<Option<PackProgress>>,
}

impl Pack<'_> {
    fn run(&self) -> Result<PackReport, PackError> {
        let (log, end) = self.storage.log_and_end();
        if self.storage.state.read().index.len() == 0 {
            return Ok(self.nothing_done());
        }
        let marks = mark(self, &log, end)?;
        if marks.redundant {
            return Ok(self.nothing_done());
        }
        // From here on the disk needs the room. Nobody was refused who counts on the old file.
        let disk = &*self.storage.disk;
        remove(disk, &self.old_path())?;
        let leftover = Leftover {
            disk,
            path: self.draft_path(),
        };
        let file = disk
            .open(&leftover.path, OpenMode::Truncate)
            .map_err(|error| StorageError::io(leftover.path.as_path(), "open", error))?;
        let mut copier = Copier::new(self, &log, marks, file)?;
        if !copier.copy_packed()? {
            return Ok(self.nothing_done());
        }
        self.catch_up(&mut copier)?;
        self.switch(copier)
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

    /// Puts the new file in the place of the old one, while no transaction is under way.
    fn switch(&self, mut copier: Copier<'_>) -> Result<PackReport, PackError> {
        let storage = self.storage;
        let _commits_wait = storage.commit_lock.acquire();
        storage.check_writable()?;
        let (_, end) = storage.log_and_end();
        copier.copy_later(end)?;
        assert_eq!(copier.copied_to, end, "everything is copied");
        let (records_dropped, transactions_dropped) =
            (copier.records_dropped, copier.transactions_dropped);
        let (file, index, new_end) = copier.finish()?;
        let log = Log::new(file, storage.path.clone());
        // What was written is read once: the last transaction must be where it should be.
        if new_end > LOG_START {
            log.transaction_before(new_end)?;
        }
        self.replace_file()?;
        let mut state = storage.state.write();
        let report = PackReport {
            packed: true,
            bytes_before: end.number(),
            bytes_after: new_end.number(),
            objects_removed: state.index.len().saturating_sub(index.len()),
            records_dropped,
            transactions_dropped,
        };
        state.log = log;
        state.end = new_end;
        let old_index = std::mem::replace(&mut state.index, index);
        drop(state);
        // Freeing it takes a while; readers need not wait for that.
        drop(old_index);
        Ok(report)
    }

    /// The names on the disk. What fails before the rename leaves the old file; whether a rename
    /// that failed took place is unknown, so nothing may be written after it.
    fn replace_file(&self) -> Result<(), PackError> {
        let (storage, disk) = (self.storage, &*self.storage.disk);
        let path = storage.path.as_path();
        remove(disk, &with_suffix(path, ".index"))?;
        if self.keep_old {
            let old = self.old_path();
            disk.link(path, &old)
                .map_err(|error| StorageError::io(old, "make the link", error))?;
        }
        sync_parent(disk, path).inspect_err(|_| {
            // It is another name of a file that goes on changing, and no copy.
            remove(disk, &self.old_path()).ok();
        })?;
        disk.rename(&self.draft_path(), path)
            .map_err(|error| storage.poison_with("replace", error))?;
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
            records_dropped: 0,
            transactions_dropped: 0,
        }
    }

    /// Tells the progress now and then, and gives up when the storage was closed.
    fn tick(&self, stage: Stage, done: u64, total: u64) -> Result<(), PackError> {
        let due = self.told.get().is_none_or(|told: PackProgress| {
            told.stage != stage || done.saturating_sub(told.done) >= total / PROGRESS_STEPS
        });
        if due {
            self.storage.check_writable()?;
            let progress = PackProgress { stage, done, total };
            self.told.set(Some(progress));
            (self.progress)(progress);
        }
        Ok(())
    }

    fn draft_path(&self) -> PathBuf {
        draft_path(&self.storage.path)
    }

    fn old_path(&self) -> PathBuf {
        with_suffix(&self.storage.path, ".old")
    }
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
const REST_BYTES: u64 = 4 << 20;
/// Where commits come faster than the pack copies, it ends all the same.
const ROUNDS_MAX: u32 = 20;
const PROGRESS_STEPS: u64 = 100;
