//! Trees that are changed here and by the genuine BTrees: the same records after every commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use btrees::{Shape, Sizes, Tree, TreeError, TreeMut, class_name};
use conformance::judge;
use fastrand::Rng;
use serde_json::{Value, json};
use storage::{MemoryStorage, Oid, Storage, Tid, TransactionMeta};
use zodb::{Data, Database, DatabaseOptions, PersistentMapping, Reference};

use crate::is_full;

const FAMILIES: [&str; 22] = [
    "OO", "OI", "OU", "OL", "OQ", "IO", "II", "IU", "IF", "UO", "UI", "UU", "UF", "LO", "LL", "LQ",
    "LF", "QO", "QL", "QQ", "QF", "fs",
];
const SHAPES: [Shape; 4] = [Shape::BTree, Shape::TreeSet, Shape::Bucket, Shape::Set];
/// Objects that values may refer to; they have the ids from 1.
const OTHERS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Set(Data, Data),
    Insert(Data, Data),
    SetDefault(Data, Data),
    Add(Data),
    Remove(Data),
    Has(Data),
    Clear,
    Save,
    Abort,
    Commit { minimize: bool },
}

#[derive(Clone, Debug)]
struct Program {
    family: &'static str,
    shape: Shape,
    sizes: Option<Sizes>,
    steps: Vec<Step>,
}

/// Random programs in all families and shapes, most of them with small nodes, so that a few dozen
/// keys make a tree of three levels.
#[test]
fn random_programs_leave_the_records_that_python_leaves() {
    let seeds = if is_full() { 0..60 } else { 0..1 };
    let mut outcomes = BTreeMap::new();
    let (mut steps, mut commits, mut records, mut given_up) = (0, 0, 0, 0);
    for seed in seeds {
        let mut rng = Rng::with_seed(seed);
        let programs: Vec<Program> = (0..200).map(|_| program(&mut rng)).collect();
        let judged = ask(&programs);
        for (index, (program, judged)) in programs.iter().zip(&judged).enumerate() {
            let compared = compare(program, judged, &mut outcomes)
                .unwrap_or_else(|error| panic!("seed {seed}, program {index}: {error}"));
            steps += program.steps.len();
            commits += compared.commits;
            records += compared.records;
            given_up += usize::from(compared.is_given_up);
        }
    }
    eprintln!(
        "{steps} steps, {commits} commits, {records} records, {given_up} given up: {outcomes:?}"
    );
    for outcome in [
        "ok",
        "true",
        "false",
        "KeyError",
        "TypeError",
        "3 levels",
        "4 levels",
    ] {
        assert!(outcomes.contains_key(outcome), "no {outcome}: {outcomes:?}");
    }
    assert!(given_up * 20 < commits, "the original damages too many");
}

/// Nodes of the usual sizes: enough keys to split the root of each family, and to empty most of it.
#[test]
fn large_trees_leave_the_records_that_python_leaves() {
    let mut rng = Rng::with_seed(7);
    let families: &[(&str, i64)] = if is_full() {
        &[
            ("OO", 9_000),
            ("II", 70_000),
            ("LO", 40_000),
            ("QF", 70_000),
            ("OI", 20_000),
        ]
    } else {
        &[("OO", 8_500), ("II", 6_000), ("fs", 4_000)]
    };
    let programs: Vec<Program> = families
        .iter()
        .map(|(family, keys)| large_program(&mut rng, family, *keys))
        .collect();
    let judged = ask(&programs);
    for (program, judged) in programs.iter().zip(&judged) {
        let compared = compare(program, judged, &mut BTreeMap::new());
        let compared = compared.unwrap_or_else(|error| panic!("{}: {error}", program.family));
        assert!(!compared.is_given_up);
    }
}

fn large_program(rng: &mut Rng, family: &'static str, keys: i64) -> Program {
    let key = |number: i64| match family {
        "OO" | "OI" => Data::from(format!("key {number:06}")),
        "fs" => Data::from(u16::try_from(number).unwrap().to_be_bytes().as_slice()),
        _ => Data::from(number),
    };
    let value = |number: i64| match family {
        "fs" => Data::from(&number.to_be_bytes()[2..]),
        _ => Data::from(number),
    };
    let mut steps = Vec::new();
    for number in 0..keys {
        steps.push(Step::Set(key(number), value(number)));
        if number % (keys / 3) == 5 {
            steps.push(Step::Commit {
                minimize: rng.bool(),
            });
        }
    }
    steps.push(Step::Commit { minimize: true });
    let mut gone: Vec<i64> = (0..keys).collect();
    rng.shuffle(&mut gone);
    for (at, number) in gone
        .into_iter()
        .take(usize::try_from(keys).unwrap() * 2 / 3)
        .enumerate()
    {
        steps.push(Step::Remove(key(number)));
        if at % 1000 == 999 {
            steps.push(Step::Commit {
                minimize: rng.bool(),
            });
        }
    }
    for number in 0..keys / 2 {
        steps.push(Step::Remove(key(number)));
    }
    steps.push(Step::Commit { minimize: false });
    Program {
        family,
        shape: Shape::BTree,
        sizes: None,
        steps,
    }
}

fn program(rng: &mut Rng) -> Program {
    let family = FAMILIES[rng.usize(..FAMILIES.len())];
    let shape = SHAPES[rng.choice([0, 0, 0, 0, 1, 1, 2, 3]).unwrap()];
    let is_tree = matches!(shape, Shape::BTree | Shape::TreeSet);
    // Fewer than four children would let the original lose buckets all the time.
    let sizes = (is_tree && rng.u8(..8) > 0).then(|| Sizes {
        leaf: rng.usize(2..7),
        internal: rng.usize(2..7),
    });
    let (key_letter, value_letter) = letters(family);
    let spread = rng.choice([8, 30, 120, 400]).unwrap();
    let style = rng.u8(..10);
    let key = |rng: &mut Rng| key(rng, key_letter, style, spread);
    let value = |rng: &mut Rng| value(rng, value_letter);
    let has_values = matches!(shape, Shape::BTree | Shape::Bucket);
    // Growing, shrinking, or both by turns.
    let mut removes = rng.choice(REMOVES).unwrap();
    let mut steps = Vec::new();
    let length = rng.choice([20, 100, 250, 500]).unwrap();
    for _ in 0..rng.usize(1..length) {
        let step = match rng.u8(..100) {
            0..5 => Step::Commit {
                minimize: rng.bool(),
            },
            5..8 => Step::Save,
            8 => Step::Abort,
            9 if rng.u8(..4) == 0 => Step::Clear,
            10..12 => {
                removes = rng.choice(REMOVES).unwrap();
                continue;
            }
            12..16 => Step::Has(key(rng)),
            _ if rng.u8(..10) < removes => Step::Remove(key(rng)),
            _ if !has_values => Step::Add(key(rng)),
            80..88 => Step::SetDefault(key(rng), value(rng)),
            88..96 if shape == Shape::BTree => Step::Insert(key(rng), value(rng)),
            _ => Step::Set(key(rng), value(rng)),
        };
        steps.push(step);
    }
    steps.push(Step::Commit { minimize: false });
    Program {
        family,
        shape,
        sizes,
        steps,
    }
}

/// Of ten steps, how many remove: a tree grows for a while, then shrinks.
const REMOVES: [u8; 7] = [0, 1, 1, 2, 4, 8, 10];

fn letters(family: &str) -> (char, char) {
    let mut letters = family.chars();
    (letters.next().unwrap(), letters.next().unwrap())
}

fn key(rng: &mut Rng, letter: char, style: u8, spread: i64) -> Data {
    let number = rng.i64(0..spread);
    if rng.u8(..120) == 0 {
        let strange = strange(rng);
        // Whether such a key has an order its class says, and that is not at hand here.
        if !matches!(strange, Data::Reference(_)) {
            return strange;
        }
    }
    match letter {
        'O' => match style {
            0 | 1 => Data::from(format!("key {number}")),
            2 => Data::from(
                char::from_u32(0x41 + u32::try_from(number).unwrap())
                    .unwrap()
                    .to_string(),
            ),
            3 => Data::from(number - 20),
            4 => Data::Tuple(vec![
                Data::from(number / 8),
                Data::from(format!("{}", number % 8)),
            ]),
            5 => Data::from(format!("{number}").as_bytes()),
            6 => rng
                .choice([
                    Data::from(number),
                    Data::Float(number as f64 / 2.0),
                    Data::Int(i128::from(number) << 70),
                ])
                .unwrap(),
            7 if number == 0 => Data::None,
            8 => Data::Tuple(vec![Data::Tuple(vec![Data::from("k")]), Data::from(number)]),
            _ => Data::from(format!("{number:03}")),
        },
        'f' => Data::from(
            u16::try_from(number * 77 % 65536)
                .unwrap()
                .to_be_bytes()
                .as_slice(),
        ),
        'I' => Data::from(
            number - spread / 2
                + rng
                    .choice([0, 0, 0, i64::from(i32::MAX) - spread / 2])
                    .unwrap(),
        ),
        'L' => {
            Data::from(number - spread / 2 + rng.choice([0, 0, 0, i64::MAX - spread / 2]).unwrap())
        }
        'U' => Data::from(number + rng.choice([0, 0, 0, i64::from(u32::MAX) - spread]).unwrap()),
        _ => Data::Int(
            i128::from(number) + rng.choice([0, 0, 0, i128::from(u64::MAX) - 400]).unwrap(),
        ),
    }
}

/// Keys that few trees take.
fn strange(rng: &mut Rng) -> Data {
    let other = other(rng);
    rng.choice([
        Data::from("text"),
        Data::from(-1),
        Data::Float(0.5),
        Data::Bool(true),
        Data::None,
        Data::Int(1 << 64),
        Data::Int(1 << 32),
        Data::from(b"abc".as_slice()),
        Data::Tuple(vec![]),
        Data::List(vec![Data::from(1)]),
        Data::Dict(vec![]),
        other,
    ])
    .unwrap()
}

fn other(rng: &mut Rng) -> Data {
    Data::Reference(Reference::Strong {
        oid: Oid::new(rng.u64(1..=OTHERS)),
        class: Some(PersistentMapping::class()),
    })
}

fn value(rng: &mut Rng, letter: char) -> Data {
    if letter != 'O' && rng.u8(..60) == 0 {
        let strange = strange(rng);
        // An int of more than 64 bits as a float leaves the original with an error that it reports
        // much later.
        if letter != 'F' || strange != Data::Int(1 << 64) {
            return strange;
        }
    }
    let small = rng.i64(0..4);
    match letter {
        'O' => match rng.u8(..9) {
            0 => other(rng),
            1 => Data::Tuple(vec![other(rng), other(rng), Data::from("a")]),
            2 => Data::from("abcdef"[..rng.usize(..3)].to_owned()),
            3 => Data::List(vec![Data::from("x"), Data::from(rng.i64(..))]),
            4 => Data::Dict(vec![
                (Data::from("k"), Data::Float(1.5)),
                (Data::from(""), Data::None),
            ]),
            5 => Data::from(b"z".repeat(rng.usize(..3))),
            6 => Data::Bool(rng.bool()),
            _ => Data::from(rng.i64(0..300)),
        },
        's' => Data::from(&rng.u64(..1 << 48).to_be_bytes()[2..]),
        'F' => rng
            .choice([
                Data::Float(0.1),
                Data::Float(-2.5),
                Data::from(3),
                Data::Float(f64::NAN),
                Data::from((1i64 << 40) + 1),
                Data::Float(1e39),
            ])
            .unwrap(),
        'I' => Data::from(rng.i64(-3..4)),
        'L' => rng
            .choice([Data::from(i64::MIN), Data::from(small)])
            .unwrap(),
        'U' => rng
            .choice([Data::from(u32::MAX), Data::from(small)])
            .unwrap(),
        _ => rng
            .choice([Data::from(u64::MAX), Data::from(small)])
            .unwrap(),
    }
}

fn ask(programs: &[Program]) -> Vec<Value> {
    let programs: Vec<Value> = programs.iter().map(Program::to_json).collect();
    let judged = judge::run("btrees.py", &json!({ "programs": programs })).unwrap();
    judged.as_array().unwrap().clone()
}

impl Program {
    fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(Step::to_json).collect();
        json!({
            "family": self.family,
            "shape": format!("{:?}", self.shape),
            "sizes": self.sizes.map(|sizes| [sizes.leaf, sizes.internal]),
            "steps": steps,
        })
    }
}

impl Step {
    fn to_json(&self) -> Value {
        match self {
            Self::Set(key, value) => json!(["set", encode(key), encode(value)]),
            Self::Insert(key, value) => json!(["insert", encode(key), encode(value)]),
            Self::SetDefault(key, value) => json!(["setdefault", encode(key), encode(value)]),
            Self::Add(key) => json!(["add", encode(key)]),
            Self::Remove(key) => json!(["remove", encode(key)]),
            Self::Has(key) => json!(["has", encode(key)]),
            Self::Clear => json!(["clear"]),
            Self::Save => json!(["save"]),
            Self::Abort => json!(["abort"]),
            Self::Commit { minimize } => json!(["commit", minimize]),
        }
    }
}

fn encode(data: &Data) -> Value {
    let all = |items: &[Data]| items.iter().map(encode).collect::<Vec<_>>();
    match data {
        Data::None => json!(["n"]),
        Data::Bool(value) => json!(["B", value]),
        Data::Int(value) => json!(["i", value.to_string()]),
        Data::Float(value) => json!(["f", format!("{:016x}", value.to_bits())]),
        Data::Str(text) => json!(["s", text]),
        Data::Bytes(bytes) => json!(["b", STANDARD.encode(bytes)]),
        Data::Tuple(items) => json!(["t", all(items)]),
        Data::List(items) => json!(["l", all(items)]),
        Data::Dict(pairs) => {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(k, v)| json!([encode(k), encode(v)]))
                .collect();
            json!(["d", pairs])
        }
        Data::Reference(reference) => json!(["r", reference.oid().number() - 1]),
        Data::Other(_) => panic!("no program has one"),
    }
}

struct Compared {
    commits: usize,
    records: usize,
    is_given_up: bool,
}

/// Runs a program here and holds each step and each commit against what the judge has of it.
fn compare(
    program: &Program,
    judged: &Value,
    outcomes: &mut BTreeMap<String, usize>,
) -> Result<Compared, String> {
    let storage = Arc::new(MemoryStorage::new());
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    let oid = prepare(&database, program);
    let sound = usize::try_from(judged["sound"].as_u64().unwrap()).unwrap();
    let mut compared = Compared {
        commits: 0,
        records: 0,
        is_given_up: false,
    };
    let mut steps = program.steps.iter().enumerate();
    let mut connection = database.connect();
    loop {
        let theirs = &judged["outcomes"];
        match transaction(
            &mut connection,
            oid,
            program,
            (&mut steps, theirs),
            outcomes,
        )? {
            None => return Ok(compared),
            Some(Step::Abort) => {
                connection.abort();
                continue;
            }
            Some(_) => {}
        }
        if compared.commits >= sound {
            compared.is_given_up = true;
            return Ok(compared);
        }
        let is_changed = connection.is_changed();
        let tid = connection.commit(TransactionMeta::default()).unwrap();
        let ours = if is_changed {
            stored(&storage, tid)
        } else {
            BTreeMap::new()
        };
        same_records(&ours, &judged["commits"][compared.commits])
            .map_err(|error| format!("commit {}: {error}", compared.commits))?;
        compared.records += ours.len();
        compared.commits += 1;
        connection = database.connect();
        is_well(&Tree::open(&connection, oid).unwrap(), oid, &connection);
        let levels = format!("{} levels", levels(&connection, oid));
        *outcomes.entry(levels).or_default() += 1;
    }
}

/// The other objects, and an empty tree.
fn prepare(database: &Arc<Database>, program: &Program) -> Oid {
    let mut connection = database.connect();
    for _ in 0..OTHERS {
        PersistentMapping::new().create(&mut connection).unwrap();
    }
    let class = class_name(program.family, program.shape).unwrap();
    let mut tree = TreeMut::create(&mut connection, &class).unwrap();
    let oid = tree.save().unwrap();
    connection.commit(TransactionMeta::default()).unwrap();
    oid
}

/// The steps up to the end of a transaction, which is given.
fn transaction<'p>(
    connection: &mut zodb::Connection,
    oid: Oid,
    program: &Program,
    (steps, theirs): (&mut dyn Iterator<Item = (usize, &'p Step)>, &Value),
    outcomes: &mut BTreeMap<String, usize>,
) -> Result<Option<&'p Step>, String> {
    let mut tree = TreeMut::open(connection, oid).unwrap();
    if let Some(sizes) = program.sizes {
        tree = tree.with_sizes(sizes);
    }
    for (at, step) in steps {
        match step {
            Step::Abort => return Ok(Some(step)),
            Step::Commit { .. } => {
                tree.save().unwrap();
                return Ok(Some(step));
            }
            _ => {}
        }
        let ours = act(&mut tree, step);
        let theirs = match &theirs[at] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if ours != theirs {
            return Err(format!("step {at}, {step:?}: {ours}, and {theirs} by them"));
        }
        *outcomes.entry(ours).or_default() += 1;
    }
    Ok(None)
}

/// How many nodes lie on the way to the first bucket.
fn levels(connection: &zodb::Connection, oid: Oid) -> usize {
    let object = connection.load(oid).unwrap();
    let parts: Vec<_> = object.state().elements().collect();
    let first = match parts[..] {
        [children, _] if object.class().name().contains("Tree") => children.elements().next(),
        _ => None,
    };
    let first = first.and_then(Reference::read);
    first.map_or(1, |first| 1 + levels(connection, first.oid()))
}

fn is_well(tree: &Tree<'_>, oid: Oid, connection: &zodb::Connection) {
    let flaws = btrees::check(connection, oid).unwrap();
    assert!(flaws.is_empty(), "{flaws:?}");
    assert_eq!(tree.is_empty(), tree.len().unwrap() == 0);
}

fn act(tree: &mut TreeMut<'_>, step: &Step) -> String {
    let done = match step.clone() {
        Step::Set(key, value) => tree.set(key, value).map(|()| "ok".to_owned()),
        Step::Insert(key, value) => tree.insert(key, value).map(|new| new.to_string()),
        Step::SetDefault(key, value) => tree.set_default(key, value).map(|_| "ok".to_owned()),
        Step::Add(key) => tree.add(key).map(|new| new.to_string()),
        Step::Remove(key) => tree.remove(key).map(|found| match found {
            Some(_) => "ok".to_owned(),
            None => "KeyError".to_owned(),
        }),
        Step::Has(key) => tree.contains(key).map(|has| has.to_string()),
        Step::Clear => tree.clear().map(|()| "ok".to_owned()),
        Step::Save => tree.save().map(|_| "ok".to_owned()),
        Step::Abort | Step::Commit { .. } => unreachable!("it ends the transaction"),
    };
    done.unwrap_or_else(|error| match error {
        TreeError::Kind { .. }
        | TreeError::NotComparable
        | TreeError::UnknownOrder
        | TreeError::DefaultComparison { .. } => "TypeError".to_owned(),
        other => panic!("{other}"),
    })
}

/// What a transaction stored, by object.
fn stored(storage: &MemoryStorage, tid: Tid) -> BTreeMap<String, String> {
    let changes = storage.recent_changes(1).unwrap();
    let [changes] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(changes.tid, tid);
    let record = |oid: &Oid| {
        let revision = storage.load_before(*oid, Tid::MAX).unwrap().unwrap();
        (
            format!("{:016x}", oid.number()),
            STANDARD.encode(&*revision.record),
        )
    };
    changes.oids.iter().map(record).collect()
}

fn same_records(ours: &BTreeMap<String, String>, theirs: &Value) -> Result<(), String> {
    let theirs: BTreeMap<String, String> = serde_json::from_value(theirs.clone()).unwrap();
    if *ours == theirs {
        return Ok(());
    }
    let shown = |records: &BTreeMap<String, String>, oid: &str| {
        records.get(oid).map_or_else(
            || "nothing".to_owned(),
            |record| {
                let record = STANDARD.decode(record).unwrap();
                record.escape_ascii().to_string()
            },
        )
    };
    let oid = ours
        .keys()
        .chain(theirs.keys())
        .find(|oid| ours.get(*oid) != theirs.get(*oid));
    let oid = oid.unwrap();
    Err(format!(
        "object {oid}\nours: {}\ntheirs: {}",
        shown(ours, oid),
        shown(&theirs, oid)
    ))
}
