//! Blobs over those of a base that is only read.

use std::path::Path;
use std::sync::Arc;

use filestorage::{FileStorage, Options};
use sim::SimDisk;
use storage::{
    Blobs as _, Commit, CommitError, Oid, OverlayStorage, Record, Storage, StorageError, Tid,
    TransactionMeta, UndoObstacle, UndoReason,
};
use vfs::{Disk, OpenMode};

use super::{BLOB, BLOBS, ONE, Stage, files, finish};
use crate::PATH;

const BASE: &str = "/db/base.fs";
const BASE_BLOBS: &str = "/db/base-blobs";
const TWO: Oid = Oid::new(2);

/// An overlay over a base that has one blob.
struct Overlaid {
    stage: Stage,
    base: Arc<FileStorage>,
    first: Tid,
    storage: Arc<OverlayStorage>,
}

impl Overlaid {
    fn new() -> Self {
        let stage = Stage::on(SimDisk::new());
        let options = Options {
            blob_dir: Some(BASE_BLOBS.into()),
            ..stage.options.clone()
        };
        let base = FileStorage::open(BASE, options).unwrap();
        let first = stage.change(&base, ONE, "base");
        let changes = FileStorage::open(PATH, stage.options.clone()).unwrap();
        let storage = OverlayStorage::new(
            Arc::<FileStorage>::clone(&base),
            changes,
            Default::default(),
        );
        Self {
            stage,
            base,
            first,
            storage: storage.unwrap(),
        }
    }

    fn begin(&self) -> Box<dyn Commit> {
        Arc::clone(&self.storage)
            .begin(TransactionMeta::default())
            .unwrap()
    }

    fn change(&self, oid: Oid, text: &str) -> Tid {
        let path = self.storage.staging_file();
        let file = self.stage.disk.open(&path, OpenMode::Create).unwrap();
        file.write_at(text.as_bytes(), 0).unwrap();
        let base = self.storage.current_tid(oid).unwrap_or(Tid::ZERO);
        let mut commit = self.begin();
        commit
            .store_blob(oid, base, Record::from(BLOB), path)
            .unwrap();
        finish(commit).unwrap()
    }

    fn undo(&self, tids: &[Tid]) -> Result<Tid, CommitError> {
        let mut commit = self.begin();
        for tid in tids {
            commit.undo(*tid).unwrap();
        }
        finish(commit)
    }

    fn refused(&self, tid: Tid) -> Vec<UndoObstacle> {
        match self.undo(&[tid]).unwrap_err() {
            CommitError::Undo(obstacles) => obstacles,
            error => panic!("{error}"),
        }
    }

    fn text(&self, oid: Oid) -> Option<String> {
        let tid = match self.storage.current_tid(oid) {
            Err(StorageError::NotFound { .. }) => return None,
            tid => tid.unwrap(),
        };
        let path = self.storage.load_blob(oid, tid).unwrap();
        Some(self.stage.text(&path))
    }

    /// How many files the changes have, those on their way included.
    fn count(&self) -> usize {
        files(&self.stage.disk.image()).len()
    }
}

#[test]
fn an_undo_brings_the_file_of_the_base_back() {
    let overlaid = Overlaid::new();
    assert_eq!(overlaid.text(ONE).as_deref(), Some("base"));
    let changed = overlaid.change(ONE, "changed");
    let undone = overlaid.undo(&[changed]).unwrap();
    assert_eq!(overlaid.text(ONE).as_deref(), Some("base"));
    let redone = overlaid.undo(&[undone]).unwrap();
    assert_eq!(overlaid.text(ONE).as_deref(), Some("changed"));
    overlaid.undo(&[redone]).unwrap();
    assert_eq!(overlaid.text(ONE).as_deref(), Some("base"));
    assert_eq!(overlaid.count(), 4);

    let path = overlaid.base.load_blob(ONE, overlaid.first).unwrap();
    assert!(path.starts_with(BASE_BLOBS));
    assert_eq!(overlaid.stage.text(&path), "base");
}

#[test]
fn an_undo_brings_an_older_file_of_the_changes_back() {
    let overlaid = Overlaid::new();
    let created = overlaid.change(TWO, "one");
    let second = overlaid.change(TWO, "two");
    let third = overlaid.change(TWO, "three");
    overlaid.undo(&[third, second]).unwrap();
    assert_eq!(overlaid.text(TWO).as_deref(), Some("one"));
    assert_eq!(overlaid.count(), 4);
    let removed = overlaid.undo(&[created]).unwrap();
    assert_eq!(overlaid.text(TWO), None);
    overlaid.undo(&[removed]).unwrap();
    assert_eq!(overlaid.text(TWO).as_deref(), Some("one"));
}

/// The records of all blobs are the same; what they refer to tells them apart.
#[test]
fn a_change_that_was_built_upon_is_not_undone() {
    let overlaid = Overlaid::new();
    let second = overlaid.change(ONE, "two");
    let third = overlaid.change(ONE, "three");
    let count = overlaid.count();
    assert_eq!(
        overlaid.refused(second),
        [UndoObstacle {
            oid: ONE,
            reason: UndoReason::ChangedLater
        }]
    );
    overlaid.undo(&[third]).unwrap();
    assert_eq!(overlaid.text(ONE).as_deref(), Some("two"));
    overlaid.undo(&[second]).unwrap();
    assert_eq!(overlaid.text(ONE).as_deref(), Some("base"));
    assert_eq!(overlaid.count(), count + 2, "a refusal leaves nothing");
}

#[test]
fn an_undo_needs_the_older_file() {
    let overlaid = Overlaid::new();
    let changed = overlaid.change(ONE, "changed");
    let path = overlaid.base.load_blob(ONE, overlaid.first).unwrap();
    overlaid.stage.disk.remove(&path).unwrap();
    let obstacles = overlaid.refused(changed);
    assert_eq!(obstacles[0].reason, UndoReason::BlobFileMissing);
    assert!(path.starts_with(Path::new(BASE_BLOBS)) && !path.starts_with(BLOBS));
}
