//! Overlays over a base in which there is something.

use std::sync::Arc;

use sim::World;
use storage::{
    CommitError, Conflict, MemoryStorage, Oid, OverlayOptions, OverlayStorage, PackOptions, Record,
    Storage, StorageError, Tid, TransactionMeta, UndoRefusal,
};

const ONE: Oid = Oid::new(1);
const TWO: Oid = Oid::new(2);

enum Act<'a> {
    Store(Oid, Tid, &'a str),
    Delete(Oid, Tid),
    Undo(Tid),
    Rely(Oid, Tid),
}

fn commit(storage: &Arc<dyn Storage>, acts: &[Act<'_>]) -> Result<Tid, CommitError> {
    let mut commit = Arc::clone(storage).begin(TransactionMeta::default())?;
    for act in acts {
        match *act {
            Act::Store(oid, base, text) => {
                commit.store(oid, base, Record::from(text.as_bytes()))?;
            }
            Act::Delete(oid, base) => commit.delete(oid, base)?,
            Act::Undo(tid) => commit.undo(tid)?,
            Act::Rely(oid, base) => commit.check_current(oid, base)?,
        }
    }
    commit.vote()?.finish(Box::new(|_| {}))
}

fn text(storage: &Arc<dyn Storage>, oid: Oid, before: Tid) -> Option<String> {
    match storage.load_before(oid, before) {
        Err(StorageError::NotFound { .. }) => None,
        found => found
            .unwrap()
            .map(|found| String::from_utf8(found.record.to_vec()).unwrap()),
    }
}

/// A base with two objects, an overlay, and the last transaction of the base.
fn overlay() -> (Arc<dyn Storage>, Arc<dyn Storage>, Tid) {
    let base: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let acts = [
        Act::Store(ONE, Tid::ZERO, "one"),
        Act::Store(TWO, Tid::ZERO, "two"),
    ];
    let tid = commit(&base, &acts).unwrap();
    let overlay = OverlayStorage::over(Arc::clone(&base)).unwrap();
    (base, overlay, tid)
}

/// The original shows the object of the base again.
#[test]
fn a_deletion_hides_the_object_of_the_base() {
    let (base, overlay, tid) = overlay();
    let deleted = commit(&overlay, &[Act::Delete(ONE, tid)]).unwrap();
    assert_eq!(text(&overlay, ONE, Tid::MAX), None);
    assert_eq!(text(&overlay, ONE, deleted).as_deref(), Some("one"));
    let before = overlay.load_before(ONE, deleted).unwrap().unwrap();
    assert_eq!(before.next, Some(deleted));
    assert!(overlay.current_tid(ONE).is_err());
    assert_eq!(text(&base, ONE, Tid::MAX).as_deref(), Some("one"));
    let iterate = overlay.iterate().unwrap();
    assert!(matches!(
        iterate.current_record(Oid::ROOT),
        Err(StorageError::NotFound { oid: ONE })
    ));
    let history = iterate.history(ONE, 9).unwrap();
    let history: Vec<_> = history.iter().map(|entry| entry.tid).collect();
    assert_eq!(history, [deleted, tid]);

    // Packed, it is hidden still.
    let options = PackOptions {
        gc: false,
        ..PackOptions::default()
    };
    overlay.packer().unwrap().pack(&options).unwrap();
    assert_eq!(text(&overlay, ONE, Tid::MAX), None);
    assert!(
        overlay
            .packer()
            .unwrap()
            .pack(&PackOptions::default())
            .is_err()
    );
}

#[test]
fn an_undo_brings_back_what_the_base_has() {
    let (_, overlay, tid) = overlay();
    let changed = commit(
        &overlay,
        &[Act::Store(ONE, tid, "changed"), Act::Delete(TWO, tid)],
    )
    .unwrap();
    assert_eq!(text(&overlay, TWO, Tid::MAX), None);
    let undone = commit(&overlay, &[Act::Undo(changed)]).unwrap();
    assert_eq!(text(&overlay, ONE, Tid::MAX).as_deref(), Some("one"));
    assert_eq!(text(&overlay, TWO, Tid::MAX).as_deref(), Some("two"));
    assert_eq!(overlay.current_tid(ONE).unwrap(), undone);
    let created = commit(&overlay, &[Act::Store(Oid::new(3), Tid::ZERO, "three")]).unwrap();
    commit(&overlay, &[Act::Undo(created)]).unwrap();
    assert_eq!(text(&overlay, Oid::new(3), Tid::MAX), None);
}

#[test]
fn the_base_cannot_be_undone() {
    let (_, overlay, tid) = overlay();
    let refused = commit(&overlay, &[Act::Undo(tid)]);
    assert!(
        matches!(
            refused,
            Err(CommitError::NotUndoable {
                reason: UndoRefusal::Base,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(
        overlay
            .undo()
            .unwrap()
            .undo_log(0, 9, &mut |_| true)
            .unwrap(),
        []
    );
}

#[test]
fn what_is_in_the_base_is_current() {
    let (_, overlay, committed) = overlay();
    let base = Tid::new(committed.number() - 1);
    for act in [Act::Store(ONE, base, "stale"), Act::Delete(ONE, base)] {
        let Err(CommitError::Conflict(conflicts)) = commit(&overlay, &[act]) else {
            panic!("a change from {base} was accepted over {committed}");
        };
        let expected = Conflict {
            oid: ONE,
            committed,
            base,
            refusal: None,
        };
        assert_eq!(conflicts, [expected]);
    }
    let refused = commit(&overlay, &[Act::Rely(ONE, base)]);
    assert!(
        matches!(refused, Err(CommitError::ReadConflict(_))),
        "{refused:?}"
    );
    let unknown = commit(&overlay, &[Act::Delete(Oid::new(9), committed)]);
    assert!(unknown.is_err());
    commit(
        &overlay,
        &[Act::Rely(ONE, committed), Act::Store(TWO, committed, "2")],
    )
    .unwrap();
}

#[test]
fn a_base_that_goes_on_does_not_show() {
    let (base, overlay, tid) = overlay();
    let acts = [
        Act::Store(ONE, tid, "one, later"),
        Act::Store(Oid::new(3), Tid::ZERO, "three"),
    ];
    let later = commit(&base, &acts).unwrap();
    commit(&base, &[Act::Delete(TWO, tid)]).unwrap();
    assert_eq!(overlay.last_tid(), tid);
    assert_eq!(text(&overlay, ONE, Tid::MAX).as_deref(), Some("one"));
    assert!(
        overlay
            .load_before(ONE, Tid::MAX)
            .unwrap()
            .unwrap()
            .is_current()
    );
    assert_eq!(text(&overlay, TWO, Tid::MAX).as_deref(), Some("two"));
    assert_eq!(text(&overlay, Oid::new(3), Tid::MAX), None);
    let iterate = overlay.iterate().unwrap();
    assert_eq!(
        iterate
            .iterate_transactions(Tid::ZERO, Tid::MAX)
            .unwrap()
            .count(),
        1
    );
    assert_eq!(iterate.history(ONE, 9).unwrap().len(), 1);
    let second = iterate.current_record(TWO).unwrap().unwrap();
    assert_eq!((second.oid, second.next), (TWO, None));
    let here = commit(&overlay, &[Act::Store(ONE, tid, "one, here")]).unwrap();
    assert_eq!(here, later, "ids are those of the overlay alone");
    assert_eq!(text(&overlay, ONE, Tid::MAX).as_deref(), Some("one, here"));
}

#[test]
fn new_ids_are_taken_neither_here_nor_there() {
    let base: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let far = Oid::new(0x1234_5678_9abc_def0);
    let tid = commit(&base, &[Act::Store(far, Tid::ZERO, "far away")]).unwrap();
    commit(
        &base,
        &[Act::Store(ONE, Tid::ZERO, "near"), Act::Delete(far, tid)],
    )
    .unwrap();
    let changes: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let over = || {
        let (base, changes) = (Arc::clone(&base), Arc::clone(&changes));
        OverlayStorage::new(base, changes, OverlayOptions::default()).unwrap()
    };
    let overlay: Arc<dyn Storage> = over();
    assert_eq!(
        overlay.new_oids(2).unwrap(),
        [far.next(), far.next().next()]
    );
    let farther = Oid::new(far.number() + 1000);
    commit(&overlay, &[Act::Store(farther, Tid::ZERO, "farther")]).unwrap();
    assert_eq!(overlay.new_oids(1).unwrap(), [farther.next()]);
    assert_eq!(over().new_oids(1).unwrap(), [farther.next()]);
    assert_eq!(overlay.stats().objects, 3);
}

#[test]
fn changes_of_another_base_are_refused() {
    let (base, overlay, tid) = overlay();
    commit(&overlay, &[Act::Store(ONE, tid, "changed")]).unwrap();
    commit(&base, &[Act::Store(ONE, tid, "changed below")]).unwrap();
    let changes: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    commit(&changes, &[Act::Store(ONE, Tid::ZERO, "from elsewhere")]).unwrap();
    let refused = OverlayStorage::new(base, changes, OverlayOptions::default());
    assert!(matches!(refused.err(), Some(StorageError::NotLater { .. })));
}

#[test]
fn an_overlay_is_pushed_over_an_overlay() {
    let (_, _, tid) = overlay();
    let (base, _, _) = overlay();
    let lower = OverlayStorage::over(base).unwrap();
    let below: Arc<dyn Storage> = Arc::clone(&lower) as Arc<dyn Storage>;
    let deleted = commit(&below, &[Act::Delete(ONE, tid)]).unwrap();
    let upper = lower.push().unwrap();
    let above: Arc<dyn Storage> = Arc::clone(&upper) as Arc<dyn Storage>;
    assert_eq!(text(&above, ONE, Tid::MAX), None);
    let again = commit(&above, &[Act::Store(ONE, deleted, "again")]).unwrap();
    assert_eq!(text(&above, ONE, Tid::MAX).as_deref(), Some("again"));
    assert_eq!(text(&above, ONE, again), None);
    assert_eq!(text(&above, ONE, deleted).as_deref(), Some("one"));
    assert_eq!(upper.base().last_tid(), deleted);
    assert_eq!(text(&below, ONE, Tid::MAX), None);
    assert_eq!(above.recent_changes(9).unwrap().len(), 3);
    assert_eq!(above.changes_since(tid, 9).unwrap().unwrap().len(), 2);
    assert_eq!(above.changes_since(tid, 1).unwrap(), None);
}

#[test]
fn a_history_may_be_cut_in_two_anywhere() {
    let make = || World::new(Arc::new(MemoryStorage::new()));
    sim::suite::an_overlay_shows_base_and_changes_as_one(&make(), &make());
}
