//! Trees that are put together, and trees of derived classes, beside the genuine BTrees.

use std::collections::BTreeMap;
use std::sync::Arc;

use btrees::{Entry, Shape, Sizes, Tree, TreeError, TreeMut, class_name};
use conformance::judge;
use fastrand::Rng;
use filestorage::{FileStorage, Options};
use serde_json::{Value, json};
use storage::{MemoryStorage, Oid, TransactionMeta};
use zodb::{ClassName, Connection, Data, Database, DatabaseOptions, PersistentMapping};

const FAMILIES: [&str; 12] = [
    "OO", "OI", "OQ", "IO", "II", "IU", "IF", "UU", "LL", "LQ", "LF", "QF",
];
const SHAPES: [Shape; 4] = [Shape::BTree, Shape::TreeSet, Shape::Bucket, Shape::Set];

fn has_values(shape: Shape) -> bool {
    matches!(shape, Shape::BTree | Shape::Bucket)
}

/// A tree as both sides are told of it: numbers, which keys of `O` are as text.
#[derive(Clone, Debug)]
struct Plan {
    shape: Shape,
    items: BTreeMap<i64, i64>,
}

fn plan(rng: &mut Rng) -> Plan {
    let count = rng.usize(0..60);
    let item = |_| (rng.i64(0..80), rng.i64(0..1_000));
    Plan {
        items: (0..count).map(item).collect(),
        shape: rng.choice(SHAPES).unwrap(),
    }
}

fn key(family: &str, number: i64) -> Data {
    if family.starts_with('O') {
        Data::from(format!("{number:04}"))
    } else {
        Data::from(number)
    }
}

/// Floats that are so in few bits, and all else as they are.
fn value(family: &str, number: i64) -> Data {
    if family.ends_with('F') {
        let quarters = i32::try_from(number).unwrap();
        Data::from(f64::from(quarters) / 4.0)
    } else {
        Data::from(number)
    }
}

fn plain(data: &Data) -> Value {
    match data {
        Data::Int(int) => match u64::try_from(*int) {
            Ok(int) => json!(int),
            Err(_) => json!(i64::try_from(*int).unwrap()),
        },
        Data::Float(float) => json!(float),
        Data::Str(text) => json!(text),
        Data::None => Value::Null,
        other => panic!("{other:?}"),
    }
}

fn told(family: &str, plan: &Plan) -> Value {
    let item = |(number, of): (&i64, &i64)| {
        json!([plain(&key(family, *number)), plain(&value(family, *of))])
    };
    let items: Value = plan.items.iter().map(item).collect();
    json!({ "shape": format!("{:?}", plan.shape), "items": items })
}

fn made(connection: &mut Connection, family: &str, plan: &Plan) -> Oid {
    let class = class_name(family, plan.shape).unwrap();
    let small = Sizes {
        leaf: 4,
        internal: 4,
    };
    let mut tree = TreeMut::create(connection, &class).unwrap();
    tree = tree.with_sizes(small);
    for (number, of) in &plan.items {
        if has_values(plan.shape) {
            tree.set(key(family, *number), value(family, *of)).unwrap();
        } else {
            tree.add(key(family, *number)).unwrap();
        }
    }
    tree.save().unwrap()
}

fn keys(entries: impl Iterator<Item = Result<Entry, TreeError>>) -> Value {
    entries
        .map(|entry| json!([plain(&entry.unwrap().key()), null]))
        .collect()
}

fn items(entries: impl Iterator<Item = Result<Entry, TreeError>>) -> Value {
    let item = |entry: Result<Entry, TreeError>| {
        let entry = entry.unwrap();
        json!([plain(&entry.key()), plain(&entry.value())])
    };
    entries.map(item).collect()
}

fn weighted(found: Result<btrees::Weighted<'_>, TreeError>) -> Value {
    let found = match found {
        Err(TreeError::NotSupported { .. }) => return Value::Null,
        found => found.unwrap(),
    };
    let weight = plain(&found.weight());
    let item = |pair: Result<(Data, Data), TreeError>| {
        let (key, value) = pair.unwrap();
        json!([plain(&key), plain(&value)])
    };
    json!([weight, found.map(item).collect::<Value>()])
}

#[test]
fn trees_are_put_together_as_by_python() {
    let mut rng = Rng::with_seed(3);
    let cases: Vec<(&str, [Plan; 2], [i64; 2])> = (0..FAMILIES.len() * 20)
        .map(|number| {
            let family = FAMILIES[number % FAMILIES.len()];
            let mut weight = || {
                let most = if rng.u8(0..5) == 0 {
                    i64::from(i32::MAX)
                } else {
                    9
                };
                rng.i64(1..most)
            };
            let weights = [weight(), weight()];
            // Products of floats must have an exact value in their few bits.
            let weights = weights.map(|weight| {
                if family.ends_with('F') {
                    weight % 8 + 1
                } else {
                    weight
                }
            });
            (family, [plan(&mut rng), plan(&mut rng)], weights)
        })
        .collect();
    let asked: Value = cases
        .iter()
        .map(|(family, [left, right], weights)| {
            json!({
                "family": family, "weights": weights,
                "left": told(family, left), "right": told(family, right),
            })
        })
        .collect();
    let judged = judge::run("tree_sets.py", &asked).unwrap();
    let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
    let mut functions = 0;
    for (number, (family, plans, weights)) in cases.iter().enumerate() {
        let mut connection = database.connect();
        let oids = plans
            .each_ref()
            .map(|plan| made(&mut connection, family, plan));
        let [left, right] = oids.map(|oid| Tree::open(&connection, oid).unwrap());
        let [one, two] = *weights;
        let mut said = json!({
            "union": keys(left.union(&right).unwrap()),
            "intersection": keys(left.intersection(&right).unwrap()),
            "difference": items(left.difference(&right).unwrap()),
            "weightedUnion": weighted(left.weighted_union(&right, one, two)),
            "weightedIntersection": weighted(left.weighted_intersection(&right, one, two)),
            "multiunion": keys(left.union_all([&right, &left]).unwrap()),
        });
        let mut judged = judged[number].clone();
        if judged["multiunion"].is_null() {
            // Ours is for all keys.
            said["multiunion"] = Value::Null;
        }
        // The weight of floats is one: 1.0 there, and here.
        for name in ["weightedUnion", "weightedIntersection"] {
            if let Some(weight) = judged[name].get_mut(0) {
                *weight = json!(weight.as_f64());
                said[name][0] = json!(said[name][0].as_f64());
                functions += 1;
            }
        }
        assert_eq!(said, judged, "{family}: {plans:?} {weights:?}");
    }
    assert!(functions > 300, "{functions}");
}

const DERIVED: [(&str, &str, &str); 3] = [
    ("large", "OO", "Index"),
    ("small", "OO", "Index"),
    ("keys", "LL", "Numbers"),
];

type Models = BTreeMap<&'static str, BTreeMap<i64, i64>>;

/// By turns: what each writes the other reads, and the nodes below are of the right classes.
#[test]
fn trees_of_derived_classes_are_read_and_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    let mut models = Models::new();
    let visit = |models: &Models, set: Value, remove: Value| {
        let asked = json!({ "file": path, "set": set, "remove": remove });
        let said = judge::run("derived_trees.py", &asked).unwrap();
        let expected: BTreeMap<_, Value> = DERIVED
            .iter()
            .map(|(name, family, _)| (*name, listed(family, &models[name])))
            .collect();
        assert_eq!(said, json!(expected));
    };
    for (name, _, _) in DERIVED {
        let count = if name == "small" { 3 } else { 300 };
        models.insert(
            name,
            (0..count).map(|number| (number * 7 % 307, 1)).collect(),
        );
    }
    let set: BTreeMap<_, Value> = DERIVED
        .iter()
        .map(|(name, family, _)| (*name, listed(family, &models[name])))
        .collect();
    visit(&models, json!(set), json!({}));

    change_derived(&path, &mut models);
    visit(&models, json!({}), json!({}));
    // And on from what we left.
    let removed: Vec<i64> = models["keys"].keys().copied().step_by(3).collect();
    models
        .get_mut("keys")
        .unwrap()
        .retain(|key, _| !removed.contains(key));
    visit(&models, json!({}), json!({ "keys": removed }));
}

fn listed(family: &str, model: &BTreeMap<i64, i64>) -> Value {
    let item = |(number, of): (&i64, &i64)| {
        let of = (family == "OO").then_some(of);
        json!([plain(&key(family, *number)), of])
    };
    model.iter().map(item).collect()
}

fn change_derived(path: &std::path::Path, models: &mut Models) {
    let storage = FileStorage::open(path, Options::default()).unwrap();
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    let mut connection = database.connect();
    let root = PersistentMapping::load(&connection, Oid::ROOT).unwrap();
    for (name, family, class) in DERIVED {
        let Some(Data::Reference(reference)) = root.get(name) else {
            panic!("no {name}");
        };
        let oid = reference.oid();
        let base = class_name(
            family,
            if class == "Index" {
                Shape::BTree
            } else {
                Shape::TreeSet
            },
        );
        let base = base.unwrap();
        let class = ClassName::new("shop_index", class);
        if name == "small" {
            // Nothing in its record tells of what family it is.
            let error = Tree::open(&connection, oid).unwrap_err();
            assert!(matches!(error, TreeError::Class { .. }), "{error}");
        } else {
            let tree = Tree::open(&connection, oid).unwrap();
            assert_eq!(tree.class(), class);
            assert_eq!(tree.len().unwrap(), models[name].len());
            assert!(tree.check().unwrap().is_empty());
        }
        let tree = Tree::open_as(&connection, oid, &base).unwrap();
        let found: Vec<Data> = tree.iter().map(|entry| entry.unwrap().key()).collect();
        let expected: Vec<Data> = models[name]
            .keys()
            .map(|number| key(family, *number))
            .collect();
        assert_eq!(found, expected);

        let mut tree = TreeMut::open_as(&mut connection, oid, &base).unwrap();
        if family == "OO" {
            tree = tree.with_sizes(Sizes {
                leaf: 8,
                internal: 8,
            });
        }
        let model = models.get_mut(name).unwrap();
        for number in 400..700 {
            if family == "OO" {
                tree.set(key(family, number), 2).unwrap();
            } else {
                tree.add(number).unwrap();
            }
            model.insert(number, 2);
        }
        for number in (0..600).step_by(5) {
            tree.remove(key(family, number)).unwrap();
            model.remove(&number);
        }
        assert_eq!(tree.class(), class);
        tree.save().unwrap();
    }
    connection.commit(TransactionMeta::default()).unwrap();
    drop(database);
    storage.close().unwrap();
}
