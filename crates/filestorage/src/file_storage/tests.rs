//! Saving the index while others commit, and closing while others sync.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use sim::{Fault, SimDisk};

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
    let then: Vec<_> = generation.index.whole().unwrap().iter().collect();
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

/// A close that finds another sync under way waits for it, and says what became of it.
#[test]
fn a_close_does_not_overtake_a_sync() {
    for fault in [None, Some(Fault::Error)] {
        let disk = SimDisk::new();
        let interval = Duration::from_secs(3600);
        let storage = open(&disk, Durability::Async { interval });
        store(&storage, &[1]);
        let (told, closed) = channel();
        let closing = Arc::new(Mutex::new(None));
        let (closer, faulty, closed_by) = (storage.clone(), disk.clone(), closing.clone());
        disk.before_next_sync(move || {
            *closed_by.lock() = Some(thread::spawn(move || {
                let outcome = closer.close();
                told.send(()).ok();
                outcome
            }));
            // There is nothing to wait for: that it does not come shows it.
            let overtaken = closed.recv_timeout(Duration::from_millis(100));
            assert!(overtaken.is_err(), "closed before the data are durable");
            if let Some(fault) = fault {
                faulty.fail_at(faulty.operations() + 1, fault);
            }
        });
        assert_eq!(storage.sync_if_due().is_ok(), fault.is_none());
        let closing = closing.lock().take().unwrap();
        assert_eq!(closing.join().unwrap().is_ok(), fault.is_none());
    }
}

/// What was finished without a sync is not durable when nothing can be synced any more.
#[test]
fn closing_says_whether_what_was_finished_is_durable() {
    let interval = Duration::from_secs(3600);
    for (durability, is_durable) in [
        (Durability::Strict, true),
        (Durability::Compat, true),
        (Durability::Async { interval }, false),
    ] {
        let storage = open(&SimDisk::new(), durability);
        store(&storage, &[1]);
        storage.poison("for the test");
        assert_eq!(storage.close().is_ok(), is_durable, "{durability:?}");
    }
}
