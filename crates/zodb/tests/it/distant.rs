//! Storages far away: they tell of what was missed in one lump, and may come back with less than
//! they had.

use std::sync::Arc;

use parking_lot::Mutex;
use storage::{
    Changes, Commit, MemoryStorage, Oid, Revision, Storage, StorageError, StorageStats, Tid,
    TransactionMeta,
};
use zodb::{Database, DatabaseOptions};

use crate::world::{commit_number, database, value};

const X: Oid = Oid::new(1);
const Y: Oid = Oid::new(2);

/// The storage of one server, which another one may replace.
struct Distant(Mutex<Arc<MemoryStorage>>);

impl Distant {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn server(&self) -> Arc<MemoryStorage> {
        self.0.lock().clone()
    }

    /// A server takes over that knows nothing.
    fn replace(&self) {
        *self.0.lock() = Arc::default();
    }

    fn database(self: &Arc<Self>) -> Arc<Database> {
        Database::new(self.clone(), DatabaseOptions::default())
    }

    /// Another client of the server.
    fn other(&self) -> Arc<Database> {
        Database::new(self.server(), DatabaseOptions::default())
    }
}

impl Storage for Distant {
    fn name(&self) -> String {
        "distant".to_owned()
    }

    fn last_tid(&self) -> Tid {
        self.server().last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        self.server().load_before(oid, before)
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.server().new_oids(count)
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        self.server().begin(meta)
    }

    fn stats(&self) -> StorageStats {
        self.server().stats()
    }

    /// As a ZEO client after a reconnect: everything missed counts as one transaction.
    fn changes_since(&self, since: Tid, max: usize) -> Result<Option<Vec<Changes>>, StorageError> {
        let changes = self.server().changes_since(since, max)?;
        Ok(changes.map(|changes| {
            let tid = changes.last().map(|last| last.tid);
            let oids = changes.into_iter().flat_map(|all| all.oids).collect();
            tid.map(|tid| Changes { tid, oids }).into_iter().collect()
        }))
    }

    fn recent_changes(&self, max: usize) -> Result<Vec<Changes>, StorageError> {
        self.server().recent_changes(max)
    }
}

/// The lump says that the object changed by then, not that it changed then.
#[test]
fn a_snapshot_between_changes_that_came_in_one_lump_reads_the_one_before_it() {
    let storage = Distant::new();
    let database = storage.database();
    commit_number(&database, X, 1);
    assert_eq!(value(&database.connect(), X), 1);
    let other = storage.other();
    let changed = commit_number(&other, X, 2);
    commit_number(&other, Y, 1);
    commit_number(&other, Y, 2);

    assert_eq!(value(&database.connect(), X), 2);
    let between = database.snapshot_before(changed.next());
    assert_eq!(value(&between, X), 2);
}

/// The same where nothing was read in between, so that only the old revision is remembered.
#[test]
fn a_lump_does_not_stretch_the_revision_it_ends() {
    let storage = Distant::new();
    let database = storage.database();
    commit_number(&database, X, 1);
    assert_eq!(value(&database.connect(), X), 1);
    let other = storage.other();
    let changed = commit_number(&other, X, 2);
    commit_number(&other, Y, 1);

    let between = database.snapshot_before(changed.next());
    assert_eq!(value(&between, X), 2);
}

/// A stand-in took over that lacks the last transactions. What only they had is never shown again,
/// even where their ids are given to others.
#[test]
fn nothing_is_remembered_of_transactions_that_a_server_lost() {
    let storage = Distant::new();
    let database = storage.database();
    commit_number(&database, X, 1);
    let lost = commit_number(&database, X, 666);
    assert_eq!(value(&database.connect(), X), 666);

    storage.replace();
    commit_number(&storage.other(), X, 1);
    let after = database.connect();
    assert_eq!(after.before(), lost);
    assert_eq!(value(&after, X), 1);

    let same_id = commit_number(&storage.other(), X, 3);
    assert_eq!(same_id, lost);
    assert_eq!(value(&database.connect(), X), 3);
    commit_number(&database, X, 4);
    assert_eq!(value(&database.connect(), X), 4);
}

/// Currency, too: what was current before the loss may be changed at an id that was there before.
#[test]
fn currency_starts_anew_where_the_server_went_back() {
    let storage = Distant::new();
    let database = storage.database();
    commit_number(&database, X, 1);
    for number in 0..5 {
        commit_number(&database, Y, number);
    }
    assert_eq!(value(&database.connect(), X), 1);

    storage.replace();
    commit_number(&storage.other(), X, 1);
    commit_number(&storage.other(), X, 2);
    assert_eq!(value(&database.connect(), X), 2);
}

/// An answer of the old server that arrives late is used up by who asked, and not remembered.
#[test]
fn an_answer_from_before_the_loss_is_not_remembered() {
    let storage = Distant::new();
    let database = storage.database();
    commit_number(&database, X, 1);
    let lost = commit_number(&database, X, 666);
    let old = database.connect();
    let kept = storage.server();

    storage.replace();
    commit_number(&storage.other(), X, 1);
    drop(database.connect());
    // The old server answers once more.
    let new = std::mem::replace(&mut *storage.0.lock(), kept);
    assert_eq!(value(&old, X), 666);
    *storage.0.lock() = new;

    assert_eq!(commit_number(&storage.other(), Y, 1), lost);
    assert_eq!(value(&database.connect(), X), 1);
}

/// The storage in memory never goes back, so none of this is at work there.
#[test]
fn a_near_storage_keeps_what_it_remembers() {
    let database = database();
    commit_number(&database, X, 1);
    let first = database.connect().load(X).unwrap();
    commit_number(&database, Y, 1);
    assert!(Arc::ptr_eq(&first, &database.connect().load(X).unwrap()));
}
