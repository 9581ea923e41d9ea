//! Data.fs from outside: the shared suite, the original's files, power losses, damage.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filestorage::{Clock, FileStorage, Options};
use sim::SimDisk;
use storage::{Oid, Record, Storage, StorageError, Tid, TransactionMeta};

mod blobs;
mod checkpoint;
mod copying;
mod crash;
mod damage;
mod displaced;
mod golden;
mod history;
mod missing_end;
mod pack;
mod pack_damage;
mod pack_faults;
mod recovery;
mod resolving;
mod room;
mod undo;
mod wrong_index;

/// The suite on the disk that loses power, which it does not do here.
mod suite_sim {
    fn make() -> sim::World {
        let disk = sim::SimDisk::new();
        sim::World::new(super::open(&disk).unwrap())
    }
    sim::local_storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack yes }
}

/// The suite over an overlay whose changes are in a file, as is its empty base.
mod suite_overlay {
    use storage::{OverlayOptions, OverlayStorage};

    fn make() -> sim::World {
        let [base, changes] = [0, 1].map(|_| super::open(&sim::SimDisk::new()).unwrap());
        let options = OverlayOptions {
            clock: Some(super::steady_clock()),
            ..OverlayOptions::default()
        };
        sim::World::new(OverlayStorage::new(base, changes, options).unwrap())
    }
    sim::local_storage_suite!(make);
    sim::capabilities! { make: iterate yes, undo yes, delete yes, copy yes, pack yes }

    #[test]
    fn a_history_may_be_cut_in_two_between_files() {
        let file = || sim::World::new(super::open(&sim::SimDisk::new()).unwrap());
        let memory = || sim::World::new(std::sync::Arc::new(storage::MemoryStorage::new()));
        sim::suite::an_overlay_shows_base_and_changes_as_one(&file(), &file());
        sim::suite::an_overlay_shows_base_and_changes_as_one(&file(), &memory());
        sim::suite::an_overlay_shows_base_and_changes_as_one(&memory(), &file());
    }
}

/// The suite with records that are compressed as zc.zlibstorage does it.
mod suite_compressed {
    use filestorage::{Compression, FileStorage, Options};

    fn make() -> sim::World {
        let disk = sim::SimDisk::new();
        let options = Options {
            compress: Compression::Zlib,
            ..super::options(&disk)
        };
        sim::World::new(FileStorage::open(super::PATH, options).unwrap())
    }
    sim::local_storage_suite!(make);
}

/// The suite on the disk of the machine.
mod suite_real {
    use filestorage::{FileStorage, Options};

    fn make() -> sim::World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs");
        let storage = FileStorage::open(path, Options::default()).unwrap();
        sim::World::with(storage, folder)
    }
    sim::local_storage_suite!(make);
}

const PATH: &str = "/db/Data.fs";

fn path() -> &'static Path {
    Path::new(PATH)
}

/// Opens the Data.fs on that disk for writing.
fn open(disk: &SimDisk) -> Result<Arc<FileStorage>, StorageError> {
    FileStorage::open(PATH, options(disk))
}

fn open_read_only(disk: &SimDisk) -> Result<Arc<FileStorage>, StorageError> {
    let read_only = true;
    FileStorage::open(
        PATH,
        Options {
            read_only,
            ..options(disk)
        },
    )
}

fn options(disk: &SimDisk) -> Options {
    Options {
        clock: steady_clock(),
        disk: Arc::new(disk.clone()),
        // So that the index of a packed file of a few objects waits in a file too.
        pack_sorts_at_once: 2,
        ..Options::default()
    }
}

/// A clock that moves on by a second with each look at it.
fn steady_clock() -> Clock {
    let seconds = AtomicU64::new(1_700_000_000);
    Arc::new(move || Duration::from_secs(seconds.fetch_add(1, Ordering::Relaxed)))
}

/// Commits a change of one object, made from its current revision.
fn change(storage: &Arc<FileStorage>, oid: u64, record: &[u8]) -> Tid {
    let oid = Oid::new(oid);
    let base = match storage.load_before(oid, Tid::MAX) {
        Ok(current) => current.unwrap().tid,
        Err(StorageError::NotFound { .. }) => Tid::ZERO,
        Err(error) => panic!("{error}"),
    };
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.store(oid, base, Record::from(record)).unwrap();
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}
