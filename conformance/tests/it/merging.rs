//! Conflicts of the BTrees family: merged as the genuine classes merge them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use btrees::{Refusal, Unmerged};
use conformance::{judge, zodiac_binary};
use filestorage::{FileStorage, Options};
use pickle::Pickles;
use serde_json::{Value, json};
use storage::{Oid, Storage, Tid};

use crate::up::role;
use crate::{is_full, sound_site};

/// Thousands of conflicts: the same bytes, or a refusal for the same reason.
#[test]
fn thousands_of_conflicts_end_as_in_python() {
    let seeds = if is_full() { 0..40 } else { 0..4 };
    let mut outcomes = BTreeMap::new();
    for seed in seeds {
        let wanted = json!({ "seed": seed, "count": 2_000, "python": false });
        let cases = judge::run("merge.py", &wanted).unwrap();
        for case in cases.as_array().unwrap() {
            let outcome = compare(case).unwrap_or_else(|difference| {
                panic!("with seed {seed}: {difference}\n{case}");
            });
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
    }
    eprintln!("{outcomes:?}");
    // Nothing ends with 10: it would have ended with 13 before.
    for code in (0..14).filter(|code| *code != 10) {
        let number = format!("{code:02}");
        assert!(
            outcomes.contains_key(&number),
            "no refusal {code}: {outcomes:?}"
        );
    }
    assert!(outcomes["merged"] > outcomes.values().sum::<i32>() / 3);
}

/// The classes that are written in Python: the same bytes, a refusal where they refuse, or no word. With the
/// C extensions beside them and without they are the same.
#[test]
fn conflicts_of_classes_in_python_end_as_there_or_are_left_to_the_client() {
    let seeds = if is_full() { 0..40 } else { 0..3 };
    let (mut merged, mut refused, mut left, mut left_that_merge) = (0, 0, 0, 0);
    for seed in seeds {
        let wanted = json!({ "seed": seed, "count": 2_000, "python": true });
        let cases = judge::run("merge.py", &wanted).unwrap();
        let pure = judge::run("merge_pure.py", &cases).unwrap();
        let both = cases
            .as_array()
            .unwrap()
            .iter()
            .zip(pure.as_array().unwrap());
        for (case, pure) in both.filter(|(case, _)| case["class"] != "Length") {
            let theirs = case.get("merged").map(decoded);
            let without = pure.get("merged").map(decoded);
            assert_eq!(
                theirs.as_deref().map(state_of_namesake),
                without.as_deref().map(state_of_namesake),
                "{case} {pure}"
            );
            let [old, committed, new] = [0, 1, 2].map(|at| decoded(&case["records"][at]));
            match (btrees::merge(&old, &committed, &new), theirs) {
                (Ok(ours), Some(theirs)) => {
                    assert_eq!(ours, theirs, "with seed {seed}: {case}");
                    merged += 1;
                }
                (Err(Unmerged::Refused(_)), None) => refused += 1,
                (Err(Unmerged::Unknown), theirs) => {
                    left += 1;
                    left_that_merge += usize::from(theirs.is_some());
                }
                (ours, theirs) => panic!("with seed {seed}: {ours:?} {theirs:?} {case}"),
            }
        }
    }
    eprintln!("merged {merged}, refused {refused}, left {left}, of which merge {left_that_merge}");
    assert!(merged > left_that_merge && refused > 500);
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// The second pickle, as if the classes that it names were those of C.
fn state_of_namesake(record: &[u8]) -> Vec<u8> {
    let at = record.windows(3).position(|three| three == b".\x80\x03");
    let state = String::from_utf8_lossy(&record[at.unwrap()..]);
    state.replace("Py\n", "\n").into_bytes()
}

/// Genuine clients with the options that they have by themselves: the server merges what it knows, and
/// their classes are not asked.
#[test]
fn the_server_merges_what_genuine_clients_change_side_by_side() {
    let site = sound_site();
    let data = site.data().to_str().unwrap();
    let zeo = role(site.directory(), &["zeo", "--data", data]);
    let server = zeo.listening().unwrap();
    let wanted = json!({ "server": server.to_string() });
    let said = judge::run("merging_clients.py", &wanted).unwrap();
    zeo.stop().unwrap();
    let tid = said["tid"].as_str().unwrap();
    let expected = json!({
        "insert": "merged",
        "same key": "ConflictError",
        "mapping": "ConflictError",
        "merged here": 0,
        // No server has the class, so that the client merges this one, and only this.
        "notes": "merged",
        "notes found": [[0, 1], [0, 1]],
        "length": 14,
        "notes merged here": 1,
        "undone": [[["undo 2"], 214], [["undo 2"], 214]],
        "tid": tid,
    });
    assert_eq!(said, expected);

    // The tool merges as well.
    let undo = Command::new(zodiac_binary().unwrap())
        .args(["fs", "undo", data, &format!("0x{tid}")])
        .output()
        .unwrap();
    assert!(
        undo.status.success(),
        "{}",
        String::from_utf8_lossy(&undo.stderr)
    );
    let database = FileStorage::open(site.data(), Options::default()).unwrap();
    let storage = Arc::clone(&database) as Arc<dyn Storage>;
    let mut lengths = Vec::new();
    for number in 0..200 {
        let Ok(Some(revision)) = storage.load_before(Oid::new(number), Tid::MAX) else {
            continue;
        };
        let record = Pickles::decode(&revision.record).unwrap();
        let class = record.root(0).and_then(pickle::Value::as_global);
        if class == Some(("BTrees.Length", "Length")) {
            lengths.push(record.root(1).and_then(pickle::Value::as_int));
        }
    }
    assert!(lengths.contains(&Some(614)), "{lengths:?}");
    database.close().unwrap();
}

/// What became of the case, or how ours differs.
fn compare(case: &Value) -> Result<String, String> {
    let [old, committed, new] = [0, 1, 2].map(|at| decoded(&case["records"][at]));
    let ours = btrees::merge(&old, &committed, &new);
    let theirs = case.get("merged").map(decoded);
    let code = case["code"].as_u64();
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) if ours == theirs => Ok("merged".to_owned()),
        (Ok(ours), Some(_)) => Err(format!("other bytes: {}", ours.escape_ascii())),
        // A value that does not compare ends the merge there later, perhaps after another reason.
        (Err(Unmerged::Refused(refusal @ Refusal::NotComparable)), None) => Ok(refusal.to_string()),
        (Err(Unmerged::Refused(refusal)), None) if refusal.code().map(u64::from) == code => {
            Ok(code.map_or_else(|| refusal.to_string(), |code| format!("{code:02}")))
        }
        // What is no record of a class is left to the client.
        (Err(Unmerged::Unknown), None) if case["error"] == "UnpicklingError" => {
            Ok("unknown".to_owned())
        }
        (ours, theirs) => Err(format!(
            "ours {ours:?}, theirs {theirs:?} {}",
            case["error"]
        )),
    }
}
