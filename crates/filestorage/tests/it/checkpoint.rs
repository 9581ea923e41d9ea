//! The checkpoint of the index: with it a storage is what it would be without it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use filestorage::{Durability, FileStorage, Options, PackOptions};
use sim::{Fault, SimDisk};
use storage::{Oid, Record, Storage, StorageError, Tid, TransactionMeta};
use vfs::Disk;

use crate::{PATH, path};

/// A checkpoint after every few transactions, at once and in the same thread.
fn options(disk: &SimDisk) -> Options {
    Options {
        checkpoint_every: Some(EVERY),
        background: Arc::new(|work| work()),
        ..crate::options(disk)
    }
}

fn open(disk: &SimDisk) -> Result<Arc<FileStorage>, StorageError> {
    FileStorage::open(PATH, options(disk))
}

fn beside(suffix: &str) -> String {
    format!("{PATH}{suffix}")
}

fn has(disk: &SimDisk, suffix: &str) -> bool {
    disk.exists(Path::new(&beside(suffix))).unwrap()
}

/// The current revision of each object.
fn read_all(storage: &FileStorage) -> BTreeMap<u64, (Tid, Record)> {
    let oids = (0..OBJECTS).filter_map(|oid| {
        let found = storage.load_before(Oid::new(oid), Tid::MAX);
        match found {
            Ok(found) => found.map(|revision| (oid, (revision.tid, revision.record))),
            Err(StorageError::NotFound { .. }) => None,
            Err(error) => panic!("{oid}: {error}"),
        }
    });
    oids.collect()
}

/// Commits, checkpoints among them, a pack, and more of them; nothing where a fault ends it.
fn history(disk: &SimDisk, acknowledged: &mut BTreeMap<u64, Tid>) -> Option<()> {
    let storage = open(disk).ok()?;
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..24 {
        if round == 16 {
            storage.pack(&everything()).ok()?;
        }
        let number = if round == 0 { 0 } else { rng.u64(..OBJECTS) };
        let oid = Oid::new(number);
        let base = match storage.load_before(oid, Tid::MAX) {
            Err(StorageError::NotFound { .. }) => Tid::ZERO,
            found => found.ok()??.tid,
        };
        let mut commit = storage.clone().begin(TransactionMeta::default()).ok()?;
        commit
            .store(oid, base, Record::from(vec![round; 40]))
            .ok()?;
        let tid = commit.vote().ok()?.finish(Box::new(|_| {})).ok()?;
        acknowledged.insert(number, tid);
    }
    storage.close().ok()
}

fn everything() -> PackOptions {
    PackOptions {
        gc: false,
        ..PackOptions::default()
    }
}

#[test]
fn a_power_loss_at_any_operation_leaves_what_the_log_says() {
    let disk = SimDisk::new();
    history(&disk, &mut BTreeMap::new()).unwrap();
    assert!(has(&disk, ".zidx"), "the history has checkpoints");
    let mut believed = 0;
    for operation in 1..=disk.operations() {
        for seed in 0..6 {
            let context = format!("operation {operation}, seed {seed}");
            let disk = SimDisk::new();
            let mut acknowledged = BTreeMap::new();
            disk.fail_at(operation, Fault::PowerLoss);
            let ended = history(&disk, &mut acknowledged);
            assert!(ended.is_none() || disk.is_faultless());
            disk.restart(seed);
            let storage = open(&disk).unwrap();
            let found = read_all(&storage);
            // The same log without anything beside it.
            let alone = SimDisk::new();
            alone.put(path(), &disk.contents(path()).unwrap());
            assert_eq!(found, read_all(&open(&alone).unwrap()), "{context}");
            for (oid, tid) in acknowledged {
                assert!(found[&oid].0 >= tid, "{context}: {oid} is lost");
            }
            believed += u32::from(has(&disk, ".zidx"));
            // And it goes on.
            for oid in [1, 2, 1] {
                crate::change(&storage, oid, &[7; 300]);
            }
            let found = read_all(&storage);
            drop(storage);
            disk.restart_process();
            assert_eq!(found, read_all(&open(&disk).unwrap()), "{context}");
        }
    }
    assert!(believed > 0);
}

/// A transaction in the middle has lost its length, which only a scan can notice.
#[test]
fn an_open_reads_what_is_behind_the_checkpoint() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    for oid in 0..OBJECTS {
        crate::change(&storage, oid, &[1; 5000]);
    }
    drop(storage);
    disk.restart_process();
    let mut log = disk.contents(path()).unwrap();
    let transaction = 23 + 42 + 5000 + 8;
    let middle = 4 + 4 * transaction;
    assert_eq!(
        log[middle + 8..middle + 16],
        (transaction as u64 - 8).to_be_bytes()
    );
    log[middle + 8..middle + 16].fill(0);
    disk.put(path(), &log);
    let storage = open(&disk).unwrap();
    assert_eq!(storage.stats().objects, OBJECTS);
    storage
        .load_before(Oid::new(OBJECTS - 1), Tid::MAX)
        .unwrap();
    drop(storage);
    disk.restart_process();
    disk.remove(Path::new(&beside(".zidx"))).unwrap();
    disk.remove(Path::new(&beside(".index"))).ok();
    assert!(matches!(open(&disk), Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_close_renews_a_checkpoint_and_makes_none() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    crate::change(&storage, 1, b"short");
    storage.close().unwrap();
    assert!(!has(&disk, ".zidx"), "a small file needs none");

    let storage = open(&disk).unwrap();
    for oid in 0..OBJECTS {
        crate::change(&storage, oid, &[1; 500]);
    }
    storage.close().unwrap();
    assert!(has(&disk, ".zidx"));
    // It is as new as the index, so that nothing has to be read without one.
    disk.remove(Path::new(&beside(".index"))).unwrap();
    let storage = open(&disk).unwrap();
    assert!(
        !has(&disk, ".index"),
        "which an open writes that had to read everything"
    );
    assert_eq!(storage.stats().objects, OBJECTS);
}

#[test]
fn a_pack_takes_the_checkpoint_of_the_old_file_away() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    for round in 0..3 {
        for oid in 0..OBJECTS {
            crate::change(&storage, oid, &[round; 200]);
        }
    }
    assert!(has(&disk, ".zidx"));
    assert!(storage.pack(&everything()).unwrap().packed);
    assert!(!has(&disk, ".zidx"));
    for oid in 0..OBJECTS {
        crate::change(&storage, oid, &[9; 200]);
    }
    assert!(has(&disk, ".zidx"), "the new file gets its own");
    let found = read_all(&storage);
    drop(storage);
    disk.restart_process();
    assert_eq!(found, read_all(&open(&disk).unwrap()));
}

/// The original knows nothing of checkpoints: its pack leaves that of the old file in the place.
#[test]
fn a_checkpoint_is_not_believed_behind_a_pack_of_the_original() {
    let old = SimDisk::new();
    old.put(path(), include_bytes!("../golden/unpacked.fs"));
    let storage = open(&old).unwrap();
    crate::change(&storage, 3, &[1; 500]);
    drop(storage);
    let stale = old.contents(Path::new(&beside(".zidx"))).unwrap();

    let disk = SimDisk::new();
    disk.put(path(), include_bytes!("../golden/packed-late.fs"));
    let storage = crate::open(&disk).unwrap();
    // As long as the old one, and longer.
    while storage.stats().bytes < 2 * old.contents(path()).unwrap().len() as u64 {
        crate::change(&storage, 3, &[2; 100]);
        disk.remove(Path::new(&beside(".index"))).ok();
        disk.put(Path::new(&beside(".zidx")), &stale);
        let look = crate::open_read_only(&disk).unwrap();
        assert_eq!(read_all(&look), read_all(&storage));
    }
}

/// What was not synced may be lost, and must not be in a checkpoint.
#[test]
fn without_syncs_there_is_no_checkpoint_before_the_next_one() {
    let disk = SimDisk::new();
    let interval = Duration::from_secs(3600);
    let options = Options {
        durability: Durability::Async { interval },
        ..options(&disk)
    };
    let storage = FileStorage::open(PATH, options).unwrap();
    for oid in 0..OBJECTS {
        crate::change(&storage, oid, &[1; 500]);
    }
    assert!(!has(&disk, ".zidx"));
    storage.close().unwrap();
    assert!(has(&disk, ".zidx"));
}

#[test]
fn checkpoints_are_written_on_a_thread_while_commits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let options = || Options {
        checkpoint_every: Some(EVERY),
        ..Options::default()
    };
    let storage = FileStorage::open(&path, options()).unwrap();
    thread::scope(|scope| {
        for part in 0..3 {
            let storage = &storage;
            scope.spawn(move || {
                for round in 0..40u8 {
                    for oid in (part..OBJECTS).step_by(3) {
                        crate::change(storage, oid, &[round; 100]);
                    }
                }
            });
        }
    });
    let found = read_all(&storage);
    // Without a close, as if the process had died, but for the lock.
    drop(storage);
    assert!(folder.path().join("Data.fs.zidx").is_file());
    let storage = FileStorage::open(&path, options()).unwrap();
    assert_eq!(found, read_all(&storage));
    storage.close().unwrap();
    let storage = FileStorage::open(&path, options()).unwrap();
    assert_eq!(found, read_all(&storage));
}

const EVERY: u64 = 400;
const OBJECTS: u64 = 24;
