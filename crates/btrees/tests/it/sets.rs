//! Trees put together, against `BTreeMap`; and trees whose keys or classes are not the family's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use btrees::{Entry, Shape, Sizes, Tree, TreeError, TreeMut, class_name};
use pickle::Pickles;
use proptest::prelude::*;
use storage::{MemoryStorage, Oid};
use zodb::{ClassName, Connection, Data, Database, DatabaseOptions, Reference};

type Items = BTreeMap<i64, i64>;

fn connect() -> Connection {
    Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default()).connect()
}

fn make(connection: &mut Connection, class: &ClassName, items: &Items) -> Oid {
    let sizes = Sizes {
        leaf: 3,
        internal: 3,
    };
    let mut tree = TreeMut::create(connection, class).unwrap();
    tree = tree.with_sizes(sizes);
    tree.update(items.iter().map(|(key, value)| (*key, *value)))
        .unwrap();
    tree.save().unwrap()
}

fn pairs(entries: impl Iterator<Item = Result<Entry, TreeError>>) -> Vec<(i64, i64)> {
    let pair = |entry: Entry| (entry.key_as().unwrap(), entry.value_as().unwrap());
    entries.map(|entry| pair(entry.unwrap())).collect()
}

fn items() -> impl Strategy<Value = Items> {
    prop::collection::btree_map(0i64..40, 0i64..100, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn trees_are_put_together_as_maps_are(a in items(), b in items(), c in items()) {
        let mut connection = connect();
        let class = class_name("LL", Shape::BTree).unwrap();
        let oids = [&a, &b, &c].map(|items| make(&mut connection, &class, items));
        let [one, two, three] = oids.map(|oid| Tree::open(&connection, oid).unwrap());

        let mut union = c.clone();
        union.extend(&b);
        union.extend(&a);
        let found = pairs(one.union_all([&two, &three]).unwrap());
        prop_assert_eq!(found, Vec::from_iter(union));
        let (both, rest): (Vec<_>, Vec<_>) =
            a.iter().map(|(key, value)| (*key, *value)).partition(|(key, _)| b.contains_key(key));
        prop_assert_eq!(pairs(one.intersection(&two).unwrap()), both);
        prop_assert_eq!(pairs(one.difference(&two).unwrap()), rest);

        let mut sums: BTreeMap<i64, i64> = a.iter().map(|(key, value)| (*key, value * 3)).collect();
        for (key, value) in &b {
            *sums.entry(*key).or_default() -= value * 2;
        }
        let numbers = |found: btrees::Weighted<'_>| -> Vec<(Data, Data)> {
            found.map(|pair| pair.unwrap()).collect()
        };
        let data = |sums: &BTreeMap<i64, i64>| -> Vec<(Data, Data)> {
            sums.iter().map(|(key, sum)| (Data::from(*key), Data::from(*sum))).collect()
        };
        prop_assert_eq!(numbers(one.weighted_union(&two, 3, -2).unwrap()), data(&sums));
        sums.retain(|key, _| a.contains_key(key) && b.contains_key(key));
        prop_assert_eq!(numbers(one.weighted_intersection(&two, 3, -2).unwrap()), data(&sums));
    }
}

#[test]
fn what_does_not_fit_is_not_put_together() {
    let mut connection = connect();
    let make = |connection: &mut Connection, family| {
        let class = class_name(family, Shape::TreeSet).unwrap();
        TreeMut::create(connection, &class).unwrap().save().unwrap()
    };
    let oids = ["OO", "OI", "IF"].map(|family| make(&mut connection, family));
    let [objects, numbers, floats] = oids.map(|oid| Tree::open(&connection, oid).unwrap());
    let error = objects.union(&numbers).unwrap_err();
    assert!(matches!(error, TreeError::OtherFamily { .. }), "{error}");
    let error = objects.weighted_union(&objects, 1, 1).unwrap_err();
    assert!(matches!(error, TreeError::NotSupported { .. }), "{error}");
    let error = numbers.weighted_union(&numbers, 0.5, 1).unwrap_err();
    assert!(matches!(error, TreeError::Kind { .. }), "{error}");
    let found = floats.weighted_intersection(&floats, 0.5, 1).unwrap();
    assert_eq!(found.weight(), Data::from(1.5));
    assert_eq!(found.count(), 0);
}

/// As Python writes them where a class defines an order: here they can be iterated, no more.
#[test]
fn keys_whose_order_only_their_class_knows_are_iterated_and_not_looked_up() {
    let mut connection = connect();
    let mut bucket = |keys: &dyn Fn(&mut Pickles) -> Vec<pickle::NodeId>| {
        let mut record = Pickles::new();
        let class = record.global("BTrees.OOBTree", "OOBucket");
        let mut items = Vec::new();
        for key in keys(&mut record) {
            let value = record.int(1);
            items.extend([key, value]);
        }
        let items = record.tuple(items);
        let state = record.tuple(vec![items]);
        record.set_roots(&[class, state]);
        connection.create(record).unwrap()
    };
    let referring = bucket(&|record| {
        let reference = |number, record: &mut Pickles| {
            let (oid, class) = (Oid::new(number), Some(ClassName::new("shop", "Item")));
            Reference::Strong { oid, class }.write(record)
        };
        vec![reference(1, record), reference(2, record)]
    });
    let dated = bucket(&|record| {
        let date = |day: &[u8], record: &mut Pickles| {
            let class = record.global("datetime", "date");
            let day = record.bytes(day);
            let arguments = record.tuple(vec![day]);
            record.reduce(class, arguments, None)
        };
        vec![
            date(b"\x07\xe8\x01\x01", record),
            date(b"\x07\xe8\x01\x02", record),
        ]
    });
    for oid in [referring, dated] {
        let tree = Tree::open(&connection, oid).unwrap();
        let keys: Vec<Data> = tree.iter().map(|entry| entry.unwrap().key()).collect();
        assert_eq!(keys.len(), 2);
        let other = Data::Reference(Reference::Strong {
            oid: Oid::new(9),
            class: None,
        });
        for key in [other, Data::from("text")] {
            let error = tree.get(key).unwrap_err();
            assert!(matches!(error, TreeError::UnknownOrder), "{error}");
        }
        let mut changed = TreeMut::open(&mut connection, oid).unwrap();
        let error = changed.set("text", 1).unwrap_err();
        assert!(matches!(error, TreeError::UnknownOrder), "{error}");
    }
    let [one, two] = [referring, dated].map(|oid| Tree::open(&connection, oid).unwrap());
    let mut union = one.union(&two).unwrap();
    let error = union.next().unwrap().unwrap_err();
    assert!(matches!(error, TreeError::UnknownOrder), "{error}");
    assert!(union.next().is_none());
}

/// The state tells, where there is more than one bucket; else somebody has to.
#[test]
fn derived_classes_stay_what_they_are() {
    let mut connection = connect();
    let base = class_name("LL", Shape::BTree).unwrap();
    let derived = ClassName::new("shop", "Index");
    let items: Items = (0..100).map(|key| (key, key)).collect();
    let small: Items = (0..2).map(|key| (key, key)).collect();
    for (items, is_known) in [(items, true), (small, false)] {
        let oid = make(&mut connection, &base, &items);
        // The root becomes one of the class, and the nodes below it as soon as they are written.
        let mut record = connection.load(oid).unwrap().pickles().clone();
        let head = record.global("shop", "Index");
        record.set_root(0, head);
        connection.store(oid, record).unwrap();
        let opened = Tree::open(&connection, oid).map(|tree| tree.class());
        match opened {
            Ok(class) => assert!(is_known && class == derived),
            Err(error) => assert!(!is_known && matches!(error, TreeError::Class { .. })),
        }
        let mut tree = TreeMut::open_as(&mut connection, oid, &base).unwrap();
        for key in 1_000..1_200 {
            tree.set(key, key).unwrap();
        }
        let tree = tree.into_tree().unwrap();
        assert_eq!(tree.class(), derived);
        assert_eq!(tree.len().unwrap(), items.len() + 200);
        assert!(tree.check().unwrap().is_empty());
        assert_eq!(Tree::open(&connection, oid).unwrap().class(), derived);
        let error = Tree::open_as(&connection, oid, &derived).unwrap_err();
        assert!(matches!(error, TreeError::UnknownClass(_)), "{error}");
    }
}
