//! Saving the index while others commit.

use sim::SimDisk;

use super::*;
use crate::Options;

const PATH: &str = "/db/Data.fs";

fn open(disk: &SimDisk, durability: Durability) -> Arc<FileStorage> {
    let options = Options {
        disk: Arc::new(disk.clone()),
        durability,
        ..Options::default()
    };
    FileStorage::open(PATH, options).unwrap()
}

fn store(storage: &Arc<FileStorage>, oids: &[u64]) {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    for oid in oids.iter().map(|oid| Oid::new(*oid)) {
        let base = storage.current_tid(oid).unwrap_or(Tid::ZERO);
        let record = Record::from(&b"record"[..]);
        commit.store(oid, base, record).unwrap();
    }
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
}

/// Commits go on while the index is saved. An entry that leads behind the end that it is saved for
/// would lead nowhere where a power loss takes what is there.
#[test]
fn an_index_is_saved_as_it_was_at_its_end() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    store(&storage, &[0, 1, 2]);
    store(&storage, &[1]);
    let generation = storage.generation();
    let end = generation.end();
    let then: Vec<_> = generation.index.iter().collect();
    store(&storage, &[1, 1, 3]);
    store(&storage, &[0, 1, 4]);
    storage.save_index_until(end).unwrap();
    let (saved, saved_end) = index_file::load(&disk, PATH.as_ref()).unwrap();
    assert_eq!(saved_end, end);
    assert!(saved.iter().eq(then));
}

/// Beside an index without entries the original cannot open the file.
#[test]
fn an_index_that_had_no_entries_is_not_saved() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    store(&storage, &[]);
    let end = storage.generation().end();
    store(&storage, &[1]);
    disk.remove(format!("{PATH}.index").as_ref()).unwrap();
    storage.save_index_until(end).unwrap();
    assert!(index_file::load(&disk, PATH.as_ref()).is_none());
}
