//! Who gets which locks, and when.

use std::sync::atomic::AtomicI64;
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;

use super::*;

const A: Oid = Oid::new(1);
const B: Oid = Oid::new(2);
const C: Oid = Oid::new(3);

#[test]
fn waiters_are_served_in_the_order_they_came() {
    let locks = Arc::new(ObjectLocks::default());
    let served = Arc::new(Mutex::new(Vec::new()));
    let guard = locks.acquire(vec![(A, Intent::Change)]);
    let waiters: Vec<_> = (0..8)
        .map(|number| {
            let handle = thread::spawn({
                let (locks, served) = (Arc::clone(&locks), Arc::clone(&served));
                move || {
                    let _guard = locks.acquire(vec![(A, Intent::Change)]);
                    served.lock().push(number);
                }
            });
            while locks.waiting(A) <= number {
                thread::yield_now();
            }
            handle
        })
        .collect();
    drop(guard);
    for waiter in waiters {
        waiter.join().unwrap();
    }
    assert_eq!(*served.lock(), Vec::from_iter(0..8));
    assert!(locks.queues.lock().is_empty(), "nothing is left behind");
}

#[test]
fn other_objects_are_free_and_those_who_rely_share() {
    let locks = Arc::new(ObjectLocks::default());
    let guards = [
        locks.acquire(vec![(A, Intent::Change)]),
        locks.acquire(vec![(B, Intent::Rely)]),
        locks.acquire(vec![(C, Intent::Change), (B, Intent::Rely)]),
        locks.acquire(Vec::new()),
    ];
    drop(guards);
    assert!(locks.queues.lock().is_empty());
}

#[test]
fn an_object_that_is_named_twice_is_changed() {
    let locks = Arc::new(ObjectLocks::default());
    let guard = locks.acquire(vec![
        (A, Intent::Rely),
        (A, Intent::Change),
        (A, Intent::Rely),
    ]);
    assert_eq!(locks.queues.lock()[&A].first.intent, Intent::Change);
    drop(guard);
    assert!(locks.queues.lock().is_empty());
}

/// A transaction that waits for one object keeps its place at the others, and those who rely do not
/// overtake one who wants to change.
#[test]
fn nobody_is_overtaken() {
    let locks = Arc::new(ObjectLocks::default());
    let first = locks.acquire(vec![(A, Intent::Rely)]);
    let (sender, served) = channel();
    let spawn = |name: &'static str, wanted: Vec<(Oid, Intent)>, on: Oid, waiting: usize| {
        let (locks, sender) = (Arc::clone(&locks), sender.clone());
        let handle = thread::spawn({
            let locks = Arc::clone(&locks);
            move || {
                let guard = locks.acquire(wanted);
                sender.send(name).unwrap();
                drop(guard);
            }
        });
        while locks.waiting(on) < waiting {
            assert!(!handle.is_finished(), "{name}: did not wait");
            thread::yield_now();
        }
        handle
    };
    let threads = [
        spawn(
            "changes A and B",
            vec![(A, Intent::Change), (B, Intent::Change)],
            A,
            1,
        ),
        spawn("relies on A", vec![(A, Intent::Rely)], A, 2),
        spawn("changes B", vec![(B, Intent::Change)], B, 1),
    ];
    assert_eq!(served.try_recv(), Err(TryRecvError::Empty));
    drop(first);
    assert_eq!(served.recv().unwrap(), "changes A and B");
    let mut rest = [served.recv().unwrap(), served.recv().unwrap()];
    rest.sort_unstable();
    assert_eq!(rest, ["changes B", "relies on A"]);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Many threads with random sets: nobody changes what another has, everybody is served, and nothing
/// is left.
#[test]
fn random_sets_exclude_each_other_and_all_are_served() {
    const OIDS: usize = 6;
    let locks = Arc::new(ObjectLocks::default());
    // -1 while somebody changes the object, else how many rely on it.
    let holders: Arc<[AtomicI64; OIDS]> = Arc::default();
    let threads: Vec<_> = (0..8)
        .map(|seed| {
            let (locks, holders) = (Arc::clone(&locks), Arc::clone(&holders));
            thread::spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..2000 {
                    let mut wanted = Vec::new();
                    for number in 0..OIDS {
                        match rng.u8(..4) {
                            0 => wanted.push((number, Intent::Change)),
                            1 => wanted.push((number, Intent::Rely)),
                            _ => {}
                        }
                    }
                    let oids = wanted
                        .iter()
                        .map(|(number, intent)| (Oid::new(*number as u64), *intent));
                    let guard = locks.acquire(oids.collect());
                    for (number, intent) in &wanted {
                        let before = match intent {
                            Intent::Change => holders[*number].fetch_sub(1, Ordering::SeqCst),
                            Intent::Rely => holders[*number].fetch_add(1, Ordering::SeqCst),
                        };
                        assert!(before == 0 || before > 0 && *intent == Intent::Rely);
                    }
                    thread::yield_now();
                    for (number, intent) in &wanted {
                        match intent {
                            Intent::Change => holders[*number].fetch_add(1, Ordering::SeqCst),
                            Intent::Rely => holders[*number].fetch_sub(1, Ordering::SeqCst),
                        };
                    }
                    drop(guard);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(locks.queues.lock().is_empty());
}
