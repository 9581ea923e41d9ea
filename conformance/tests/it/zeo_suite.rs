//! ZEO's own test suite, with `zodiac zeo` as the server of every test that starts one.
//!
//! `expected/zeo_suite.toml` names each test that does not pass, with the reason; everything else
//! has to. The same list for genuine `runzeo`, started as a program of its own just like ours,
//! stands beside it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use conformance::{judge, paths, zodiac_binary};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::is_full;

/// What runs in every check: each kind of test once, over the encoding that sites should use. The
/// whole suite takes ten minutes of two processors.
const SHORT: &str = concat!(
    r"testZEO\.FileStorageTests\.(?!test_race|checkPack.*Thread)",
    r"|testZEO\.FileStorageRecoveryTests",
    r"|testZEO:(blob_|invalidation-age|drop_cache|zeo_blob_cache)",
    r"|testZEO\.[a-z]",
    r"|testConnection\.(FileStorageInvq|FileStorageReconnection|FileStorageTimeout)",
    r"|test_client_side_conflict_resolution|testssl\.SSLConfigTest\.",
);
/// How many tests the suite has at least: a suite that is not found must not count as passed.
const TESTS_MIN: usize = 880;
const SHORT_TESTS_MIN: usize = 160;
/// How long one test may take.
const SECONDS_MAX: u32 = 150;

/// The tests that do not pass, by name; `*` stands for anything.
#[derive(Deserialize)]
struct Expected {
    /// With any server that is a program of its own.
    external: BTreeMap<String, String>,
    /// Where all servers and clients speak TLS.
    tls: BTreeMap<String, String>,
    zodiac: BTreeMap<String, String>,
    runzeo: BTreeMap<String, String>,
}

impl Expected {
    fn read() -> Self {
        let path = paths::root().join("conformance/expected/zeo_suite.toml");
        toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }
}

fn reason<'a>(lists: &[&'a BTreeMap<String, String>], test: &str) -> Option<(&'a str, &'a str)> {
    lists
        .iter()
        .flat_map(|list| list.iter())
        .find(|(name, _)| is_named(name, test))
        .map(|(name, reason)| (name.as_str(), reason.as_str()))
}

fn is_named(pattern: &str, test: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == test;
    };
    test.strip_prefix(start).is_some_and(|test| {
        let mut ends = test.char_indices().map(|(at, _)| at).chain([test.len()]);
        ends.any(|at| is_named(rest, &test[at..]))
    })
}

/// Runs the suite and compares it with the lists.
fn passes(command: &str, lists: &[&BTreeMap<String, String>], encoding: &str, tls: bool) {
    let whole = is_full();
    let wanted = json!({
        "command": command,
        "only": if whole { Value::Null } else { SHORT.into() },
        "encoding": encoding,
        "tls": tls,
        "jobs": 4,
        "seconds": SECONDS_MAX,
    });
    let answers = judge::run("zeo_suite.py", &wanted).unwrap();
    let answers = answers.as_object().unwrap();
    let least = if whole { TESTS_MIN } else { SHORT_TESTS_MIN };
    assert!(answers.len() >= least, "only {} tests ran", answers.len());

    let mut wrong = String::new();
    let mut served = 0;
    let mut passed = 0;
    for (name, answer) in answers {
        let is_served = answer["servers"].as_u64().unwrap() > 0;
        let has_passed = answer["outcome"] == "passed";
        served += usize::from(is_served);
        passed += usize::from(is_served && has_passed);
        let excuse = reason(lists, name);
        if !has_passed && excuse.is_none() {
            let said = answer["said"].as_str().unwrap();
            writeln!(wrong, "\n{name} {}:\n{said}", answer["outcome"]).unwrap();
        }
        if let (true, Some((listed, _))) = (has_passed, excuse)
            && listed == name
        {
            writeln!(wrong, "\n{name} passes: it can leave the list").unwrap();
        }
    }
    eprintln!(
        "{passed} of {served} tests that start a server pass ({encoding}, TLS {tls}): {command}"
    );
    assert!(wrong.is_empty(), "{wrong}");
}

fn zodiac(encoding: &str, tls: bool) {
    let expected = Expected::read();
    let command = format!("{} zeo -C {{conf}}", zodiac_binary().unwrap().display());
    let mut lists = vec![&expected.external, &expected.zodiac];
    if tls {
        lists.push(&expected.tls);
    }
    passes(&command, &lists, encoding, tls);
}

#[test]
fn the_suite_passes_over_msgpack() {
    zodiac("msgpack", false);
}

#[test]
fn the_suite_passes_over_pickles_and_tls() {
    if is_full() {
        zodiac("pickle", false);
        zodiac("pickle", true);
    }
}

#[test]
fn the_same_tests_with_the_genuine_server() {
    if is_full() {
        let expected = Expected::read();
        let command = format!(
            "{} -m ZEO.runzeo -C {{conf}}",
            judge::python().unwrap().display()
        );
        for (encoding, tls) in [("msgpack", false), ("pickle", false), ("pickle", true)] {
            passes(
                &command,
                &[&expected.external, &expected.runzeo],
                encoding,
                tls,
            );
        }
    }
}
