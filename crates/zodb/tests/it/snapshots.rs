//! A snapshot is one moment, whatever others commit.

use std::sync::atomic::{AtomicBool, Ordering};

use storage::{Oid, TransactionMeta};
use zodb::{Database, DatabaseOptions};

use crate::world::{Counting, commit_number, database, number, value};

#[test]
fn what_is_committed_later_is_not_seen() {
    let database = database();
    commit_number(&database, Oid::ROOT, 1);
    let early = database.connect();
    let tid = commit_number(&database, Oid::ROOT, 2);

    assert_eq!(value(&early, Oid::ROOT), 1);
    assert_eq!(value(&database.connect(), Oid::ROOT), 2);
    assert_eq!(value(&database.snapshot_before(tid), Oid::ROOT), 1);
    assert_eq!(value(&database.snapshot_before(tid.next()), Oid::ROOT), 2);
    // Once more, now that the newer revision is remembered as the current one.
    assert_eq!(value(&early, Oid::ROOT), 1);
}

#[test]
fn objects_created_later_do_not_exist_yet() {
    let database = database();
    let tid = commit_number(&database, Oid::ROOT, 1);
    let early = database.connect();
    commit_number(&database, Oid::new(7), 1);
    assert!(early.load(Oid::new(7)).unwrap_err().is_not_found());
    assert!(
        database
            .snapshot_before(tid)
            .root()
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn own_changes_are_seen_by_oneself_alone() {
    let database = database();
    commit_number(&database, Oid::ROOT, 1);
    let mut one = database.connect();
    one.store(Oid::ROOT, number(10)).unwrap();
    let fresh = one.create(number(11)).unwrap();

    assert_eq!((value(&one, Oid::ROOT), value(&one, fresh)), (10, 11));
    let other = database.connect();
    assert_eq!(value(&other, Oid::ROOT), 1);
    assert!(other.load(fresh).unwrap_err().is_not_found());

    drop(one);
    assert_eq!(value(&database.connect(), Oid::ROOT), 1);
}

#[test]
fn a_snapshot_in_the_future_is_one_of_now() {
    let database = database();
    commit_number(&database, Oid::ROOT, 1);
    let connection = database.snapshot_before(storage::Tid::MAX);
    commit_number(&database, Oid::ROOT, 2);
    assert_eq!(value(&connection, Oid::ROOT), 1);
}

/// The answer says "current", but on its way here the object was changed and the change taken in.
#[test]
fn an_answer_that_was_overtaken_is_not_remembered_as_current() {
    let storage = Counting::new();
    commit_number(
        &Database::new(storage.clone(), DatabaseOptions::default()),
        Oid::ROOT,
        1,
    );
    let database = Database::new(storage.clone(), DatabaseOptions::default());

    let early = database.connect();
    let (same, other) = (
        database.clone(),
        Database::new(storage.clone(), DatabaseOptions::default()),
    );
    storage.meanwhile(move || {
        commit_number(&other, Oid::ROOT, 2);
        same.connect();
    });
    assert_eq!(value(&early, Oid::ROOT), 1);
    assert_eq!(value(&database.connect(), Oid::ROOT), 2);
}

/// Writers keep two objects equal; readers must never see them differ, nor see time go back.
#[test]
fn readers_never_see_half_a_transaction() {
    let database = database();
    let [left, right] = [Oid::new(1), Oid::new(2)];
    let mut connection = database.connect();
    connection.store(left, number(0)).unwrap();
    connection.store(right, number(0)).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let mut connection = database.connect();
                        let next = value(&connection, left) + 1;
                        connection.store(left, number(next)).unwrap();
                        connection.store(right, number(next)).unwrap();
                        // Losing a race is fine here.
                        let _ = connection.commit(TransactionMeta::default());
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            scope.spawn(|| {
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let connection = database.connect();
                    let seen = value(&connection, left);
                    assert_eq!(seen, value(&connection, right), "half a transaction");
                    assert!(seen >= newest, "{seen} after {newest}");
                    newest = seen;
                }
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(value(&database.connect(), left) > 0);
}
