//! Conflicts, retries, and what a commit depends on.

use std::convert::Infallible;

use storage::{CommitError, Oid, StorageError, Tid, TransactionMeta};
use zodb::TransactError;

use crate::world::{commit_number, database, number, value};

const COUNTER: Oid = Oid::new(5);

#[test]
fn the_second_of_two_writers_gets_a_conflict() {
    let database = database();
    let base = commit_number(&database, COUNTER, 1);
    let (mut one, mut two) = (database.connect(), database.connect());
    one.store(COUNTER, number(2)).unwrap();
    two.store(COUNTER, number(3)).unwrap();
    let committed = one.commit(TransactionMeta::default()).unwrap();
    match two.commit(TransactionMeta::default()) {
        Err(CommitError::Conflict(conflicts)) => {
            let [conflict] = conflicts[..] else {
                panic!("{conflicts:?}");
            };
            assert_eq!((conflict.oid, conflict.base), (COUNTER, base));
            assert_eq!(conflict.committed, committed);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(value(&database.connect(), COUNTER), 2);
}

#[test]
fn creating_an_object_that_came_meanwhile_is_a_conflict() {
    let database = database();
    commit_number(&database, Oid::ROOT, 1);
    let mut late = database.connect();
    commit_number(&database, COUNTER, 1);
    late.store(COUNTER, number(2)).unwrap();
    assert!(matches!(
        late.commit(TransactionMeta::default()),
        Err(CommitError::Conflict(_))
    ));
    assert_eq!(value(&database.connect(), COUNTER), 1);
}

#[test]
fn a_commit_that_relies_on_an_object_fails_when_it_changed() {
    let database = database();
    commit_number(&database, Oid::ROOT, 1);
    commit_number(&database, COUNTER, 1);
    let run = |interfere: bool| {
        let mut connection = database.connect();
        connection.read_current(Oid::ROOT).unwrap();
        connection.store(COUNTER, number(9)).unwrap();
        if interfere {
            commit_number(&database, Oid::ROOT, 2);
        }
        connection.commit(TransactionMeta::default())
    };
    assert!(matches!(run(true), Err(CommitError::ReadConflict(_))));
    assert!(run(false).is_ok());
    let mut connection = database.connect();
    assert!(
        connection
            .read_current(Oid::new(99))
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn a_commit_without_changes_writes_nothing() {
    let database = database();
    let tid = commit_number(&database, Oid::ROOT, 1);
    let mut connection = database.connect();
    connection.read_current(Oid::ROOT).unwrap();
    assert!(!connection.is_changed());
    assert_eq!(connection.commit(TransactionMeta::default()).unwrap(), tid);
    assert_eq!(database.storage().last_tid(), tid);
}

/// Eight writers, one counter: with retries no increment is lost.
#[test]
fn retries_lose_no_increment() {
    const WRITERS: usize = 8;
    const EACH: i64 = 125;
    let database = database();
    commit_number(&database, COUNTER, 0);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let result = database.transact(
                        10_000,
                        |_| std::thread::yield_now(),
                        |connection| {
                            let next = value(connection, COUNTER) + 1;
                            connection.store(COUNTER, number(next)).unwrap();
                            Ok::<_, Infallible>(((), TransactionMeta::default()))
                        },
                    );
                    result.unwrap();
                }
            });
        }
    });
    assert_eq!(value(&database.connect(), COUNTER), 1_000);
    // One transaction each, and the first.
    assert_eq!(database.storage().last_tid(), Tid::new(1_001));
}

#[test]
fn retries_stop_at_their_limit_and_pause_before_each() {
    let database = database();
    commit_number(&database, COUNTER, 0);
    let (mut pauses, mut runs) = (Vec::new(), 0);
    let result = database.transact(
        3,
        |n| pauses.push(n),
        |connection| {
            runs += 1;
            connection.store(COUNTER, number(-1)).unwrap();
            // Somebody else is always faster.
            commit_number(&database, COUNTER, runs);
            Ok::<_, Infallible>(((), TransactionMeta::default()))
        },
    );
    assert!(matches!(
        result,
        Err(TransactError::Commit(CommitError::Conflict(_)))
    ));
    assert_eq!((pauses, runs), (vec![1, 2, 3], 4));
}

#[test]
fn failing_work_is_neither_repeated_nor_committed() {
    let database = database();
    commit_number(&database, COUNTER, 0);
    let mut runs = 0;
    let result: Result<(), _> = database.transact(
        3,
        |_| panic!("no conflict, no pause"),
        |connection| {
            runs += 1;
            connection.store(COUNTER, number(1)).unwrap();
            Err(StorageError::ReadOnly)
        },
    );
    assert!(matches!(
        result,
        Err(TransactError::Work(StorageError::ReadOnly))
    ));
    assert_eq!((runs, value(&database.connect(), COUNTER)), (1, 0));
}
