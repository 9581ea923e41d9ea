//! BTrees by the original, sound ones and damaged ones: what its own checks complain of is found, and
//! nothing else.

use std::collections::BTreeSet;

use fstools::Verdict;
use pickle::{NodeId, Pickles};
use serde_json::Value;
use storage::{Oid, Record};
use zodb::{ClassName, Reference};

use crate::{Heard, PLAIN, commit, disk, open, run, strong, survey};

const FILE: &[u8] = include_bytes!("../golden/btrees.fs");
const EXPECTED: &str = include_str!("../golden/btrees.json");

fn complaints(heard: &Heard) -> Vec<Value> {
    let mut lines = heard.json();
    lines.retain(|line| line["kind"] == "btree");
    lines
}

#[test]
fn the_trees_are_wrong_that_the_original_calls_wrong() {
    let (verdict, heard) = run(fstools::verify, &survey(&disk(FILE)));
    assert_eq!(verdict, Verdict::Wrong);
    let expected: serde_json::Map<String, Value> = serde_json::from_str(EXPECTED).unwrap();
    let wrong: BTreeSet<String> = expected
        .iter()
        .filter(|(_, said)| said.is_string())
        .map(|(name, _)| format!("/{name}"))
        .collect();
    let lines = complaints(&heard);
    let path = |line: &Value| line["path"].as_str().unwrap().to_owned();
    let found: BTreeSet<String> = lines.iter().map(path).collect();
    assert_eq!(found, wrong);

    let summary = heard.json().pop().unwrap();
    assert_eq!(summary["damages"], lines.len());
    // The dates.
    assert_eq!(summary["btrees_not_compared"], 1);
}

#[test]
fn what_is_wrong_is_said_with_the_node() {
    let (_, heard) = run(fstools::verify, &survey(&disk(FILE)));
    let lines = complaints(&heard);
    let said = |path: &str| {
        let of = |line: &&Value| line["path"] == path;
        let line = lines.iter().find(of).unwrap_or_else(|| panic!("{path}"));
        line["what"].as_str().unwrap().to_owned()
    };
    for (path, what) in [
        (
            "/keys fall in a bucket",
            "the key \"k006\" does not rise above \"k007\"",
        ),
        (
            "/a key is twice",
            "the key \"k004\" does not rise above \"k004\"",
        ),
        (
            "/a key is in the wrong bucket",
            "the key \"k059x\" is not below the upper bound \"k012\"",
        ),
        (
            "/separators fall",
            "the key \"k020\" does not rise above \"k028\"",
        ),
        ("/a bucket is empty", "the bucket is empty"),
        ("/the chain ends early", "the bucket names no next one, 0x"),
        ("/a bucket is skipped in the chain", "as the next one, 0x"),
        (
            "/the chain goes on",
            "the last bucket of the tree names a next one, 0x",
        ),
        (
            "/the first bucket is another",
            "as its first bucket, that is 0x",
        ),
        ("/a bucket is missing", "does not exist, or cannot be read"),
        ("/a bucket is in two places", "the node is in two places"),
    ] {
        let found = said(path);
        assert!(found.contains(what), "{path}: {found}");
    }
}

/// A record with that class of `BTrees` and that state.
fn node(family: &str, kind: &str, state: impl FnOnce(&mut Pickles) -> NodeId) -> Record {
    let mut pickles = Pickles::new();
    let module = format!("BTrees.{family}BTree");
    let class = pickles.global(&module, &format!("{family}{kind}"));
    pickles.push_root(class);
    let state = state(&mut pickles);
    pickles.push_root(state);
    Record::from(pickles.encode())
}

/// `((items...), next)`
fn of(pickles: &mut Pickles, items: Vec<NodeId>, next: Option<u64>) -> NodeId {
    let items = pickles.tuple(items);
    let next = next.map(|next| to(pickles, next));
    pickles.tuple([items].into_iter().chain(next).collect())
}

fn to(pickles: &mut Pickles, oid: u64) -> NodeId {
    let class = Some(ClassName::new("BTrees.IIBTree", "IIBucket"));
    let oid = Oid::new(oid);
    Reference::Strong { oid, class }.write(pickles)
}

fn ints(pickles: &mut Pickles, numbers: &[i64]) -> Vec<NodeId> {
    numbers.iter().map(|number| pickles.int(*number)).collect()
}

/// What is complained of in a file with these objects, which the root holds.
fn complained(records: Vec<(u64, Record)>) -> Vec<String> {
    let disk = disk(PLAIN);
    let storage = open(&disk);
    let names: Vec<String> = records.iter().map(|(oid, _)| oid.to_string()).collect();
    let held: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), strong(name.parse().unwrap())))
        .collect();
    commit(&storage, &[(0, crate::record("Root", &held))]);
    commit(&storage, &records);
    drop(storage);
    let (_, heard) = run(fstools::verify, &survey(&disk));
    let line = |line: &Value| format!("{}: {}", line["node"].as_str().unwrap(), line["what"]);
    complaints(&heard).iter().map(line).collect()
}

#[test]
fn keys_and_values_are_what_the_class_can_hold() {
    let bucket = |family, numbers: &'static [i64]| {
        node(family, "Bucket", |p| {
            let items = ints(p, numbers);
            of(p, items, None)
        })
    };
    let found = complained(vec![
        (50, bucket("II", &[1, 2, 3, 1 << 31])),
        (51, bucket("UU", &[-1, 2])),
        (52, bucket("LL", &[1, 2, 1 << 40, 1 << 50])),
        (53, bucket("OO", &[1, 2, 3])),
        (54, bucket("IO", &[5, 0, 4, 0])),
    ]);
    assert_eq!(
        found,
        [
            "0x32: \"the value 2147483648 is not a signed int of 32 bits\"",
            "0x33: \"the key -1 is not an unsigned int of 32 bits\"",
            "0x35: \"keys and values are an even number, not 3\"",
            "0x36: \"the key 4 does not rise above 5\"",
        ]
    );
}

#[test]
fn trees_of_another_shape_are_named() {
    let tree = |children: &'static [u64]| {
        node("II", "BTree", |p| {
            let mut items = Vec::new();
            for (key, child) in (0..).zip(children) {
                if key > 0 {
                    items.push(p.int(key * 10));
                }
                items.push(to(p, *child));
            }
            of(p, items, None)
        })
    };
    let bucket = |kind, numbers: &'static [i64], next| {
        node("II", kind, move |p| {
            let items = ints(p, numbers);
            of(p, items, next)
        })
    };
    let found = complained(vec![
        // Two trees that hold each other.
        (50, tree(&[51])),
        (51, tree(&[50])),
        // A bucket beside a tree.
        (60, tree(&[61, 62])),
        (61, bucket("Bucket", &[1, 1], None)),
        (62, tree(&[63])),
        (63, bucket("Bucket", &[11, 1], None)),
        // A set among buckets.
        (70, tree(&[71])),
        (71, bucket("Set", &[1], None)),
        // No state of a tree.
        (80, node("II", "BTree", |p| p.int(1))),
        // Nothing is wrong.
        (90, tree(&[91, 92])),
        (91, bucket("Bucket", &[1, 1, 2, 2], Some(92))),
        (92, bucket("Bucket", &[10, 1], None)),
    ]);
    assert_eq!(
        found,
        [
            "0x3c: \"its child 0x3e is a tree beside buckets\"",
            "0x46: \"its child 0x47 is a node of another class of trees\"",
            "0x50: \"the state has another form than that of a node\"",
            "0x32: \"the tree is inside of itself, and no other one holds it\"",
            "0x33: \"the tree is inside of itself, and no other one holds it\"",
        ]
    );
}

/// Any byte may be broken, also where the pickles stay sound.
#[test]
fn no_byte_makes_the_walk_panic_or_run_forever() {
    for at in (0..FILE.len()).step_by(1009) {
        let mut bytes = FILE.to_vec();
        bytes[at] ^= 0x21;
        let Ok(survey) = filestorage::Survey::open(crate::PATH, disk(&bytes)) else {
            continue;
        };
        let mut heard = Heard::default();
        let verdict = fstools::verify(&survey, &mut heard).unwrap();
        assert_eq!(verdict, Verdict::Wrong, "the file is damaged anyway");
    }
}
