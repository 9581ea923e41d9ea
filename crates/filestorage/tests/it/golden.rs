//! Files that the original wrote. See `golden/MANIFEST.md`.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use filestorage::{Compression, FileStorage, Options};
use serde_json::Value;
use sim::SimDisk;
use storage::{
    CommitError, Iterate, Oid, PackOptions, Storage, StorageError, Tid, TransactionMeta,
};

use crate::{PATH, change, open, open_read_only, path};

const PLAIN: &[u8] = include_bytes!("../golden/plain.fs");
const PLAIN_INDEX: &[u8] = include_bytes!("../golden/plain.fs.index");
const UNFINISHED: &[u8] = include_bytes!("../golden/unfinished.fs");
const EXPECTED: &str = include_str!("../golden/plain.json");
const COMPRESSED: &[u8] = include_bytes!("../golden/compressed.fs");
const EXPECTED_COMPRESSED: &str = include_str!("../golden/compressed.json");

fn disk(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.put(path(), bytes);
    disk
}

fn expected() -> Value {
    serde_json::from_str(EXPECTED).unwrap()
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    Some(BASE64_STANDARD.decode(value.as_str()?).unwrap())
}

fn undo(storage: &Arc<FileStorage>, tid: Tid) -> Result<Tid, CommitError> {
    let mut commit = storage.clone().begin(TransactionMeta::default())?;
    commit.undo(tid)?;
    commit.vote()?.finish(Box::new(|_| {}))
}

fn tid(value: &Value) -> Option<Tid> {
    value.as_u64().map(Tid::new)
}

/// Everything that the original says of the file, asked of ours.
fn check(disk: &SimDisk) {
    check_against(disk, &expected());
}

fn check_against(disk: &SimDisk, expected: &Value) {
    let storage = open_read_only(disk).unwrap();
    assert_eq!(Some(storage.last_tid()), tid(&expected["last_tid"]));
    assert_eq!(Some(storage.stats().objects), expected["objects"].as_u64());
    assert_eq!(Some(storage.stats().bytes), expected["size"].as_u64());

    let mut transactions = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
    for wanted in expected["transactions"].as_array().unwrap() {
        let found = transactions.next().unwrap().unwrap();
        assert_eq!(Some(found.tid), tid(&wanted["tid"]));
        assert_eq!(
            wanted["status"].as_str().unwrap().as_bytes(),
            [found.status.byte()]
        );
        assert_eq!(Some(&found.meta.user), bytes(&wanted["user"]).as_ref());
        assert_eq!(
            Some(&found.meta.description),
            bytes(&wanted["description"]).as_ref()
        );
        assert_eq!(
            Some(&found.meta.extension),
            bytes(&wanted["extension"]).as_ref()
        );
        let mut records = found.records();
        for wanted in wanted["records"].as_array().unwrap() {
            let record = records.next().unwrap().unwrap();
            assert_eq!(Some(record.oid.number()), wanted["oid"].as_u64());
            assert_eq!(record.tid, found.tid);
            assert_eq!(
                record.data.map(|data| data.to_vec()),
                bytes(&wanted["data"])
            );
            assert_eq!(record.data_tid, tid(&wanted["data_tid"]));
        }
        assert!(records.next().is_none());
    }
    assert!(transactions.next().is_none());

    for wanted in expected["loads"].as_array().unwrap() {
        let oid = Oid::new(wanted["oid"].as_u64().unwrap());
        let found = storage.load_before(oid, tid(&wanted["before"]).unwrap());
        match (found, &wanted["found"]) {
            (Err(StorageError::NotFound { .. }), Value::String(kind)) if kind == "missing" => {}
            (Ok(None), Value::String(kind)) if kind == "none" => {}
            (Ok(Some(found)), wanted) => {
                assert_eq!(Some(found.tid), tid(&wanted["tid"]), "{wanted}");
                assert_eq!(found.next, tid(&wanted["next"]));
                assert_eq!(Some(found.record.to_vec()), bytes(&wanted["data"]));
                assert_eq!(storage.load_serial(oid, found.tid).unwrap(), found.record);
            }
            (found, wanted) => panic!("{oid}: {found:?} instead of {wanted}"),
        }
    }
}

#[test]
fn the_file_is_read_as_the_original_reads_it() {
    check(&disk(PLAIN));
    let with_index = disk(PLAIN);
    with_index.put(format!("{PATH}.index").as_ref(), PLAIN_INDEX);
    check(&with_index);
}

#[test]
fn an_unfinished_transaction_does_not_count() {
    check(&disk(UNFINISHED));
    let disk = disk(UNFINISHED);
    drop(open(&disk).unwrap());
    assert_eq!(disk.contents(path()).unwrap(), PLAIN);
    let saved = disk.contents(format!("{PATH}.tr0").as_ref()).unwrap();
    assert_eq!(saved, UNFINISHED[PLAIN.len()..]);
}

/// The original's index is used, and ours has the same bytes.
#[test]
fn the_index_is_the_original_one() {
    let disk = disk(PLAIN);
    open(&disk).unwrap().close().unwrap();
    let index = disk.contents(format!("{PATH}.index").as_ref()).unwrap();
    assert_eq!(index, PLAIN_INDEX);
}

/// A file of the time of Python 2 has the same structure behind another magic.
#[test]
fn a_file_from_python_2_is_read_and_keeps_its_magic() {
    let old = [b"FS21", &PLAIN[4..]].concat();
    let disk = disk(&old);
    check(&disk);
    let storage = open(&disk).unwrap();
    change(&storage, 1, b"new");
    assert!(disk.contents(path()).unwrap().starts_with(&old));
}

#[test]
fn transactions_are_found_by_their_ids() {
    let storage = open_read_only(&disk(PLAIN)).unwrap();
    let all: Vec<Tid> = expected()["transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|transaction| tid(&transaction["tid"]).unwrap())
        .collect();
    let ends = all
        .iter()
        .flat_map(|tid| [Tid::new(tid.number() - 1), *tid, tid.next()]);
    let ends: Vec<Tid> = ends.collect();
    for &from in &ends {
        for &to in &ends {
            let found = storage.transactions(from, to).unwrap();
            let found: Vec<Tid> = found.map(|transaction| transaction.unwrap().tid).collect();
            let within = all.iter().filter(|tid| (from..=to).contains(tid));
            assert!(within.eq(&found), "from {from} to {to}: {found:?}");
        }
    }
}

/// zc.zlibstorage is in the file, not in the way: what it compressed is read, undone and packed.
#[test]
fn compressed_records_are_read_as_the_original_reads_them() {
    let disk = disk(COMPRESSED);
    let expected: Value = serde_json::from_str(EXPECTED_COMPRESSED).unwrap();
    check_against(&disk, &expected);
    let storage = open(&disk).unwrap();
    let (one, six) = (Oid::new(1), Oid::new(6));
    let entries = Iterate::history(&*storage, six, 9).unwrap();
    let [_, between, first] = &entries[..] else {
        panic!("{entries:?}");
    };
    let was = storage.load_serial(six, first.tid).unwrap();
    assert!(first.bytes < was.len() as u64, "compressed in the file");
    undo(&storage, between.tid).unwrap_err();
    undo(
        &storage,
        storage.load_before(six, Tid::MAX).unwrap().unwrap().tid,
    )
    .unwrap();
    undo(&storage, between.tid).unwrap();
    let now = storage.load_before(six, Tid::MAX).unwrap().unwrap();
    assert_eq!(now.record, was);

    let before = storage.load_before(one, Tid::MAX).unwrap().unwrap();
    let options = PackOptions {
        gc: false,
        ..PackOptions::default()
    };
    assert!(storage.pack(&options).unwrap().packed);
    let after = storage.load_before(one, Tid::MAX).unwrap().unwrap();
    assert_eq!(after, before);
    let entry = &Iterate::history(&*storage, one, 1).unwrap()[0];
    assert!(
        entry.bytes < after.record.len() as u64,
        "a pack keeps it compressed"
    );
}

/// Written as zc.zlibstorage writes: what becomes shorter is compressed, in a copy as well.
#[test]
fn records_are_compressed_where_that_is_asked_for() {
    let disk = SimDisk::new();
    let options = Options {
        compress: Compression::Zlib,
        ..crate::options(&disk)
    };
    let storage = FileStorage::open(PATH, options).unwrap();
    let (text, short) = ([b'x'; 5000], b"0123456789");
    change(&storage, 1, &text);
    change(&storage, 2, short);
    let bytes = |oid| Iterate::history(&*storage, Oid::new(oid), 1).unwrap()[0].bytes;
    assert!((20..100).contains(&bytes(1)), "{}", bytes(1));
    assert_eq!(bytes(2), 10);
    let load = |oid| storage.load_before(Oid::new(oid), Tid::MAX).unwrap();
    assert_eq!(*load(1).unwrap().record, text);
    assert_eq!(*load(2).unwrap().record, *short);
    // What a client has compressed itself stays as it is.
    let compressed = b".zx\x9cKL$\x15\x00\x00\xe3\\\x12\xf3";
    change(&storage, 3, compressed);
    assert_eq!(bytes(3), compressed.len() as u64);
    assert_eq!(*load(3).unwrap().record, [b'a'; 50]);
}

#[test]
fn a_damaged_compressed_record_is_refused_and_hides_no_other() {
    let start = COMPRESSED
        .windows(3)
        .rposition(|bytes| bytes == b".zx")
        .unwrap();
    let mut damaged = COMPRESSED.to_vec();
    damaged[start + 8] ^= 0xff;
    let storage = open_read_only(&disk(&damaged)).unwrap();
    let loads = (0..8).map(|oid| storage.load_before(Oid::new(oid), Tid::MAX));
    let refused: Vec<_> = loads
        .filter(|load| matches!(load, Err(StorageError::Corrupt { .. })))
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    let transactions = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
    let records: Vec<_> = transactions
        .flat_map(|transaction| transaction.unwrap().records())
        .collect();
    let all = open_read_only(&disk(COMPRESSED)).unwrap();
    let all = all.transactions(Tid::ZERO, Tid::MAX).unwrap();
    let all = all.map(|transaction| transaction.unwrap().records().count());
    assert_eq!(records.len(), all.sum::<usize>());
    assert_eq!(records.iter().filter(|record| record.is_err()).count(), 1);
}
