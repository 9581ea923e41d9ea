//! Opening: locks, read-only, tails, the index.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use filestorage::{FileStorage, Options};
use sim::{Fault, SimDisk};
use storage::{CommitError, Oid, Record, Storage, StorageError, Tid, TransactionMeta};

use crate::{PATH, change, open, open_read_only, options, path};

fn contents(disk: &SimDisk, suffix: &str) -> Option<Vec<u8>> {
    disk.contents(format!("{PATH}{suffix}").as_ref())
}

/// A disk with a Data.fs of five transactions, closed, and its bytes.
fn five_transactions() -> (SimDisk, Vec<u8>) {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    for number in 0..5u8 {
        change(&storage, u64::from(number), &[number; 50]);
    }
    storage.close().unwrap();
    let bytes = disk.contents(path()).unwrap();
    (disk, bytes)
}

/// Dies when the data are on the disk, before the status byte.
fn leave_unfinished(disk: &SimDisk) {
    let storage = open(disk).unwrap();
    let mut commit = storage.begin(TransactionMeta::default()).unwrap();
    commit
        .store(Oid::new(9), Tid::ZERO, Record::from(&b"unfinished"[..]))
        .unwrap();
    let voted = commit.vote().unwrap();
    disk.fail_at(disk.operations() + 3, Fault::Error);
    voted.finish(Box::new(|_| {})).unwrap_err();
    disk.restart_process();
}

#[test]
fn a_new_file_is_as_the_original_makes_it() {
    let disk = SimDisk::new();
    open(&disk).unwrap();
    assert_eq!(disk.contents(path()).unwrap(), b"FS30");
    disk.restart(0);
    assert_eq!(disk.contents(path()).unwrap(), b"FS30", "durably");
}

/// The name of a new file has to reach the disk before its first transaction is acknowledged, and
/// must not rely on the index that is saved beside it.
#[test]
fn a_new_file_is_durable_even_where_its_index_cannot_be_saved() {
    let mut without_index = 0;
    for operation in 1..=9 {
        for coin in 0..20 {
            let disk = SimDisk::new();
            disk.fail_at(operation, Fault::Error);
            let Ok(storage) = open(&disk) else {
                continue;
            };
            let tid = change(&storage, 1, b"acknowledged");
            without_index += usize::from(contents(&disk, ".index").is_none());
            disk.restart(coin);
            assert_eq!(open(&disk).unwrap().last_tid(), tid, "{operation}, {coin}");
        }
    }
    assert!(without_index > 20);
}

#[test]
fn a_vote_and_an_abort_behind_it_leave_the_file_as_it_was() {
    let (disk, bytes) = five_transactions();
    let storage = open(&disk).unwrap();
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit
        .store(Oid::new(9), Tid::ZERO, Record::from(&b"x"[..]))
        .unwrap();
    let voted = commit.vote().unwrap();
    assert_eq!(disk.contents(path()).unwrap(), bytes);
    drop(voted);
    assert_eq!(disk.contents(path()).unwrap(), bytes);
}

#[test]
fn a_missing_file_is_made_only_on_request() {
    let disk = SimDisk::new();
    let create = false;
    let missing = FileStorage::open(
        PATH,
        Options {
            create,
            ..options(&disk)
        },
    );
    assert!(matches!(missing.err(), Some(StorageError::Io { .. })));
    assert!(matches!(
        open_read_only(&disk).err(),
        Some(StorageError::Io { .. })
    ));
    assert_eq!(disk.contents(path()), None);
}

#[test]
fn one_writer_at_a_time_and_any_number_of_readers() {
    let (disk, _) = five_transactions();
    let writer = open(&disk).unwrap();
    assert!(matches!(
        open(&disk).err(),
        Some(StorageError::Locked { .. })
    ));
    let reader = open_read_only(&disk).unwrap();
    assert!(reader.is_read_only());
    let refused = reader.clone().begin(TransactionMeta::default()).err();
    assert!(matches!(refused, Some(StorageError::ReadOnly)));
    assert!(matches!(reader.new_oids(1), Err(StorageError::ReadOnly)));
    assert_eq!(reader.last_tid(), writer.last_tid());
    writer.close().unwrap();
    open(&disk).unwrap();
}

#[test]
fn a_closed_storage_writes_no_more() {
    let (disk, _) = five_transactions();
    let storage = open(&disk).unwrap();
    let commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    storage.close().unwrap();
    storage.close().unwrap();
    let refused = commit.vote().err();
    assert!(
        matches!(
            refused,
            Some(CommitError::Storage(StorageError::Poisoned { .. }))
        ),
        "{refused:?}"
    );
    storage.load_before(Oid::new(1), Tid::MAX).unwrap();
}

#[test]
fn a_vote_does_not_hold_up_closing_and_finishes_no_more() {
    let (disk, bytes) = five_transactions();
    let storage = open(&disk).unwrap();
    let commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let voted = commit.vote().unwrap();
    storage.close().unwrap();
    let refused = voted.finish(Box::new(|_| panic!("published"))).unwrap_err();
    assert!(
        matches!(refused, CommitError::Storage(StorageError::Poisoned { .. })),
        "{refused:?}"
    );
    assert_eq!(disk.contents(path()).unwrap(), bytes);
}

/// Who is told that a transaction is finished finds it in the file, whenever it was closed.
#[test]
fn closing_waits_for_what_is_being_finished() {
    for _ in 0..20 {
        let disk = SimDisk::new();
        let storage = open(&disk).unwrap();
        let start = Barrier::new(5);
        let finished: usize = std::thread::scope(|scope| {
            let finishing: Vec<_> = (0..4)
                .map(|_| {
                    let commit = storage.clone().begin(TransactionMeta::default()).unwrap();
                    let (voted, start) = (commit.vote().unwrap(), &start);
                    scope.spawn(move || {
                        start.wait();
                        voted.finish(Box::new(|_| {})).is_ok()
                    })
                })
                .collect();
            start.wait();
            storage.close().unwrap();
            let finished = finishing.into_iter().map(|thread| thread.join().unwrap());
            finished.filter(|finished| *finished).count()
        });
        drop(storage);
        let found = open(&disk).unwrap().recent_changes(9).unwrap();
        assert_eq!(found.len(), finished);
    }
}

#[test]
fn an_unfinished_transaction_is_saved_and_cut() {
    let (disk, bytes) = five_transactions();
    for tail_file in [".tr0", ".tr1"] {
        leave_unfinished(&disk);
        let longer = disk.contents(path()).unwrap();
        assert!(longer.len() > bytes.len());

        let reader = open_read_only(&disk).unwrap();
        assert_eq!(reader.recent_changes(9).unwrap().len(), 5);
        assert_eq!(
            disk.contents(path()).unwrap(),
            longer,
            "a reader cuts nothing"
        );
        assert_eq!(contents(&disk, tail_file), None);

        let storage = open(&disk).unwrap();
        assert_eq!(disk.contents(path()).unwrap(), bytes);
        assert_eq!(
            contents(&disk, tail_file).as_deref(),
            Some(&longer[bytes.len()..])
        );
        storage.close().unwrap();
    }
}

/// As the original: an incomplete header is not worth saving, anything longer is.
#[test]
fn a_truncated_transaction_is_cut_wherever_it_ends() {
    let (disk, bytes) = five_transactions();
    let last = open_read_only(&disk).unwrap().last_tid();
    let start = bytes
        .windows(8)
        .position(|window| window == last.to_bytes())
        .unwrap();
    for length in start + 1..bytes.len() {
        let disk = SimDisk::new();
        disk.put(path(), &bytes[..length]);
        let storage = open(&disk).unwrap();
        assert_eq!(
            disk.contents(path()).unwrap(),
            bytes[..start],
            "cut at {length}"
        );
        let saved = (length - start >= 23).then(|| bytes[start..length].to_vec());
        assert_eq!(contents(&disk, ".tr0"), saved, "cut at {length}");
        assert_eq!(storage.recent_changes(9).unwrap().len(), 4);
        change(&storage, 4, b"again");
    }
}

#[test]
fn an_end_of_zeros_is_cut() {
    let (_, bytes) = five_transactions();
    for zeros in [23, 100, 512, 5000] {
        let disk = SimDisk::new();
        disk.put(path(), &[&bytes[..], &vec![0; zeros]].concat());
        open(&disk).unwrap();
        assert_eq!(disk.contents(path()).unwrap(), bytes, "{zeros}");
    }
}

#[test]
fn the_index_saves_the_scan_and_a_wrong_one_is_ignored() {
    let (disk, bytes) = five_transactions();
    let index = contents(&disk, ".index").unwrap();

    // With the index, damage in the part it covers is not even noticed at open.
    let mut damaged = bytes.clone();
    damaged[4 + 15] ^= 0xff;
    disk.put(path(), &damaged);
    drop(open(&disk).unwrap());
    let bare = SimDisk::new();
    bare.put(path(), &damaged);
    assert!(matches!(
        open(&bare).err(),
        Some(StorageError::Corrupt { .. })
    ));

    // Behind the index, only the tail is read.
    disk.put(path(), &bytes);
    let storage = open(&disk).unwrap();
    let tid = change(&storage, 77, b"behind the index");
    drop(storage);
    let storage = open(&disk).unwrap();
    assert_eq!((storage.last_tid(), storage.stats().objects), (tid, 6));
    drop(storage);

    // A broken one, and one of another file of the same length.
    let mut other = index.clone();
    let last = other.len() - 7;
    other[last] ^= 1;
    for (number, wrong) in [&index[..40], &b""[..], &other].into_iter().enumerate() {
        let disk = SimDisk::new();
        disk.put(path(), &bytes);
        disk.put(format!("{PATH}.index").as_ref(), wrong);
        let storage = open(&disk).unwrap();
        assert_eq!(storage.stats().objects, 5, "index {number}");
        for oid in 0..5 {
            storage
                .load_before(Oid::new(oid), Tid::MAX)
                .unwrap()
                .unwrap();
        }
        assert_ne!(
            contents(&disk, ".index").unwrap(),
            wrong,
            "it is written anew"
        );
    }
}

#[test]
fn ids_go_on_behind_a_file_from_the_future() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let first = change(&storage, 1, b"x");
    drop(storage);
    let clock = Arc::new(|| Duration::from_secs(1));
    let storage = FileStorage::open(
        PATH,
        Options {
            clock,
            ..options(&disk)
        },
    )
    .unwrap();
    assert_eq!(change(&storage, 1, b"y"), first.next());
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let begin = |user: usize, description: usize, extension: usize| {
        let meta = TransactionMeta {
            user: vec![b'u'; user],
            description: vec![b'd'; description],
            extension: vec![b'e'; extension],
        };
        storage.clone().begin(meta)
    };
    for (user, description, extension) in [(65536, 0, 0), (0, 65536, 0), (0, 0, 65536)] {
        let refused = begin(user, description, extension).err();
        let limit = matches!(
            refused,
            Some(StorageError::Limit {
                found: 65536,
                max: 65535,
                ..
            })
        );
        assert!(limit, "{refused:?}");
    }
    let mut commit = begin(65535, 65535, 65535).unwrap();
    let refused = commit.store(Oid::ROOT, Tid::ZERO, Record::from(vec![]));
    assert!(
        matches!(refused, Err(StorageError::Unsupported { .. })),
        "{refused:?}"
    );
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    drop(storage);
    let storage = open(&disk).unwrap();
    let all = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
    let lengths: Vec<_> = all
        .map(|transaction| transaction.unwrap().meta.user.len())
        .collect();
    assert_eq!(lengths, [65535]);
}
