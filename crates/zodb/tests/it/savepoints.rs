//! Going back within a transaction.

use storage::{Oid, TransactionMeta};
use zodb::ZodbError;

use crate::world::{commit_number, database, number, value};

const ONE: Oid = Oid::new(1);
const TWO: Oid = Oid::new(2);

#[test]
fn a_rollback_takes_back_changes_and_creations_since_the_savepoint() {
    let database = database();
    commit_number(&database, ONE, 1);
    let mut connection = database.connect();
    connection.store(ONE, number(10)).unwrap();
    let early = connection.savepoint();
    connection.store(ONE, number(11)).unwrap();
    let created = connection.create(number(5)).unwrap();
    let late = connection.savepoint();
    connection.store(ONE, number(12)).unwrap();
    connection.store(created, number(6)).unwrap();

    connection.roll_back(late).unwrap();
    assert_eq!(
        (value(&connection, ONE), value(&connection, created)),
        (11, 5)
    );
    connection.store(created, number(7)).unwrap();
    connection.roll_back(late).unwrap();
    assert_eq!(value(&connection, created), 5);

    connection.roll_back(early).unwrap();
    assert_eq!(value(&connection, ONE), 10);
    assert!(connection.load(created).unwrap_err().is_not_found());
    assert!(matches!(
        connection.roll_back(late),
        Err(ZodbError::Savepoint)
    ));
    assert_eq!(value(&connection, ONE), 10);

    connection.commit(TransactionMeta::default()).unwrap();
    let after = database.connect();
    assert_eq!(value(&after, ONE), 10);
    assert!(after.load(created).unwrap_err().is_not_found());
}

#[test]
fn savepoints_of_others_and_of_before_an_abort_are_refused() {
    let database = database();
    let (mut mine, mut others) = (database.connect(), database.connect());
    let (here, there) = (mine.savepoint(), others.savepoint());
    assert!(matches!(mine.roll_back(there), Err(ZodbError::Savepoint)));
    mine.roll_back(here).unwrap();
    mine.abort();
    assert!(matches!(mine.roll_back(here), Err(ZodbError::Savepoint)));
}

#[test]
fn what_a_rolled_back_part_relied_on_still_counts() {
    let database = database();
    commit_number(&database, ONE, 1);
    let mut connection = database.connect();
    let savepoint = connection.savepoint();
    connection.read_current(ONE).unwrap();
    connection.roll_back(savepoint).unwrap();
    connection.store(TWO, number(1)).unwrap();
    commit_number(&database, ONE, 2);
    connection.commit(TransactionMeta::default()).unwrap_err();
}

#[test]
fn an_abort_begins_anew_on_a_snapshot_of_now() {
    let database = database();
    commit_number(&database, ONE, 1);
    let mut connection = database.connect();
    connection.store(ONE, number(9)).unwrap();
    connection.read_current(TWO).unwrap_err();
    commit_number(&database, ONE, 2);
    connection.abort();
    assert!(!connection.is_changed());
    assert_eq!(value(&connection, ONE), 2);
    connection.store(ONE, number(3)).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();
    assert_eq!(value(&database.connect(), ONE), 3);
}
