//! Damaged files: what `zodiac fs recover` saves, beside what genuine fsrecover saves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;
use std::process::Command;

use conformance::{judge, paths, zodiac_binary};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{is_full, sound_site};

/// Damages a file in one of the ways that disks, programs and people do.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) -> &'static str {
    let place = |rng: &mut Rng, bytes: &[u8]| rng.usize(4..bytes.len());
    match rng.u8(..5) {
        0 => {
            let at = place(rng, bytes);
            let end = (at + rng.usize(1..2000)).min(bytes.len());
            bytes.drain(at..end);
            "bytes are missing"
        }
        1 => {
            let page = [512, 4096][rng.usize(..2)];
            let at = place(rng, bytes) / page * page;
            let end = (at + page).min(bytes.len());
            bytes[at.max(4)..end].fill(0);
            "a page is zero"
        }
        2 => {
            for _ in 0..rng.usize(1..4) {
                let at = place(rng, bytes);
                bytes[at] ^= 1 << rng.u8(..8);
            }
            "bits are flipped"
        }
        3 => {
            let at = place(rng, bytes);
            let end = (at + rng.usize(1..300)).min(bytes.len());
            rng.fill(&mut bytes[at..end]);
            "bytes are garbage"
        }
        _ => {
            let at = place(rng, bytes);
            bytes.truncate(at);
            "the end is missing"
        }
    }
}

/// Puts bytes into a file, which displaces what follows.
fn put_in(bytes: &mut Vec<u8>, rng: &mut Rng) -> &'static str {
    let at = rng.usize(4..bytes.len());
    let mut foreign = vec![0; rng.usize(1..600)];
    if rng.bool() {
        rng.fill(&mut foreign);
    }
    bytes.splice(at..at, foreign);
    "bytes are put in"
}

fn recover(directory: &Path, damaged: &Path, name: &str, more: &[&str]) -> String {
    let output = directory.join(name);
    let done = Command::new(zodiac_binary().unwrap())
        .args(["fs", "recover"])
        .arg(damaged)
        .arg(&output)
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(matches!(done.status.code(), Some(0 | 1)), "{said}");
    output.to_str().unwrap().to_owned()
}

/// Damages the file in so many ways, and has the original judge what was saved.
fn compare(sound: &Path, rounds: u64) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (mut kinds, mut cases) = (Vec::new(), Vec::new());
    for seed in 0..rounds + rounds / 3 {
        let mut bytes = fs::read(sound).unwrap();
        let rng = &mut Rng::with_seed(seed);
        kinds.push(match seed < rounds {
            true => damage(&mut bytes, rng),
            false => put_in(&mut bytes, rng),
        });
        let damaged = directory.join(format!("{seed}.damaged"));
        fs::write(&damaged, &bytes).unwrap();
        let whole = recover(directory, &damaged, &format!("{seed}.whole"), &[]);
        let partial = recover(
            directory,
            &damaged,
            &format!("{seed}.partial"),
            &["--partial"],
        );
        assert!(
            fs::read(&damaged).unwrap() == bytes,
            "the damaged file is only read"
        );
        cases.push(json!({ "damaged": damaged, "whole": whole, "partial": partial }));
    }
    // A file without an index beside it.
    let copy = directory.join("sound.fs");
    fs::copy(sound, &copy).unwrap();
    let sound = copy;
    let said = judge::run("recover.py", &json!({ "sound": sound, "cases": cases })).unwrap();
    let mut saved = [0, 0];
    for (seed, said) in said.as_array().unwrap().iter().enumerate() {
        let case = format!("seed {seed}, {}: {said}", kinds[seed]);
        assert_eq!(said["complaints"], json!([]), "{case}");
        assert_eq!(said["lost"], json!([]), "{case}");
        for (sum, part) in saved.iter_mut().zip(said["saved"].as_array().unwrap()) {
            *sum += part.as_u64().unwrap();
        }
    }
    let hangs = said
        .as_array()
        .unwrap()
        .iter()
        .filter(|said| said["hangs"] == Value::Bool(true));
    eprintln!(
        "fsrecover saved {} records, we {}; it hung {} times",
        saved[0],
        saved[1],
        hangs.count()
    );
    assert!(saved[1] >= saved[0]);
}

#[test]
fn we_save_what_fsrecover_saves_of_small_files_with_undos_and_packs() {
    let rounds = if is_full() { 200 } else { 15 };
    for name in ["plain.fs", "undo.fs", "packed_undo.fs"] {
        let golden = paths::root().join("crates/filestorage/tests/golden");
        compare(&golden.join(name), rounds);
    }
}

#[test]
fn we_save_what_fsrecover_saves_of_a_site() {
    let rounds = if is_full() { 60 } else { 6 };
    compare(sound_site().data(), rounds);
}
