//! The past: connections to it, and taking transactions back.

use storage::{CommitError, Oid, Tid, TransactionMeta};
use zodb::ZodbError;

use crate::world::{commit_number, database, number, value};

const ONE: Oid = Oid::new(1);

#[test]
fn the_past_is_read_and_never_changed() {
    let database = database();
    let first = commit_number(&database, ONE, 1);
    let second = commit_number(&database, ONE, 2);
    let mut at = database.at(first).unwrap();
    assert_eq!(value(&at, ONE), 1);
    assert_eq!(value(&database.at(second).unwrap(), ONE), 2);
    assert_eq!(value(&database.before(second).unwrap(), ONE), 1);
    assert!(
        database
            .before(first)
            .unwrap()
            .load(ONE)
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(value(&database.before(second.next()).unwrap(), ONE), 2);

    assert!(at.is_historical());
    assert!(matches!(
        at.store(ONE, number(3)),
        Err(ZodbError::Historical)
    ));
    assert!(matches!(at.create(number(3)), Err(ZodbError::Historical)));
    at.abort();
    assert_eq!(value(&at, ONE), 1);
    assert_eq!(at.commit(TransactionMeta::default()).unwrap(), first);
    assert_eq!(database.storage().last_tid(), second);
}

#[test]
fn the_future_is_refused() {
    let database = database();
    let last = commit_number(&database, ONE, 1);
    for error in [
        database.at(last.next()).err(),
        database.before(Tid::MAX).err(),
    ] {
        assert!(matches!(error, Some(ZodbError::Future { last: found, .. }) if found == last));
    }
}

#[test]
fn transactions_are_taken_back_together() {
    let database = database();
    let first = commit_number(&database, ONE, 1);
    let second = commit_number(&database, ONE, 2);
    let third = commit_number(&database, ONE, 3);
    let log = database.undo_log(2).unwrap();
    assert_eq!(
        log.iter().map(|entry| entry.tid).collect::<Vec<_>>(),
        [third, second]
    );

    let refused = database.undo(&[second], TransactionMeta::default());
    assert!(matches!(refused, Err(CommitError::Undo(_))), "{refused:?}");
    assert_eq!(value(&database.connect(), ONE), 3);

    let undone = database
        .undo(&[third, second], TransactionMeta::default())
        .unwrap();
    assert_eq!(value(&database.connect(), ONE), 1);
    assert_eq!(value(&database.at(third).unwrap(), ONE), 3);
    assert!(undone > third);
    database
        .undo(&[undone, first], TransactionMeta::default())
        .unwrap_err();
}
