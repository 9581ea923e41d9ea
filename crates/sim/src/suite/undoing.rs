//! Taking transactions back ([`storage::Undo`], [`storage::Commit::undo`]).

use std::sync::Arc;

use storage::{
    CommitError, Oid, Record, StorageError, Tid, TransactionMeta, Undo, UndoEntry, UndoObstacle,
    UndoReason, UndoRefusal,
};

use super::{World, is_unsupported, meta};

impl World {
    pub(crate) fn undo(&self, tids: &[Tid]) -> Result<Tid, CommitError> {
        let mut commit = Arc::clone(&self.storage).begin(meta("undoer", "undo"))?;
        for tid in tids {
            commit.undo(*tid)?;
        }
        commit.vote()?.finish(Box::new(|_| {}))
    }

    fn undo_log(&self, first: usize, last: usize) -> Vec<Tid> {
        let log = self.can_undo().undo_log(first, last, &mut |_| true);
        log.unwrap().iter().map(|entry| entry.tid).collect()
    }

    fn can_undo(&self) -> &dyn Undo {
        self.storage.undo().expect("it can undo")
    }

    /// The bytes of the object as they are now; nothing where it does not exist.
    pub(crate) fn now(&self, oid: Oid) -> Option<Vec<u8>> {
        self.current(oid).map(|current| current.record.to_vec())
    }
}

/// What was before is back, as a new revision; snapshots of the time between see what they saw.
pub fn an_undo_brings_the_older_state_back(world: &World) {
    let (oid, other) = (Oid::new(1), Oid::new(2));
    let first = world.change(oid, b"first");
    let second = world.change(oid, b"second");
    let beside = world.change(other, b"other");
    let mut commit = Arc::clone(&world.storage).begin(meta("", "")).unwrap();
    commit.undo(second).unwrap();
    let voted = commit.vote().unwrap();
    assert_eq!(voted.resolved(), [oid], "its maker has not seen that state");
    let undone = voted.finish(Box::new(|_| {})).unwrap();
    let current = world.current(oid).unwrap();
    assert_eq!((current.tid, &*current.record), (undone, &b"first"[..]));
    assert_eq!(world.seen(oid, undone).as_deref(), Some(&b"second"[..]));
    assert_eq!(world.seen(oid, second).as_deref(), Some(&b"first"[..]));
    assert_eq!(world.current(other).unwrap().tid, beside, "left alone");
    let changes = world.storage.changes_since(beside, 9).unwrap().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].tid, &changes[0].oids[..]), (undone, &[oid][..]));
    // And that can be undone.
    world.undo(&[undone]).unwrap();
    assert_eq!(world.now(oid).as_deref(), Some(&b"second"[..]));
    assert_eq!(
        world.seen(oid, first.next()).as_deref(),
        Some(&b"first"[..])
    );
}

/// An object whose creation was undone does not exist, until that is undone or it is stored again.
pub fn an_undone_creation_is_the_end_of_the_object(world: &World) {
    let oid = Oid::new(1);
    world.change(Oid::ROOT, b"root");
    let created = world.change(oid, b"created");
    let undone = world.undo(&[created]).unwrap();
    let storage = &world.storage;
    let missing = |found: Result<_, StorageError>| match found {
        Err(StorageError::NotFound { oid: named }) => assert_eq!(named, oid),
        found => panic!("{found:?}"),
    };
    missing(storage.load_before(oid, Tid::MAX).map(drop));
    missing(storage.load_before(oid, undone.next()).map(drop));
    missing(storage.current_tid(oid).map(drop));
    assert_eq!(world.seen(oid, undone).as_deref(), Some(&b"created"[..]));
    let seen = storage.load_before(oid, undone).unwrap().unwrap();
    assert_eq!(seen.next, Some(undone));

    let stale = world.commit(&[(oid, created, b"stale")]);
    assert!(matches!(stale, Err(CommitError::Conflict(_))), "{stale:?}");
    let again = world.commit(&[(oid, undone, b"again")]).unwrap();
    assert_eq!(world.now(oid).as_deref(), Some(&b"again"[..]));
    world.undo(&[again]).unwrap();
    assert_eq!(world.now(oid), None);
    // What is current now is what that transaction left.
    world.undo(&[undone]).unwrap();
    assert_eq!(world.now(oid).as_deref(), Some(&b"created"[..]));
}

/// Newest first, several transactions are taken back in one.
pub fn several_undos_make_one_transaction(world: &World) {
    let (one, two) = (Oid::new(1), Oid::new(2));
    world.change(one, b"one");
    let changes = [b"two", b"six", b"ten"].map(|text| world.change(one, text));
    let created = world.change(two, b"created");
    let last = world.storage.last_tid();
    let wrong_order = world.undo(&[changes[1], changes[2]]);
    assert!(
        matches!(wrong_order, Err(CommitError::Undo(_))),
        "{wrong_order:?}"
    );
    assert_eq!(world.storage.last_tid(), last);
    let undone = world
        .undo(&[created, changes[2], changes[1], changes[0]])
        .unwrap();
    let current = world.current(one).unwrap();
    assert_eq!((current.tid, &*current.record), (undone, &b"one"[..]));
    assert_eq!(world.now(two), None);
    let after = world.storage.changes_since(last, 9).unwrap().unwrap();
    assert_eq!(after.len(), 1, "one transaction");
    world.undo(&[undone]).unwrap();
    assert_eq!(world.now(one).as_deref(), Some(&b"ten"[..]));
    assert_eq!(world.now(two).as_deref(), Some(&b"created"[..]));
}

/// What a later transaction changed stays, and so does everything else that the refused undo touches.
pub fn an_undo_of_what_was_changed_later_is_refused(world: &World) {
    let (one, two) = (Oid::new(1), Oid::new(2));
    let new = |oid| (oid, Tid::ZERO, &b"new"[..]);
    let created = world.commit(&[new(one), new(two)]).unwrap();
    let changes = [(one, created, &b"changed"[..]), (two, created, b"changed")];
    let changed = world.commit(&changes).unwrap();
    let later = world.change(one, b"later");
    for tid in [created, changed] {
        let refused = world.undo(&[tid]);
        assert!(matches!(refused, Err(CommitError::Undo(_))), "{refused:?}");
        assert_eq!(world.storage.last_tid(), later);
        assert_eq!(world.now(two).as_deref(), Some(&b"changed"[..]));
    }
    // Nobody is held up by what was refused.
    let back = world.commit(&[(one, later, b"changed")]).unwrap();
    assert_eq!(world.storage.last_tid(), back);
    // The bytes are again those that are to be taken back.
    world.undo(&[changed]).unwrap();
    assert_eq!(world.now(one).as_deref(), Some(&b"new"[..]));
}

/// Every object that stands in the way is named, with the reason.
pub fn the_obstacles_of_an_undo_are_named(world: &World) {
    let oids = [1, 2, 3].map(Oid::new);
    let all = |text: &'static [u8], base| oids.map(|oid| (oid, base, text));
    let created = world.commit(&all(b"new", Tid::ZERO)).unwrap();
    let changed = world.commit(&all(b"changed", created)).unwrap();
    let later = oids[..2].iter().map(|oid| (*oid, changed, &b"later"[..]));
    world.commit(&later.collect::<Vec<_>>()).unwrap();
    let obstacle = |oid, reason| UndoObstacle { oid, reason };
    let refused = |tid| match world.undo(&[tid]) {
        Err(CommitError::Undo(obstacles)) => obstacles,
        other => panic!("{other:?}"),
    };
    let both = [oids[0], oids[1]];
    assert_eq!(
        refused(changed),
        both.map(|oid| obstacle(oid, UndoReason::ChangedLater))
    );
    assert_eq!(
        refused(created),
        oids.map(|oid| obstacle(oid, UndoReason::CreatedAndChangedLater))
    );
}

/// What is not there cannot be undone.
pub fn an_unknown_transaction_cannot_be_undone(world: &World) {
    let known = world.change(Oid::new(1), b"one");
    for tid in [
        known.next(),
        Tid::new(known.number() - 1),
        Tid::ZERO,
        Tid::MAX,
    ] {
        match world.undo(&[tid]) {
            Err(CommitError::NotUndoable { tid: named, reason }) => {
                assert_eq!((named, reason), (tid, UndoRefusal::Unknown));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.storage.last_tid(), known);
}

/// What the same transaction stored before counts as current.
pub fn an_undo_sees_what_its_own_transaction_stored(world: &World) {
    let oid = Oid::new(1);
    world.change(oid, b"first");
    let second = world.change(oid, b"second");
    let attempt = |text: &[u8]| {
        let mut commit = Arc::clone(&world.storage).begin(meta("", ""))?;
        commit.store(oid, second, Record::from(text))?;
        commit.undo(second)?;
        commit.vote()?.finish(Box::new(|_| {}))
    };
    let refused = attempt(b"third");
    assert!(matches!(refused, Err(CommitError::Undo(_))), "{refused:?}");
    assert_eq!(world.now(oid).as_deref(), Some(&b"second"[..]));
    attempt(b"second").unwrap();
    assert_eq!(world.now(oid).as_deref(), Some(&b"first"[..]));
}

/// Newest first, a part of it, and what a filter lets through.
pub fn the_undo_log_is_listed_newest_first(world: &World) {
    let mut tids = Vec::new();
    for number in 0..7 {
        let user = ["even", "odd"][number % 2];
        let mut commit = Arc::clone(&world.storage)
            .begin(TransactionMeta {
                user: user.into(),
                description: number.to_string().into_bytes(),
                extension: Vec::new(),
            })
            .unwrap();
        let oid = Oid::new(number as u64);
        commit
            .store(oid, Tid::ZERO, Record::from(&b"x"[..]))
            .unwrap();
        tids.push(commit.vote().unwrap().finish(Box::new(|_| {})).unwrap());
    }
    tids.reverse();
    assert_eq!(world.undo_log(0, usize::MAX), tids);
    assert_eq!(world.undo_log(2, 5), tids[2..5]);
    assert_eq!(world.undo_log(5, 99), tids[5..]);
    assert_eq!(world.undo_log(7, 9), []);
    assert_eq!(world.undo_log(3, 3), []);
    let mut is_odd = |entry: &UndoEntry| entry.meta.user == b"odd";
    let odd = world.can_undo().undo_log(1, 3, &mut is_odd).unwrap();
    let odd: Vec<_> = odd
        .iter()
        .map(|entry| (entry.tid, &entry.meta.description[..]))
        .collect();
    assert_eq!(odd, [(tids[3], &b"3"[..]), (tids[5], b"1")]);
    let undone = world.undo(&[tids[0]]).unwrap();
    assert_eq!(world.undo_log(0, 1), [undone]);
}

/// The storage says so, and refuses what is asked all the same.
pub fn undo_is_not_offered(world: &World) {
    assert!(world.storage.undo().is_none());
    let tid = world.change(Oid::new(1), b"one");
    let refused = world.undo(&[tid]);
    assert!(is_unsupported(&refused.unwrap_err()));
}
