//! Objects as Rust types, and what stays of what those do not know.

use std::sync::Arc;

use pickle::Pickles;
use storage::{MemoryStorage, Oid, Tid, TransactionMeta};
use zodb::{
    Data, Database, DatabaseOptions, PersistentList, PersistentMapping, Reference, ViewError,
};

use crate::world::{commit_raw, database, number};

zodb::persistent! {
    /// An account.
    pub(crate) struct Account: "bank.account", "Account" {
        owner: String,
        balance: i64,
        parent: Option<Reference>,
    }
}

#[test]
fn attributes_that_the_type_does_not_know_stay() {
    let database = database();
    let mut record = Pickles::new();
    let class = record.global("bank.account", "Account");
    let unknown = record.global("bank.extras", "Unknown");
    let args = record.tuple(Vec::new());
    let unknown = record.new_object(unknown, args, None);
    let owner = record.str("Ann");
    let zero = record.int(0);
    let none = record.none();
    let state = record.dict(Vec::new());
    record.dict_set(state, "extra", unknown);
    record.dict_set(state, "owner", owner);
    record.dict_set(state, "balance", zero);
    record.dict_set(state, "parent", none);
    record.set_roots(&[class, state]);
    let before = record.encode();
    let oid = Oid::new(1);
    commit_raw(database.storage(), oid, Tid::ZERO, &before);

    let mut connection = database.connect();
    let mut account: Account = connection.get(oid).unwrap();
    assert_eq!((account.owner.as_str(), account.balance), ("Ann", 0));
    // Writing the same gives the same bytes.
    connection.put(oid, &account).unwrap();
    assert_eq!(*connection.record(oid).unwrap(), *before);
    account.balance = 7;
    account.parent = Some(Reference::Strong { oid, class: None });
    connection.put(oid, &account).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();

    let connection = database.connect();
    let object = connection.load(oid).unwrap();
    assert!(object.state().get("extra").unwrap().instance().is_some());
    assert_eq!(connection.get::<Account>(oid).unwrap(), account);
}

#[test]
fn what_does_not_fit_is_named() {
    let database = database();
    let mut connection = database.connect();
    let other = connection.create(number(1)).unwrap();
    let error = connection.get::<Account>(other).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("object {other} is a test.Number and no bank.account.Account")
    );
    let mut record = Pickles::new();
    let class = record.global("bank.account", "Account");
    let state = record.dict(Vec::new());
    let five = record.int(5);
    record.dict_set(state, "owner", five);
    record.set_roots(&[class, state]);
    let oid = connection.create(record).unwrap();
    match connection.get::<Account>(oid).unwrap_err() {
        ViewError::Field {
            name,
            expected,
            found,
            ..
        } => assert_eq!(
            (name.as_str(), expected, found.as_str()),
            ("owner", "a str", "5")
        ),
        other => panic!("{other}"),
    }
    let list = PersistentList::load(&connection, oid);
    assert!(matches!(list, Err(ViewError::Class { .. })));
}

#[test]
fn lists_and_mappings_are_edited() {
    let database = database();
    let mut connection = database.connect();
    let mut list = PersistentList::new();
    for number in 0..4 {
        list.push(number);
    }
    list.insert(1, "one");
    assert_eq!(list.remove(3), Some(2.into()));
    assert!(list.set(0, None::<i64>));
    assert!(!list.set(9, 1));
    assert_eq!(list.remove(9), None);
    let oid = list.create(&mut connection).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();
    let list = PersistentList::load(&database.connect(), oid).unwrap();
    let items: Vec<Data> = list.iter().map(Data::read).collect();
    assert_eq!(items, [Data::None, "one".into(), 1.into(), 3.into()]);

    // The form of long ago.
    let old = b"\x80\x02cpersistent.mapping\nPersistentMapping\nq\x01.\x80\x02}q\x02U\n_containerq\x03}q\x04U\x01aK\x01ss.";
    commit_raw(database.storage(), Oid::new(77), Tid::ZERO, old);
    let mut mapping = PersistentMapping::load(&database.connect(), Oid::new(77)).unwrap();
    assert_eq!((mapping.get("a"), mapping.len()), (Some(1.into()), 1));
    mapping.set("b", 2);
    assert!(mapping.remove("a"));
    let mut connection = database.connect();
    mapping.store(&mut connection, Oid::new(77)).unwrap();
    let state = connection.load(Oid::new(77)).unwrap();
    assert_eq!(state.state().to_string(), "{'data': {'b': 2}}");
}

#[test]
fn a_record_that_nobody_can_decode_is_handed_out_as_it_is() {
    let database = database();
    let oid = Oid::new(1);
    commit_raw(database.storage(), oid, Tid::ZERO, b"no pickle");
    let connection = database.connect();
    assert!(connection.load(oid).is_err());
    assert_eq!(&*connection.record(oid).unwrap(), b"no pickle");
}

#[test]
fn values_that_share_too_much_are_kept_whole() {
    // Each tuple holds the one before it twice: 2^60 values, were they taken apart.
    let mut pickles = Pickles::new();
    let mut node = pickles.tuple(Vec::new());
    for _ in 0..25 {
        node = pickles.tuple(vec![node, node]);
    }
    pickles.push_root(node);
    let data = Data::read(pickles.value(node));
    assert!(matches!(data, Data::Other(_)));
    let mut copy = Pickles::new();
    let root = data.write(&mut copy);
    copy.push_root(root);
    assert_eq!(copy.encode(), pickles.encode());
    let big = Data::from(u64::MAX);
    let root = big.write(&mut copy);
    assert_eq!(Data::read(copy.value(root)), big);
}

#[test]
fn the_bound_of_objects_holds() {
    const OBJECTS: u64 = 200;
    let database = Database::new(
        Arc::new(MemoryStorage::new()),
        DatabaseOptions {
            cache_objects: OBJECTS,
            ..DatabaseOptions::default()
        },
    );
    let mut connection = database.connect();
    for oid in 0..2_000 {
        connection.store(Oid::new(oid), number(1)).unwrap();
    }
    connection.commit(TransactionMeta::default()).unwrap();
    let connection = database.connect();
    for oid in 0..2_000 {
        connection.load(Oid::new(oid)).unwrap();
        assert!(database.cached_objects() as u64 <= OBJECTS);
    }
    assert!(
        database.cached_objects() as u64 > OBJECTS / 4,
        "nothing is kept"
    );
}

zodb::persistent! {
    pub(crate) struct Place: "test", "Place" as tuple { name: String, x: f64, above: Option<Oid> }
}

zodb::persistent! {
    pub(crate) struct Counter: "BTrees.Length", "Length" as value { value: i64 }
}

#[test]
fn states_that_are_no_dict_are_views_too() {
    let database = database();
    let mut connection = database.connect();
    let place = Place {
        name: "here".into(),
        x: 0.5,
        above: Some(Oid::ROOT),
    };
    let oid = connection.add(&place).unwrap();
    let counter = connection.add(&Counter { value: 1 }).unwrap();
    connection.put(counter, &Counter { value: -7 }).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();

    let mut connection = database.connect();
    assert_eq!(connection.get::<Place>(oid).unwrap(), place);
    assert_eq!(connection.get::<Counter>(counter).unwrap().value, -7);
    // As `pickle.dumps(Length, 3) + pickle.dumps(-7, 3)` with one memo.
    let record = connection.record(counter).unwrap();
    assert_eq!(
        &*record,
        b"\x80\x03cBTrees.Length\nLength\nq\x00.\x80\x03J\xf9\xff\xff\xff."
    );
    let before = connection.record(oid).unwrap();
    connection.put(oid, &place).unwrap();
    assert_eq!(connection.record(oid).unwrap(), before);

    let error = connection.get::<Counter>(oid).unwrap_err();
    assert!(matches!(error, ViewError::Class { .. }));
    let misfits = [
        (Data::Tuple(vec!["here".into(), 0.5.into()]), "state"),
        (
            Data::List(vec!["here".into(), 0.5.into(), Data::None]),
            "state",
        ),
        (
            Data::Tuple(vec!["here".into(), "x".into(), Data::None]),
            "x",
        ),
    ];
    for (state, wrong) in misfits {
        let mut record = Pickles::new();
        let class = record.global("test", "Place");
        let state = state.write(&mut record);
        record.set_roots(&[class, state]);
        connection.store(oid, record).unwrap();
        match connection.get::<Place>(oid).unwrap_err() {
            ViewError::Field { name, .. } => assert_eq!(name, wrong),
            other => panic!("{other}"),
        }
    }
}
