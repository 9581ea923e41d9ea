//! Packing: what the original's pack makes of the same file, while reads and commits go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use filestorage::{FileStorage, PackError, PackOptions, PackProgress, Stage, Status};
use parking_lot::Mutex;
use pickle::Pickles;
use sim::SimDisk;
use storage::{Commit, Oid, Record, Storage, StorageError, Tid, TransactionMeta, Voted};
use vfs::Disk;

use crate::{PATH, open, open_read_only, path};

pub(crate) const UNPACKED: &[u8] = include_bytes!("../golden/unpacked.fs");
/// The golden files: number of the last transaction packed, whether garbage was collected.
pub(crate) const PACKED: [(u64, bool, &[u8]); 4] = [
    (12, true, include_bytes!("../golden/packed-late.fs")),
    (8, true, include_bytes!("../golden/packed-middle.fs")),
    (6, true, include_bytes!("../golden/packed-early.fs")),
    (12, false, include_bytes!("../golden/packed-no-gc.fs")),
];

pub(crate) fn beside(suffix: &str) -> String {
    format!("{PATH}{suffix}")
}

pub(crate) fn contents(disk: &SimDisk, suffix: &str) -> Option<Vec<u8>> {
    disk.contents(beside(suffix).as_ref())
}

pub(crate) fn disk(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.put(path(), bytes);
    disk
}

/// Up to the golden transaction with that number.
pub(crate) fn to(number: u64) -> PackOptions {
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
pub(crate) fn record(text: &str, references: &[u64]) -> Vec<u8> {
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

pub(crate) fn change(storage: &Arc<FileStorage>, oid: u64, text: &str, references: &[u64]) -> Tid {
    crate::change(storage, oid, &record(text, references))
}

/// Everything that iteration shows.
pub(crate) type Content = Vec<(Tid, Status, TransactionMeta, Vec<filestorage::DataRecord>)>;

pub(crate) fn read_all(storage: &FileStorage) -> Content {
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
        assert!(report.records_dropped > Some(0));
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
fn a_commit_that_takes_up_garbage_during_a_pack_makes_it_begin_again() {
    let disk = disk(UNPACKED);
    let storage = open(&disk).unwrap();
    let options = when_copying({
        let storage = storage.clone();
        move || {
            change(&storage, 0, "root, with garbage", &[3]);
        }
    });
    assert!(storage.pack(&options).unwrap().packed);
    assert!(exists(&storage, 3));
    check_currency(&storage, "after the second attempt");
}

/// Each time it comes to copying, a commit takes up some garbage.
#[test]
fn a_pack_that_is_overtaken_again_and_again_gives_up() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let garbage: Vec<u64> = (10..20).collect();
    change(&storage, 0, "root", &garbage);
    for &oid in &garbage {
        change(&storage, oid, "some thing", &[]);
    }
    change(&storage, 0, "root, without them", &[]);
    let before = disk.contents(path()).unwrap();
    let attempts = Arc::new(Mutex::new(0));
    let progress = {
        let (storage, attempts) = (storage.clone(), attempts.clone());
        move |progress: PackProgress| {
            if progress.stage == Stage::Copying && progress.done == 4 {
                let mut attempts = attempts.lock();
                *attempts += 1;
                let again: Vec<u64> = (10..10 + *attempts).collect();
                change(&storage, 0, "root, with some", &again);
            }
        }
    };
    let error = storage
        .pack(&PackOptions {
            progress: Arc::new(progress),
            ..PackOptions::default()
        })
        .unwrap_err();
    let expected = (Oid::ROOT, Oid::new(12));
    assert!(
        matches!(error, PackError::Overtaken { parent, needed } if (parent, needed) == expected),
        "{error}"
    );
    assert_eq!(*attempts.lock(), 3);
    assert!(disk.contents(path()).unwrap().starts_with(&before));
    assert_eq!(contents(&disk, ".pack"), None);
    assert!(exists(&storage, 19), "nothing is lost");
    assert!(storage.pack(&PackOptions::default()).unwrap().packed);
    assert!(exists(&storage, 12) && !exists(&storage, 13));
}

fn undo(storage: &Arc<FileStorage>, tid: Tid) -> Tid {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.undo(tid).unwrap();
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}

fn shown(storage: &FileStorage, oid: u64, before: Tid) -> Vec<u8> {
    let found = storage.load_before(Oid::new(oid), before).unwrap();
    found.expect("it existed").record.to_vec()
}

/// A transaction that has voted, and is finished later.
fn voted(storage: &Arc<FileStorage>, fill: impl FnOnce(&mut dyn Commit)) -> Box<dyn Voted> {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    fill(&mut *commit);
    commit.vote().unwrap()
}

/// The root held 1, which holds 2, and does not any more; 3 was never held. Says what unlinked them.
fn with_unlinked_objects() -> (Arc<FileStorage>, Tid) {
    let storage = open(&SimDisk::new()).unwrap();
    change(&storage, 0, "root", &[1]);
    change(&storage, 1, "unlinked", &[2]);
    change(&storage, 2, "below it", &[]);
    let unlinked = change(&storage, 0, "root, without", &[]);
    change(&storage, 3, "garbage", &[]);
    (storage, unlinked)
}

fn check_linked_again(storage: &FileStorage) {
    assert_eq!(shown(storage, 0, Tid::MAX), record("root", &[1]));
    assert!(exists(storage, 1) && exists(storage, 2));
    assert!(!exists(storage, 3), "it was packed");
    check_currency(storage, "after the finish");
}

#[test]
fn what_a_transaction_refers_to_that_has_voted_is_kept() {
    let (storage, unlinked) = with_unlinked_objects();
    let store = voted(&storage, |commit| {
        let record = Record::from(record("root", &[1]));
        commit.store(Oid::ROOT, unlinked, record).unwrap();
    });
    assert!(storage.pack(&PackOptions::default()).unwrap().packed);
    store.finish(Box::new(|_| {})).unwrap();
    check_linked_again(&storage);
}

#[test]
fn a_vote_during_a_pack_that_takes_up_garbage_makes_it_begin_again() {
    for by_undo in [false, true] {
        let (storage, unlinked) = with_unlinked_objects();
        let vote = Arc::new(Mutex::new(None));
        let options = when_copying({
            let (storage, vote) = (storage.clone(), vote.clone());
            move || {
                *vote.lock() = Some(voted(&storage, |commit| {
                    if by_undo {
                        commit.undo(unlinked).unwrap();
                    } else {
                        let record = Record::from(record("root", &[1]));
                        commit.store(Oid::ROOT, unlinked, record).unwrap();
                    }
                }));
            }
        });
        assert!(storage.pack(&options).unwrap().packed);
        let vote = vote.lock().take().unwrap();
        vote.finish(Box::new(|_| {})).unwrap();
        check_linked_again(&storage);
    }
}

/// The undo points back to a record that the pack has left out already.
#[test]
fn an_undo_that_needs_what_a_pack_drops_makes_it_begin_again() {
    let storage = open(&SimDisk::new()).unwrap();
    change(&storage, 0, "root", &[1]);
    change(&storage, 1, "first", &[]);
    let second = change(&storage, 1, "second", &[]);
    let undoing = storage.clone();
    let report = storage.pack(&when_copying(move || {
        undo(&undoing, second);
    }));
    assert!(report.unwrap().packed);
    assert_eq!(shown(&storage, 1, Tid::MAX), record("first", &[]));
    check_currency(&storage, "after the second attempt");
}

/// The undo points back to the one record that the pack has kept, over another one.
#[test]
fn an_undo_during_a_pack_of_what_was_committed_during_it_does_not_stop_it() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    change(&storage, 0, "root", &[1]);
    change(&storage, 1, "dropped", &[]);
    change(&storage, 1, "kept", &[]);
    let begins = Arc::new(Mutex::new(0));
    let progress = {
        let (storage, begins) = (storage.clone(), begins.clone());
        move |progress: PackProgress| {
            if progress.stage == Stage::Copying && progress.done == 4 {
                *begins.lock() += 1;
                let during = change(&storage, 1, "during", &[]);
                change(&storage, 0, "root again", &[1]);
                undo(&storage, during);
            }
        }
    };
    let report = storage.pack(&PackOptions {
        progress: Arc::new(progress),
        ..PackOptions::default()
    });
    assert!(report.unwrap().packed);
    assert_eq!(*begins.lock(), 1, "one attempt is enough");
    assert_eq!(shown(&storage, 1, Tid::MAX), record("kept", &[]));
    check_currency(&storage, "after the pack");
    disk.restart_process();
    check_currency(&open(&disk).unwrap(), "after a restart");
}

/// Between the two the object had the state that was current at the pack time.
#[test]
fn an_object_that_was_taken_up_again_and_undone_later_keeps_both_states() {
    let storage = open(&SimDisk::new()).unwrap();
    change(&storage, 0, "root", &[1]);
    change(&storage, 1, "first", &[]);
    let second = change(&storage, 1, "second", &[2]);
    change(&storage, 2, "only the second needs it", &[]);
    let pack_time = change(&storage, 0, "root, without it", &[]);
    change(&storage, 0, "root, with it again", &[1]);
    let undone = undo(&storage, second);
    let report = storage.pack(&PackOptions {
        to: pack_time,
        ..PackOptions::default()
    });
    assert!(report.unwrap().packed);
    assert_eq!(shown(&storage, 1, Tid::MAX), record("first", &[]));
    assert_eq!(shown(&storage, 1, undone), record("second", &[2]));
    assert!(exists(&storage, 2));
}

/// It was stored behind the pack time, and once more while the pack looked around.
#[test]
fn a_reference_to_an_object_that_is_stored_again_during_the_pack_does_not_dangle() {
    let storage = open(&SimDisk::new()).unwrap();
    let pack_time = change(&storage, 0, "root", &[7]);
    change(&storage, 7, "late", &[]);
    change(&storage, 0, "root, changed", &[7]);
    let act = Mutex::new(Some(storage.clone()));
    let report = storage.pack(&PackOptions {
        to: pack_time,
        progress: Arc::new(move |_| {
            if let Some(storage) = act.lock().take() {
                change(&storage, 7, "later still", &[]);
            }
        }),
        ..PackOptions::default()
    });
    assert!(!report.unwrap().packed, "there is nothing to take away");
}

/// What was garbage may have lost what it refers to, in a pack of long ago. That somebody takes it up
/// again is no reason to refuse every pack from then on; the original does not look there at all.
#[test]
fn garbage_that_was_taken_up_again_may_have_lost_something() {
    let storage = open(&SimDisk::new()).unwrap();
    change(&storage, 0, "root", &[]);
    change(&storage, 0, "root again", &[]);
    change(&storage, 1, "garbage", &[99]);
    let pack_time = change(&storage, 0, "root once more", &[]);
    change(&storage, 0, "root, with it", &[1]);
    let report = storage.pack(&PackOptions {
        to: pack_time,
        ..PackOptions::default()
    });
    assert!(report.unwrap().packed);
    assert!(exists(&storage, 1));
}

#[test]
fn a_pack_to_before_the_first_transaction_does_nothing() {
    let disk = disk(UNPACKED);
    let storage = open(&disk).unwrap();
    let report = storage.pack(&to(0)).unwrap();
    assert!(!report.packed);
    assert_eq!(disk.contents(path()).unwrap(), UNPACKED);
}

#[test]
fn a_pack_is_given_up_in_every_stage() {
    for stage in [Stage::Surveying, Stage::Marking, Stage::Copying] {
        let disk = disk(UNPACKED);
        let storage = open(&disk).unwrap();
        let mut options = to(8);
        let cancel = options.cancel.clone();
        options.progress = Arc::new(move |progress| {
            if progress.stage == stage {
                cancel.store(true, Ordering::Relaxed);
            }
        });
        let error = storage.pack(&options).unwrap_err();
        assert!(matches!(error, PackError::Cancelled), "{error}");
        assert_eq!(disk.contents(path()).unwrap(), UNPACKED);
        assert_eq!(contents(&disk, ".pack"), None);
        options.cancel.store(false, Ordering::Relaxed);
        options.progress = Arc::new(|_| {});
        assert!(storage.pack(&options).unwrap().packed, "life goes on");
    }
}

/// All that is read and written is told, in small portions, so that a caller can slow the pack down.
#[test]
fn the_pace_is_told_of_all_bytes() {
    let storage = open(&SimDisk::new()).unwrap();
    change(&storage, 0, "root", &[1]);
    let text = "x".repeat(100_000);
    for _ in 0..30 {
        change(&storage, 1, &text, &[]);
    }
    let told = Arc::new(Mutex::new(Vec::new()));
    let report = storage.pack(&PackOptions {
        pace: Arc::new({
            let told = told.clone();
            move |bytes| told.lock().push(bytes)
        }),
        ..PackOptions::default()
    });
    let report = report.unwrap();
    let told = told.lock();
    // Read twice, and written once.
    let expected = report.bytes_before * 2 + report.bytes_after;
    let sum: u64 = told.iter().sum();
    assert!(sum.abs_diff(expected) < 600_000, "{sum} {expected}");
    assert!(told.iter().all(|bytes| *bytes < 600_000), "{told:?}");
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

/// What is loaded is what iteration shows last: the index speaks of this file.
pub(crate) fn check_currency(storage: &FileStorage, context: &str) {
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
