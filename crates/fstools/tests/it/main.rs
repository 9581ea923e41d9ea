//! The tools on files that the original wrote, on broken ones, and on files under a writer.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io;
use std::path::Path;
use std::sync::Arc;

use filestorage::{FileStorage, Options, Survey};
use fstools::{Line, Listener, ToolError, Verdict};
use pickle::{NodeId, Pickles};
use serde_json::Value;
use sim::SimDisk;
use storage::{Oid, Record, Storage, Tid, TransactionMeta};
use zodb::{ClassName, Reference};

mod backup;
mod backup_crash;
mod backup_losses;
mod blobs;
mod btrees;
mod copying;
mod damaged;
mod golden;
mod graph;
mod index;
mod live;
mod many;
mod recover;
mod recover_displaced;
mod recover_headers;
mod recover_random;
mod transfer;
mod undo;
mod wrong_index;

const PLAIN: &[u8] = include_bytes!("../../../filestorage/tests/golden/plain.fs");
const PLAIN_INDEX: &[u8] = include_bytes!("../../../filestorage/tests/golden/plain.fs.index");
const UNFINISHED: &[u8] = include_bytes!("../../../filestorage/tests/golden/unfinished.fs");

const PATH: &str = "/db/Data.fs";

fn disk(bytes: &[u8]) -> Arc<SimDisk> {
    let disk = SimDisk::new();
    disk.put(Path::new(PATH), bytes);
    Arc::new(disk)
}

fn survey(disk: &Arc<SimDisk>) -> Survey {
    Survey::open(PATH, disk.clone()).unwrap()
}

fn open(disk: &Arc<SimDisk>) -> Arc<FileStorage> {
    let disk = disk.clone();
    FileStorage::open(
        PATH,
        Options {
            disk,
            ..Options::default()
        },
    )
    .unwrap()
}

/// Keeps what it hears.
#[derive(Default)]
struct Heard(Vec<Line>);

impl Listener for Heard {
    fn tell(&mut self, line: Line) -> io::Result<()> {
        self.0.push(line);
        Ok(())
    }
}

impl Heard {
    /// What was found, as scripts see it.
    fn json(&self) -> Vec<Value> {
        let line = |line| serde_json::to_value(line).unwrap();
        self.0.iter().map(line).collect()
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |line: &Value| line["kind"].as_str().unwrap().to_owned();
        self.json().iter().map(kind).collect()
    }
}

type Tool = fn(&Survey, &mut dyn Listener) -> Result<Verdict, ToolError>;

/// The verdict and what was told on the way there.
fn run(tool: Tool, survey: &Survey) -> (Verdict, Heard) {
    let mut heard = Heard::default();
    let verdict = tool(survey, &mut heard).unwrap();
    (verdict, heard)
}

/// A record whose state is a dict of references.
fn record(class: &str, references: &[(&str, Reference)]) -> Record {
    let mut pickles = Pickles::new();
    let head = pickles.global("tests", class);
    let entries: Vec<(NodeId, NodeId)> = references
        .iter()
        .map(|(name, reference)| (pickles.str(name), reference.write(&mut pickles)))
        .collect();
    let state = pickles.dict(entries);
    pickles.push_root(head);
    pickles.push_root(state);
    Record::from(pickles.encode())
}

fn strong(oid: u64) -> Reference {
    Reference::Strong {
        oid: Oid::new(oid),
        class: Some(ClassName::new("tests", "Target")),
    }
}

fn commit(storage: &Arc<FileStorage>, records: &[(u64, Record)]) -> Tid {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    for (oid, record) in records {
        let oid = Oid::new(*oid);
        let base = match storage.load_before(oid, Tid::MAX) {
            Ok(found) => found.unwrap().tid,
            Err(_) => Tid::ZERO,
        };
        commit.store(oid, base, record.clone()).unwrap();
    }
    commit.vote().unwrap().finish(Box::new(|_tid| {})).unwrap()
}
