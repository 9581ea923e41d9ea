//! Removing objects ([`storage::Commit::delete`]).

use std::sync::Arc;

use storage::{CommitError, Conflict, Oid, StorageError, Tid};

use super::{World, is_unsupported, meta};

impl World {
    pub(crate) fn delete(&self, oid: Oid, base: Tid) -> Result<Tid, CommitError> {
        let mut commit = Arc::clone(&self.storage).begin(meta("", "delete"))?;
        commit.delete(oid, base)?;
        commit.vote()?.finish(Box::new(|_| {}))
    }
}

/// Whoever loads the object from then on is told that it does not exist; those on older snapshots
/// see it.
pub fn a_deleted_object_does_not_exist(world: &World) {
    let (oid, other) = (Oid::new(1), Oid::new(2));
    let created = world.change(oid, b"here");
    world.change(other, b"other");
    let before = world.storage.last_tid();
    let deleted = world.delete(oid, created).unwrap();
    for at in [deleted.next(), Tid::MAX] {
        let missing = world.storage.load_before(oid, at);
        assert!(
            matches!(missing, Err(StorageError::NotFound { oid: named }) if named == oid),
            "{missing:?}"
        );
    }
    let seen = world.storage.load_before(oid, deleted).unwrap().unwrap();
    assert_eq!((seen.tid, seen.next), (created, Some(deleted)));
    assert_eq!(world.now(other).as_deref(), Some(&b"other"[..]));
    let changes = world.storage.changes_since(before, 9).unwrap().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(
        (changes[0].tid, &changes[0].oids[..]),
        (deleted, &[oid][..])
    );

    let stale = world.commit(&[(oid, created, b"stale")]);
    assert!(matches!(stale, Err(CommitError::Conflict(_))), "{stale:?}");
    world.commit(&[(oid, deleted, b"again")]).unwrap();
    assert_eq!(world.now(oid).as_deref(), Some(&b"again"[..]));
}

/// A deletion is made from a revision, as every change.
pub fn a_deletion_from_a_stale_base_is_a_conflict(world: &World) {
    let oid = Oid::new(1);
    let base = world.change(oid, b"one");
    let committed = world.change(oid, b"two");
    let Err(CommitError::Conflict(conflicts)) = world.delete(oid, base) else {
        panic!("a deletion from {base} was accepted over {committed}");
    };
    let conflict = Conflict {
        oid,
        committed,
        base,
        refusal: None,
    };
    assert_eq!(conflicts, [conflict]);
    assert_eq!(world.now(oid).as_deref(), Some(&b"two"[..]));
    world.delete(oid, committed).unwrap();
}

/// What was never there cannot be removed, and nobody waits for ever behind who tried.
pub fn an_unknown_object_cannot_be_deleted(world: &World) {
    let tid = world.change(Oid::ROOT, b"root");
    let refused = world.delete(Oid::new(9), tid);
    assert!(
        matches!(
            refused,
            Err(CommitError::Storage(StorageError::NotFound { oid })) if oid == Oid::new(9)
        ),
        "{refused:?}"
    );
    assert_eq!(world.storage.last_tid(), tid);
    world.change(Oid::ROOT, b"again");
}

/// To rely on an object that is gone is an error.
pub fn a_check_of_a_deleted_object_fails(world: &World) {
    let oid = Oid::new(1);
    let created = world.change(oid, b"here");
    let deleted = world.delete(oid, created).unwrap();
    for base in [created, deleted] {
        let mut commit = Arc::clone(&world.storage).begin(meta("", "")).unwrap();
        let refused = commit
            .check_current(oid, base)
            .map_err(CommitError::from)
            .and_then(|()| commit.vote().map(drop));
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, CommitError::Storage(StorageError::NotFound { .. })),
            "{refused:?}"
        );
    }
}

/// The undo of a deletion brings the object back, with what it was.
pub fn a_deletion_can_be_undone(world: &World) {
    let oid = Oid::new(1);
    let created = world.change(oid, b"here");
    let deleted = world.delete(oid, created).unwrap();
    let back = world.undo(&[deleted]).unwrap();
    let current = world.current(oid).unwrap();
    assert_eq!((current.tid, &*current.record), (back, &b"here"[..]));
    // What was changed before a deletion cannot be taken back behind it.
    let changed = world.change(oid, b"changed");
    world.delete(oid, changed).unwrap();
    let refused = world.undo(&[changed]);
    assert!(matches!(refused, Err(CommitError::Undo(_))), "{refused:?}");
}

/// Iteration and histories show that the object ended.
pub fn a_deletion_is_part_of_the_history(world: &World) {
    let oid = Oid::new(1);
    let created = world.change(oid, b"here");
    let deleted = world.delete(oid, created).unwrap();
    let iterated = world.iterated(deleted, deleted);
    let [(tid, false, meta, records)] = &iterated[..] else {
        panic!("{iterated:?}");
    };
    assert_eq!((*tid, &meta.description[..]), (deleted, &b"delete"[..]));
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].oid, &records[0].data), (oid, &None));
    let history = world.iterate().history(oid, 9).unwrap();
    let history: Vec<_> = history
        .iter()
        .map(|entry| (entry.tid, entry.bytes))
        .collect();
    assert_eq!(history, [(deleted, 0), (created, 4)]);
    let missing = world.iterate().load_serial(oid, deleted);
    assert!(matches!(missing, Err(StorageError::NotFound { .. })));
    assert_eq!(
        *world.iterate().load_serial(oid, created).unwrap(),
        *b"here"
    );
    let missing = world.iterate().current_record(Oid::ROOT);
    assert!(matches!(missing, Err(StorageError::NotFound { oid: named }) if named == oid));
}

/// The storage refuses, at once or at the vote.
pub fn deletion_is_not_offered(world: &World) {
    let oid = Oid::new(1);
    let created = world.change(oid, b"here");
    let refused = world.delete(oid, created);
    assert!(is_unsupported(&refused.unwrap_err()));
    assert_eq!(world.now(oid).as_deref(), Some(&b"here"[..]));
}
