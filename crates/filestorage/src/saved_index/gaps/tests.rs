use std::sync::Arc;

use sim::SimDisk;
use storage::{Record, Storage, Tid, TransactionMeta};
use vfs::{Disk, OpenMode};

use super::*;
use crate::{FileStorage, Options, Survey};

const UNPACKED: &[u8] = include_bytes!("../../../tests/golden/unpacked.fs");
const NEW_OID: u64 = 0x0100_0000_0000_0007;

fn disk(bytes: &[u8]) -> Arc<SimDisk> {
    let disk = SimDisk::new();
    disk.put("Data.fs".as_ref(), bytes);
    Arc::new(disk)
}

fn log(bytes: &[u8]) -> Log {
    let file = disk(bytes).open("Data.fs".as_ref(), OpenMode::Read);
    Log::new(file.unwrap(), "Data.fs".into())
}

fn open(disk: &Arc<SimDisk>) -> Arc<FileStorage> {
    let options = Options {
        disk: disk.clone(),
        ..Options::default()
    };
    FileStorage::open("Data.fs", options).unwrap()
}

/// The current records, by the file alone, and where it ends.
fn current(bytes: &[u8]) -> (Vec<(Oid, Offset)>, Offset) {
    let storage = open(&disk(bytes));
    let generation = storage.generation();
    let index = generation.index.whole().unwrap();
    (index.iter().collect(), generation.end())
}

fn index_of(entries: impl IntoIterator<Item = (Oid, Offset)>) -> Index {
    let index = Index::default();
    for (oid, at) in entries {
        index.insert(oid, at);
    }
    index
}

/// What is found when all is looked through, and what by the end of the log alone.
fn both(log: &Log, index: &Index, end: Offset) -> [Option<Oid>; 2] {
    [LOOKED_THROUGH_MAX, Offset::NONE]
        .map(|max| look(log, index, end, &[], max).unwrap())
        .map(|gap| gap.map(|gap| gap.oid))
}

/// The original's file of transactions with undos, and what a pack of it left and what came behind it.
fn files() -> Vec<Vec<u8>> {
    let disk = disk(UNPACKED);
    let storage = open(&disk);
    let options = storage::PackOptions {
        to: Tid::new(0x03f0_0008_0000_0000),
        ..storage::PackOptions::default()
    };
    storage.pack(&options).unwrap();
    for oid in [0, 1, 1, 3].map(Oid::new) {
        let base = storage.current_tid(oid).unwrap_or(Tid::ZERO);
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        commit.store(oid, base, Record::from(&b"x"[..])).unwrap();
        commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    }
    storage.close().unwrap();
    vec![
        UNPACKED.to_vec(),
        disk.contents("Data.fs".as_ref()).unwrap(),
    ]
}

#[test]
fn an_index_that_misses_an_object_or_names_an_older_record_has_a_gap() {
    let mut older_ones = 0;
    for bytes in files() {
        let log = log(&bytes);
        let (entries, end) = current(&bytes);
        assert_eq!(both(&log, &index_of(entries.clone()), end), [None; 2]);
        for (oid, at) in &entries {
            let others = entries.iter().copied().filter(|entry| entry.0 != *oid);
            let index = index_of(others.clone());
            assert_eq!(both(&log, &index, end), [Some(*oid); 2]);
            let record = DataHeader::decode(&log.read_array(*at).unwrap());
            if let Some(older) = record.previous.some() {
                older_ones += 1;
                let index = index_of(others.chain([(*oid, older)]));
                assert_eq!(both(&log, &index, end), [Some(*oid); 2]);
            }
        }
    }
    assert!(older_ones > 3, "{older_ones}");
}

/// Else the damage would be believed, and nobody would see it any more.
#[test]
fn a_damaged_record_is_not_blamed_on_the_index() {
    for bytes in files() {
        let (entries, end) = current(&bytes);
        let index = index_of(entries.clone());
        let survey = Survey::open("Data.fs", disk(&bytes)).unwrap();
        let mut walk = survey.walk();
        let mut places = Vec::new();
        while walk.next_step().unwrap().is_some() {
            while let Some(record) = walk.next_record().unwrap() {
                places.push((usize::try_from(record.offset).unwrap(), record.oid));
            }
        }
        assert!(places.len() > 8);
        let objects = entries.iter().map(|entry| entry.0.number());
        let values: Vec<u64> = objects.chain([NEW_OID]).collect();
        for (at, oid) in &places {
            for value in &values {
                let mut broken = bytes.clone();
                broken[*at..*at + 8].copy_from_slice(&value.to_be_bytes());
                let found = both(&log(&broken), &index, end);
                assert_eq!(found, [None; 2], "{at}: {oid} became {value:#x}");
            }
            // Any other field, too.
            for field in 8..42 {
                let mut broken = bytes.clone();
                broken[at + field] ^= 0x21;
                assert_eq!(both(&log(&broken), &index, end), [None; 2], "{at} {field}");
            }
        }
    }
}

/// In a long log only what the sample leads to is looked at, and the end.
#[test]
fn a_sample_finds_a_gap_beside_one_of_its_entries() {
    let disk = disk(b"FS30");
    let storage = open(&disk);
    let number = |number: usize| u64::try_from(number).unwrap();
    for first in (0..number(NEWEST_MAX) * 2 + 20).step_by(2) {
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        for oid in [first, first + 1].map(Oid::new) {
            commit
                .store(oid, Tid::ZERO, Record::from(&b"x"[..]))
                .unwrap();
        }
        commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    }
    drop(storage);
    let bytes = disk.contents("Data.fs".as_ref()).unwrap();
    let (entries, end) = current(&bytes);
    let (log, missing) = (log(&bytes), entries[5]);
    let index = index_of(entries.iter().copied().filter(|entry| *entry != missing));
    let look = |sample: &[(Oid, Offset)]| {
        let found = look(&log, &index, end, sample, Offset::NONE).unwrap();
        found.map(|gap| (gap.oid, gap.at))
    };
    assert_eq!(look(&[entries[7]]), None);
    assert_eq!(look(&[entries[7], entries[4]]), Some(missing));
}
