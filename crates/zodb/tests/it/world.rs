//! What the tests share: databases, and records that hold one number.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pickle::Pickles;
use storage::{
    Changes, Commit, MemoryStorage, Oid, Record, Revision, Storage, StorageError, StorageStats,
    Tid, TransactionMeta,
};
use zodb::{Connection, Database, DatabaseOptions};

pub(crate) fn database() -> Arc<Database> {
    Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default())
}

/// A record of class `test.Number`.
pub(crate) fn number(value: i64) -> Pickles {
    let mut pickles = Pickles::new();
    let class = pickles.global("test", "Number");
    let value = pickles.int(value);
    let state = pickles.dict(Vec::new());
    pickles.dict_set(state, "value", value);
    pickles.push_root(class);
    pickles.push_root(state);
    pickles
}

pub(crate) fn value(connection: &Connection, oid: Oid) -> i64 {
    let object = connection.load(oid).unwrap();
    object.state().get("value").unwrap().as_int().unwrap()
}

pub(crate) fn commit_number(database: &Arc<Database>, oid: Oid, number_: i64) -> Tid {
    let mut connection = database.connect();
    connection.store(oid, number(number_)).unwrap();
    connection.commit(TransactionMeta::default()).unwrap()
}

/// Puts raw bytes into a storage, past all checks.
pub(crate) fn commit_raw(storage: &Arc<dyn Storage>, oid: Oid, base: Tid, bytes: &[u8]) -> Tid {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.store(oid, base, Record::from(bytes)).unwrap();
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}

/// A storage that counts the loads of each object, and can do something before an answer arrives.
pub(crate) struct Counting {
    below: Arc<MemoryStorage>,
    loads: Mutex<BTreeMap<Oid, usize>>,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// What was asked for in advance.
    pub(crate) prefetched: Mutex<Vec<Oid>>,
}

impl Counting {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            below: Arc::new(MemoryStorage::new()),
            loads: Mutex::default(),
            meanwhile: Mutex::default(),
            prefetched: Mutex::default(),
        })
    }

    /// Runs `event` once, between the next load and the arrival of its answer.
    pub(crate) fn meanwhile(&self, event: impl FnOnce() + Send + 'static) {
        *self.meanwhile.lock() = Some(Box::new(event));
    }

    pub(crate) fn loads(&self, oid: Oid) -> usize {
        self.loads.lock().get(&oid).copied().unwrap_or_default()
    }
}

impl Storage for Counting {
    fn name(&self) -> String {
        self.below.name()
    }

    fn last_tid(&self) -> Tid {
        self.below.last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        *self.loads.lock().entry(oid).or_default() += 1;
        let answer = self.below.load_before(oid, before);
        let event = self.meanwhile.lock().take();
        if let Some(event) = event {
            event();
        }
        answer
    }

    fn prefetch(&self, oids: &[Oid], _before: Tid) {
        self.prefetched.lock().extend(oids);
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.below.new_oids(count)
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        self.below.clone().begin(meta)
    }

    fn stats(&self) -> StorageStats {
        self.below.stats()
    }

    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        self.below.changes_since(since, transactions_max)
    }

    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError> {
        self.below.recent_changes(transactions_max)
    }
}
