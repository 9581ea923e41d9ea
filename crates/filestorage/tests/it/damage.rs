//! Broken bytes: an error that says where, never a panic, and the rest stays readable.

use proptest::prelude::*;
use sim::SimDisk;
use storage::{CommitError, Iterate, Oid, Storage, StorageError, Tid, TransactionMeta, Undo};
use vfs::Disk;

use crate::{PATH, change, open, open_read_only, path};

const PLAIN: &[u8] = include_bytes!("../golden/plain.fs");
const PLAIN_INDEX: &[u8] = include_bytes!("../golden/plain.fs.index");

/// The original's file with some bytes changed, on a disk, with the index that trusts it.
fn damaged(changes: &[(usize, u8)]) -> SimDisk {
    let mut bytes = PLAIN.to_vec();
    for &(at, byte) in changes {
        bytes[at] = byte;
    }
    let disk = SimDisk::new();
    disk.put(path(), &bytes);
    disk.put(format!("{PATH}.index").as_ref(), PLAIN_INDEX);
    disk
}

/// Reads all there is in all ways there are; only the kinds of errors are judged.
fn read_everything(disk: &SimDisk) {
    let allowed = |error: &StorageError| {
        assert!(
            matches!(
                error,
                StorageError::Corrupt { .. }
                    | StorageError::NotFound { .. }
                    | StorageError::Limit { .. }
            ),
            "{error:?}"
        );
    };
    let storage = match open_read_only(disk) {
        Ok(storage) => storage,
        Err(error) => return allowed(&error),
    };
    for oid in [0, 1, 2, 3, 4, 5, 70000].map(Oid::new) {
        for before in [storage.last_tid(), Tid::MAX, Tid::new(1)] {
            storage.load_before(oid, before).as_ref().err().map(allowed);
        }
        storage
            .load_serial(oid, storage.last_tid())
            .as_ref()
            .err()
            .map(allowed);
    }
    for oid in [0, 1, 2, 3, 4, 5, 70000].map(Oid::new) {
        storage.history(oid, 100).as_ref().err().map(allowed);
        storage.current_record(oid).as_ref().err().map(allowed);
    }
    let log = storage.undo_log(0, 100, &mut |_| true);
    log.as_ref().err().map(allowed);
    storage.recent_changes(100).as_ref().err().map(allowed);
    storage
        .changes_since(Tid::new(1), 100)
        .as_ref()
        .err()
        .map(allowed);
    for from in [Tid::ZERO, storage.last_tid()] {
        let transactions = match storage.transactions(from, Tid::MAX) {
            Ok(transactions) => transactions,
            Err(error) => return allowed(&error),
        };
        for transaction in transactions {
            match transaction {
                Err(error) => allowed(&error),
                Ok(transaction) => transaction.records().for_each(|record| {
                    record.as_ref().err().map(allowed);
                }),
            }
        }
    }
}

/// Tries to undo each transaction; only that nothing panics is judged.
fn undo_everything(disk: &SimDisk) {
    let Ok(storage) = open(disk) else {
        return;
    };
    let Ok(log) = storage.undo_log(0, 100, &mut |_| true) else {
        return;
    };
    for entry in log {
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        commit.undo(entry.tid).unwrap();
        let voted = commit.vote();
        assert!(
            !matches!(voted, Err(CommitError::Storage(StorageError::Io { .. }))),
            "a pointer is checked before it is followed"
        );
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((4..PLAIN.len(), any::<u8>()), 1..6)
    ) {
        read_with_and_without_index(&changes);
    }

    #[test]
    fn any_file_opens_or_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let disk = SimDisk::new();
        disk.put(path(), &[b"FS30", &bytes[..]].concat());
        read_everything(&disk);
        open(&disk).map(|storage| change(&storage, 1, b"x")).ok();
    }
}

#[test]
fn each_byte_may_be_broken() {
    for (at, sound) in PLAIN.iter().enumerate().take(1500).skip(4) {
        for byte in [0, 0xff, sound ^ 1] {
            read_with_and_without_index(&[(at, byte)]);
        }
        read_with_and_without_index(&[(at, 0), (at + 1, 0xff)]);
    }
}

/// Without the index, opening reads everything.
fn read_with_and_without_index(changes: &[(usize, u8)]) {
    let disk = damaged(changes);
    read_everything(&disk);
    undo_everything(&disk);
    disk.remove(format!("{PATH}.index").as_ref()).ok();
    read_everything(&disk);
}

#[test]
fn a_broken_record_says_where_and_costs_only_its_own_reads() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    change(&storage, 1, b"first record");
    change(&storage, 2, b"second record");
    storage.close().unwrap();
    let mut bytes = disk.contents(path()).unwrap();
    let at = 4 + 23;
    // The length of the first record becomes enormous.
    bytes[at + 34] = 0x7f;
    disk.put(path(), &bytes);

    let storage = open(&disk).unwrap();
    let error = storage.load_before(Oid::new(1), Tid::MAX).unwrap_err();
    let StorageError::Corrupt {
        path: named,
        offset,
        what,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((named.as_path(), *offset), (path(), at as u64));
    assert!(what.contains("leads over the end"), "{what}");
    let other = storage.load_before(Oid::new(2), Tid::MAX).unwrap().unwrap();
    assert_eq!(&*other.record, b"second record");
    let tid = change(&storage, 3, b"third record");
    assert_eq!(storage.last_tid(), tid);
}

/// The original cuts the file at such a place; here nothing finished is thrown away.
#[test]
fn damage_before_sound_transactions_is_no_tail_to_cut() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    for number in 0..4u8 {
        change(&storage, u64::from(number), &[number; 50]);
    }
    drop(storage);
    let bytes = disk.contents(path()).unwrap();
    let length = (bytes.len() - 4) / 4;
    let second = 4 + length;
    let damages: [&[(usize, u8)]; 4] = [
        // A header of zeros, and texts longer than the transaction.
        &[(second + 16, 0), (second + 17, 0xff)],
        &[(second + 16, b'c')],
        &[(second + 8, 1)],
        &[(second + 15, 3)],
    ];
    for damage in damages {
        let mut damaged = bytes.clone();
        for &(at, byte) in damage {
            damaged[at] = byte;
        }
        let disk = SimDisk::new();
        disk.put(path(), &damaged);
        let error = open(&disk).err().unwrap();
        assert!(
            matches!(error, StorageError::Corrupt { offset, .. } if offset == second as u64),
            "{error:?}"
        );
        assert_eq!(
            disk.contents(path()).unwrap(),
            damaged,
            "nothing was touched"
        );
    }
}

/// The end looks like a transaction that is too short for the record it should have.
#[test]
fn a_tail_whose_end_makes_no_sense_is_cut() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let tid = change(&storage, 1, b"finished");
    drop(storage);
    let sound = disk.contents(path()).unwrap();
    let mut bytes = sound.clone();
    bytes.extend([0; 30]);
    bytes.extend(Tid::MAX.to_bytes());
    bytes.extend(28u64.to_be_bytes());
    bytes.extend(b" \0\0\0\0\0\0five!");
    bytes.extend(28u64.to_be_bytes());
    disk.put(path(), &bytes);
    assert_eq!(open(&disk).unwrap().last_tid(), tid);
    assert_eq!(disk.contents(path()).unwrap(), sound);
}

#[test]
fn a_file_of_another_kind_is_left_alone() {
    for bytes in [
        &b"SQLite format 3"[..],
        b"FS3",
        b"FS31....",
        b"\0\0\0\0\0",
        b"FX",
    ] {
        let disk = SimDisk::new();
        disk.put(path(), bytes);
        let opened = open(&disk);
        if bytes == b"FS3" {
            // What a power loss may leave of a file that was just made.
            drop(opened.unwrap());
            assert_eq!(disk.contents(path()).unwrap(), b"FS30");
        } else {
            assert!(matches!(
                opened.err(),
                Some(StorageError::Corrupt { offset: 0, .. })
            ));
            assert_eq!(disk.contents(path()).unwrap(), bytes);
        }
    }
}
