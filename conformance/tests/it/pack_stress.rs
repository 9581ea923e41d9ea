//! Packs at random times under writers, undos and readers; then the original looks at the file.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use conformance::judge;
use filestorage::{FileStorage, Options};
use pickle::{NodeId, Pickles};
use serde_json::json;
use storage::{
    CommitError, Oid, PackError, PackOptions, Record, Storage, StorageError, Tid, TransactionMeta,
};

const WRITERS: u64 = 3;
const OBJECTS_A_WRITER: u64 = 8;
const PACKS: usize = 40;

/// A mapping as Python's `PersistentMapping` keeps it.
fn record(text: &str, children: &[(String, Oid)]) -> Record {
    let mut pickles = Pickles::new();
    let class = pickles.global("persistent.mapping", "PersistentMapping");
    pickles.push_root(class);
    let mut entries: Vec<(NodeId, NodeId)> = Vec::new();
    entries.push((pickles.str("text"), pickles.str(text)));
    for (name, oid) in children {
        let oid = pickles.bytes(&oid.to_bytes());
        let id = pickles.tuple(vec![oid, class]);
        let reference = pickles.persistent(id);
        entries.push((pickles.str(name), reference));
    }
    let data = pickles.dict(entries);
    let state = pickles.dict(Vec::new());
    pickles.dict_set(state, "data", data);
    pickles.push_root(state);
    Record::from(pickles.encode())
}

/// What a writer knows of an object: each state that it had, with its transaction.
struct Known {
    oid: Oid,
    states: Vec<(Tid, Record, Option<Oid>)>,
}

struct Writer {
    storage: Arc<FileStorage>,
    rng: fastrand::Rng,
    objects: Vec<Known>,
    undone: u64,
}

impl Writer {
    fn step(&mut self, number: u64) {
        let which = self.rng.usize(..self.objects.len());
        let Known { oid, states } = &self.objects[which];
        let (base, _, child) = states.last().cloned().expect("each has a state");
        if states.len() > 1 && self.rng.u8(..5) == 0 {
            return self.undo(which);
        }
        let oid = *oid;
        let mut commit = self
            .storage
            .clone()
            .begin(TransactionMeta::default())
            .unwrap();
        let text = format!("{number} {}", "x".repeat(self.rng.usize(..300)));
        // Children come and go, and are garbage then.
        let child = match self.rng.u8(..4) {
            0 => {
                let child = self.storage.new_oids(1).unwrap()[0];
                commit
                    .store(child, Tid::ZERO, record("child", &[]))
                    .unwrap();
                Some(child)
            }
            1 => None,
            _ => child,
        };
        let children: Vec<_> = child
            .map(|oid| ("child".to_owned(), oid))
            .into_iter()
            .collect();
        let state = record(&text, &children);
        commit.store(oid, base, state.clone()).unwrap();
        let tid = commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
        self.objects[which].states.push((tid, state, child));
    }

    /// Takes the last change back, unless a pack has made that impossible.
    fn undo(&mut self, which: usize) {
        let known = &mut self.objects[which];
        let (last, ..) = known.states[known.states.len() - 1];
        let mut commit = self
            .storage
            .clone()
            .begin(TransactionMeta::default())
            .unwrap();
        commit.undo(last).unwrap();
        match commit.vote() {
            Ok(voted) => {
                if self.rng.bool() {
                    thread::yield_now();
                }
                let tid = voted.finish(Box::new(|_| {})).unwrap();
                let (_, state, child) = known.states[known.states.len() - 2].clone();
                // What comes next undoes this one at most.
                known.states = vec![(tid, state, child)];
                self.undone += 1;
            }
            Err(CommitError::NotUndoable { .. } | CommitError::Undo(_)) => {
                known.states = known.states.split_off(known.states.len() - 1);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What was acknowledged is what is there, with all it refers to.
    fn check(&self, storage: &FileStorage) {
        for Known { oid, states } in &self.objects {
            let (tid, state, child) = states.last().expect("each has a state");
            let found = storage.load_before(*oid, Tid::MAX).unwrap().unwrap();
            assert_eq!((found.tid, &found.record), (*tid, state), "{oid}");
            if let Some(child) = child {
                storage.load_before(*child, Tid::MAX).unwrap();
            }
        }
    }
}

fn begin(path: &std::path::Path) -> (Arc<FileStorage>, Vec<Writer>) {
    let storage = FileStorage::open(path, Options::default()).unwrap();
    let oids = storage
        .new_oids(usize::try_from(WRITERS * OBJECTS_A_WRITER).unwrap())
        .unwrap();
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let names = oids.iter().map(|oid| (format!("o{oid}"), *oid));
    let root = record("root", &names.collect::<Vec<_>>());
    commit.store(Oid::ROOT, Tid::ZERO, root).unwrap();
    let first = record("first", &[]);
    for oid in &oids {
        commit.store(*oid, Tid::ZERO, first.clone()).unwrap();
    }
    let tid = commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    let seeds = 1u64..;
    let owned = oids.chunks(usize::try_from(OBJECTS_A_WRITER).unwrap());
    let writers = owned.zip(seeds).map(|(oids, seed)| Writer {
        storage: storage.clone(),
        rng: fastrand::Rng::with_seed(seed),
        objects: oids
            .iter()
            .map(|oid| Known {
                oid: *oid,
                states: vec![(tid, first.clone(), None)],
            })
            .collect(),
        undone: 0,
    });
    let writers = writers.collect();
    (storage, writers)
}

/// Snapshots of now show every object, whatever packs do meanwhile.
fn read(storage: &FileStorage, stop: &AtomicBool) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        for oid in (0..=WRITERS * OBJECTS_A_WRITER).map(Oid::new) {
            let found = storage.load_before(oid, Tid::MAX).unwrap().unwrap();
            assert!(found.next.is_none(), "{oid}");
            count += 1;
        }
    }
    count
}

fn pack(storage: &FileStorage, rng: &mut fastrand::Rng, commits: &AtomicU64) -> usize {
    let mut packed = 0;
    for _ in 0..PACKS {
        let before = commits.load(Ordering::Relaxed);
        while commits.load(Ordering::Relaxed) < before + rng.u64(5..40) {
            thread::yield_now();
        }
        let recent = storage.recent_changes(50).unwrap();
        let to = if rng.bool() {
            Tid::MAX
        } else {
            recent[rng.usize(..recent.len())].tid
        };
        let options = PackOptions {
            to,
            gc: rng.u8(..4) > 0,
            keep_old: rng.bool(),
            ..PackOptions::default()
        };
        match storage.pack(&options) {
            Ok(report) => packed += usize::from(report.packed),
            // Undone changes take up garbage again all the time.
            Err(PackError::Overtaken { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    packed
}

#[test]
fn packs_under_writers_undos_and_readers_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Data.fs");
    let (storage, writers) = begin(&path);
    let (stop, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    let (packed, writers, reads) = thread::scope(|scope| {
        let write = |mut writer: Writer| {
            let (stop, commits) = (&stop, &commits);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    writer.step(number);
                    commits.fetch_add(1, Ordering::Relaxed);
                    if number % 16 == 0 {
                        writer.check(&writer.storage);
                    }
                }
                writer
            })
        };
        let writers: Vec<_> = writers.into_iter().map(write).collect();
        let reader = scope.spawn(|| read(&storage, &stop));
        let packed = pack(&storage, &mut fastrand::Rng::with_seed(7), &commits);
        stop.store(true, Ordering::Relaxed);
        let writers: Vec<_> = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect();
        (packed, writers, reader.join().unwrap())
    });
    let undone: u64 = writers.iter().map(|writer| writer.undone).sum();
    assert!(
        packed > PACKS / 2 && undone > 10 && reads > 1000,
        "{packed} {undone} {reads}"
    );
    let check_all = |storage: &FileStorage| writers.iter().for_each(|writer| writer.check(storage));
    check_all(&storage);
    let last = storage.last_tid();
    storage.close().unwrap();

    let reopened = FileStorage::open(&path, Options::default()).unwrap();
    check_all(&reopened);
    assert_eq!(reopened.last_tid(), last);
    reopened.pack(&PackOptions::default()).unwrap();
    check_all(&reopened);
    match reopened.load_before(Oid::new(u64::MAX), Tid::MAX) {
        Err(StorageError::NotFound { .. }) => {}
        found => panic!("{found:?}"),
    }
    reopened.close().unwrap();

    let found = judge::run("check_fs.py", &json!({ "path": path, "folders": [] })).unwrap();
    assert_eq!(
        (&found["fstest"], &found["fsrefs"]),
        (&json!(""), &json!(""))
    );
    assert_eq!(found["cut"], 0);
}
