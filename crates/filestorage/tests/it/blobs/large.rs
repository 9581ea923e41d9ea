//! Large blobs, and blobs from elsewhere, on the disk of the machine.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use filestorage::{FileStorage, Options};
use storage::{Blobs, Oid, PackOptions, Record, Storage, Tid, TransactionMeta, is_blob_record};
use vfs::{DirectoryEntry, Disk, DiskLock, File, LockError, OpenMode, RealDisk};

use super::{BLOB, ONE, finish, listed};

/// The real disk, watched: how much is read or written at once, and what is read of large files.
#[derive(Clone, Default)]
struct Watched {
    /// Whether renames and links behave as between two file systems.
    apart: Arc<AtomicBool>,
    largest: Arc<AtomicUsize>,
    read_of_large: Arc<AtomicUsize>,
}

impl Watched {
    fn check_devices(&self, from: &Path) -> io::Result<()> {
        // What lies in the directory of blobs is on its file system.
        let outside = !from.components().any(|part| part.as_os_str() == "blobs");
        if outside && from.extension().is_some() && self.apart.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        Ok(())
    }
}

impl Disk for Watched {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = RealDisk.open(path, mode)?;
        let watch = self.clone();
        Ok(Arc::new(WatchedFile { file, watch }))
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check_devices(from)?;
        RealDisk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.apart.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        RealDisk.link(from, to)
    }
    fn is_same_file(&self, one: &Path, other: &Path) -> io::Result<bool> {
        RealDisk.is_same_file(one, other)
    }
    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        RealDisk.make_read_only(path)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_directory(path)
    }
    fn list_directory(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        RealDisk.list_directory(path)
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }
    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_directory(path)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockError> {
        RealDisk.lock(path)
    }
}

struct WatchedFile {
    file: Arc<dyn File>,
    watch: Watched,
}

impl File for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.file.read_at(buffer, offset)?;
        let watch = &self.watch;
        watch.largest.fetch_max(buffer.len(), Ordering::Relaxed);
        if self.file.len()? == LARGE {
            watch.read_of_large.fetch_add(count, Ordering::Relaxed);
        }
        Ok(count)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.watch.largest.fetch_max(bytes.len(), Ordering::Relaxed);
        self.file.write_at(bytes, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn open(folder: &Path, disk: &Watched) -> Arc<FileStorage> {
    let options = Options {
        blob_dir: Some(folder.join("blobs")),
        disk: Arc::new(disk.clone()),
        ..Options::default()
    };
    FileStorage::open(folder.join("Data.fs"), options).unwrap()
}

fn store(storage: &Arc<FileStorage>, oid: Oid, base: Tid, path: &Path) -> Tid {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit
        .store_blob(oid, base, Record::from(BLOB), path.to_owned())
        .unwrap();
    finish(commit).unwrap()
}

#[test]
fn a_blob_of_100_mb_is_never_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Watched::default();
    let storage = open(folder.path(), &disk);
    for apart in [false, true] {
        disk.apart.store(apart, Ordering::Relaxed);
        let oid = Oid::new(1 + u64::from(apart));
        let path = folder.path().join("large.data");
        fs::File::create(&path).unwrap().set_len(LARGE).unwrap();
        let first = store(&storage, oid, Tid::ZERO, &path);
        assert!(!path.exists(), "it belongs to the storage now");
        let small = folder.path().join("small.data");
        fs::write(&small, "small").unwrap();
        let second = store(&storage, oid, first, &small);
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        commit.undo(second).unwrap();
        let undone = finish(commit).unwrap();
        for tid in [first, undone] {
            let path = storage.load_blob(oid, tid).unwrap();
            assert_eq!(fs::metadata(path).unwrap().len(), LARGE);
        }
        let read = disk.read_of_large.load(Ordering::Relaxed) as u64;
        // Copied when it came from another file system, and by the undo, where links are refused.
        assert_eq!(read, if apart { 2 * LARGE } else { 0 });
    }
    assert!(disk.largest.load(Ordering::Relaxed) <= 1 << 20);
    let staging = storage.staging_directory();
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
}

/// A pack may remove a directory, because it is empty, that a vote has just made.
#[test]
fn a_directory_that_has_gone_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path(), &Watched::default());
    let file = storage.staging_file();
    fs::write(&file, "text").unwrap();
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit
        .store_blob(ONE, Tid::ZERO, Record::from(BLOB), file)
        .unwrap();
    let voted = commit.vote().unwrap();
    let directory = storage.blob_directory().unwrap().directory_of(ONE);
    fs::remove_dir(&directory).unwrap();
    fs::remove_dir(directory.parent().unwrap()).unwrap();
    let tid = voted.finish(Box::new(|_| {})).unwrap();
    let path = storage.load_blob(ONE, tid).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "text");
}

/// Packs remove directories while commits make those beside them, and files in them.
#[test]
fn commits_and_packs_of_blobs_go_on_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(folder.path(), &Watched::default());
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let root = Record::from(&b"\x80\x03cplain\nRoot\nq\x00.\x80\x03N."[..]);
    commit.store(Oid::ROOT, Tid::ZERO, root).unwrap();
    finish(commit).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for lane in 0..2 {
            let (storage, done) = (&storage, &done);
            scope.spawn(move || {
                for number in 0..150 {
                    // Each in a directory of its own, which has few neighbours.
                    let oid = Oid::new((number << 8 | 7) << 1 | lane);
                    let file = storage.staging_file();
                    fs::write(&file, "garbage soon").unwrap();
                    let tid = store(storage, oid, Tid::ZERO, &file);
                    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
                    commit.undo(tid).ok();
                    // A pack may have taken the transaction away.
                    finish(commit).ok();
                }
                done.store(true, Ordering::Release);
            });
        }
        while !done.load(Ordering::Acquire) {
            let options = PackOptions {
                keep_old: false,
                ..PackOptions::default()
            };
            storage.pack(&options).unwrap();
        }
    });
    let mut named = Vec::new();
    for transaction in storage.transactions(Tid::ZERO, Tid::MAX).unwrap() {
        for record in transaction.unwrap().records() {
            let record = record.unwrap();
            if record.data.is_some_and(|data| is_blob_record(&data)) {
                assert!(storage.load_blob(record.oid, record.tid).is_ok());
                named.push((record.oid, record.tid));
            }
        }
    }
    named.sort_unstable();
    assert_eq!(listed(&storage), named);
}

const LARGE: u64 = 100 << 20;
