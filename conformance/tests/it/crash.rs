//! Power losses at every step of scripted histories, judged by our engine and by the original.
//!
//! A script runs once, on a disk that writes down what is done. Of the record follows all that power
//! losses may leave; each such disk is opened by our engine, and each distinct one by genuine
//! FileStorage, `fstest` and `fsrefs`. Every acknowledged transaction has to be there, none in part,
//! and none behind one that is missing.

use std::collections::BTreeMap;

use sim::{CrashCount, SimDisk};
use storage::Tid;

use crate::is_full;

mod backups;
mod original;
mod scripts;
mod stage;

use original::{Original, Verdict};
use stage::{Content, Stage, digest, read_all};

/// Histories under proof.
struct Proof {
    name: &'static str,
    stage: fn() -> Stage,
    original: Original,
    /// What our engine saw on each disk that the original gets, and how that disk came about.
    seen: Vec<(Content, String)>,
    count: CrashCount,
}

impl Proof {
    fn of(name: &'static str) -> Self {
        Self::on(name, Stage::new)
    }

    fn on(name: &'static str, stage: fn() -> Stage) -> Self {
        Self {
            name,
            stage,
            original: Original::new(),
            seen: Vec::new(),
            count: CrashCount::default(),
        }
    }

    /// Plays a history and lets the power go off everywhere in it. The disk may show a first part of
    /// what it shows at the end, or, where there are packs in it, of the history without the last
    /// ones: `play` is told how many to make.
    fn meets(&mut self, context: &str, packs: usize, play: impl Fn(&Stage, usize)) {
        let stages = (0..=packs).map(|packs| {
            let stage = (self.stage)();
            play(&stage, packs);
            stage
        });
        let stages: Vec<_> = stages.collect();
        let timelines = stages.iter().map(|stage| {
            stage.disk().restart_process();
            read_all(&stage.open())
        });
        let timelines: Vec<_> = timelines.collect();
        let stage = &stages[packs];
        let random_losses = if is_full() { 100 } else { 12 };
        let count = stage.disk().trace().crashes(random_losses, |crash| {
            let context = format!("{}, {context}: {crash}", self.name);
            let found = open_and_go_on(stage, &SimDisk::with(&crash.image), &context);
            check(&found, crash.notes, &timelines, &context);
            if self.original.add(&crash.image) {
                self.seen.push((found, context));
            }
        });
        self.count.operations += count.operations;
        self.count.losses += count.losses;
        self.count.distinct += count.distinct;
    }

    /// Lets the original open all disks. There must have been so many that differ.
    fn ends(self, distinct_min: usize) {
        let mut refusals = BTreeMap::new();
        for (verdict, (content, context)) in self.original.judge().into_iter().zip(&self.seen) {
            assert_eq!(verdict.complaints, "", "{context}: {verdict:?}");
            assert_eq!(verdict.digest, digest(content), "{context}: {verdict:?}");
            let refusal = refusal_kind(&verdict, content, context);
            *refusals.entry(refusal).or_insert(0) += 1;
        }
        let CrashCount {
            operations,
            losses,
            distinct,
        } = self.count;
        eprintln!(
            "{}: {operations} operations, {losses} power losses, {distinct} with a disk or promises \
             of their own; {} disks opened by the original: {refusals:?}",
            self.name,
            self.seen.len(),
        );
        assert!(distinct >= distinct_min, "{} is worth less", self.name);
    }
}

/// The content must be a first part of something that happened, with all that was acknowledged.
fn check(found: &Content, acknowledged: &[u64], timelines: &[Content], context: &str) {
    let timeline = timelines
        .iter()
        .find(|timeline| timeline.starts_with(found))
        .unwrap_or_else(|| panic!("{context}: this never happened: {found:?}"));
    let is_in = |content: &Content, tid| content.iter().any(|(found, _)| *found == tid);
    for tid in acknowledged.iter().map(|tid| Tid::new(*tid)) {
        let is_lost = is_in(timeline, tid) && !is_in(found, tid);
        assert!(!is_lost, "{context}: {tid} was acknowledged and is lost");
    }
}

/// What our engine finds; then it commits, and finds that too after another start.
fn open_and_go_on(stage: &Stage, disk: &SimDisk, context: &str) -> Content {
    let stage = stage.on(disk);
    let storage = stage
        .try_open()
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = read_all(&storage);
    stage.check_currency(&storage, &found, context);
    stage.commit(&storage, &[(0, "life goes on", &[])]);
    let after = read_all(&storage);
    assert_eq!(after[..found.len()], found, "{context}");
    assert_eq!(after.len(), found.len() + 1, "{context}");
    storage
        .close()
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    drop(storage);
    disk.restart_process();
    assert_eq!(read_all(&stage.open()), after, "{context}");
    found
}

/// Why the original refused a file before our engine had opened it. Of an unfinished transaction that
/// lost its first sector and kept its last it cannot tell that it is unfinished, whoever wrote it;
/// a file that is just being made may have no magic yet.
fn refusal_kind(verdict: &Verdict, content: &Content, context: &str) -> &'static str {
    match &verdict.refusal {
        None => "at once",
        Some(refusal) if HEADERS.iter().any(|header| refusal.contains(header)) => {
            "behind ours (header)"
        }
        Some(refusal) if refusal.contains("FileStorageFormatError") && content.is_empty() => {
            "behind ours (magic)"
        }
        Some(refusal) => panic!("{context}: {refusal}"),
    }
}

/// What the original says of a header that is not there, wholly or in part.
const HEADERS: [&str; 2] = [
    "invalid transaction header",
    "data record exceeds transaction record",
];
