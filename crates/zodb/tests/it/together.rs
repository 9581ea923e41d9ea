//! Transactions over several databases.

use std::sync::Arc;

use storage::{
    Changes, Commit, CommitError, MemoryStorage, Oid, Publish, Revision, Storage, StorageError,
    StorageStats, Tid, TransactionMeta, Voted,
};
use zodb::{
    ClassName, Data, Database, DatabaseOptions, Databases, PersistentMapping, Reference,
    TogetherError, ZodbError,
};

use crate::world::{commit_number, database, number, value};

const ONE: Oid = Oid::new(1);

fn meta() -> TransactionMeta {
    TransactionMeta::default()
}

#[test]
fn all_databases_commit_or_none() {
    let (a, b) = (database(), database());
    commit_number(&a, ONE, 1);
    commit_number(&b, ONE, 1);
    let databases = Databases::new([("a", a.clone()), ("b", b.clone())]);

    let mut late = databases.connect();
    let mut session = databases.connect();
    for name in ["a", "b"] {
        session
            .get_mut(name)
            .unwrap()
            .store(ONE, number(2))
            .unwrap();
        late.get_mut(name).unwrap().store(ONE, number(3)).unwrap();
    }
    commit_number(&b, ONE, 9);
    // The second votes no, and the first, which had agreed, writes nothing.
    let before = a.storage().last_tid();
    match session.commit(&meta()) {
        Err(TogetherError::Refused { database, source }) => {
            assert_eq!(database, "b");
            assert!(matches!(source, CommitError::Conflict(_)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(a.storage().last_tid(), before);
    // Nothing is held up by what was aborted.
    commit_number(&a, ONE, 5);
    late.commit(&meta()).unwrap_err();

    let mut session = databases.connect();
    session.get_mut("a").unwrap().store(ONE, number(6)).unwrap();
    let finished = session.commit(&meta()).unwrap();
    // A database without changes takes no part.
    assert_eq!(finished.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(value(&a.connect(), ONE), 6);
    assert_eq!(value(&b.connect(), ONE), 9);
}

#[test]
fn references_lead_into_other_databases() {
    let databases = Databases::new([("main", database()), ("other", database())]);
    let mut session = databases.connect();
    let other = session.get_mut("other").unwrap();
    let there = other.create(number(7)).unwrap();
    let number_class = ClassName::new("test", "Number");
    let references = [
        Reference::Foreign {
            database: "other".into(),
            oid: there,
            class: Some(number_class),
        },
        Reference::Foreign {
            database: "other".into(),
            oid: there,
            class: None,
        },
        Reference::Weak {
            oid: there,
            database: Some("other".into()),
        },
    ];
    let mut root = PersistentMapping::new();
    for (at, reference) in references.iter().enumerate() {
        root.set(&at.to_string(), reference.clone());
    }
    root.store(session.get_mut("main").unwrap(), Oid::ROOT)
        .unwrap();
    session.commit(&meta()).unwrap();

    let session = databases.connect();
    let root = PersistentMapping::load(session.get("main").unwrap(), Oid::ROOT).unwrap();
    for (at, reference) in references.into_iter().enumerate() {
        let Some(Data::Reference(found)) = root.get(&at.to_string()) else {
            panic!("no reference");
        };
        assert_eq!(found, reference);
        let object = session.follow("main", &found).unwrap();
        assert_eq!(object.state().get("value").unwrap().as_int(), Some(7));
    }
    let lost = Reference::Foreign {
        database: "lost".into(),
        oid: ONE,
        class: None,
    };
    let error = session.follow("main", &lost).unwrap_err();
    assert!(matches!(error, ZodbError::UnknownDatabase { name } if name == "lost"));
}

#[test]
fn savepoints_reach_over_all() {
    let databases = Databases::new([("a", database()), ("b", database())]);
    let mut session = databases.connect();
    session.get_mut("a").unwrap().store(ONE, number(1)).unwrap();
    let savepoint = session.savepoint();
    session.get_mut("a").unwrap().store(ONE, number(2)).unwrap();
    session.get_mut("b").unwrap().store(ONE, number(2)).unwrap();
    session.roll_back(&savepoint).unwrap();
    assert_eq!(value(session.get("a").unwrap(), ONE), 1);
    assert!(!session.get("b").unwrap().is_changed());
    let foreign = databases.connect().savepoint();
    assert!(matches!(
        session.roll_back(&foreign),
        Err(ZodbError::Savepoint)
    ));
}

#[test]
fn one_storage_under_two_names_is_refused_and_does_not_wait_for_itself() {
    let one = database();
    let databases = Databases::new([("a", one.clone()), ("b", one)]);
    let mut session = databases.connect();
    session.get_mut("a").unwrap().store(ONE, number(1)).unwrap();
    session.get_mut("b").unwrap().store(ONE, number(2)).unwrap();
    assert!(matches!(
        session.commit(&meta()),
        Err(TogetherError::Refused { .. })
    ));
}

#[test]
fn a_failure_after_all_agreed_says_where_it_is_written() {
    let broken = Arc::new(Unfinished(Arc::new(MemoryStorage::new())));
    let broken = Database::new(broken, DatabaseOptions::default());
    let run = |names: [&str; 2]| {
        let databases = Databases::new([(names[0], broken.clone()), (names[1], database())]);
        let mut session = databases.connect();
        for name in names {
            session
                .get_mut(name)
                .unwrap()
                .store(ONE, number(1))
                .unwrap();
        }
        session.commit(&meta()).unwrap_err()
    };
    // It fails first: still nothing is written anywhere.
    match run(["a", "b"]) {
        TogetherError::Refused { database, .. } => assert_eq!(database, "a"),
        other => panic!("{other}"),
    }
    match run(["z", "b"]) {
        TogetherError::Torn {
            database, finished, ..
        } => {
            assert_eq!(database, "z");
            assert_eq!(finished.keys().collect::<Vec<_>>(), ["b"]);
        }
        other => panic!("{other}"),
    }
}

/// A storage whose transactions fail when they are finished.
struct Unfinished(Arc<MemoryStorage>);

struct Failing(Box<dyn Voted>);

struct Begun(Box<dyn Commit>);

impl Storage for Unfinished {
    fn name(&self) -> String {
        self.0.name()
    }

    fn last_tid(&self) -> Tid {
        self.0.last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        self.0.load_before(oid, before)
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.0.new_oids(count)
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        Ok(Box::new(Begun(self.0.clone().begin(meta)?)))
    }

    fn stats(&self) -> StorageStats {
        self.0.stats()
    }

    fn changes_since(&self, since: Tid, max: usize) -> Result<Option<Vec<Changes>>, StorageError> {
        self.0.changes_since(since, max)
    }

    fn recent_changes(&self, max: usize) -> Result<Vec<Changes>, StorageError> {
        self.0.recent_changes(max)
    }
}

impl Commit for Begun {
    fn store(&mut self, oid: Oid, base: Tid, record: storage::Record) -> Result<(), StorageError> {
        self.0.store(oid, base, record)
    }

    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.0.check_current(oid, base)
    }

    fn vote(self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        Ok(Box::new(Failing(self.0.vote()?)))
    }
}

impl Voted for Failing {
    fn resolved(&self) -> &[Oid] {
        self.0.resolved()
    }

    fn finish(self: Box<Self>, _publish: Publish) -> Result<Tid, CommitError> {
        Err(StorageError::Poisoned {
            cause: "no disk".into(),
        }
        .into())
    }
}
