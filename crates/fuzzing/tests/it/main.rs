//! The corpus, and changed copies of it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What all copies of one target together may have.
const COPIED_BYTES: usize = 6 << 20;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The inputs in the corpus of that name, and the golden files with that ending.
fn inputs(name: &str, golden: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let corpus = fs::read_dir(repository().join("fuzz/corpus").join(name)).unwrap();
    let golden_files = fs::read_dir(repository().join("crates/filestorage/tests/golden")).unwrap();
    let mut paths: Vec<PathBuf> = corpus
        .map(|entry| entry.unwrap().path())
        .chain(
            golden_files
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|found| found == golden)),
        )
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// A copy with a few places changed: bits, numbers, missing and repeated parts.
fn change(bytes: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.usize(1..4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = rng.usize(..bytes.len());
        let until = bytes.len().min(at + rng.usize(1..64));
        match rng.u8(..6) {
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'c', b'p', b'u'][rng.usize(..8)],
            2 => bytes.truncate(at),
            3 => {
                bytes.drain(at..until);
            }
            4 => {
                let part = bytes[at..until].to_vec();
                let to = rng.usize(..bytes.len());
                bytes.splice(to..to, part);
            }
            _ => bytes[at..until].fill(0),
        }
    }
    bytes
}

fn replay(name: &str, golden: &str) {
    let (_, target) = fuzzing::TARGETS
        .into_iter()
        .find(|(found, _)| *found == name)
        .unwrap();
    let inputs = inputs(name, golden);
    assert!(inputs.len() >= 5, "there is a corpus");
    let copies = COPIED_BYTES / inputs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    for (path, bytes) in inputs {
        let path = path.display();
        let holds = |bytes: &[u8]| catch_unwind(AssertUnwindSafe(|| target(bytes))).is_ok();
        assert!(holds(&bytes), "{name}: {path}");
        for seed in 0..copies.min(2_000) as u64 {
            let copy = change(&bytes, &mut fastrand::Rng::with_seed(seed));
            assert!(
                holds(&copy),
                "{name}: {path}, changed by {seed}: {copy:02x?}"
            );
        }
    }
}

#[test]
fn data_fs() {
    replay("data_fs", "fs");
}

#[test]
fn index() {
    replay("index", "index");
}

#[test]
fn checkpoint() {
    replay("checkpoint", "zidx");
}

#[test]
fn pickle() {
    replay("pickle", "none");
}

#[test]
fn zconfig() {
    replay("zconfig", "none");
}

#[test]
fn merge() {
    replay("merge", "none");
}

#[test]
fn zeo_frames() {
    replay("zeo_frames", "none");
}

#[test]
fn zeo_pickle() {
    replay("zeo_pickle", "none");
}

#[test]
fn zeo_msgpack() {
    replay("zeo_msgpack", "none");
}

#[test]
fn zeo_connection() {
    replay("zeo_connection", "none");
}

#[test]
fn zeo_session() {
    replay("zeo_session", "none");
}
