//! Files that the original wrote. See `golden/MANIFEST.md`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sim::SimDisk;
use storage::{Oid, Storage, StorageError, Tid};

use crate::{PATH, change, open, open_read_only, path};

const PLAIN: &[u8] = include_bytes!("../golden/plain.fs");
const PLAIN_INDEX: &[u8] = include_bytes!("../golden/plain.fs.index");
const UNFINISHED: &[u8] = include_bytes!("../golden/unfinished.fs");
const EXPECTED: &str = include_str!("../golden/plain.json");

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

fn tid(value: &Value) -> Option<Tid> {
    value.as_u64().map(Tid::new)
}

/// Everything that the original says of the file, asked of ours.
fn check(disk: &SimDisk) {
    let storage = open_read_only(disk).unwrap();
    let expected = expected();
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
