//! Storages far away: they tell of what was missed in one lump.

use std::sync::Arc;

use parking_lot::Mutex;
use storage::{
    Changes, Commit, MemoryStorage, Oid, Revision, Storage, StorageError, StorageStats, Tid,
    TransactionMeta,
};
use zodb::{Database, DatabaseOptions};

use crate::world::{commit_number, value};

const X: Oid = Oid::new(1);
const Y: Oid = Oid::new(2);

/// The storage of one server.
struct Distant(Mutex<Arc<MemoryStorage>>);

impl Distant {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn server(&self) -> Arc<MemoryStorage> {
        self.0.lock().clone()
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
