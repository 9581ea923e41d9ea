//! Programs of ours and genuine ones change the same trees by turns: in a Data.fs, through our
//! server, and through a genuine one. What one writes the other reads.
//!
//! | | a Data.fs in the process | `zodiac zeo` | a genuine server |
//! |---|---|---|---|
//! | genuine client | `in_a_data_fs` | `through_our_server` | `through_a_genuine_server` |
//! | our client | `in_a_data_fs` | `through_our_server` | `through_a_genuine_server` |
//!
//! And `one_file_goes_from_hand_to_hand` has all of them at one Data.fs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use btrees::{Shape, Tree, TreeMut, class_name};
use conformance::judge;
use fastrand::Rng;
use filestorage::{FileStorage, Options};
use rustix::process::Signal;
use serde_json::{Value, json};
use storage::{Oid, Storage, TransactionMeta};
use zeo_net::{ClientOptions, ZeoStorage};
use zodb::{Connection, Data, Database, DatabaseOptions, PersistentMapping};

use crate::genuine_zeo::Server;
use crate::up::role;
use crate::{is_full, runzeo, sound_site};

const TREES: [(&str, Shape); 8] = [
    ("OO", Shape::BTree),
    ("OI", Shape::BTree),
    ("IO", Shape::BTree),
    ("II", Shape::TreeSet),
    ("LL", Shape::BTree),
    ("OO", Shape::TreeSet),
    ("UU", Shape::Bucket),
    ("QO", Shape::Set),
];

/// Where the trees are.
enum Place {
    File(PathBuf),
    Server { address: String, storage: String },
}

#[test]
fn in_a_data_fs() {
    let directory = tempfile::tempdir().unwrap();
    take_turns(&Place::File(directory.path().join("Data.fs")));
}

#[test]
fn through_our_server() {
    let site = sound_site();
    let data = site.data().to_str().unwrap();
    let zeo = role(site.directory(), &["zeo", "--data", data]);
    take_turns(&Place::Server {
        address: zeo.listening().unwrap().to_string(),
        storage: "1".to_owned(),
    });
    zeo.stop().unwrap();
}

#[test]
fn through_a_genuine_server() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = json!({ "directory": directory.path(), "count": 1, "msgpack": false });
    let server = Server::start_as(&wanted);
    take_turns(&Place::Server {
        address: server.address().to_owned(),
        storage: "0".to_owned(),
    });
}

/// What is to be done with one tree.
#[derive(Clone, Default)]
struct Turn {
    set: Vec<(i64, i64)>,
    remove: Vec<i64>,
}

type Model = BTreeMap<i64, i64>;

fn take_turns(place: &Place) {
    let mut rng = Rng::with_seed(1);
    let mut models: Vec<Model> = vec![Model::new(); TREES.len()];
    let turns = if is_full() { 20 } else { 3 };
    for _ in 0..turns {
        take_a_turn(place, &mut rng, &mut models);
    }
}

/// Both read what there is, and change it.
fn take_a_turn(place: &Place, rng: &mut Rng, models: &mut [Model]) {
    let changes = turns_of(rng, models);
    let said = visit(place, &changes);
    assert_eq!(said, expected(models), "theirs");
    let changes = turns_of(rng, models);
    work(place, &said, &changes);
    let said = visit(place, &vec![Turn::default(); TREES.len()]);
    assert_eq!(said, expected(models), "ours");
}

/// One Data.fs in all hands, one after the other: in the processes of both clients, and of both servers
/// for both clients.
#[test]
fn one_file_goes_from_hand_to_hand() {
    let folder = tempfile::tempdir().unwrap();
    let file = Place::File(folder.path().join("Data.fs"));
    let mut rng = Rng::with_seed(2);
    let mut models: Vec<Model> = vec![Model::new(); TREES.len()];
    take_a_turn(&file, &mut rng, &mut models);
    for program in runzeo::BOTH {
        let address = runzeo::free_address();
        let words = ["-a", &address, "-f", "Data.fs"];
        let server = runzeo::Server::start(program, folder.path(), &address, &words);
        let place = Place::Server {
            address,
            storage: "1".to_owned(),
        };
        take_a_turn(&place, &mut rng, &mut models);
        assert_eq!(server.end(Signal::TERM), Some(0));
    }
    take_a_turn(&file, &mut rng, &mut models);
}

fn turns_of(rng: &mut Rng, models: &mut [Model]) -> Vec<Turn> {
    let turn = |model: &mut Model| {
        let most = rng.choice([5, 100, 600]).unwrap();
        let mut turn = Turn::default();
        for _ in 0..rng.usize(0..most) {
            turn.set.push((rng.i64(0..2_000), rng.i64(0..5)));
        }
        for _ in 0..rng.usize(0..most) {
            turn.remove.push(rng.i64(0..2_000));
        }
        model.extend(turn.set.iter().copied());
        model.retain(|key, _| !turn.remove.contains(key));
        turn
    };
    models.iter_mut().map(turn).collect()
}

/// Keys of `O` trees are text of one length, which is ordered as the numbers are.
fn key(family: &str, number: i64) -> Data {
    if family.starts_with('O') {
        Data::from(format!("{number:04}"))
    } else {
        Data::from(number)
    }
}

fn plain(data: &Data) -> Value {
    match data {
        Data::Int(int) => json!(i64::try_from(*int).unwrap()),
        Data::Str(text) => json!(text),
        Data::None => Value::Null,
        other => panic!("{other:?}"),
    }
}

fn has_values(shape: Shape) -> bool {
    matches!(shape, Shape::BTree | Shape::Bucket)
}

fn expected(models: &[Model]) -> Value {
    let listed = |(model, (family, shape)): (&Model, &(&str, Shape))| {
        let item = |(number, value): (&i64, &i64)| {
            let value = has_values(*shape).then_some(*value);
            json!([plain(&key(family, *number)), value])
        };
        model.iter().map(item).collect::<Value>()
    };
    models.iter().zip(&TREES).map(listed).collect()
}

/// A turn of a genuine program; what it finds afterwards.
fn visit(place: &Place, turns: &[Turn]) -> Value {
    let tree = |(turn, (family, shape)): (&Turn, &(&str, Shape))| {
        let plain_key = |number: &i64| plain(&key(family, *number));
        let set = turn
            .set
            .iter()
            .map(|(key, value)| json!([plain_key(key), value]));
        json!({
            "name": format!("{family} {shape:?}"),
            "family": family,
            "shape": format!("{shape:?}"),
            "set": set.collect::<Value>(),
            "remove": turn.remove.iter().map(plain_key).collect::<Value>(),
        })
    };
    let trees: Value = turns.iter().zip(&TREES).map(tree).collect();
    let asked = match place {
        Place::File(path) => json!({ "file": path, "trees": trees }),
        Place::Server { address, storage } => {
            json!({ "server": address, "storage": storage, "trees": trees })
        }
    };
    judge::run("trees_visit.py", &asked).unwrap()
}

/// A turn of ours, which first finds what they left.
fn work(place: &Place, left: &Value, turns: &[Turn]) {
    match place {
        Place::File(path) => {
            let file = FileStorage::open(path, Options::default()).unwrap();
            work_in(Arc::clone(&file) as Arc<dyn Storage>, left, turns);
            file.close().unwrap();
        }
        Place::Server { address, storage } => {
            let options = ClientOptions {
                servers: vec![address.clone()],
                storage: storage.clone(),
                ..ClientOptions::default()
            };
            work_in(ZeoStorage::connect(options).unwrap(), left, turns);
        }
    }
}

fn work_in(storage: Arc<dyn Storage>, left: &Value, turns: &[Turn]) {
    let database = Database::new(storage, DatabaseOptions::default());
    let found: Value = oids(&database.connect())
        .into_iter()
        .map(|oid| listed(&database.connect(), oid))
        .collect();
    assert_eq!(found, *left, "what they wrote is read");
    let done = database.transact(
        0,
        |_| {},
        |connection| {
            for ((oid, turn), (family, _)) in oids(connection).into_iter().zip(turns).zip(TREES) {
                let mut tree = TreeMut::open(connection, oid)?;
                for (number, value) in &turn.set {
                    match tree.set(key(family, *number), *value) {
                        Err(btrees::TreeError::NotSupported { .. }) => {
                            tree.add(key(family, *number))?;
                        }
                        other => other?,
                    }
                }
                for number in &turn.remove {
                    tree.remove(key(family, *number))?;
                }
                tree.save()?;
            }
            Ok::<_, btrees::TreeError>(((), TransactionMeta::default()))
        },
    );
    done.unwrap_or_else(|error| panic!("{error}"));
}

/// The trees, as the root names them.
fn oids(connection: &Connection) -> Vec<Oid> {
    let root = PersistentMapping::load(connection, Oid::ROOT).unwrap();
    let oid = |(family, shape): &(&str, Shape)| {
        let Some(Data::Reference(reference)) = root.get(&format!("{family} {shape:?}")) else {
            panic!("no {family} {shape:?}");
        };
        reference.oid()
    };
    TREES.iter().map(oid).collect()
}

fn listed(connection: &Connection, oid: Oid) -> Value {
    let tree = Tree::open(connection, oid).unwrap();
    assert!(btrees::check(connection, oid).unwrap().is_empty());
    let known = TREES.map(|(family, shape)| class_name(family, shape).unwrap());
    assert!(known.contains(&tree.class()));
    tree.iter()
        .map(|entry| {
            let entry = entry.unwrap();
            json!([plain(&entry.key()), plain(&entry.value())])
        })
        .collect()
}

/// A retry helper over a genuine server: nothing that is counted is lost.
#[test]
fn counts_of_both_add_up_at_a_genuine_server() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = json!({ "directory": directory.path(), "count": 1, "msgpack": false });
    let server = Server::start_as(&wanted);
    let place = Place::Server {
        address: server.address().to_owned(),
        storage: "0".to_owned(),
    };
    let trees = vec![Turn::default(); TREES.len()];
    visit(&place, &trees);
    let options = ClientOptions {
        servers: vec![server.address().to_owned()],
        storage: "0".to_owned(),
        ..ClientOptions::default()
    };
    let storage = ZeoStorage::connect(options).unwrap();
    let database = Database::new(storage, DatabaseOptions::default());
    let oid = oids(&database.connect())[4];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| add_one(&database, oid)));
        }
    });
    let tree = Tree::open(&database.connect(), oid)
        .unwrap()
        .get(7)
        .unwrap();
    assert_eq!(tree, Some(Data::from(40)));
}

fn add_one(database: &Arc<Database>, oid: Oid) {
    let done = database.transact(
        1_000,
        |_| std::thread::yield_now(),
        |connection| {
            let mut tree = TreeMut::open(connection, oid)?;
            let count = match tree.get(7)? {
                Some(Data::Int(count)) => count,
                _ => 0,
            };
            tree.set(7, Data::Int(count + 1))?;
            tree.save()?;
            Ok::<_, btrees::TreeError>(((), TransactionMeta::default()))
        },
    );
    done.unwrap_or_else(|error| panic!("{error}"));
}
