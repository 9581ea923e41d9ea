//! Undo as the original does it, byte for byte. See `golden/MANIFEST.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use filestorage::{FileStorage, Options, PackOptions};
use serde_json::Value;
use sim::SimDisk;
use storage::{
    CommitError, Iterate, Oid, Record, Storage, StorageError, Tid, TransactionMeta, Undo,
    UndoReason, UndoRefusal,
};

use crate::{PATH, change, open, options, path};

const UNDO: &[u8] = include_bytes!("../golden/undo.fs");
const UNDO_STEPS: &str = include_str!("../golden/undo.json");
const PACKED: &[u8] = include_bytes!("../golden/packed.fs");
const PACKED_UNDO: &[u8] = include_bytes!("../golden/packed_undo.fs");
const PACKED_STEPS: &str = include_str!("../golden/packed_undo.json");

fn bytes(value: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()
}

fn tid(value: &Value) -> Tid {
    Tid::new(value.as_u64().unwrap())
}

fn oid(value: &Value) -> Oid {
    Oid::new(value.as_u64().unwrap())
}

/// Does the step; what was refused is compared with what the original refused.
fn replay(storage: &Arc<FileStorage>, step: &Value) {
    let meta = TransactionMeta {
        user: bytes(&step["user"]),
        description: bytes(&step["description"]),
        extension: bytes(&step["extension"]),
    };
    let mut commit = storage.clone().begin(meta).unwrap();
    for action in step["actions"].as_array().unwrap() {
        if action["undo"].is_u64() {
            commit.undo(tid(&action["undo"])).unwrap();
        } else if action["base"].is_u64() {
            let record = Record::from(bytes(&action["data"]));
            commit
                .store(oid(&action["store"]), tid(&action["base"]), record)
                .unwrap();
        } // Else the original refused before it came to this one.
    }
    match commit.vote() {
        Ok(voted) => {
            assert!(
                step["obstacles"].is_null() && step["refused"].is_null(),
                "{step}"
            );
            let found = voted.finish(Box::new(|_| {})).unwrap();
            assert_eq!(found, tid(&step["tid"]));
        }
        Err(CommitError::Undo(obstacles)) => {
            let found: Vec<_> = obstacles
                .iter()
                .map(|obstacle| (obstacle.oid, format!("{:?}", obstacle.reason)))
                .collect();
            let wanted: Vec<_> = step["obstacles"]
                .as_array()
                .unwrap_or_else(|| panic!("{found:?} {step}"))
                .iter()
                .map(|pair| (oid(&pair[0]), pair[1].as_str().unwrap().to_owned()))
                .collect();
            assert_eq!(found, wanted, "{step}");
        }
        Err(CommitError::NotUndoable { reason, .. }) => {
            let wanted = match reason {
                UndoRefusal::Unknown => "Invalid transaction id",
                _ => "non-undoable transaction",
            };
            assert_eq!(step["refused"].as_str().unwrap(), wanted);
        }
        Err(error) => panic!("{error} {step}"),
    }
}

/// Does all steps behind `start`, and compares file, undo log and histories.
fn check(start: &[u8], steps: &str, wanted: &[u8]) {
    let expected: Value = serde_json::from_str(steps).unwrap();
    let disk = SimDisk::new();
    disk.put(path(), start);
    let now = Arc::new(AtomicU64::new(0));
    let clock = now.clone();
    let clock = Arc::new(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    let clocked = Options {
        clock,
        ..options(&disk)
    };
    let storage = FileStorage::open(PATH, clocked).unwrap();
    let mut written = 0;
    for step in expected["steps"].as_array().unwrap() {
        now.store(
            tid(&step["tid"]).to_unix_time().as_secs(),
            Ordering::Relaxed,
        );
        replay(&storage, step);
        let contents = disk.contents(path()).unwrap();
        assert!(wanted.starts_with(&contents), "{step}");
        written += usize::from(step["obstacles"].is_null() && step["refused"].is_null());
    }
    assert!(written > 10, "the steps are worth the test");
    assert_eq!(disk.contents(path()).unwrap(), wanted);

    let log = storage.undo_log(0, usize::MAX, &mut |_| true).unwrap();
    let wanted = expected["undo_log"].as_array().unwrap();
    assert_eq!(log.len(), wanted.len());
    for (found, wanted) in log.iter().zip(wanted) {
        assert_eq!(found.tid, tid(&wanted["tid"]));
        assert_eq!(found.meta.user, bytes(&wanted["user"]));
        assert_eq!(found.meta.description, bytes(&wanted["description"]));
        assert_eq!(found.bytes, wanted["size"].as_u64().unwrap());
    }
    check_histories(&storage, &expected["history"]);
}

fn check_histories(storage: &FileStorage, expected: &Value) {
    for (number, wanted) in (0..).zip(expected.as_array().unwrap()) {
        let found = storage.history(Oid::new(number), usize::MAX).unwrap();
        let wanted = wanted.as_array().unwrap();
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!(found.tid, tid(&wanted[0]));
            assert_eq!(found.meta.user, bytes(&wanted[1]));
            assert_eq!(found.bytes, wanted[2].as_u64().unwrap());
        }
        let newest = storage.history(Oid::new(number), 1).unwrap();
        assert_eq!(newest, found[..1]);
    }
}

#[test]
fn undos_are_written_as_the_original_writes_them() {
    check(b"", UNDO_STEPS, UNDO);
}

#[test]
fn nothing_before_a_pack_can_be_undone() {
    check(PACKED, PACKED_STEPS, PACKED_UNDO);
}

#[test]
fn an_undo_log_counts_what_is_wanted() {
    let disk = SimDisk::new();
    disk.put(path(), UNDO);
    let storage = open(&disk).unwrap();
    let all = storage.undo_log(0, usize::MAX, &mut |_| true).unwrap();
    assert_eq!(storage.undo_log(2, 5, &mut |_| true).unwrap(), all[2..5]);
    assert_eq!(storage.undo_log(5, 2, &mut |_| true).unwrap(), []);
    let mut is_even = |entry: &storage::UndoEntry| entry.bytes.is_multiple_of(2);
    let even: Vec<_> = all.iter().filter(|entry| is_even(entry)).cloned().collect();
    assert_eq!(storage.undo_log(1, 4, &mut is_even).unwrap(), even[1..4]);
}

#[test]
fn a_refused_undo_leaves_nothing_and_frees_the_lock() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let first = change(&storage, 1, b"first");
    change(&storage, 1, b"second");
    let before = disk.contents(path()).unwrap();
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let record = Record::from(&b"other"[..]);
    commit.store(Oid::new(2), Tid::ZERO, record).unwrap();
    commit.undo(first).unwrap();
    let error = commit.vote().err().unwrap();
    let text = "the undo is refused: object 0x01: it was created by the transaction and changed \
                by a later one";
    assert_eq!(error.to_string(), text);
    assert_eq!(disk.contents(path()).unwrap(), before);
    change(&storage, 1, b"third");
}

#[test]
fn an_undone_object_is_named_and_read_back() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let first = change(&storage, 1, b"first");
    let second = change(&storage, 1, b"second");
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.undo(second).unwrap();
    commit.undo(first).unwrap();
    let voted = commit.vote().unwrap();
    assert_eq!(voted.resolved(), [Oid::new(1)]);
    let undo = voted.finish(Box::new(|_| {})).unwrap();
    let gone = storage.load_before(Oid::new(1), Tid::MAX);
    assert!(matches!(gone, Err(StorageError::NotFound { .. })));
    let before = storage.load_before(Oid::new(1), undo).unwrap().unwrap();
    assert_eq!((before.tid, before.next), (second, Some(undo)));
    assert_eq!(storage.stats().objects, 1, "as the original counts");
    // A new state may follow on the removal.
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let record = Record::from(&b"again"[..]);
    commit.store(Oid::new(1), undo, record).unwrap();
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
}

/// The file of a blob lies outside: without it, the undo would lose the blob.
#[test]
fn an_undo_that_brings_a_blob_back_is_refused() {
    for blob in [
        &b"\x80\x03cZODB.blob\nBlob\nq\0.\x80\x03N."[..],
        b"cZODB.blob\nBlob\n.N.",
    ] {
        let storage = open(&SimDisk::new()).unwrap();
        change(&storage, 1, blob);
        let second = change(&storage, 1, blob);
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        commit.undo(second).unwrap();
        match commit.vote().err() {
            Some(CommitError::Undo(obstacles)) => {
                assert_eq!(obstacles.len(), 1);
                assert_eq!(obstacles[0].reason, UndoReason::BlobFileMissing);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_current_records_are_listed_by_id() {
    let storage = open(&SimDisk::new()).unwrap();
    assert_eq!(storage.current_record(Oid::ROOT).unwrap(), None);
    let created: Vec<_> = [0, 5, 70_000].map(|oid| change(&storage, oid, b"x")).into();
    let mut from = Some(Oid::ROOT);
    let mut found = Vec::new();
    while let Some(oid) = from {
        let record = storage.current_record(oid).unwrap().unwrap();
        found.push((record.oid.number(), record.tid));
        from = record.next;
    }
    assert_eq!(
        found,
        [0, 5, 70_000]
            .into_iter()
            .zip(created.clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(storage.current_record(Oid::new(70_001)).unwrap(), None);

    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.undo(created[1]).unwrap();
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    let removed = storage.current_record(Oid::new(1)).unwrap_err();
    assert!(matches!(removed, StorageError::NotFound { oid } if oid == Oid::new(5)));
}

/// What the capability hands out is what the storage's own walk finds.
#[test]
fn iteration_through_the_trait_finds_everything() {
    let disk = SimDisk::new();
    disk.put(path(), PACKED_UNDO);
    let storage = open(&disk).unwrap();
    let mut own = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
    let dynamic: Arc<dyn Storage> = storage.clone();
    let iterate = dynamic.iterate().unwrap();
    let mut packed = 0;
    for entry in iterate.iterate_transactions(Tid::ZERO, Tid::MAX).unwrap() {
        let (entry, own) = (entry.unwrap(), own.next().unwrap().unwrap());
        assert_eq!((entry.tid, &entry.meta), (own.tid, &own.meta));
        packed += usize::from(entry.is_packed);
        let records: Vec<_> = entry.records.map(Result::unwrap).collect();
        let wanted: Vec<_> = own.records().map(Result::unwrap).collect();
        assert_eq!(records, wanted);
    }
    assert!(own.next().is_none());
    assert!(packed > 0);
}

/// The back pointers of an undo lead into the file that it was planned for. Where a pack has put another
/// one in its place before the finish, the data themselves are written.
#[test]
fn an_undo_that_is_overtaken_by_a_pack_brings_the_right_data_back() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    change(&storage, 1, &[b'o'; 3000]);
    change(&storage, 2, b"of no interest");
    change(&storage, 2, b"of no interest either");
    let undone = change(&storage, 1, b"undone");
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.undo(undone).unwrap();
    let voted = commit.vote().unwrap();
    let options = PackOptions {
        to: undone,
        gc: false,
        ..PackOptions::default()
    };
    assert!(storage.pack(&options).unwrap().packed);
    let tid = voted.finish(Box::new(|_| {})).unwrap();
    let check = |storage: &FileStorage| {
        let current = storage.load_before(Oid::new(1), Tid::MAX).unwrap().unwrap();
        assert_eq!((current.tid, &*current.record), (tid, &[b'o'; 3000][..]));
        let before = storage.load_before(Oid::new(1), tid).unwrap().unwrap();
        assert_eq!((before.tid, &*before.record), (undone, &b"undone"[..]));
        let last = storage
            .transactions(tid, tid)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let record = last.records().next().unwrap().unwrap();
        assert_eq!(record.data_tid, None, "the older record is no longer here");
    };
    check(&storage);
    drop(storage);
    disk.restart(1);
    check(&open(&disk).unwrap());
}
