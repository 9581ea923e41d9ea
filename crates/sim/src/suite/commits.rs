//! Committing, one transaction at a time.

use std::sync::Arc;
use std::sync::mpsc::channel;

use storage::{CommitError, Conflict, Oid, Record, Storage, StorageError, Tid};

use super::{World, meta};

/// A change made from an old revision is refused, and the refusal says what is current.
pub fn a_stale_base_is_a_conflict(world: &World) {
    let oid = Oid::new(1);
    let first = world.change(oid, b"one");
    let second = world.change(oid, b"two");
    for base in [first, Tid::ZERO, second.next()] {
        let Err(CommitError::Conflict(conflicts)) = world.commit(&[(oid, base, b"three")]) else {
            panic!("a change from {base} was accepted over {second}");
        };
        let committed = second;
        assert_eq!(
            conflicts,
            [Conflict {
                oid,
                committed,
                base,
                refusal: None,
            }]
        );
    }
    assert_eq!(world.seen(oid, Tid::MAX).as_deref(), Some(&b"two"[..]));
    assert_eq!(world.storage.last_tid(), second);
}

/// One refusal names every conflict, so that one round of resolving is enough.
pub fn all_conflicts_are_listed(world: &World) {
    let oids = [1, 2, 3].map(Oid::new);
    let bases = oids.map(|oid| world.change(oid, b"one"));
    let now = [oids[0], oids[2]].map(|oid| world.change(oid, b"two"));
    let changes = [0, 1, 2].map(|at| (oids[at], bases[at], &b"three"[..]));
    let Err(CommitError::Conflict(conflicts)) = world.commit(&changes) else {
        panic!("a stale change was accepted");
    };
    let conflict = |at: usize, committed| Conflict {
        oid: oids[at],
        committed,
        base: bases[at],
        refusal: None,
    };
    assert_eq!(conflicts, [conflict(0, now[0]), conflict(2, now[1])]);
    assert_eq!(world.seen(oids[1], Tid::MAX).as_deref(), Some(&b"one"[..]));
}

/// A transaction that relies on an object without changing it fails when that one has changed.
pub fn a_stale_check_is_a_read_conflict(world: &World) {
    let (read, written) = (Oid::new(1), Oid::new(2));
    let old = world.change(read, b"one");
    let base = world.change(written, b"one");
    let vote = |checked: Oid, tid: Tid| {
        let mut commit = Arc::clone(&world.storage).begin(meta("", "")).unwrap();
        commit
            .store(written, base, Record::from(&b"two"[..]))
            .unwrap();
        commit.check_current(checked, tid)?;
        commit.vote().map(drop)
    };
    vote(read, old).expect("it is current");

    let committed = world.change(read, b"two");
    let refused = vote(read, old).unwrap_err();
    let expected = Conflict {
        oid: read,
        committed,
        base: old,
        refusal: None,
    };
    assert!(
        matches!(refused, CommitError::ReadConflict(conflict) if conflict == expected),
        "{refused:?}"
    );
    let unknown = vote(Oid::new(99), old).unwrap_err();
    assert!(
        matches!(unknown, CommitError::Storage(StorageError::NotFound { oid }) if oid == Oid::new(99)),
        "{unknown:?}"
    );
    assert_eq!(world.seen(written, Tid::MAX).as_deref(), Some(&b"one"[..]));
}

/// A storage cannot contradict a base of an object that it never had.
pub fn an_unknown_object_takes_any_base(world: &World) {
    let tid = world
        .commit(&[(Oid::new(5), Tid::new(12345), b"x")])
        .unwrap();
    assert_eq!(
        world.current(Oid::new(5)).map(|revision| revision.tid),
        Some(tid)
    );
}

/// Dropped before the vote, after a store, or voted: nobody can tell that it was.
pub fn an_abort_at_any_stage_leaves_nothing(world: &World) {
    let (known, unknown) = (Oid::new(1), Oid::new(2));
    let base = world.change(known, b"kept");
    let before = world.storage.stats();
    for stage in 0..3 {
        let mut commit = Arc::clone(&world.storage).begin(meta("u", "d")).unwrap();
        if stage > 0 {
            commit
                .store(known, base, Record::from(&b"aborted"[..]))
                .unwrap();
            commit
                .store(unknown, Tid::ZERO, Record::from(vec![0; 5000]))
                .unwrap();
        }
        if stage > 1 {
            drop(commit.vote().unwrap());
        }
        assert_eq!(world.storage.last_tid(), base);
        assert_eq!(world.seen(known, Tid::MAX).as_deref(), Some(&b"kept"[..]));
        assert!(world.current(unknown).is_none());
        assert_eq!(world.storage.stats(), before, "stage {stage}");
        assert_eq!(world.storage.recent_changes(9).unwrap().len(), 1);
    }
    let tid = world
        .commit(&[(known, base, b"next")])
        .expect("the lock is free");
    assert_eq!(world.seen(known, tid.next()).as_deref(), Some(&b"next"[..]));
    assert_eq!(world.seen(known, tid).as_deref(), Some(&b"kept"[..]));
}

/// A vote that fails does not keep the next one waiting.
pub fn a_conflict_frees_the_commit_lock(world: &World) {
    let base = world.change(Oid::ROOT, b"one");
    for _ in 0..3 {
        world
            .commit(&[(Oid::ROOT, base.next(), b"stale")])
            .unwrap_err();
    }
    world.commit(&[(Oid::ROOT, base, b"two")]).unwrap();
}

/// Stored twice in one transaction, an object has the later record.
pub fn the_last_record_of_an_object_wins(world: &World) {
    let (oid, other) = (Oid::new(1), Oid::new(2));
    let base = world.change(oid, b"base");
    let changes = [
        (oid, base, &b"early"[..]),
        (other, Tid::ZERO, b"other"),
        (oid, base, b"late"),
    ];
    let tid = world.commit(&changes).unwrap();
    let current = world.current(oid).unwrap();
    assert_eq!((current.tid, &*current.record), (tid, &b"late"[..]));
    assert_eq!(world.seen(oid, tid).as_deref(), Some(&b"base"[..]));
    let next = world.commit(&[(oid, tid, b"next")]).unwrap();
    assert_eq!(world.seen(oid, next).as_deref(), Some(&b"late"[..]));
}

/// A transaction without changes is one all the same.
pub fn an_empty_transaction_gets_an_id(world: &World) {
    let first = world.change(Oid::ROOT, b"x");
    let tid = world.commit(&[]).unwrap();
    assert!(tid > first);
    assert_eq!(world.storage.last_tid(), tid);
    let after = world.change(Oid::ROOT, b"y");
    assert!(after > tid);
}

/// Invalidations go out from `publish`: whoever gets one must find what it is about.
pub fn publish_comes_once_with_the_data_visible(world: &World) {
    let oid = Oid::new(1);
    let base = world.change(oid, b"one");
    let mut commit = Arc::clone(&world.storage).begin(meta("", "")).unwrap();
    commit.store(oid, base, Record::from(&b"two"[..])).unwrap();
    let voted = commit.vote().unwrap();
    assert_eq!(voted.resolved(), []);
    assert_eq!(
        world.seen(oid, Tid::MAX).as_deref(),
        Some(&b"one"[..]),
        "not yet"
    );
    let (sender, published) = channel();
    let storage = Arc::clone(&world.storage);
    let tid = voted
        .finish(Box::new(move |tid| {
            let seen = storage.load_before(oid, Tid::MAX).unwrap().unwrap();
            sender.send((tid, seen)).unwrap();
        }))
        .unwrap();
    let published: Vec<_> = published.iter().collect();
    let [(published_tid, seen)] = &published[..] else {
        panic!("published {} times", published.len());
    };
    assert_eq!(*published_tid, tid);
    assert_eq!((seen.tid, &*seen.record), (tid, &b"two"[..]));
}

/// Fresh ids do not collide with objects that were stored under ids from elsewhere.
pub fn new_oids_are_above_stored_ones(world: &World) {
    let storage: &dyn Storage = &*world.storage;
    world.change(Oid::new(1000), b"x");
    let fresh = storage.new_oids(3).unwrap();
    assert_eq!(fresh.len(), 3);
    assert!(fresh.iter().all(|oid| *oid > Oid::new(1000)), "{fresh:?}");
    assert!(fresh.is_sorted());
    assert_eq!(storage.new_oids(0).unwrap(), []);
}
