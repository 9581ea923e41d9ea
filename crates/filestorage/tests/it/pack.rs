//! Packing: what the original's pack makes of the same file, while reads and commits go on.

use std::sync::Arc;
use std::thread;

use filestorage::{FileStorage, PackError, PackOptions, PackProgress, Stage, Status};
use parking_lot::Mutex;
use pickle::Pickles;
use sim::{Fault, SimDisk};
use storage::{CommitError, Oid, Record, Storage, StorageError, Tid, TransactionMeta};
use vfs::Disk;

use crate::{PATH, open, open_read_only, path};

const UNPACKED: &[u8] = include_bytes!("../golden/unpacked.fs");
/// The golden files: number of the last transaction packed, whether garbage was collected.
const PACKED: [(u64, bool, &[u8]); 4] = [
    (12, true, include_bytes!("../golden/packed-late.fs")),
    (8, true, include_bytes!("../golden/packed-middle.fs")),
    (6, true, include_bytes!("../golden/packed-early.fs")),
    (12, false, include_bytes!("../golden/packed-no-gc.fs")),
];

fn beside(suffix: &str) -> String {
    format!("{PATH}{suffix}")
}

fn contents(disk: &SimDisk, suffix: &str) -> Option<Vec<u8>> {
    disk.contents(beside(suffix).as_ref())
}

fn disk(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.put(path(), bytes);
    disk
}

/// Up to the golden transaction with that number.
fn to(number: u64) -> PackOptions {
    PackOptions {
        to: Tid::new(0x03f0_0000_0000_0000 + (number << 32)),
        ..PackOptions::default()
    }
}

/// Calls something once, when the pack begins to copy.
fn when_copying(act: impl FnOnce() + Send + 'static) -> PackOptions {
    let act = Mutex::new(Some(act));
    let progress = move |progress: PackProgress| {
        if progress.stage == Stage::Copying
            && let Some(act) = act.lock().take()
        {
            act();
        }
    };
    PackOptions {
        progress: Arc::new(progress),
        ..PackOptions::default()
    }
}

/// A record that refers to these objects.
fn record(text: &str, references: &[u64]) -> Vec<u8> {
    let mut pickles = Pickles::new();
    let class = pickles.global("test", "Thing");
    pickles.push_root(class);
    let mut items = vec![pickles.str(text)];
    for &number in references {
        let oid = pickles.bytes(&Oid::new(number).to_bytes());
        let id = pickles.tuple(vec![oid, class]);
        items.push(pickles.persistent(id));
    }
    let state = pickles.list(items);
    pickles.push_root(state);
    pickles.encode()
}

fn change(storage: &Arc<FileStorage>, oid: u64, text: &str, references: &[u64]) -> Tid {
    crate::change(storage, oid, &record(text, references))
}

/// Everything that iteration shows.
type Content = Vec<(Tid, Status, TransactionMeta, Vec<filestorage::DataRecord>)>;

fn read_all(storage: &FileStorage) -> Content {
    let transactions = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
    transactions
        .map(|transaction| {
            let transaction = transaction.unwrap();
            let records = transaction.records().map(Result::unwrap).collect();
            (
                transaction.tid,
                transaction.status,
                transaction.meta,
                records,
            )
        })
        .collect()
}

fn exists(storage: &FileStorage, oid: u64) -> bool {
    match storage.load_before(Oid::new(oid), Tid::MAX) {
        Ok(found) => found.is_some(),
        Err(StorageError::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_packed_file_is_the_original_one() {
    for (number, gc, expected) in PACKED {
        let disk = disk(UNPACKED);
        let storage = open(&disk).unwrap();
        let report = storage.pack(&PackOptions { gc, ..to(number) }).unwrap();
        assert!(report.packed);
        assert_eq!(report.bytes_before, UNPACKED.len() as u64);
        assert_eq!(report.bytes_after, expected.len() as u64);
        assert!(report.records_dropped > 0);
        assert_eq!(
            disk.contents(path()).unwrap(),
            expected,
            "to {number}, gc {gc}"
        );
        assert_eq!(contents(&disk, ".old").unwrap(), UNPACKED);
        assert_eq!(contents(&disk, ".pack"), None);

        // It is used at once, found with the index that was saved, and found without one.
        let seen = read_all(&storage);
        change(&storage, 0, "after the pack", &[1]);
        drop(storage);
        disk.restart_process();
        assert!(contents(&disk, ".index").is_some());
        let with_index = read_all(&open(&disk).unwrap());
        assert_eq!(with_index[..seen.len()], seen);
        assert_eq!(with_index.len(), seen.len() + 1);
    }
}

#[test]
fn nothing_is_done_where_nothing_can_be_taken_away() {
    let disk = disk(UNPACKED);
    let storage = open(&disk).unwrap();
    assert!(!storage.pack(&to(0)).unwrap().packed, "before everything");
    assert_eq!(disk.contents(path()).unwrap(), UNPACKED);
    assert!(storage.pack(&to(12)).unwrap().packed);
    let packed = disk.contents(path()).unwrap();
    for number in [12, 6] {
        assert!(!storage.pack(&to(number)).unwrap().packed, "a second time");
        assert_eq!(disk.contents(path()).unwrap(), packed);
        // Such a pack is known to be needless before the old file has to make room.
        assert_eq!(contents(&disk, ".old").unwrap(), UNPACKED);
    }
}

/// Here the original fails: the old record that an undo came back to is needed, and it dropped it.
#[test]
fn what_a_later_undo_needs_is_kept_without_collecting_garbage_too() {
    let disk = disk(UNPACKED);
    let storage = open(&disk).unwrap();
    let before = read_all(&storage);
    let gc = false;
    assert!(storage.pack(&PackOptions { gc, ..to(10) }).unwrap().packed);
    let after = read_all(&storage);
    let behind = |content: &Content| -> Content {
        let behind = content.iter().filter(|(tid, ..)| *tid > to(10).to);
        behind.cloned().collect()
    };
    assert_eq!(behind(&after), behind(&before));
    assert!(after.len() > behind(&after).len());
}

#[test]
fn a_reference_to_an_object_that_was_stored_later_does_not_dangle() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    change(&storage, 0, "root, first", &[]);
    let to = change(&storage, 0, "root", &[1]);
    change(&storage, 1, "one", &[]);
    let options = PackOptions {
        to,
        ..PackOptions::default()
    };
    assert!(storage.pack(&options).unwrap().packed);
    assert!(exists(&storage, 0) && exists(&storage, 1));
}

/// The original cannot open such a file beside an index.
#[test]
fn a_file_without_objects_is_not_packed_and_gets_no_index() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let empty = |storage: &Arc<FileStorage>| {
        let commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
    };
    for _ in 0..9 {
        empty(&storage);
    }
    assert!(!storage.pack(&PackOptions::default()).unwrap().packed);
    disk.remove(beside(".index").as_ref()).unwrap();
    storage.close().unwrap();
    assert_eq!(contents(&disk, ".index"), None);
    assert_eq!(read_all(&open(&disk).unwrap()).len(), 9);
    assert_eq!(contents(&disk, ".index"), None);
}

#[test]
fn without_keep_old_there_is_no_old_file() {
    let disk = disk(UNPACKED);
    let keep_old = false;
    let options = PackOptions { keep_old, ..to(12) };
    assert!(open(&disk).unwrap().pack(&options).unwrap().packed);
    assert_eq!(disk.contents(path()).unwrap(), PACKED[0].2);
    assert_eq!(contents(&disk, ".old"), None);
}

/// A refused pack changes nothing, not even the `.old` of the last one.
#[test]
fn what_cannot_be_judged_is_not_packed() {
    type Case = (fn(&Arc<FileStorage>), fn(&PackError) -> bool);
    let cases: [Case; 3] = [
        (
            |storage| {
                change(storage, 0, "root", &[1]);
                change(storage, 1, "refers to what is not there", &[2, 77]);
                change(storage, 2, "two", &[]);
            },
            |error| {
                let (one, missing) = (Oid::new(1), Oid::new(77));
                matches!(error, PackError::Dangling { parent, missing: m } if *parent == one && *m == missing)
            },
        ),
        (
            |storage| {
                change(storage, 0, "root", &[3]);
                crate::change(storage, 3, b"not a pickle");
            },
            |error| matches!(error, PackError::Unreadable { oid, .. } if *oid == Oid::new(3)),
        ),
        (
            |storage| {
                change(storage, 1, "no root", &[]);
            },
            |error| matches!(error, PackError::NoRoot),
        ),
    ];
    for (fill, expected) in cases {
        let disk = SimDisk::new();
        disk.put(beside(".old").as_ref(), b"of the last pack");
        let storage = open(&disk).unwrap();
        fill(&storage);
        change(&storage, 9, "garbage", &[]);
        let before = disk.contents(path()).unwrap();
        let error = storage.pack(&PackOptions::default()).unwrap_err();
        assert!(expected(&error), "{error}");
        assert_eq!(disk.contents(path()).unwrap(), before);
        assert_eq!(contents(&disk, ".old").unwrap(), b"of the last pack");
        assert_eq!(contents(&disk, ".pack"), None);
        change(&storage, 9, "life goes on", &[]);
        // Without collecting garbage nobody asks for references.
        let gc = false;
        let options = PackOptions {
            gc,
            ..PackOptions::default()
        };
        assert!(storage.pack(&options).unwrap().packed);
        assert!(exists(&storage, 9));
    }
}

/// The original loses object 2 here: it does not look at what transactions behind the pack time
/// refer to.
#[test]
fn an_object_that_was_taken_up_again_since_is_kept() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    change(&storage, 0, "root", &[1]);
    change(&storage, 1, "one", &[2]);
    change(&storage, 2, "two", &[3]);
    change(&storage, 3, "three", &[]);
    change(&storage, 4, "garbage", &[]);
    let time = change(&storage, 1, "one, without two", &[]);
    change(&storage, 0, "root, with two again", &[1, 2]);
    let options = PackOptions {
        to: time,
        ..PackOptions::default()
    };
    assert!(storage.pack(&options).unwrap().packed);
    let found: Vec<bool> = (0..5).map(|oid| exists(&storage, oid)).collect();
    assert_eq!(found, [true, true, true, true, false]);
}

#[test]
fn reads_and_commits_go_on_during_a_pack() {
    let disk = disk(UNPACKED);
    let storage = open(&disk).unwrap();
    let mut old_reader = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
    let first = old_reader.next().unwrap().unwrap();
    let (during, root) = (Oid::new(50), record("root, during", &[1, 50]));
    let options = when_copying({
        let (storage, root) = (storage.clone(), root.clone());
        move || {
            change(&storage, during.number(), "new", &[]);
            crate::change(&storage, 0, &root);
            assert!(exists(&storage, 3), "garbage is still seen");
            let second = storage.pack(&PackOptions::default());
            assert!(matches!(second, Err(PackError::Running)));
        }
    });
    assert!(storage.pack(&options).unwrap().packed);
    assert!(!exists(&storage, 3) && exists(&storage, 50));
    let (last_tid, shown) = (storage.last_tid(), read_all(&storage));
    let current = storage.load_before(Oid::ROOT, Tid::MAX).unwrap().unwrap();
    assert_eq!((&*current.record, current.tid), (&root[..], last_tid));
    let before = storage.load_before(Oid::ROOT, last_tid).unwrap().unwrap();
    assert_eq!(before.next, Some(last_tid), "the history is linked");

    // Who began to read the old file finishes there.
    assert_eq!(first.records().count(), 6);
    assert_eq!(old_reader.count(), 11);

    drop(storage);
    disk.restart(1);
    let reopened = open(&disk).unwrap();
    assert_eq!(read_all(&reopened), shown);
    assert_eq!(reopened.last_tid(), last_tid);
}

/// Nothing may be lost that a transaction needs which the pack did not know of when it decided.
#[test]
fn a_commit_that_takes_up_garbage_during_a_pack_stops_it() {
    let disk = disk(UNPACKED);
    let storage = open(&disk).unwrap();
    let options = when_copying({
        let storage = storage.clone();
        move || {
            change(&storage, 0, "root, with garbage", &[3]);
        }
    });
    let error = storage.pack(&options).unwrap_err();
    let expected = (Oid::ROOT, Oid::new(3));
    assert!(
        matches!(error, PackError::Overtaken { parent, needed } if (parent, needed) == expected),
        "{error}"
    );
    assert!(disk.contents(path()).unwrap().starts_with(UNPACKED));
    assert_eq!(contents(&disk, ".pack"), None);
    assert!(storage.pack(&PackOptions::default()).unwrap().packed);
    assert!(exists(&storage, 3));
}

/// The undo points back to a record that the pack has left out already.
#[test]
fn an_undo_that_needs_what_a_pack_drops_stops_the_pack() {
    let storage = open(&SimDisk::new()).unwrap();
    change(&storage, 0, "root", &[1]);
    change(&storage, 1, "first", &[]);
    let second = change(&storage, 1, "second", &[]);
    let undoing = storage.clone();
    let error = storage
        .pack(&when_copying(move || {
            let mut commit = undoing.begin(TransactionMeta::default()).unwrap();
            commit.undo(second).unwrap();
            commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
        }))
        .unwrap_err();
    assert!(matches!(error, PackError::Overtaken { .. }), "{error}");
    let shown = storage.load_before(Oid::new(1), Tid::MAX).unwrap().unwrap();
    assert_eq!(&*shown.record, record("first", &[]));
    check_currency(&storage, "after the refusal");
}

#[test]
fn closing_ends_a_pack_and_leaves_the_old_file() {
    let disk = disk(UNPACKED);
    let storage = open(&disk).unwrap();
    let closing = Arc::new(Mutex::new(None));
    let options = when_copying({
        let (storage, closing) = (storage.clone(), closing.clone());
        let disk_of_storage = disk.clone();
        move || {
            let closed = storage.clone();
            *closing.lock() = Some(thread::spawn(move || closed.close()));
            while storage.new_oids(1).is_ok() {
                thread::yield_now();
            }
            // The lock file stays ours until the pack is over.
            let second = open(&disk_of_storage).map(drop);
            assert!(matches!(second, Err(StorageError::Locked { .. })));
        }
    });
    let error = storage.pack(&options).unwrap_err();
    assert!(matches!(
        error,
        PackError::Storage(StorageError::Poisoned { .. })
    ));
    closing.lock().take().unwrap().join().unwrap().unwrap();
    assert_eq!(disk.contents(path()).unwrap(), UNPACKED);
    assert_eq!(contents(&disk, ".pack"), None);
    assert!(open(&disk).is_ok());
}

#[test]
fn a_storage_that_takes_no_commits_takes_no_pack() {
    let disk = disk(UNPACKED);
    let read_only = open_read_only(&disk).unwrap();
    let refused = read_only.pack(&PackOptions::default());
    assert!(matches!(
        refused,
        Err(PackError::Storage(StorageError::ReadOnly))
    ));
}

#[test]
fn the_rest_of_an_interrupted_pack_is_cleared_up() {
    let disk = disk(UNPACKED);
    disk.put(beside(".pack").as_ref(), b"FS30 half a file");
    drop(open_read_only(&disk).unwrap());
    assert!(contents(&disk, ".pack").is_some(), "it may be another's");
    drop(open(&disk).unwrap());
    assert_eq!(contents(&disk, ".pack"), None);
}

/// The original renames twice, and may be killed in between.
#[test]
fn a_missing_file_is_not_replaced_by_an_empty_one() {
    let disk = SimDisk::new();
    disk.put(beside(".old").as_ref(), UNPACKED);
    disk.put(beside(".pack").as_ref(), PACKED[0].2);
    let refused = open(&disk).map(drop).unwrap_err();
    assert!(refused.to_string().contains(".old"), "{refused}");
    assert_eq!(disk.contents(path()), None);
}

/// Commits, packs, commits: the golden history, with an index that speaks of the unpacked file.
fn eventful_pack(disk: &SimDisk, acknowledged: &mut Vec<Tid>) -> Result<(), CommitError> {
    open(disk)?.close()?;
    let storage = open(disk)?;
    acknowledged.push(commit(&storage, "before")?);
    match storage.pack(&to(8)) {
        Ok(report) => assert!(report.packed),
        Err(PackError::Storage(error)) => {
            // A pack that failed costs nothing else, unless it no longer knows what is on the disk.
            if storage.clone().begin(TransactionMeta::default()).is_ok() {
                acknowledged.push(commit(&storage, "after a failed pack")?);
            }
            return Err(error.into());
        }
        Err(error) => panic!("{error}"),
    }
    acknowledged.push(commit(&storage, "after")?);
    Ok(())
}

fn commit(storage: &Arc<FileStorage>, text: &str) -> Result<Tid, CommitError> {
    let current = storage.load_before(Oid::new(1), Tid::MAX)?;
    let base = current.map_or(Tid::ZERO, |current| current.tid);
    let mut commit = storage.clone().begin(TransactionMeta::default())?;
    let record = Record::from(record(text, &[8]));
    commit.store(Oid::new(1), base, record)?;
    commit.vote()?.finish(Box::new(|_| {}))
}

/// The content without what tells a packed transaction, and only of transactions behind the pack
/// time, which no pack may change.
fn later(content: &Content) -> Vec<(Tid, Vec<filestorage::DataRecord>)> {
    let later = content.iter().filter(|(tid, ..)| *tid > to(8).to);
    later
        .map(|(tid, _, _, records)| (*tid, records.clone()))
        .collect()
}

#[test]
fn a_fault_at_any_operation_leaves_the_old_file_or_the_new_one() {
    let whole = disk(UNPACKED);
    eventful_pack(&whole, &mut Vec::new()).unwrap();
    let operations = whole.operations();
    let new = read_all(&open_again_on(&whole));
    let old = {
        let disk = disk(UNPACKED);
        read_all(&open(&disk).unwrap())
    };
    let packed_count = new
        .iter()
        .filter(|(_, status, ..)| *status == Status::PACKED);
    let packed_count = packed_count.count();
    let mut outcomes = [0; 2];
    for fault in [Fault::PowerLoss, Fault::Error, Fault::Full] {
        for operation in 1..=operations {
            for coin in 0..16 {
                let context = format!("{fault:?} at {operation}, coin {coin}");
                let disk = disk(UNPACKED);
                disk.fail_at(operation, fault);
                let mut acknowledged = Vec::new();
                eventful_pack(&disk, &mut acknowledged).ok();
                disk.restart(coin);
                let storage = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                let found = read_all(&storage);
                let is_new = found[0].1 == Status::PACKED;
                let (whole, start) = if is_new {
                    (&new, packed_count)
                } else {
                    (&old, 0)
                };
                outcomes[usize::from(is_new)] += 1;
                assert_eq!(found[..start], whole[..start], "{context}");
                let lost = |tid: &Tid| found.iter().all(|transaction| transaction.0 != *tid);
                assert!(
                    !acknowledged.iter().any(lost),
                    "{context}: a commit is lost"
                );
                let (found, expected) = (later(&found), later(&old));
                assert_eq!(found[..expected.len()], expected, "{context}");
                check_currency(&storage, &context);
                assert_eq!(contents(&disk, ".pack"), None, "{context}");
                commit(&storage, "life goes on").unwrap();
                assert!(
                    storage.pack(&PackOptions::default()).unwrap().packed,
                    "{context}"
                );
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}

/// What is loaded is what iteration shows last: the index speaks of this file.
fn check_currency(storage: &FileStorage, context: &str) {
    let content = read_all(storage);
    for oid in (0..9).map(Oid::new) {
        let mut newest_first = content.iter().rev().flat_map(|(.., records)| records);
        let last = newest_first.find(|record| record.oid == oid);
        match (storage.load_before(oid, Tid::MAX), last) {
            (Ok(Some(found)), Some(last)) => {
                assert_eq!(
                    (found.tid, Some(found.record)),
                    (last.tid, last.data.clone()),
                    "{context}"
                );
            }
            (Err(StorageError::NotFound { .. }), Some(last)) => assert_eq!(last.data, None),
            (Err(StorageError::NotFound { .. }), None) => {}
            (found, last) => panic!("{context}: {found:?} and {last:?}"),
        }
    }
}

/// The old index may look right: where its last transaction is, there may be one of the same object
/// again. So it must be gone before the new file has the name.
#[test]
fn the_index_of_the_old_file_is_not_taken_for_one_of_the_new() {
    let mut failures = 0;
    for operation in 1.. {
        let disk = SimDisk::new();
        let storage = open(&disk).unwrap();
        change(&storage, 0, "root", &[1, 3]);
        change(&storage, 1, "one, a", &[]);
        change(&storage, 1, "one, b", &[]);
        change(&storage, 3, "three", &[]);
        change(&storage, 1, "one, c", &[]);
        storage.close().unwrap();
        let storage = open(&disk).unwrap();
        let size = disk.contents(path()).unwrap().len();
        disk.fail_at(disk.operations() + operation, Fault::Error);
        match storage.pack(&PackOptions::default()) {
            Ok(report) => assert!(report.packed),
            Err(_) => continue,
        }
        if !disk.is_faultless() {
            break;
        }
        failures += 1;
        change(&storage, 1, "one, d", &[]);
        change(&storage, 1, "one, e", &[]);
        assert_eq!(disk.contents(path()).unwrap().len(), size, "it looks right");
        disk.restart_process();
        check_currency(&open(&disk).unwrap(), &format!("operation {operation}"));
    }
    assert!(failures > 2, "the new index was not written");
}

fn open_again_on(disk: &SimDisk) -> Arc<FileStorage> {
    disk.restart_process();
    open(disk).unwrap()
}
