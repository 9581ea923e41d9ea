//! What a transaction may cost: quota, room on the disk, memory; and what it may be told too early.

use std::sync::Arc;
use std::time::Duration;

use filestorage::{Durability, FileStorage, Options};
use sim::{Fault, SimDisk};
use storage::{Commit, CommitError, Oid, Record, Storage, StorageError, Tid, TransactionMeta};

use crate::{PATH, change, open, options, path};

fn store(storage: &Arc<FileStorage>, oid: u64, bytes: usize) -> Box<dyn Commit> {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let record = Record::from(vec![b'x'; bytes]);
    commit.store(Oid::new(oid), Tid::ZERO, record).unwrap();
    commit
}

fn finish(commit: Box<dyn Commit>) -> Result<Tid, CommitError> {
    commit.vote()?.finish(Box::new(|_| {}))
}

#[test]
fn a_quota_refuses_what_would_not_fit_with_all_that_has_voted() {
    let disk = SimDisk::new();
    let storage = FileStorage::open(
        PATH,
        Options {
            quota: Some(10_000),
            ..options(&disk)
        },
    )
    .unwrap();
    change(&storage, 1, &[1; 3000]);
    let voted = store(&storage, 2, 4000).vote().unwrap();
    let refused = store(&storage, 3, 4000).vote().err().unwrap();
    assert!(
        matches!(
            refused,
            CommitError::Storage(StorageError::Limit { max: 10_000, found, .. }) if found > 11_000
        ),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("quota"), "{refused}");
    drop(voted);
    finish(store(&storage, 3, 4000)).unwrap();
    finish(store(&storage, 4, 2000)).unwrap();
    finish(store(&storage, 5, 2000)).unwrap_err();
    assert!(disk.contents(path()).unwrap().len() <= 10_000);
}

/// A full disk is found out at the vote, where it costs nobody anything.
#[test]
fn a_vote_takes_its_room_on_the_disk() {
    let disk = SimDisk::new();
    disk.limit_room(100_000);
    let storage = open(&disk).unwrap();
    change(&storage, 1, b"before");
    let voted = store(&storage, 2, 60_000).vote().unwrap();
    let refused = store(&storage, 3, 60_000).vote().err().unwrap();
    assert!(
        matches!(&refused, CommitError::Storage(StorageError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::StorageFull),
        "{refused:?}"
    );
    let before = disk.contents(path()).unwrap();
    voted.finish(Box::new(|_| {})).unwrap();
    assert!(disk.contents(path()).unwrap().len() > before.len() + 60_000);
    change(&storage, 4, b"after");
    storage.close().unwrap();
    assert_eq!(open(&disk).unwrap().recent_changes(9).unwrap().len(), 3);
}

/// Nobody sees the room that is taken behind the end of the file.
#[test]
fn taken_room_is_not_part_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Data.fs");
    let storage = FileStorage::open(&path, Options::default()).unwrap();
    change(&storage, 1, b"small");
    let length = std::fs::metadata(&path).unwrap().len();
    assert_eq!(length, storage.stats().bytes);
    storage.close().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
}

/// Large transactions do not live in memory, and leave no file behind.
#[test]
fn a_large_transaction_is_spilled() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let record = |number: u64| Record::from(number.to_be_bytes().repeat(50_000));
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    for number in 0..60 {
        commit
            .store(Oid::new(number), Tid::ZERO, record(number))
            .unwrap();
    }
    let before = disk.contents(path()).unwrap();
    let voted = commit.vote().unwrap();
    assert_eq!(disk.contents(path()).unwrap(), before);
    let tid = voted.finish(Box::new(|_| {})).unwrap();
    drop(storage);
    disk.restart(1);
    assert_eq!(disk.contents(format!("{PATH}.spill0").as_ref()), None);
    let storage = open(&disk).unwrap();
    assert_eq!(storage.last_tid(), tid);
    for number in 0..60 {
        let found = storage.load_serial(Oid::new(number), tid).unwrap();
        assert!(found == record(number), "{number}");
    }
}

/// Spilled records are undone and merged like others.
#[test]
fn an_undo_sees_what_was_spilled_before_it() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    change(&storage, 1, b"older");
    let undone = change(&storage, 1, b"same");
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    for number in 100..117 {
        let record = Record::from(vec![3; 1 << 20]);
        commit.store(Oid::new(number), Tid::ZERO, record).unwrap();
    }
    commit
        .store(Oid::new(1), undone, Record::from(&b"same"[..]))
        .unwrap();
    commit.undo(undone).unwrap();
    finish(commit).unwrap();
    let found = storage.load_before(Oid::new(1), Tid::MAX).unwrap().unwrap();
    assert_eq!(&*found.record, b"older");
}

fn open_async(disk: &SimDisk, interval: Duration) -> Arc<FileStorage> {
    let options = Options {
        durability: Durability::Async { interval },
        ..options(disk)
    };
    FileStorage::open(PATH, options).unwrap()
}

#[test]
fn what_is_not_synced_at_once_is_synced_at_the_close() {
    let mut lost = 0;
    for coin in 0..40 {
        let disk = SimDisk::new();
        let storage = open_async(&disk, Duration::from_secs(3600));
        let before = disk.operations();
        let tid = change(&storage, 1, b"fast");
        assert_eq!(disk.operations() - before, 1, "one write, no sync");
        if coin % 2 == 0 {
            storage.close().unwrap();
        }
        drop(storage);
        disk.restart(coin);
        let found = open(&disk).unwrap().last_tid();
        assert!(coin % 2 == 1 || found == tid);
        lost += usize::from(found != tid);
    }
    assert!(lost > 5, "without the close it may be lost");
}

#[test]
fn what_is_not_synced_at_once_is_synced_after_the_interval() {
    let disk = SimDisk::new();
    let storage = open_async(&disk, Duration::from_millis(1));
    let before = disk.operations();
    let tid = change(&storage, 1, b"fast");
    while disk.operations() < before + 2 {
        std::thread::yield_now();
    }
    disk.restart(3);
    drop(storage);
    assert_eq!(open(&disk).unwrap().last_tid(), tid);
}

const PLAIN: &[u8] = include_bytes!("../golden/plain.fs");
const UNFINISHED: &[u8] = include_bytes!("../golden/unfinished.fs");

/// Wherever an open meets the full disk: it goes on or says so, and the next one finds everything.
#[test]
fn an_open_on_a_full_disk_says_so_and_loses_nothing() {
    let mut refused = 0;
    for operation in 1.. {
        let disk = SimDisk::new();
        disk.put(path(), UNFINISHED);
        disk.fail_at(operation, Fault::Full);
        match open(&disk) {
            Ok(storage) => drop(storage),
            Err(error) => {
                refused += 1;
                assert!(
                    matches!(&error, StorageError::Io { source, .. }
                        if source.kind() == std::io::ErrorKind::StorageFull),
                    "{error:?}"
                );
                assert!(error.to_string().starts_with("/db"), "{error}");
            }
        }
        if !disk.is_faultless() {
            break;
        }
        let left = disk.contents(path()).unwrap();
        let tail = disk.contents(format!("{PATH}.tr0").as_ref());
        assert!(left.starts_with(PLAIN), "operation {operation}");
        // What is cut off is saved before.
        let is_saved = tail.is_some_and(|tail| tail == UNFINISHED[PLAIN.len()..]);
        assert!(left == UNFINISHED || is_saved, "operation {operation}");
        disk.restart_process();
        let storage = open(&disk).unwrap();
        assert_eq!(storage.stats().objects, 7);
        change(&storage, 1, b"there is room again");
    }
    assert!(refused > 2, "{refused}");
}
