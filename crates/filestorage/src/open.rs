//! Opening a Data.fs: lock, magic, index, tail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use storage::{Resolver, StorageError, Tid};
use vfs::{Disk, DiskLock, File, LockError, OpenMode, RealDisk};

use crate::blobs::BlobDirectory;
use crate::checkpoint::{CHECKPOINT_EVERY_BYTES, Checkpointer};
use crate::compress::Compression;
use crate::figures::Counters;
use crate::file_storage::FileStorage;
use crate::format::{LOG_START, MAGIC_NEW, MAGICS, Offset};
use crate::generation::Generation;
use crate::log::Log;
use crate::object_locks::ObjectLocks;
use crate::room::is_full;
use crate::scan::{CheckedLog, UncheckedTail, Unfinished};
use crate::spill::Spills;
use crate::writer::Writer;
use crate::{evidence, housekeeping, kept_index, pack, saved_index};

/// Tells the time since 1970, UTC.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Called when something must be known at once.
pub type Alarm = Arc<dyn Fn() + Send + Sync>;

/// Gets work that may be done later, beside what the caller does.
pub type Background = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// How a Data.fs is opened.
#[derive(Clone)]
pub struct Options {
    /// Make the file where it is missing. An existing file is never emptied.
    pub create: bool,
    /// Refuse every commit, take no lock and leave an unfinished tail alone: a look at the file as
    /// it is now, while another process may go on writing it.
    pub read_only: bool,
    /// Refuse a file of which an index beside it proves that finished transactions are missing at its
    /// end. Without this it is opened, with an error in the log, where nothing that may be of use is cut
    /// off.
    pub refuse_missing_end: bool,
    /// Where transaction ids come from.
    pub clock: Clock,
    /// Whether records are compressed before they are written. Those that are compressed are read
    /// all the same.
    pub compress: Compression,
    /// Where the file is.
    pub disk: Arc<dyn Disk>,
    /// What is on the disk when a finish returns.
    pub durability: Durability,
    /// How many bytes of log may come before the index is saved again, beside the commits, in
    /// `<path>.zidx`: an open after a crash reads that much. Never where there is nothing.
    pub checkpoint_every: Option<u64>,
    /// Gets the work of saving it: a thread for each time, unless a test wants it otherwise.
    pub background: Background,
    /// How many bytes the file may have. A vote that would make it longer is refused with
    /// [`StorageError::Limit`].
    pub quota: Option<u64>,
    /// Who merges changes that were made side by side; nobody: they are conflicts.
    pub resolver: Option<Arc<dyn Resolver>>,
    /// Where the files of blobs are; nothing where the storage keeps no blobs. Made where it is
    /// missing.
    pub blob_dir: Option<PathBuf>,
    /// Whether packs take objects away that cannot be reached from the root, where nothing else is
    /// said.
    pub pack_gc: bool,
    /// Whether packs keep the file as it was before, where nothing else is said.
    pub pack_keep_old: bool,
    /// How many entries of the new index a pack holds in memory at least, to sort them.
    pub pack_sorts_at_once: usize,
    /// Called once when a write or sync has failed, so that nothing is written any more until the
    /// file is reopened. It must not call the storage.
    pub on_poison: Alarm,
}

impl Default for Options {
    /// Made where missing, for writing, with the disk and the clock of the machine.
    fn default() -> Self {
        Self {
            create: true,
            read_only: false,
            refuse_missing_end: false,
            clock: Arc::new(vfs::unix_time),
            compress: Compression::None,
            pack_gc: true,
            pack_keep_old: true,
            pack_sorts_at_once: PACK_SORTS_AT_ONCE,
            disk: Arc::new(RealDisk),
            durability: Durability::Strict,
            checkpoint_every: Some(CHECKPOINT_EVERY_BYTES),
            background: Arc::new(on_a_thread),
            quota: None,
            resolver: None,
            blob_dir: None,
            on_poison: Arc::new(|| {}),
        }
    }
}

/// What is on the disk when a finish returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The transaction: first its data, and then, after a sync, the byte that makes it count. What
    /// recovery finds is whole.
    #[default]
    Strict,
    /// The transaction, written and synced at once, as the original does it: after a power loss a
    /// transaction that was not acknowledged may look finished and not be whole, and the file may have
    /// to be recovered before it can be opened. Nothing that was acknowledged is touched by that.
    Compat,
    /// Nothing for sure. It is synced after the interval, and when the storage is closed: a power
    /// loss costs what was finished since, and may leave a file that has to be recovered. For
    /// filling a database that can be filled again.
    Async {
        /// How often to sync.
        interval: Duration,
    },
}

impl FileStorage {
    /// Opens the file.
    ///
    /// The `.index` or `.zidx` beside it, whichever is newer, is used where it agrees with the file;
    /// else the whole file is read.
    /// Bytes behind the last finished transaction are copied to `<path>.tr0` (or the first number
    /// that is free) and cut off.
    ///
    /// # Errors
    /// [`StorageError::Locked`] while another process has it open for writing,
    /// [`StorageError::Corrupt`] where it is no Data.fs, broken before its end, or an index beside it
    /// proves that what would be cut off was finished once.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Arc<Self>, StorageError> {
        let path = path.as_ref();
        let disk = &*options.disk;
        if !options.create && !options.read_only {
            check_exists(disk, path)?;
        }
        let disk_lock = if options.read_only {
            None
        } else {
            Some(lock(disk, &with_suffix(path, ".lock"))?)
        };
        if !options.read_only {
            check_interrupted_pack(disk, path)?;
        }
        let file = open_file(disk, path, &options)?;
        let log = Log::new(file, path.to_owned());
        check_magic(&log, &options)?;
        let mode = if options.read_only {
            OpenMode::Read
        } else {
            OpenMode::Write
        };
        let saved = saved_index::newest(&log, disk, mode)?;
        let index_was_used = saved.is_some();
        let (tail, checkpoint) = saved.map_or_else(
            || (UncheckedTail::everything(), None),
            |saved| (saved.tail, saved.tree),
        );
        let trusted = tail.start;
        let checked = tail.check(&log)?;
        evidence::check(&log, &options, &checked)?;
        if !index_was_used {
            evidence::keep_disbelieved(&log, &options, &checked)?;
        }
        settle_end(&log, &options, &checked, trusted)?;
        warn_of_the_future(&log, checked.last_tid, (options.clock)());
        let durability = options.durability;
        let saved_to = if index_was_used { trusted } else { checked.end };
        let every = options.checkpoint_every;
        let checkpointer = Checkpointer::new(options.disk.clone(), path, every, saved_to);
        if let Some(checkpoint) = checkpoint {
            checkpointer.adopt(checkpoint);
        }
        let blobs = open_blobs(&options)?;
        let storage = Self::assemble(log, options, checked, checkpointer, disk_lock, blobs);
        storage.clear_blobs()?;
        if !index_was_used
            && !storage.read_only
            && let Err(error) = storage.save_index()
        {
            tracing::warn!(%error, "the index is not saved; the next open reads the whole file");
        }
        let storage = Arc::new(storage);
        if let Durability::Async { interval } = durability
            && !storage.read_only
        {
            housekeeping::start(&storage, interval)
                .map_err(|error| StorageError::io(path, "start syncing", error))?;
        }
        Ok(storage)
    }

    fn assemble(
        log: Log,
        options: Options,
        checked: CheckedLog,
        checkpointer: Checkpointer,
        disk_lock: Option<Box<dyn DiskLock>>,
        blobs: Option<Arc<BlobDirectory>>,
    ) -> Self {
        let in_file = checked.index.last_oid();
        let last_oid = kept_index::last_oid(&*options.disk, log.path(), in_file);
        Self {
            path: log.path().to_owned(),
            disk: options.disk,
            read_only: options.read_only,
            clock: options.clock,
            checkpoint_every: options.checkpoint_every,
            background: options.background,
            compression: options.compress,
            durability: options.durability,
            quota: options.quota,
            room: Arc::default(),
            spills: Spills::default(),
            resolver: options.resolver,
            generation: ArcSwap::from_pointee(Generation::new(
                log,
                checked.index.into(),
                checkpointer,
                checked.end,
                checked.last_tid,
            )),
            last_oid: AtomicU64::new(last_oid),
            object_locks: Arc::new(ObjectLocks::default()),
            votes: Arc::default(),
            writer: Writer::default(),
            unsynced: AtomicBool::new(false),
            unsynced_blobs: Mutex::new(Vec::new()),
            syncing: Mutex::new(()),
            housekeeper: Mutex::new(None),
            pack_gc: options.pack_gc,
            pack_keep_old: options.pack_keep_old,
            pack_sorts_at_once: options.pack_sorts_at_once,
            pack_lock: Mutex::new(()),
            poison: OnceLock::new(),
            on_poison: options.on_poison,
            disk_lock: Mutex::new(disk_lock),
            blobs,
            counters: Counters::default(),
        }
    }
}

fn on_a_thread(work: Box<dyn FnOnce() + Send>) {
    let thread = thread::Builder::new().name("zodiac-checkpoint".to_owned());
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "no thread for work in the background, which is left out");
    }
}

/// `path` with more letters at its end.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let parent = path.parent().unwrap_or(path);
    disk.sync_directory(parent)
        .map_err(|error| StorageError::io(parent, "sync", error))
}

pub(crate) fn lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskLock>, StorageError> {
    disk.lock(path).map_err(|error| match error {
        LockError::Held { pid } => StorageError::Locked {
            path: path.to_owned(),
            pid,
        },
        LockError::Io(error) => lock_failed(path, error),
    })
}

/// Why a lock file cannot be locked. Mostly it is its directory that is missing or not to be written.
pub fn lock_failed(path: &Path, error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => {
            let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
            let parent = parent.unwrap_or_else(|| Path::new("."));
            StorageError::io(parent, "make files in this directory", error)
        }
        _ => StorageError::io(path, "lock", error),
    }
}

/// A mistyped name must not leave a lock behind. Where a pack was killed between its two renames the
/// file is about to get its name back.
fn check_exists(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let exists = |path: &Path| {
        disk.exists(path)
            .map_err(|error| StorageError::io(path, "look for", error))
    };
    if exists(path)? || exists(&pack::draft_path(path))? {
        return Ok(());
    }
    // The system says it in its own words.
    let error = disk.open(path, OpenMode::Read).err();
    let error = error.unwrap_or_else(|| io::ErrorKind::NotFound.into());
    Err(StorageError::io(path, "open", error))
}

/// Clears up after a pack that did not come to its end.
fn check_interrupted_pack(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    let exists = |path: &Path| {
        disk.exists(path)
            .map_err(|error| StorageError::io(path, "look for", error))
    };
    let draft = pack::draft_path(path);
    if !exists(&draft)? {
        return Ok(());
    }
    let old = with_suffix(path, ".old");
    if exists(&old)? {
        if !exists(path)? {
            // The original, or our pack on a file system without links, was killed between its two
            // renames. Making an empty file here would hide that the database is next to it.
            tracing::warn!(path = %path.display(), "a pack was interrupted: the file gets its name back");
            disk.rename(&old, path)
                .map_err(|error| StorageError::io(old.as_path(), "rename", error))?;
            sync_parent(disk, path)?;
        } else if disk
            .is_same_file(path, &old)
            .map_err(|error| StorageError::io(old.as_path(), "look at", error))?
        {
            // The power went off before the new file got the name. This is no copy of the old file but
            // a second name of one that goes on changing.
            pack::remove(disk, &old)?;
        }
    }
    tracing::warn!(path = %draft.display(), "the rest of an interrupted pack is removed");
    pack::remove(disk, &draft)
}

fn open_blobs(options: &Options) -> Result<Option<Arc<BlobDirectory>>, StorageError> {
    let Some(path) = &options.blob_dir else {
        return Ok(None);
    };
    let disk = Arc::clone(&options.disk);
    let blobs = if options.read_only {
        BlobDirectory::open_read_only(disk, path)
    } else {
        BlobDirectory::open(disk, path)
    };
    blobs.map(|blobs| Some(Arc::new(blobs)))
}

fn open_file(
    disk: &dyn Disk,
    path: &Path,
    options: &Options,
) -> Result<Arc<dyn File>, StorageError> {
    let mode = if options.read_only {
        OpenMode::Read
    } else if options.create {
        OpenMode::Create
    } else {
        OpenMode::Write
    };
    disk.open(path, mode)
        .map_err(|error| StorageError::io(path, "open", error))
}

/// Checks the first bytes, and writes them into a file that never got any.
fn check_magic(log: &Log, options: &Options) -> Result<(), StorageError> {
    let mut bytes = [0; MAGIC_NEW.len() + 1];
    let filled = log
        .file
        .read_most_at(&mut bytes, 0)
        .map_err(|error| log.io("read", error))?;
    let found = &bytes[..filled];
    if MAGICS.iter().any(|magic| found.starts_with(*magic)) {
        return Ok(());
    }
    // A power loss while the file was made leaves it short, or its first bytes zero.
    let never_filled = filled <= MAGIC_NEW.len()
        && (found.iter().all(|byte| *byte == 0) || MAGIC_NEW.starts_with(found));
    if found.is_empty() && !options.create {
        let what = "not a Data.fs: it is empty".to_owned();
        return Err(log.corrupt(Offset::NONE, what));
    }
    if !never_filled || !options.create || (options.read_only && filled > 0) {
        let what = format!(
            "not a Data.fs: it begins with \"{}\" instead of \"FS30\" or \"FS21\"",
            found.escape_ascii()
        );
        return Err(log.corrupt(Offset::NONE, what));
    }
    if options.read_only {
        return Ok(());
    }
    let write = |error| log.io("write", error);
    log.file.write_at(MAGIC_NEW, 0).map_err(write)?;
    sync(log)?;
    sync_parent(&*options.disk, log.path())
}

fn sync(log: &Log) -> Result<(), StorageError> {
    log.file.sync_data().map_err(|error| log.io("sync", error))
}

/// Makes the end of the log what is shown of it, or says that it is not.
fn settle_end(
    log: &Log,
    options: &Options,
    checked: &CheckedLog,
    trusted: Offset,
) -> Result<(), StorageError> {
    match checked.unfinished {
        Some(Unfinished { why, .. }) if options.read_only => {
            let (path, offset) = (log.path().display(), checked.end.number());
            let bytes = log.size()?.number().saturating_sub(offset);
            tracing::warn!(%path, offset, bytes, why,
                "there is more behind the last finished transaction, which is not shown: another process \
                 is writing it, or was killed while it did, or the file is damaged. `zodiac fs verify` \
                 says more");
            Ok(())
        }
        Some(unfinished) => cut_tail(log, &*options.disk, checked.end, unfinished),
        // Whoever wrote the last transaction may have been killed before its sync. From
        // now on it is shown, so it must be durable.
        None if checked.end > trusted && !options.read_only => sync(log),
        None => Ok(()),
    }
}

/// Takes away what is behind the last finished transaction, after saving what may be of use.
fn cut_tail(
    log: &Log,
    disk: &dyn Disk,
    end: Offset,
    unfinished: Unfinished,
) -> Result<(), StorageError> {
    let path = log.path().display();
    if unfinished.worth_saving {
        let copy = save_tail(log, disk, end)?;
        let saved = copy.display();
        tracing::warn!(%path, offset = end.number(), why = unfinished.why, %saved,
            "the file is cut behind its last finished transaction");
    } else {
        tracing::warn!(%path, offset = end.number(), why = unfinished.why,
            "the file is cut behind its last finished transaction");
    }
    log.file
        .set_len(end.number())
        .map_err(|error| log.io("cut", error))?;
    sync(log)
}

/// Copies everything from `from` on to the first free `.tr` file, durably.
fn save_tail(log: &Log, disk: &dyn Disk, from: Offset) -> Result<PathBuf, StorageError> {
    let path = free_tail_path(log, disk)?;
    let copy = || -> io::Result<()> {
        let target = disk.open(&path, OpenMode::Create)?;
        let mut source = vfs::SequentialReader::new(log.file.clone(), from.number());
        let mut target_writer =
            io::BufWriter::with_capacity(COPY_BYTES, vfs::SequentialWriter::new(target.clone(), 0));
        io::copy(&mut source, &mut target_writer)?;
        io::Write::flush(&mut target_writer)?;
        target.sync_data()
    };
    if let Err(error) = copy() {
        // Half a copy would take the room that is missing, and a number.
        disk.remove(&path).ok();
        if is_full(&error) {
            let (log, offset) = (log.path().display(), from.number());
            tracing::error!(path = %log, offset, copy = %path.display(),
                "the disk is full, so what follows the last finished transaction cannot be saved, and \
                 the file is not opened and not changed: make room and start again, or copy the file's \
                 bytes from that offset elsewhere and cut it there");
            let what = "save what follows the last finished transaction (the disk is full: make room \
                        and start again) to";
            return Err(StorageError::io(path.as_path(), what, error));
        }
        return Err(StorageError::io(path.as_path(), "write", error));
    }
    sync_parent(disk, &path)?;
    Ok(path)
}

fn free_tail_path(log: &Log, disk: &dyn Disk) -> Result<PathBuf, StorageError> {
    for number in 0..TAIL_FILES_MAX {
        let path = with_suffix(log.path(), &format!(".tr{number}"));
        let taken = disk
            .exists(&path)
            .map_err(|error| StorageError::io(path.as_path(), "look for", error))?;
        if !taken {
            return Ok(path);
        }
    }
    Err(StorageError::Limit {
        what: "the number of saved tails (.tr files; move them away)",
        found: TAIL_FILES_MAX,
        max: TAIL_FILES_MAX,
    })
}

/// New transactions get ids behind the last one, so a file from the future freezes their clock.
fn warn_of_the_future(log: &Log, last_tid: Tid, now: Duration) {
    let ahead = last_tid.to_unix_time().saturating_sub(now);
    let (path, seconds) = (log.path().display(), ahead.as_secs());
    if ahead > FUTURE_MAX {
        tracing::error!(%path, seconds, "the last transaction is far in the future");
    } else if seconds > 0 {
        tracing::warn!(%path, seconds, "the last transaction is in the future");
    }
}

const PACK_SORTS_AT_ONCE: usize = 8 << 10;
const TAIL_FILES_MAX: u64 = 10_000;
const COPY_BYTES: usize = 1 << 20;
const FUTURE_MAX: Duration = Duration::from_secs(30 * 60);

const _: () = assert!(LOG_START.number() == MAGIC_NEW.len() as u64);
