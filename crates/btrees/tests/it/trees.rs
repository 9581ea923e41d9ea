//! Trees against `BTreeMap`: reading within bounds from either end, writing, and what is loaded.

use std::collections::BTreeMap;
use std::sync::Arc;

use btrees::{Shape, Sizes, Tree, TreeError, TreeMut, check, class_name};
use parking_lot::Mutex;
use pickle::Pickles;
use proptest::prelude::*;
use storage::{
    Changes, Commit, MemoryStorage, Oid, Revision, Storage, StorageError, StorageStats, Tid,
    TransactionMeta,
};
use zodb::{Connection, Data, Database, DatabaseOptions, Reference};

const SMALL: Sizes = Sizes {
    leaf: 4,
    internal: 4,
};

fn database() -> Arc<Database> {
    Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default())
}

fn commit(connection: Connection) {
    connection.commit(TransactionMeta::default()).unwrap();
}

/// A tree of these keys, each under itself, in small nodes.
fn tree_of(database: &Arc<Database>, keys: impl IntoIterator<Item = i64>) -> Oid {
    let class = class_name("LL", Shape::BTree).unwrap();
    let mut connection = database.connect();
    let mut tree = TreeMut::create(&mut connection, &class)
        .unwrap()
        .with_sizes(SMALL);
    tree.update(keys.into_iter().map(|key| (key, key))).unwrap();
    let oid = tree.save().unwrap();
    commit(connection);
    oid
}

fn int(data: &Data) -> i64 {
    match data {
        Data::Int(int) => i64::try_from(*int).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(i64),
    Insert(i64),
    SetDefault(i64),
    Remove(i64),
    Clear,
    Save,
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..60i64;
    let step = prop_oneof![
        40 => key.clone().prop_map(Step::Set),
        10 => key.clone().prop_map(Step::Insert),
        10 => key.clone().prop_map(Step::SetDefault),
        35 => key.prop_map(Step::Remove),
        1 => Just(Step::Clear),
        3 => Just(Step::Save),
        3 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn a_tree_does_what_a_map_does(steps in steps()) {
        let database = database();
        let oid = tree_of(&database, []);
        let mut model = BTreeMap::new();
        let mut connection = database.connect();
        let mut tree = TreeMut::open(&mut connection, oid).unwrap().with_sizes(SMALL);
        for (number, step) in (1000i64..).zip(steps) {
            match step {
                Step::Set(key) => {
                    tree.set(key, number).unwrap();
                    model.insert(key, number);
                }
                Step::Insert(key) => {
                    let is_new = !model.contains_key(&key);
                    prop_assert_eq!(tree.insert(key, number).unwrap(), is_new);
                    model.entry(key).or_insert(number);
                }
                Step::SetDefault(key) => {
                    let found = *model.entry(key).or_insert(number);
                    prop_assert_eq!(tree.set_default(key, number).unwrap(), Data::from(found));
                }
                Step::Remove(key) => {
                    let removed = model.remove(&key).map(Data::from);
                    prop_assert_eq!(tree.remove(key).unwrap(), removed);
                }
                Step::Clear => {
                    tree.clear().unwrap();
                    model.clear();
                }
                Step::Save => drop(tree.save().unwrap()),
                Step::Commit => {
                    tree.save().unwrap();
                    commit(connection);
                    connection = database.connect();
                    tree = TreeMut::open(&mut connection, oid).unwrap().with_sizes(SMALL);
                }
            }
        }
        for key in 0..60 {
            prop_assert_eq!(tree.get(key).unwrap(), model.get(&key).copied().map(Data::from));
        }
        let tree = tree.into_tree().unwrap();
        let all = tree.iter().map(|entry| entry.map(|entry| (int(&entry.key()), int(&entry.value()))));
        let all: Vec<_> = all.collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(tree.len().unwrap(), all.len());
        prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(check(&connection, oid).unwrap(), vec![]);
    }

    /// Bounds of all kinds, and steps from both ends in any order.
    #[test]
    fn a_range_does_what_that_of_a_map_does(
        keys in prop::collection::btree_set(0..60i64, 0..60),
        gone in prop::collection::btree_set(0..60i64, 0..40),
        low in prop::option::of((0..60i64, any::<bool>())),
        high in prop::option::of((0..60i64, any::<bool>())),
        ends in prop::collection::vec(any::<bool>(), 70),
    ) {
        use std::ops::Bound;
        let database = database();
        let oid = tree_of(&database, keys.iter().copied());
        // Keys that separate nodes may be gone from the buckets.
        let mut connection = database.connect();
        let mut tree = TreeMut::open(&mut connection, oid).unwrap().with_sizes(SMALL);
        for key in &gone {
            tree.remove(*key).unwrap();
        }
        let tree = tree.into_tree().unwrap();
        let bound = |bound: Option<(i64, bool)>| match bound {
            None => Bound::Unbounded,
            Some((key, true)) => Bound::Included(key),
            Some((key, false)) => Bound::Excluded(key),
        };
        let bounds = (bound(low), bound(high));
        let within = |key: &&i64| std::ops::RangeBounds::contains(&bounds, *key);
        let mut expected: std::collections::VecDeque<i64> =
            keys.difference(&gone).filter(within).copied().collect();
        let mut range = tree.range(bounds);
        for is_front in ends {
            let (found, wanted) = if is_front {
                (range.next(), expected.pop_front())
            } else {
                (range.next_back(), expected.pop_back())
            };
            prop_assert_eq!(found.map(|entry| int(&entry.unwrap().key())), wanted);
        }
    }
}

#[test]
fn only_what_is_needed_is_loaded() {
    let storage = Counting::new();
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    // 1000 buckets of 2 or 3, below nodes of 2 to 4: six levels or more above them.
    let oid = tree_of(&database, 0..2_000);
    let count = |work: &dyn Fn(&Tree<'_>)| {
        let database = Database::new(storage.clone(), DatabaseOptions::default());
        let connection = database.connect();
        storage.loads.lock().clear();
        work(&Tree::open(&connection, oid).unwrap());
        let loads = storage.loads.lock();
        assert!(
            loads.values().all(|times| *times == 1),
            "an object was loaded twice"
        );
        loads.len()
    };
    let way = count(&|tree| assert!(tree.contains(777).unwrap()));
    assert!((6..14).contains(&way), "{way} nodes on the way to a key");
    let first = count(&|tree| assert!(tree.first().unwrap().is_some()));
    let last = count(&|tree| assert!(tree.last().unwrap().is_some()));
    assert_eq!([first, last], [way, way]);
    // Twenty keys lie in ten buckets, below at most as many nodes more.
    let some = count(&|tree| assert_eq!(tree.range(1_000..).take(20).count(), 20));
    assert!(some <= way + 20, "{some} for twenty keys forwards");
    let some = count(&|tree| assert_eq!(tree.range(..1_000).rev().take(20).count(), 20));
    assert!(some <= way + 20, "{some} for twenty keys backwards");
    let some = count(&|tree| assert_eq!(tree.range(1_000..1_020).count(), 20));
    assert!(some <= 2 * way + 20, "{some} for a range of twenty keys");
    assert_eq!(count(&|tree| assert!(!tree.is_empty())), 1);
    let all = count(&|tree| assert_eq!(tree.len().unwrap(), 2_000));
    assert!(all > 1_000);
}

#[test]
fn a_change_loads_its_way_and_writes_its_bucket() {
    let storage = Counting::new();
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    let oid = tree_of(&database, 0..2_000);
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    let mut connection = database.connect();
    storage.loads.lock().clear();
    let mut tree = TreeMut::open(&mut connection, oid).unwrap();
    tree.set(777, 1).unwrap();
    tree.save().unwrap();
    assert_eq!(connection.changed().count(), 1);
    assert!(storage.loads.lock().len() < 14);
}

/// Two who change different buckets do not stand in each other's way; who splits a node that
/// another has gone through does.
#[test]
fn a_change_relies_on_the_nodes_above_it() {
    let database = database();
    let oid = tree_of(&database, (0..200).map(|key| key * 10));
    let change = |key: i64| {
        let mut connection = database.connect();
        let mut tree = TreeMut::open(&mut connection, oid)
            .unwrap()
            .with_sizes(SMALL);
        tree.set(key, 0).unwrap();
        tree.save().unwrap();
        connection
    };
    let (one, two) = (change(0), change(1_500));
    commit(one);
    commit(two);
    // Its bucket splits at the third or fourth of these, and the node above changes.
    let late = change(1_010);
    let mut connection = database.connect();
    let mut tree = TreeMut::open(&mut connection, oid)
        .unwrap()
        .with_sizes(SMALL);
    for key in 1_001..1_009 {
        tree.set(key, key).unwrap();
    }
    tree.save().unwrap();
    commit(connection);
    late.commit(TransactionMeta::default()).unwrap_err();
}

#[test]
fn what_python_refuses_is_refused() {
    let database = database();
    let mut connection = database.connect();
    let class = class_name("OO", Shape::BTree).unwrap();
    let mut tree = TreeMut::create(&mut connection, &class).unwrap();
    let reference = Data::Reference(Reference::Strong {
        oid: Oid::ROOT,
        class: None,
    });
    let refused = tree.set(reference.clone(), 1).unwrap_err();
    assert!(matches!(refused, TreeError::UnknownOrder));
    let mut pickles = Pickles::new();
    let function = pickles.global("shop", "price");
    let function = Data::read(pickles.value(function));
    let refused = tree.set(function, 1).unwrap_err();
    assert!(matches!(refused, TreeError::DefaultComparison { .. }));
    tree.set("a", reference).unwrap();
    assert!(matches!(tree.set(1, 1), Err(TreeError::NotComparable)));
    assert!(matches!(tree.get(1), Err(TreeError::NotComparable)));
    assert!(matches!(tree.add("a"), Err(TreeError::NotSupported { .. })));
    tree.set(Data::None, 1).unwrap();
    let oid = tree.save().unwrap();
    assert_eq!(
        Tree::open(&connection, oid)
            .unwrap()
            .first()
            .unwrap()
            .unwrap()
            .key(),
        Data::None
    );

    let class = class_name("IF", Shape::Bucket).unwrap();
    let mut bucket = TreeMut::create(&mut connection, &class).unwrap();
    let error = bucket.set("a", 1.0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key must be an int of 32 bits, not 'a'"
    );
    let error = bucket.set(1, "a").unwrap_err();
    assert_eq!(error.to_string(), "the value must be a float, not 'a'");
    assert!(bucket.set(1i64 << 31, 1.0).is_err());
    assert_eq!(bucket.get("a").unwrap(), None);
    assert!(matches!(
        TreeMut::create(&mut connection, &zodb::ClassName::new("shop", "Tree")),
        Err(TreeError::UnknownClass(_))
    ));
}

/// Changes the state of one object by hand.
fn damage(database: &Arc<Database>, oid: Oid, edit: impl FnOnce(&mut Pickles)) {
    let mut connection = database.connect();
    let mut pickles = connection.load(oid).unwrap().pickles().clone();
    edit(&mut pickles);
    connection.store(oid, pickles).unwrap();
    commit(connection);
}

#[test]
fn damage_is_found_and_never_fatal() {
    let database = database();
    let oid = tree_of(&database, 0..40);
    let connection = database.connect();
    let object = connection.load(oid).unwrap();
    let children = object.state().elements().next().unwrap();
    let second = Reference::read(children.elements().nth(2).unwrap())
        .unwrap()
        .oid();

    // The root refers to itself, in place of its second child.
    let loops = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
    assert_eq!(tree_of(&loops, 0..40), oid);
    damage(&loops, oid, |pickles| {
        let root = Reference::Strong {
            oid,
            class: class_name("LL", Shape::BTree),
        };
        let root = root.write(pickles);
        let nodes: Vec<_> = pickles
            .root(1)
            .unwrap()
            .elements()
            .map(pickle::Value::id)
            .collect();
        let mut parts: Vec<_> = pickles
            .value(nodes[0])
            .elements()
            .map(pickle::Value::id)
            .collect();
        parts[2] = root;
        let parts = pickles.tuple(parts);
        let state = pickles.tuple(vec![parts, nodes[1]]);
        pickles.set_root(1, state);
    });
    let mut connection = loops.connect();
    let tree = Tree::open(&connection, oid).unwrap();
    let damaged = |error: TreeError| assert!(matches!(error, TreeError::Damaged { .. }));
    let key = 39;
    damaged(tree.get(key).unwrap_err());
    damaged(tree.iter().find_map(Result::err).unwrap());
    damaged(tree.len().unwrap_err());
    let flaws = check(&connection, oid).unwrap();
    assert_eq!(flaws[0].what, "it is in the tree more than once");
    let mut tree = TreeMut::open(&mut connection, oid).unwrap();
    damaged(tree.set(key, 1).unwrap_err());
    damaged(tree.remove(key).unwrap_err());

    // A node below the root becomes a bucket with keys that belong elsewhere.
    damage(&database, second, |pickles| {
        let class = pickles.global("BTrees.LLBTree", "LLBucket");
        let keys = [500, 0, 400, 0].map(|key| pickles.int(key)).to_vec();
        let keys = pickles.tuple(keys);
        let state = pickles.tuple(vec![keys]);
        pickles.set_roots(&[class, state]);
    });
    let flaws = check(&database.connect(), oid).unwrap();
    let texts: Vec<_> = flaws.iter().map(|flaw| flaw.what.as_str()).collect();
    for wanted in [
        "its children are of different kinds",
        "the key at 1 is not behind the one before it",
        "the bucket behind it is another than it says",
    ] {
        assert!(texts.contains(&wanted), "{flaws:?}");
    }
}

/// Whatever the states of the nodes are, nothing panics and everything ends.
#[test]
fn odd_states_are_no_danger() {
    let states: &[&[u8]] = &[
        b"N.",
        b").",
        b"K\x01.",
        b"(t.",
        b"((tt.",
        b"((K\x01tt.",
        b"(((tt.",
        b"((((tttt.",
        b"((K\x01K\x02K\x03tt.",
        b"(((K\x01K\x02K\x03ttt.",
        b"((((K\x01ttt.",
        b"((U\x08\0\0\0\0\0\0\0\x01QtU\x08\0\0\0\0\0\0\0\x01Qt.",
        b"((U\x08\0\0\0\0\0\0\0\x01QK\x01U\x08\0\0\0\0\0\0\0\x01QtU\x08\0\0\0\0\0\0\0\x01Qt.",
        b"((K\x05K\x06tU\x08\0\0\0\0\0\0\0\x01Qt.",
        b"((X\x01\0\0\0aK\x06tt.",
        b"((tNt.",
        b"]K\x01a.",
        b"}.",
    ];
    for shape in [Shape::BTree, Shape::TreeSet, Shape::Bucket, Shape::Set] {
        for state in states {
            let class = class_name("LL", shape).unwrap();
            let record = format!("c{}\n{}\n.", class.module(), class.name());
            let record = [record.as_bytes(), state].concat();
            let Ok(pickles) = Pickles::decode(&record) else {
                panic!("{state:?}");
            };
            let database = database();
            let mut connection = database.connect();
            let oid = connection.create(pickles).unwrap();
            assert_eq!(oid, Oid::new(1));
            if let Ok(tree) = Tree::open(&connection, oid) {
                let _ = tree.get(5);
                let _ = tree.iter().take(1_000).count();
                let _ = tree.iter().rev().take(1_000).count();
                let _ = tree.range(2..=9).count();
            }
            let _ = check(&connection, oid);
            let mut tree = TreeMut::open(&mut connection, oid).unwrap();
            let _ = (
                tree.set(5, 1),
                tree.add(5),
                tree.remove(5),
                tree.clear(),
                tree.save(),
            );
        }
    }
}

/// A storage that counts the loads of each object.
struct Counting {
    below: Arc<MemoryStorage>,
    loads: Mutex<BTreeMap<Oid, usize>>,
}

impl Counting {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            below: Arc::new(MemoryStorage::new()),
            loads: Mutex::default(),
        })
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
        self.below.load_before(oid, before)
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

    fn changes_since(&self, since: Tid, max: usize) -> Result<Option<Vec<Changes>>, StorageError> {
        self.below.changes_since(since, max)
    }

    fn recent_changes(&self, max: usize) -> Result<Vec<Changes>, StorageError> {
        self.below.recent_changes(max)
    }
}
