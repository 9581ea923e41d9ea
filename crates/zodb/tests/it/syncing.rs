//! Storages that must be asked for what was committed elsewhere before a transaction begins.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use storage::{
    Changes, Commit, CommitError, MemoryStorage, Oid, Revision, Severity, Storage, StorageError,
    StorageStats, Tid, TransactionMeta,
};
use zodb::{Database, DatabaseOptions, Databases, TransactError, ZodbError};

use crate::world::{commit_number, number, value};

const ONE: Oid = Oid::new(1);

/// Learns only when it asks, and only while the server answers.
struct Lagging {
    server: Arc<MemoryStorage>,
    known: Mutex<Tid>,
    answers: Mutex<bool>,
}

impl Lagging {
    fn new(server: &Arc<MemoryStorage>) -> Arc<Self> {
        Arc::new(Self {
            server: server.clone(),
            known: Mutex::new(server.last_tid()),
            answers: Mutex::new(true),
        })
    }
}

impl Storage for Lagging {
    fn name(&self) -> String {
        "lagging".to_owned()
    }

    fn last_tid(&self) -> Tid {
        *self.known.lock()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        self.server.load_before(oid, before)
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.server.new_oids(count)
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        self.server.clone().begin(meta)
    }

    fn sync(&self) -> Result<(), StorageError> {
        if !*self.answers.lock() {
            let waited = Duration::ZERO;
            return Err(StorageError::Disconnected { waited });
        }
        *self.known.lock() = self.server.last_tid();
        Ok(())
    }

    fn syncs_first(&self) -> bool {
        true
    }

    fn stats(&self) -> StorageStats {
        self.server.stats()
    }

    fn changes_since(&self, since: Tid, max: usize) -> Result<Option<Vec<Changes>>, StorageError> {
        self.server.changes_since(since, max)
    }

    fn recent_changes(&self, max: usize) -> Result<Vec<Changes>, StorageError> {
        self.server.recent_changes(max)
    }
}

fn open(storage: Arc<dyn Storage>) -> Arc<Database> {
    Database::new(storage, DatabaseOptions::default())
}

#[test]
fn every_transaction_begins_with_a_question() {
    let server = Arc::new(MemoryStorage::new());
    let (database, other) = (open(Lagging::new(&server)), open(server.clone()));
    let mut kept = database.connect();
    commit_number(&other, ONE, 1);
    assert_eq!(value(&database.connect(), ONE), 1);
    kept.abort();
    assert_eq!(value(&kept, ONE), 1);

    commit_number(&other, ONE, 2);
    let both = Databases::new([("main", database.clone())]);
    assert_eq!(value(both.connect().get("main").unwrap(), ONE), 2);

    commit_number(&other, ONE, 3);
    let seen = database.transact(
        0,
        |_| {},
        |connection| Ok::<_, ZodbError>((value(connection, ONE), TransactionMeta::default())),
    );
    assert_eq!(seen.unwrap(), 3);
}

#[test]
fn without_an_answer_nothing_is_read_and_nothing_is_written() {
    let server = Arc::new(MemoryStorage::new());
    let storage = Lagging::new(&server);
    let database = open(storage.clone());
    commit_number(&database, ONE, 1);
    *storage.answers.lock() = false;
    let last = server.last_tid();

    let mut connection = database.connect();
    for error in [
        connection.load(ONE).map(drop).unwrap_err(),
        connection.record(ONE).map(drop).unwrap_err(),
        connection.read_current(ONE).unwrap_err(),
    ] {
        assert_eq!(error.severity(), Severity::Retry, "{error}");
    }
    connection.store(ONE, number(2)).unwrap_err();
    let error = connection.commit(TransactionMeta::default()).unwrap_err();
    assert!(matches!(
        error,
        CommitError::Storage(StorageError::Disconnected { .. })
    ));

    // The work is tried again, and only where there is an answer.
    let mut pauses = 0;
    let mut done = 0;
    let outcome = database.transact(
        5,
        |_| {
            pauses += 1;
            *storage.answers.lock() = pauses == 3;
        },
        |connection| {
            done += 1;
            connection.store(ONE, number(5))?;
            Ok::<_, ZodbError>(((), TransactionMeta::default()))
        },
    );
    outcome.unwrap();
    assert_eq!((pauses, done), (3, 1));
    assert!(server.last_tid() > last);

    *storage.answers.lock() = false;
    let outcome = database.transact(
        1,
        |_| {},
        |_| Ok::<_, ZodbError>(((), TransactionMeta::default())),
    );
    assert!(matches!(outcome, Err(TransactError::Commit(_))));
}
