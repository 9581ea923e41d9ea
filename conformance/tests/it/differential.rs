//! Random histories, step by step, on genuine FileStorage and on ours: everything that can be asked
//! has the same answer after each step, and the files have the same bytes.
//!
//! The two exchange their `.index` files whenever they are opened again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{folder_in_memory, is_full};

mod history;
mod ours;
mod theirs;

use history::History;
use ours::Ours;
use theirs::Theirs;

#[test]
fn random_histories_are_the_same_for_the_original() {
    let (seeds, steps) = if is_full() { (60, 300) } else { (10, 100) };
    let first = std::env::var("ZODIAC_SEED").ok();
    let first = first.map_or(0, |seed| seed.parse().unwrap());
    let mut outcomes = BTreeMap::new();
    for seed in first..first + seeds {
        play(seed, steps, &mut outcomes);
    }
    eprintln!("{seeds} histories of {steps} steps: {outcomes:?}");
    for outcome in [
        "commit: committed",
        "conflict: committed",
        "conflict: conflict",
        "commit: read conflict",
        "undo: committed",
        "undo: undo",
        "delete: committed",
        "delete: conflict",
        "restore: committed",
        "pack: packed",
        "reopen: done",
    ] {
        assert!(outcomes.contains_key(outcome), "{outcome} never came");
    }
}

fn play(seed: u64, steps: usize, outcomes: &mut BTreeMap<String, usize>) {
    eprintln!("seed {seed}");
    let folder = folder_in_memory();
    let [ours_path, theirs_path] =
        ["ours", "theirs"].map(|name| folder.path().join(format!("{name}.fs")));
    let mut ours = Ours::open(&ours_path);
    let mut theirs = Theirs::start(&theirs_path);
    let mut history = History::new(seed);
    for number in 0..steps {
        let step = history.step(&ours);
        let context = format!("seed {seed}, step {number}: {step}");
        let outcome = match step["do"].as_str().unwrap() {
            "commit" => {
                let found = ours.commit(&step);
                assert_eq!(found, theirs.ask(&step), "{context}");
                error_kind(&found, "committed")
            }
            "pack" => pack(&step, &mut ours, &mut theirs, &context),
            _ => {
                exchange(&mut ours, &mut theirs);
                "done".to_owned()
            }
        };
        let name = step["name"].as_str().unwrap();
        *outcomes.entry(format!("{name}: {outcome}")).or_insert(0) += 1;
        let question = history.question(&ours);
        let (found, expected) = (ours.facts(&question), theirs.ask(&question));
        for (fact, expected) in expected.as_object().unwrap() {
            let difference = difference(&found[fact], expected);
            assert_eq!(difference, None, "{context}: {fact}, ours first");
        }
    }
}

/// The first difference, as deep inside as there is one.
fn difference<'a>(ours: &'a Value, theirs: &'a Value) -> Option<(&'a Value, &'a Value)> {
    if let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs)
        && ours.len() == theirs.len()
    {
        let mut pairs = ours.iter().zip(theirs);
        return pairs.find_map(|(ours, theirs)| difference(ours, theirs));
    }
    (ours != theirs).then_some((ours, theirs))
}

/// The kind of an error, without its object.
fn error_kind(answer: &Value, well: &str) -> String {
    let error = answer["error"].as_str().unwrap_or(well);
    let kind = error.split(" of ").next().unwrap();
    kind.split(" object ").next().unwrap().to_owned()
}

/// The original first: some packs it cannot do (see COMPAT.md), which are not compared.
fn pack(step: &Value, ours: &mut Ours, theirs: &mut Theirs, context: &str) -> String {
    match theirs.ask(step)["error"].as_str() {
        None => {
            ours.pack(step)
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            "packed".to_owned()
        }
        Some(error @ ("AssertionError" | "PackError")) => format!("the original has a {error}"),
        Some(error) => panic!("{context}: {error}"),
    }
}

/// Both close; each opens with the index that the other wrote.
fn exchange(ours: &mut Ours, theirs: &mut Theirs) {
    ours.close();
    let copies = [ours.index_path(), theirs.index_path()].map(|path| {
        let copy = path.with_extension("copy");
        (path, copy)
    });
    let [ours_index, theirs_index] = &copies;
    std::fs::copy(&ours_index.0, &ours_index.1).unwrap();
    theirs.ask(&json!({
        "do": "reopen",
        "index": ours_index.1.to_str().unwrap(),
        "keep": theirs_index.1.to_str().unwrap(),
    }));
    std::fs::copy(&theirs_index.1, &ours_index.0).unwrap();
    ours.reopen();
}
