//! Batches of several transactions, made by holding the writer until enough are queued.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use sim::{Fault, SimDisk};
use storage::{Oid, Record, Storage, StorageError, TransactionMeta, Voted};

use super::*;
use crate::{Durability, Options};

const PATH: &str = "/db/Data.fs";

fn open(disk: &SimDisk, durability: Durability) -> Arc<FileStorage> {
    let options = Options {
        clock: Arc::new(|| std::time::Duration::from_secs(1_700_000_000)),
        disk: Arc::new(disk.clone()),
        durability,
        ..Options::default()
    };
    FileStorage::open(PATH, options).unwrap()
}

fn voted(storage: &Arc<FileStorage>, oid: u64, record: &[u8]) -> Box<dyn Voted> {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let base = storage.current_tid(Oid::new(oid)).unwrap_or(Tid::ZERO);
    commit
        .store(Oid::new(oid), base, Record::from(record))
        .unwrap();
    commit.vote().unwrap()
}

/// Lets these objects be changed in one batch, or more where they are too large.
fn finish_together(
    storage: &Arc<FileStorage>,
    records: &[(u64, Vec<u8>)],
    told: &Sender<Tid>,
) -> Vec<Result<Tid, CommitError>> {
    let pause = storage.writer.pause();
    let mut threads: Vec<JoinHandle<_>> = Vec::new();
    for (oid, record) in records {
        let voted = voted(storage, *oid, record);
        let told = told.clone();
        let publish = move |tid| told.send(tid).unwrap();
        threads.push(thread::spawn(move || voted.finish(Box::new(publish))));
        while storage.writer.queued() < threads.len() {
            thread::yield_now();
        }
    }
    drop(pause);
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

fn records(count: u64) -> Vec<(u64, Vec<u8>)> {
    (0..count).map(|oid| (oid, vec![7; 300])).collect()
}

#[test]
fn a_batch_takes_two_syncs_and_is_published_in_order() {
    for (durability, operations) in [
        (Durability::Strict, 1 + 1 + 8 + 1),
        (Durability::Compat, 1 + 1),
    ] {
        let disk = SimDisk::new();
        let storage = open(&disk, durability);
        let (sender, told) = channel();
        let before = disk.operations();
        let outcomes = finish_together(&storage, &records(8), &sender);
        let tids: Vec<Tid> = outcomes.into_iter().map(Result::unwrap).collect();
        assert_eq!(disk.operations() - before, operations, "{durability:?}");
        assert_eq!(told.try_iter().collect::<Vec<_>>(), tids);
        let follow = tids.windows(2).all(|pair| pair[0].next() == pair[1]);
        assert!(follow, "the ids follow each other: {tids:?}");
        assert_eq!(storage.last_tid(), tids[7]);
    }
}

#[test]
fn a_batch_has_an_end() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    let (sender, told) = channel();
    let large: Vec<_> = (0..3).map(|oid| (oid, vec![1; 6 << 20])).collect();
    let before = disk.operations();
    for outcome in finish_together(&storage, &large, &sender) {
        outcome.unwrap();
    }
    let syncs = 3;
    let statuses = 3;
    let pieces = 3 * 2;
    assert!(disk.operations() - before >= syncs + statuses + pieces);
    assert_eq!(told.try_iter().count(), 3);
    drop(storage);
    disk.restart_process();
    assert_eq!(
        open(&disk, Durability::Strict)
            .recent_changes(9)
            .unwrap()
            .len(),
        3
    );
}

/// Whatever operation of a batch the power goes off at: what is left is a first part of it, nobody who
/// was told misses anything, and the original's rule, to cut at the first `c`, finds the same.
#[test]
fn a_power_loss_keeps_a_first_part_of_a_batch() {
    let mut lengths = std::collections::BTreeSet::new();
    for operation in 1..=15 {
        for coin in 0..150 {
            let disk = SimDisk::new();
            let storage = open(&disk, Durability::Strict);
            let (sender, told) = channel();
            disk.fail_at(disk.operations() + operation, Fault::PowerLoss);
            let outcomes = [
                finish_together(&storage, &records(4), &sender),
                match storage.check_writable() {
                    Ok(()) => finish_together(&storage, &records(3), &sender),
                    Err(_) => Vec::new(),
                },
            ];
            drop(storage);
            disk.restart(coin);
            let context = format!("operation {operation}, coin {coin}");
            let storage = open(&disk, Durability::Strict);
            let left = storage.recent_changes(9).unwrap();
            let oids: Vec<_> = left
                .iter()
                .map(|changes| changes.oids[0].number())
                .collect();
            assert_eq!(oids, [0, 1, 2, 3, 0, 1, 2][..left.len()], "{context}");
            let finished = outcomes.iter().flatten().filter(|outcome| outcome.is_ok());
            assert!(
                left.len() >= finished.count(),
                "{context}: something is lost"
            );
            assert!(left.len() >= told.try_iter().count(), "{context}");
            for changes in &left {
                storage.load_serial(changes.oids[0], changes.tid).unwrap();
            }
            lengths.insert(left.len());
            voted(&storage, 1, b"on").finish(Box::new(|_| {})).unwrap();
        }
    }
    assert_eq!(lengths, (0..=7).collect(), "all the first parts were seen");
}

/// Each transaction is told what is true for it: those whose status byte may be on the disk, that
/// nobody knows; the others, that they are not there.
#[test]
fn a_failure_tells_each_transaction_what_is_true() {
    for operation in 1..=7 {
        let disk = SimDisk::new();
        let storage = open(&disk, Durability::Strict);
        let (sender, told) = channel();
        disk.fail_at(disk.operations() + operation, Fault::Error);
        let outcomes = finish_together(&storage, &records(4), &sender);
        let unknown = match operation {
            1 | 2 => 0,
            status @ 3..=6 => usize::try_from(status).unwrap() - 2,
            _ => 4,
        };
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let error = outcome.unwrap_err();
            let is_unknown = matches!(error, CommitError::Unknown);
            assert_eq!(
                is_unknown,
                number < unknown,
                "{operation}, {number}: {error}"
            );
        }
        assert_eq!(told.try_iter().count(), 0);
        assert_eq!(storage.last_tid(), Tid::ZERO);
        let refused = storage.clone().begin(TransactionMeta::default()).err();
        assert!(matches!(refused, Some(StorageError::Poisoned { .. })));
        drop(storage);
        disk.restart_process();
        let left = open(&disk, Durability::Strict).recent_changes(9).unwrap();
        assert!(left.len() <= unknown, "{operation}");
    }
}

#[test]
fn a_full_disk_costs_the_batch() {
    for durability in [Durability::Strict, Durability::Compat] {
        let disk = SimDisk::new();
        let storage = open(&disk, durability);
        let (sender, told) = channel();
        voted(&storage, 9, b"before")
            .finish(Box::new(|_| {}))
            .unwrap();
        let before = disk.contents(PATH.as_ref());
        disk.fail_at(disk.operations() + 1, Fault::Full);
        for outcome in finish_together(&storage, &records(3), &sender) {
            assert!(matches!(
                outcome,
                Err(CommitError::Storage(StorageError::Io { .. }))
            ));
        }
        assert_eq!(disk.contents(PATH.as_ref()), before);
        let after = finish_together(&storage, &records(3), &sender);
        assert!(after.iter().all(Result::is_ok), "{after:?}");
        assert_eq!(told.try_iter().count(), 3);
    }
}

/// What goes wrong in a `publish` is the trouble of the one who gave it.
#[test]
fn a_panic_while_publishing_goes_to_its_owner() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    let pause = storage.writer.pause();
    let finish = |oid, publish: Publish| {
        let voted = voted(&storage, oid, b"x");
        thread::spawn(move || voted.finish(publish))
    };
    let unlucky = finish(1, Box::new(|_| panic!("this panic is part of the test")));
    let lucky = finish(2, Box::new(|_| {}));
    while storage.writer.queued() < 2 {
        thread::yield_now();
    }
    drop(pause);
    assert!(unlucky.join().is_err());
    lucky.join().unwrap().unwrap();
    voted(&storage, 1, b"y").finish(Box::new(|_| {})).unwrap();
    assert_eq!(storage.recent_changes(9).unwrap().len(), 3);
}

/// A pause keeps finishes in the queue and lets votes through.
#[test]
fn a_pause_holds_the_queue_and_no_votes() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    let pause = storage.writer.pause();
    let before = disk.contents(PATH.as_ref());
    let waiting = voted(&storage, 1, b"x");
    let waiting = thread::spawn(move || waiting.finish(Box::new(|_| {})));
    drop(voted(&storage, 2, b"another"));
    while storage.writer.queued() < 1 {
        thread::yield_now();
    }
    assert_eq!(disk.contents(PATH.as_ref()), before);
    drop(pause);
    waiting.join().unwrap().unwrap();
    assert_eq!(storage.recent_changes(9).unwrap().len(), 1);
}

/// Who waits for transactions that were submitted.
fn settled(outcomes: &Sender<Result<Tid, CommitError>>) -> Settled {
    let outcomes = outcomes.clone();
    Box::new(move |outcome| outcomes.send(outcome).unwrap())
}

#[test]
fn who_submits_leads_only_where_nobody_does_and_is_told_after_everybody() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    let (outcomes, told) = channel();
    let mut works = Vec::new();
    for oid in 1..=3 {
        let published = outcomes.clone();
        let publish = Box::new(move |tid| published.send(Ok(tid)).unwrap());
        works.push(voted(&storage, oid, b"x").submit(publish, settled(&outcomes)));
    }
    assert!(works[1].is_none() && works[2].is_none());
    assert_eq!(told.try_iter().count(), 0);
    works.remove(0).expect("somebody has to lead").run();
    let told: Vec<_> = told.try_iter().map(Result::unwrap).collect();
    let [first, .., last] = told[..] else {
        panic!("{told:?}");
    };
    let second = first.next();
    // All of a batch are shown before the first is told.
    assert_eq!(told, [first, second, last, first, second, last]);
    assert_eq!((storage.last_tid(), second.next()), (last, last));
    // Nobody leads any more, and the objects are free.
    let (outcomes, told) = channel();
    let work = voted(&storage, 1, b"y").submit(Box::new(|_| {}), settled(&outcomes));
    // To drop the work does it.
    drop(work);
    told.recv().unwrap().unwrap();
}

#[test]
fn a_vote_is_quick_where_there_is_room_and_no_pack() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    assert!(!storage.votes_quickly(1), "no room is taken yet");
    voted(&storage, 1, b"x").finish(Box::new(|_| {})).unwrap();
    let generation = storage.generation();
    let taken = generation.end().number() + 100;
    generation.taken_to.store(taken, Ordering::Relaxed);
    assert!(storage.votes_quickly(100));
    assert!(!storage.votes_quickly(101), "more room has to be taken");
    generation.taken_to.store(u64::MAX, Ordering::Relaxed);
    assert!(storage.votes_quickly(1 << 30), "nothing keeps room");
    let room = storage.room.reserved.lock();
    assert!(!storage.votes_quickly(1), "somebody takes room");
    drop(room);
    let pack = storage.pack_lock.lock();
    assert!(!storage.votes_quickly(1), "a pack may keep it waiting");
    drop(pack);
    assert!(storage.votes_quickly(1));
}

#[test]
fn a_thread_that_leads_goes_on_for_those_who_have_none() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    let pause = storage.writer.pause();
    let (outcomes, told) = channel();
    let own = voted(&storage, 1, &vec![1; 12 << 20]);
    let own = thread::spawn(move || own.finish(Box::new(|_| {})));
    while storage.writer.queued() < 1 {
        thread::yield_now();
    }
    // Too large for the batch of the first.
    let other = voted(&storage, 2, &vec![2; 12 << 20]);
    let work = other.submit(Box::new(|_| {}), settled(&outcomes));
    assert!(work.is_none(), "somebody leads");
    drop(pause);
    told.recv().unwrap().unwrap();
    own.join().unwrap().unwrap();
}

#[test]
fn who_submits_is_told_of_failures_and_panics() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    let (outcomes, told) = channel();
    let publish: Publish = Box::new(|_| panic!("this panic is part of the test"));
    let work = voted(&storage, 1, b"x").submit(publish, settled(&outcomes));
    work.unwrap().run();
    told.recv().unwrap().expect("it is finished");
    let panics: Settled = Box::new(|_| panic!("this panic is part of the test"));
    let work = voted(&storage, 1, b"x").submit(Box::new(|_| {}), panics);
    work.unwrap().run();
    let late = voted(&storage, 2, b"x");
    disk.fail_at(disk.operations() + 1, Fault::Error);
    let work = voted(&storage, 1, b"x").submit(Box::new(|_| {}), settled(&outcomes));
    work.unwrap().run();
    assert!(told.recv().unwrap().is_err());
    let work = late.submit(Box::new(|_| {}), settled(&outcomes));
    work.into_iter().for_each(Work::run);
    assert!(told.recv().unwrap().is_err(), "the storage is poisoned");
}

#[test]
fn who_submits_to_a_closed_storage_is_told_at_once() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    let (outcomes, told) = channel();
    let voted = voted(&storage, 1, b"x");
    storage.close().unwrap();
    assert!(voted.submit(Box::new(|_| {}), settled(&outcomes)).is_none());
    assert!(told.try_recv().unwrap().is_err());
}

/// With a thread that waits, or without.
fn finish_either_way(voted: Box<dyn Voted>, number: u64) {
    if number.is_multiple_of(2) {
        voted.finish(Box::new(|_| {})).unwrap();
        return;
    }
    let (outcomes, told) = channel();
    let work = voted.submit(Box::new(|_| {}), settled(&outcomes));
    let lead = work.map(|work| thread::spawn(move || work.run()));
    told.recv().unwrap().unwrap();
    drop(lead);
}

/// Writers with objects of their own and one that all want, pauses and closes in between: every
/// finish that was told is there, and no lead is lost.
#[test]
fn nobody_waits_for_ever() {
    let disk = SimDisk::new();
    let storage = open(&disk, Durability::Strict);
    let writers: Vec<_> = (1..=8)
        .map(|number| {
            let storage = storage.clone();
            thread::spawn(move || {
                let mut finished = 0;
                for _ in 0..50 {
                    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
                    for oid in [number, 99] {
                        let base = storage.current_tid(Oid::new(oid)).unwrap_or(Tid::ZERO);
                        let record = Record::from(&b"record"[..]);
                        commit.store(Oid::new(oid), base, record).unwrap();
                    }
                    if let Ok(voted) = commit.vote() {
                        finish_either_way(voted, number);
                        finished += 1;
                    }
                    finish_either_way(voted(&storage, number, b"alone"), number);
                    finished += 1;
                }
                finished
            })
        })
        .collect();
    for _ in 0..100 {
        drop(storage.writer.pause());
        thread::yield_now();
    }
    let finished: usize = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .sum();
    storage.close().unwrap();
    drop(storage);
    let storage = open(&disk, Durability::Strict);
    assert_eq!(storage.recent_changes(9999).unwrap().len(), finished);
}

/// Whatever is left of a batch that was written at once: what was durable before is there, or the
/// file is refused, with all of that in it.
#[test]
fn a_power_loss_without_the_second_sync_keeps_what_was_durable_before() {
    let interval = std::time::Duration::from_secs(3600);
    let (mut opened, mut refused) = (0, 0);
    for durability in [Durability::Compat, Durability::Async { interval }] {
        for (operation, coin) in (1..=2).flat_map(|number| (0..150).map(move |coin| (number, coin)))
        {
            let disk = SimDisk::new();
            let storage = open(&disk, durability);
            let (sender, _told) = channel();
            finish_together(&storage, &[(9, vec![9; 100])], &sender);
            storage.sync_if_due().unwrap();
            let durable = disk.contents(PATH.as_ref()).unwrap();
            disk.fail_at(disk.operations() + operation, Fault::PowerLoss);
            finish_together(&storage, &records(4), &sender);
            storage.sync_if_due().ok();
            drop(storage);
            disk.restart(coin);
            let context = format!("{durability:?}, operation {operation}, coin {coin}");
            let options = Options {
                disk: Arc::new(disk.clone()),
                ..Options::default()
            };
            match FileStorage::open(PATH, options) {
                Ok(storage) => {
                    let left = storage.recent_changes(9).unwrap();
                    assert_eq!(left[0].oids, [Oid::new(9)], "{context}");
                    opened += 1;
                }
                Err(StorageError::Corrupt { offset, .. }) => {
                    assert!(offset >= durable.len() as u64, "{context}");
                    refused += 1;
                }
                Err(error) => panic!("{context}: {error}"),
            }
            let left = disk.contents(PATH.as_ref()).unwrap();
            assert!(left.starts_with(&durable), "{context}");
        }
    }
    assert!(opened > 300 && refused > 50, "{opened}, {refused}");
}
