//! The files of blobs: a cache of those that the server has, or its own directory.
//!
//! The cache is laid out as the original's client does it (`zeocache`), locks included, so that both may
//! use one directory, and several processes may: `<oid % 997>/<oid / 997>.<tid>.blob`, a `.lock` in each
//! of these directories, held while a file in it comes or goes.

mod cleaning;
mod layout;
mod staged;

use std::collections::HashSet;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};
use storage::{Blobs, Oid, StorageError, Tid};
use vfs::{Disk, DiskLock, LockError, RealDisk};
use zeo::BlobPart;

use self::layout::Layout;
pub(super) use self::staged::StagedFile;
use super::link::Answer;
use super::options::BlobOptions;
use super::{Shared, ZeoStorage};
use crate::clock;

/// The directory of a client.
pub(super) struct BlobFiles {
    root: PathBuf,
    temporary: PathBuf,
    layout: Layout,
    bytes_max: Option<u64>,
    /// So much may come before the cache is looked at.
    check_bytes: u64,
    /// What has come since then.
    fresh_bytes: AtomicU64,
    is_cleaning: Arc<AtomicBool>,
    names: AtomicU64,
    /// Files that somebody of this process fetches.
    fetching: Mutex<HashSet<(Oid, Tid)>>,
    fetched: Condvar,
}

/// How often a lock is tried that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// How long a file is waited for that somebody else fetches, as the original does.
const LOCK_MAX: Duration = Duration::from_secs(600);
/// The largest file that is taken.
const BLOB_BYTES_MAX: u64 = 1 << 40;

impl BlobFiles {
    pub(super) fn open(options: &BlobOptions) -> Result<Self, StorageError> {
        let root = options.directory.clone();
        let layout = if options.is_shared {
            Layout::of_server(&root)?
        } else {
            layout::prepare_cache(&root)?
        };
        let bytes_max = options.bytes_max.filter(|_| !options.is_shared);
        let percent = u64::from(options.check_percent.min(100));
        let files = Self {
            temporary: root.join(TEMPORARY),
            root,
            layout,
            bytes_max,
            check_bytes: bytes_max.map_or(u64::MAX, |bytes| bytes / 100 * percent),
            fresh_bytes: AtomicU64::new(0),
            is_cleaning: Arc::default(),
            names: AtomicU64::new(0),
            fetching: Mutex::default(),
            fetched: Condvar::new(),
        };
        make_directory(&files.temporary)?;
        staged::remove_old(&files.temporary);
        files.clean();
        Ok(files)
    }

    pub(super) fn is_shared(&self) -> bool {
        self.layout != Layout::Cache
    }

    fn path(&self, oid: Oid, tid: Tid) -> PathBuf {
        self.root.join(self.layout.file(oid, tid))
    }

    /// A name for a file of ours, in `tmp/`, that nobody else gives.
    fn staging_file(&self) -> PathBuf {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        self.temporary.join(staged::name(number))
    }

    /// Brings a file to where the server takes it from, in its directory for the object.
    pub(super) fn hand_over(
        &self,
        file: &mut StagedFile,
        oid: Oid,
    ) -> Result<String, StorageError> {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.tmp", staged::name(number));
        let path = self.path(oid, Tid::ZERO).with_file_name(&name);
        let directory = path.parent().unwrap_or(&self.root);
        make_directory(directory)?;
        file.move_to(path)?;
        Ok(name)
    }

    /// Keeps a file that is committed. It is only a copy, so a failure costs a download.
    pub(super) fn adopt(&self, file: StagedFile, oid: Oid, tid: Tid, deadline: Instant) {
        let adopt = || {
            let path = self.path(oid, tid);
            let _lock = self.lock(&path, deadline)?;
            self.fresh_bytes
                .fetch_add(file.length()?, Ordering::Relaxed);
            file.keep_as(path)
        };
        if let Err(error) = adopt() {
            tracing::warn!(%error, "the file of a blob is not kept in the cache");
        }
        self.clean_if_due();
    }

    /// Locks the directory of a file, against all processes.
    fn lock(&self, path: &Path, deadline: Instant) -> Result<Box<dyn DiskLock>, StorageError> {
        let directory = path.parent().unwrap_or(&self.root);
        make_directory(directory)?;
        let lock = directory.join(layout::LOCK);
        loop {
            match RealDisk.lock(&lock) {
                Ok(held) => return Ok(held),
                Err(LockError::Held { pid }) if clock::now() >= deadline => {
                    return Err(StorageError::Locked { path: lock, pid });
                }
                Err(LockError::Held { .. }) => {
                    let mut fetching = self.fetching.lock();
                    self.fetched.wait_for(&mut fetching, LOCK_PAUSE);
                }
                Err(LockError::Io(error)) => return Err(StorageError::io(lock, "lock", error)),
            }
        }
    }

    fn clean_if_due(&self) {
        if self.fresh_bytes.load(Ordering::Relaxed) >= self.check_bytes {
            self.clean();
        }
    }

    /// Makes room, on a thread of its own.
    fn clean(&self) {
        let Some(bytes_max) = self.bytes_max else {
            return;
        };
        if self.is_cleaning.swap(true, Ordering::AcqRel) {
            return;
        }
        self.fresh_bytes.store(0, Ordering::Relaxed);
        let target = bytes_max.saturating_sub(self.check_bytes);
        let (root, is_cleaning) = (self.root.clone(), self.is_cleaning.clone());
        let work = move || {
            if let Err(error) = cleaning::clean(&root, target) {
                let root = root.display();
                tracing::warn!(%root, %error, "the cache of blobs cannot be cleaned");
            }
            is_cleaning.store(false, Ordering::Release);
        };
        let started = std::thread::Builder::new()
            .name("zeo-client-blobs".to_owned())
            .spawn(work);
        if let Err(error) = started {
            self.is_cleaning.store(false, Ordering::Release);
            tracing::warn!(%error, "the cache of blobs is not cleaned");
        }
    }
}

impl Blobs for ZeoStorage {
    fn load_blob(&self, oid: Oid, tid: Tid) -> Result<PathBuf, StorageError> {
        let files = self.shared.blob_files()?;
        let path = files.path(oid, tid);
        if path.exists() {
            touch(&path);
            return Ok(path);
        }
        if files.is_shared() {
            // What is not there is nowhere.
            return Err(StorageError::NotFound { oid });
        }
        let deadline = clock::now() + LOCK_MAX;
        let Some(_turn) = Turn::wait(files, oid, tid, deadline) else {
            return Err(self.shared.disconnected());
        };
        let _lock = files.lock(&path, deadline)?;
        if !path.exists() {
            self.shared.fetch(files, oid, tid, &path)?;
            files.clean_if_due();
        }
        touch(&path);
        Ok(path)
    }

    fn staging_directory(&self) -> &Path {
        let files = self.shared.blobs.as_ref();
        files.map_or_else(|| Path::new(""), |files| &files.temporary)
    }

    fn staging_file(&self) -> PathBuf {
        let files = self.shared.blobs.as_ref();
        files.map_or_else(PathBuf::new, BlobFiles::staging_file)
    }
}

impl Shared {
    pub(super) fn blob_files(&self) -> Result<&BlobFiles, StorageError> {
        self.blobs.as_ref().ok_or(StorageError::Unsupported {
            operation: "blobs without a directory for them",
        })
    }

    /// Fetches a file, on a new connection if need be.
    fn fetch(
        &self,
        files: &BlobFiles,
        oid: Oid,
        tid: Tid,
        path: &Path,
    ) -> Result<(), StorageError> {
        loop {
            let deadline = self.deadline();
            let link = self.link_until(deadline)?;
            let heard = Arc::new(AtomicU64::new(0));
            let download = Download::new(path.to_owned(), heard.clone());
            let slot = link.fetch_blob(oid, tid, download, deadline);
            let mut before = 0;
            let answer = loop {
                // A large file may take any time, as long as it comes.
                let answer = slot.wait_until(self.deadline());
                let now = heard.load(Ordering::Relaxed);
                if answer.is_some() || now == before {
                    break answer;
                }
                before = now;
            };
            files
                .fresh_bytes
                .fetch_add(heard.load(Ordering::Relaxed), Ordering::Relaxed);
            match answer {
                Some(Answer::Said(outcome)) => return outcome,
                Some(Answer::Lost) => self.forget(&link),
                None => {
                    self.abandon(&link);
                    return Err(self.disconnected());
                }
            }
        }
    }
}

/// The right to fetch a file, which one caller at a time has.
struct Turn<'a> {
    files: &'a BlobFiles,
    key: (Oid, Tid),
}

impl<'a> Turn<'a> {
    fn wait(files: &'a BlobFiles, oid: Oid, tid: Tid, deadline: Instant) -> Option<Self> {
        let key = (oid, tid);
        let mut fetching = files.fetching.lock();
        while !fetching.insert(key) {
            if files
                .fetched
                .wait_until(&mut fetching, deadline)
                .timed_out()
            {
                return None;
            }
        }
        Some(Self { files, key })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.files.fetching.lock().remove(&self.key);
        self.files.fetched.notify_all();
    }
}

/// A file that comes.
pub(super) struct Download {
    path: PathBuf,
    /// What has come of it, which others may watch.
    heard: Arc<AtomicU64>,
    stage: Stage,
}

enum Stage {
    Announced,
    Coming(File),
    Whole,
    Failed(StorageError),
}

impl Download {
    fn new(path: PathBuf, heard: Arc<AtomicU64>) -> Self {
        Self {
            path,
            heard,
            stage: Stage::Announced,
        }
    }

    /// Takes the next part in.
    pub(super) fn take(&mut self, part: &BlobPart) {
        let stage = std::mem::replace(&mut self.stage, Stage::Announced);
        self.stage = match self.step(stage, part) {
            Ok(stage) => stage,
            Err(error) => Stage::Failed(StorageError::io(&self.path, "write", error)),
        };
    }

    fn step(&self, stage: Stage, part: &BlobPart) -> io::Result<Stage> {
        Ok(match (stage, part) {
            (Stage::Announced, BlobPart::Start) => Stage::Coming(File::create(self.unfinished())?),
            (Stage::Coming(mut file), BlobPart::Chunk(bytes)) => {
                let length = bytes.len() as u64;
                if self.heard.fetch_add(length, Ordering::Relaxed) + length > BLOB_BYTES_MAX {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                file.write_all(bytes)?;
                Stage::Coming(file)
            }
            (Stage::Coming(file), BlobPart::Stop) => {
                drop(file);
                RealDisk.make_read_only(&self.unfinished())?;
                fs::rename(self.unfinished(), &self.path)?;
                Stage::Whole
            }
            (failed @ Stage::Failed(_), _) => failed,
            _ => return Err(io::Error::other("the parts of a blob come in disorder")),
        })
    }

    /// The server says that this was all.
    pub(super) fn end(self, oid: Oid) -> Result<(), StorageError> {
        match &self.stage {
            Stage::Whole => Ok(()),
            Stage::Failed(error) => Err(error.clone()),
            Stage::Announced | Stage::Coming(_) => Err(StorageError::NotFound { oid }),
        }
    }

    /// The original's name for it while it comes.
    fn unfinished(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".dl");
        name.into()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Coming(_) | Stage::Failed(_)) {
            let _it_may_not_be_there = fs::remove_file(self.unfinished());
        }
    }
}

/// Notes that a file is used, also where the file system does not.
fn touch(path: &Path) {
    let times = FileTimes::new().set_accessed(now());
    let file = OpenOptions::new().read(true).open(path);
    // Others clean up by it; it may be gone just now.
    let _noted = file.and_then(|file| file.set_times(times));
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + clock::since_1970()
}

fn make_directory(path: &Path) -> Result<(), StorageError> {
    fs::create_dir_all(path).map_err(|error| StorageError::io(path, "make", error))
}

const TEMPORARY: &str = "tmp";
