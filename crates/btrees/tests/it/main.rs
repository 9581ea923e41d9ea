//! Merging through the front door.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod sets;
mod trees;

use std::collections::BTreeMap;

use btrees::{Merger, Refusal, Unmerged, merge};
use pickle::Pickles;
use proptest::prelude::*;
use storage::{ConflictingStates, Oid, Record, Resolution, Resolver};

/// A record of an `OOBucket`.
fn bucket(items: &BTreeMap<String, i64>) -> Vec<u8> {
    let mut record = Pickles::new();
    let class = record.global("BTrees.OOBTree", "OOBucket");
    let mut flat = Vec::new();
    for (key, value) in items {
        flat.push(record.str(key));
        flat.push(record.int(*value));
    }
    let items = record.tuple(flat);
    let state = record.tuple(vec![items]);
    record.push_root(class);
    record.push_root(state);
    record.encode()
}

fn pairs(text: &str) -> BTreeMap<String, i64> {
    let pair = |key: char| (key.to_string(), i64::from(u32::from(key)));
    text.chars().map(pair).collect()
}

#[test]
fn a_key_of_each() {
    let merged = merge(
        &bucket(&pairs("bdf")),
        &bucket(&pairs("bcdf")),
        &bucket(&pairs("abf")),
    );
    assert_eq!(merged, Ok(bucket(&pairs("abcf"))));
    let refused = merge(
        &bucket(&pairs("b")),
        &bucket(&pairs("bc")),
        &bucket(&pairs("bc")),
    );
    assert_eq!(refused, Err(Refusal::SameKeyAtEnd.into()));
    assert_eq!(Refusal::SameKeyAtEnd.code(), Some(6));
}

#[test]
fn compressed_records_are_merged_to_a_compressed_one() {
    let long = pairs("abcdefghijklmnopqrstuvwxyz");
    let more = |key: &str| {
        let mut items = long.clone();
        items.insert(key.to_owned(), 1);
        items
    };
    let compressed =
        |items: &BTreeMap<String, i64>| pickle::compressed(&bucket(items)).into_owned();
    let new = compressed(&more("zz"));
    assert!(pickle::is_compressed(&new));
    let merged = merge(&bucket(&long), &compressed(&more("ZZ")), &new).unwrap();
    assert!(pickle::is_compressed(&merged));
    let mut expected = more("zz");
    expected.insert("ZZ".to_owned(), 1);
    assert_eq!(*pickle::uncompressed(&merged).unwrap(), bucket(&expected));
}

/// What it takes other code to compare, and classes that are not known, are left to others.
#[test]
fn the_unknown_is_told_from_the_refused() {
    let record = |class: (&str, &str), state: &[u8]| {
        let class = format!("c{}\n{}\n.", class.0, class.1);
        [class.as_bytes(), state, b"."].concat()
    };
    let oo = ("BTrees.OOBTree", "OOBucket");
    let date = b"(X\x01\0\0\0acdatetime\ndate\nC\x04\x07\xe8\x01\x01\x85Rt\x85";
    let resolve = |record: Vec<u8>| {
        let record = Record::from(record);
        Merger.resolve(&ConflictingStates {
            oid: Oid::new(1),
            old: &record,
            committed: &record,
            new: &record,
        })
    };
    assert_eq!(resolve(record(oo, date)), Resolution::Unknown);
    assert_eq!(resolve(record(("shop", "Cart"), b"}")), Resolution::Unknown);
    assert_eq!(resolve(b"no pickle".to_vec()), Resolution::Unknown);
    let refused = |record, refusal: Refusal| {
        assert_eq!(resolve(record), Resolution::Refused(refusal.text()));
    };
    refused(record(oo, b"N"), Refusal::EmptyBucket);
    refused(record(oo, b"(X\x01\0\0\0a}t\x85"), Refusal::NotComparable);
    refused(
        record(("persistent.mapping", "PersistentMapping"), b"}"),
        Refusal::NoRule,
    );
}

/// Two tuples that hold the one before twice, many times over, are not compared to the end.
#[test]
fn what_multiplies_is_given_up() {
    let nested = |low: u8| {
        let mut record = b"cBTrees.OOBTree\nOOBucket\n.(X\x01\0\0\0aK".to_vec();
        record.push(low);
        record.push(0x85);
        for _ in 0..60 {
            record.extend(b"2\x86");
        }
        record.extend(b"t\x85.");
        record
    };
    let outcome = merge(&nested(1), &nested(1), &nested(1));
    assert_eq!(outcome, Err(Unmerged::Unknown));
}

fn changed(old: BTreeMap<String, i64>) -> impl Strategy<Value = BTreeMap<String, i64>> {
    prop::collection::vec(("[a-f]{1,2}", prop::option::weighted(0.8, 0i64..4)), 0..4).prop_map(
        move |changes| {
            let mut items = old.clone();
            for (key, value) in changes {
                match value {
                    Some(value) => items.insert(key, value),
                    None => items.remove(&key),
                };
            }
            items
        },
    )
}

proptest! {
    /// Against maps: where there is a merged state, each key is as the one who changed it left it.
    #[test]
    fn each_change_is_in_the_merged_state(
        (old, committed, new) in prop::collection::btree_map("[a-f]{1,2}", 0i64..4, 1..12)
            .prop_flat_map(|old| (Just(old.clone()), changed(old.clone()), changed(old)))
    ) {
        if let Ok(merged) = merge(&bucket(&old), &bucket(&committed), &bucket(&new)) {
            let mut expected = BTreeMap::new();
            let keys = old.keys().chain(committed.keys()).chain(new.keys());
            for key in keys {
                let value = if committed.get(key) == old.get(key) { new.get(key) } else { committed.get(key) };
                if let Some(value) = value {
                    expected.insert(key.clone(), *value);
                }
            }
            prop_assert_eq!(merged, bucket(&expected));
        }
    }

    #[test]
    fn random_states_do_no_harm(
        states in prop::array::uniform3(prop::collection::vec(any::<u8>(), 0..60)),
        family in prop::sample::select(vec!["OO", "IO", "LF", "QQ", "fs"]),
        shape in prop::sample::select(vec!["Bucket", "Set", "BTree", "TreeSet"]),
    ) {
        let [old, committed, new] = states.map(|state| {
            let class = format!("cBTrees.{family}BTree\n{family}{shape}\n.");
            [class.as_bytes(), &state, b"."].concat()
        });
        let _ = merge(&old, &committed, &new);
    }
}
