//! Many threads at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use storage::{Commit, CommitError, Oid, Record, Storage, StorageError, Tid};

use super::{World, commit, meta};

/// Eight threads ask for ids; nobody gets one that another has.
pub fn new_oids_are_unique_across_threads(world: &World) {
    let barrier = Barrier::new(8);
    let storage = &world.storage;
    let all: Vec<Oid> = thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            let some = |count| storage.new_oids(count).unwrap();
            (0..20).flat_map(some).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let distinct: BTreeSet<Oid> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(all.len(), 8 * (0..20).sum::<usize>());
    assert!(!distinct.contains(&Oid::ROOT));
}

/// Readers on snapshots of their own never see a transaction in part, while one writer commits.
pub fn readers_see_whole_transactions(world: &World) {
    let oids = [1, 2, 3, 4].map(Oid::new);
    let storage = &world.storage;
    let write = |number: u32, base: Tid| {
        let record = number.to_be_bytes();
        let changes = oids.map(|oid| (oid, base, &record[..]));
        commit(storage, &changes).unwrap()
    };
    let mut base = write(1, Tid::ZERO);
    let over = AtomicBool::new(false);
    let start = Barrier::new(READERS + 1);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let mut rounds = 0;
                    while !over.load(Ordering::Relaxed) || rounds == 0 {
                        check_snapshot(storage, &oids);
                        rounds += 1;
                    }
                })
            })
            .collect();
        start.wait();
        for number in 2..=WRITES {
            base = write(number, base);
        }
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    let current = world.current(oids[0]).unwrap();
    assert_eq!(*current.record, WRITES.to_be_bytes());
}

fn check_snapshot(storage: &Arc<dyn Storage>, oids: &[Oid]) {
    let last = storage.last_tid();
    let seen: Vec<_> = oids
        .iter()
        .map(|oid| storage.load_before(*oid, last.next()).unwrap().unwrap())
        .collect();
    for revision in &seen {
        assert_eq!(
            revision.tid, last,
            "the last transaction changed all objects"
        );
        assert_eq!(revision.record, seen[0].record);
        assert!(revision.next.is_none_or(|next| next > last));
    }
}

/// While one transaction has voted, others that change the same object wait, and get their turn in the
/// order they came.
pub fn waiting_votes_are_served_in_order(world: &World) {
    // Whether a thread already waits cannot be seen from outside, so it is given time to; a storage
    // that keeps the order passes as soon as the time was long enough.
    let mut served = Vec::new();
    for patience in [50, 200, 1000].map(Duration::from_millis) {
        served.push(order_of_service(world, patience));
        if served.last() == Some(&IN_ORDER) {
            return;
        }
    }
    panic!("not in the order they came: {served:?}");
}

fn order_of_service(world: &World, patience: Duration) -> [usize; 3] {
    let first = change_of(&world.storage, CONTESTED).vote().unwrap();
    let (sender, served) = channel();
    thread::scope(|scope| {
        for number in IN_ORDER {
            let (sender, commit) = (sender.clone(), change_of(&world.storage, CONTESTED));
            scope.spawn(move || {
                let _voted = commit.vote().unwrap();
                sender.send(number).unwrap();
            });
            let early = served.recv_timeout(patience);
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "a vote did not wait");
        }
        drop(first);
        IN_ORDER.map(|_| served.recv().unwrap())
    })
}

/// A transaction that changes this object, from what is current.
fn change_of(storage: &Arc<dyn Storage>, oid: Oid) -> Box<dyn Commit> {
    let base = match storage.load_before(oid, Tid::MAX) {
        Ok(current) => current.unwrap().tid,
        Err(StorageError::NotFound { .. }) => Tid::ZERO,
        Err(error) => panic!("{error}"),
    };
    let mut commit = Arc::clone(storage).begin(meta("", "")).unwrap();
    commit
        .store(oid, base, Record::from(&b"changed"[..]))
        .unwrap();
    commit
}

/// Until `publish` has returned, nobody else gets through the vote with the same object, and nothing
/// later is shown.
pub fn publish_comes_before_others_have_the_object(world: &World) {
    let voted = change_of(&world.storage, CONTESTED).vote().unwrap();
    let (sender, got_through) = channel();
    let publish = {
        let storage = Arc::clone(&world.storage);
        move |tid| {
            assert_eq!(storage.last_tid(), tid);
            let (first_to_see, sees) = channel();
            let later = Arc::clone(&storage);
            thread::spawn(move || {
                let voted = change_of(&later, CONTESTED).vote().unwrap();
                first_to_see.send(()).ok();
                sender
                    .send(voted.finish(Box::new(|_| {})).unwrap())
                    .unwrap();
            });
            let early = sees.recv_timeout(Duration::from_millis(100));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "a vote did not wait");
            assert_eq!(storage.last_tid(), tid);
        }
    };
    let tid = voted.finish(Box::new(publish)).unwrap();
    assert!(got_through.recv().unwrap() > tid);
}

/// Many threads change objects of their own: what `publish` tells comes in the order of the ids, and
/// each time the last transaction shown is the one told.
pub fn publish_tells_ids_in_order(world: &World) {
    let storage = &world.storage;
    let told = Arc::new(Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for number in 1..=WRITERS {
            let told = Arc::clone(&told);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let voted = change_of(storage, Oid::new(number)).vote().unwrap();
                    let (told, storage) = (Arc::clone(&told), Arc::clone(storage));
                    let publish = move |tid| {
                        assert_eq!(storage.last_tid(), tid, "nothing later is shown yet");
                        told.lock().unwrap().push(tid);
                    };
                    voted.finish(Box::new(publish)).unwrap();
                }
            });
        }
    });
    let told = told.lock().unwrap();
    assert_eq!(told.len() as u64, WRITERS * ROUNDS);
    assert!(told.is_sorted(), "{told:?}");
}

/// Eight threads count up one number, each again and again until its change is accepted.
pub fn no_increment_is_lost(world: &World) {
    let oid = Oid::new(1);
    world.change(oid, &0u32.to_be_bytes());
    let storage = &world.storage;
    let start = Barrier::new(COUNTERS);
    thread::scope(|scope| {
        for _ in 0..COUNTERS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..INCREMENTS {
                    while !increment(storage, oid) {}
                }
            });
        }
    });
    let total = u32::try_from(COUNTERS * INCREMENTS).unwrap();
    let current = world.current(oid).unwrap();
    assert_eq!(*current.record, total.to_be_bytes());
}

/// Whether the change was accepted.
fn increment(storage: &Arc<dyn Storage>, oid: Oid) -> bool {
    let snapshot = storage.last_tid().next();
    let seen = storage.load_before(oid, snapshot).unwrap().unwrap();
    let number = u32::from_be_bytes(seen.record[..].try_into().unwrap()) + 1;
    let mut commit = Arc::clone(storage).begin(meta("", "increment")).unwrap();
    let record = Record::from(&number.to_be_bytes()[..]);
    commit.store(oid, seen.tid, record).unwrap();
    match commit.vote() {
        Ok(voted) => {
            voted.finish(Box::new(|_| {})).unwrap();
            true
        }
        Err(CommitError::Conflict(conflicts)) => {
            assert!(conflicts[0].committed > seen.tid);
            false
        }
        Err(CommitError::Storage(StorageError::NotFound { .. })) => panic!("it vanished"),
        Err(error) => panic!("{error}"),
    }
}

const READERS: usize = 4;
const WRITES: u32 = 100;
const COUNTERS: usize = 8;
const INCREMENTS: usize = 25;
const IN_ORDER: [usize; 3] = [1, 2, 3];
const CONTESTED: Oid = Oid::new(77);
const WRITERS: u64 = 6;
const ROUNDS: u64 = 20;
