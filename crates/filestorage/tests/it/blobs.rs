//! Blobs: their files come, stay and go with their records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filestorage::{BlobLayout, FileStorage, Options};
use sim::{Image, SimDisk};
use storage::{
    Blobs, Commit, CommitError, Oid, PackOptions, Record, Storage, StorageError, Tid,
    TransactionMeta, UndoReason,
};
use vfs::{Disk, OpenMode};

use crate::{PATH, options, steady_clock};

mod crashes;
mod golden;
mod large;
mod overlaid;

const BLOBS: &str = "/db/blobs";

/// What all blobs have for a record: the class, and no state.
const BLOB: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";
/// The record of a root that refers to the objects 1 and 2, so that a pack keeps them.
const ROOT: &[u8] =
    b"\x80\x03cpersistent.list\nPersistentList\nq\x00.\x80\x03}U\x04dataq\x01]q\x02(\
    C\x08\x00\x00\x00\x00\x00\x00\x00\x01QC\x08\x00\x00\x00\x00\x00\x00\x00\x02Qes.";
const ONE: Oid = Oid::new(1);

/// A disk with a clock.
struct Stage {
    disk: SimDisk,
    options: Options,
}

impl Stage {
    fn new() -> Self {
        Self::on(SimDisk::new())
    }

    fn on(disk: SimDisk) -> Self {
        let options = Options {
            blob_dir: Some(BLOBS.into()),
            clock: steady_clock(),
            ..options(&disk)
        };
        Self { disk, options }
    }

    fn open(&self) -> Arc<FileStorage> {
        FileStorage::open(PATH, self.options.clone()).unwrap()
    }

    /// A file that is handed over.
    fn file(&self, storage: &FileStorage, text: &str) -> PathBuf {
        let path = storage.blobs().unwrap().staging_file();
        let file = self.disk.open(&path, OpenMode::Create).unwrap();
        file.write_at(text.as_bytes(), 0).unwrap();
        path
    }

    fn begin(&self, storage: &Arc<FileStorage>) -> Box<dyn Commit> {
        storage.clone().begin(TransactionMeta::default()).unwrap()
    }

    fn store(&self, commit: &mut dyn Commit, storage: &FileStorage, oid: Oid, text: &str) {
        let file = self.file(storage, text);
        commit
            .store_blob(oid, current(storage, oid), Record::from(BLOB), file)
            .unwrap();
    }

    /// Commits new content of one blob.
    fn change(&self, storage: &Arc<FileStorage>, oid: Oid, text: &str) -> Tid {
        let mut commit = self.begin(storage);
        self.store(&mut *commit, storage, oid, text);
        finish(commit).unwrap()
    }

    fn undo(&self, storage: &Arc<FileStorage>, tid: Tid) -> Result<Tid, CommitError> {
        let mut commit = self.begin(storage);
        commit.undo(tid).unwrap();
        finish(commit)
    }

    fn text(&self, path: &Path) -> String {
        String::from_utf8(self.disk.contents(path).unwrap()).unwrap()
    }

    fn loaded(&self, storage: &FileStorage, oid: Oid, tid: Tid) -> Option<String> {
        match storage.load_blob(oid, tid) {
            Ok(path) => Some(self.text(&path)),
            Err(StorageError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

fn finish(commit: Box<dyn Commit>) -> Result<Tid, CommitError> {
    commit.vote()?.finish(Box::new(|_| {}))
}

fn current(storage: &FileStorage, oid: Oid) -> Tid {
    match storage.load_before(oid, Tid::MAX) {
        Ok(revision) => revision.unwrap().tid,
        Err(StorageError::NotFound { .. }) => Tid::ZERO,
        Err(error) => panic!("{error}"),
    }
}

/// The files below the directory of blobs, but for its marker.
fn files(image: &Image) -> BTreeMap<PathBuf, String> {
    image
        .files
        .iter()
        .filter_map(|(path, bytes)| {
            let path = path.strip_prefix(BLOBS).ok()?.to_owned();
            Some((path, String::from_utf8_lossy(bytes).into_owned()))
        })
        .filter(|(path, _)| path != Path::new(".layout"))
        .collect()
}

/// The blobs as the directory lists them.
fn listed(storage: &FileStorage) -> Vec<(Oid, Tid)> {
    let mut found = Vec::new();
    let blobs = storage.blob_directory().unwrap();
    blobs
        .each(&mut |oid, tid, path| {
            assert_eq!(path, blobs.path(oid, tid));
            found.push((oid, tid));
            Ok(())
        })
        .unwrap();
    found
}

#[test]
fn a_blob_is_loaded_as_it_was_stored_and_keeps_its_revisions() {
    let stage = Stage::new();
    let storage = stage.open();
    let first = stage.change(&storage, ONE, "one");
    let second = stage.change(&storage, ONE, "uno");
    for (tid, text) in [(first, "one"), (second, "uno")] {
        assert_eq!(stage.loaded(&storage, ONE, tid).as_deref(), Some(text));
    }
    assert_eq!(stage.loaded(&storage, ONE, second.next()), None);
    assert_eq!(stage.loaded(&storage, Oid::new(2), second), None);
    assert_eq!(listed(&storage), [(ONE, first), (ONE, second)]);
    assert_eq!(files(&stage.disk.image()).len(), 2, "nothing is in `tmp`");
    let path = storage.load_blob(ONE, first).unwrap();
    let name = format!("0x{:016x}.blob", first.number());
    let expected = Path::new(BLOBS).join("0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x01");
    assert_eq!(path, expected.join(name));
}

#[test]
fn without_a_directory_no_blob_is_taken() {
    let disk = SimDisk::new();
    let storage = crate::open(&disk).unwrap();
    assert!(storage.blobs().is_none());
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let refused = commit.store_blob(ONE, Tid::ZERO, Record::from(BLOB), "/db/x".into());
    assert!(matches!(refused, Err(StorageError::Unsupported { .. })));
}

#[test]
fn what_is_aborted_leaves_nothing_behind() {
    let stage = Stage::new();
    let storage = stage.open();
    let kept = stage.change(&storage, ONE, "kept");
    let before = files(&stage.disk.image());
    let stored = || {
        let mut commit = stage.begin(&storage);
        stage.store(&mut *commit, &storage, ONE, "dropped");
        stage.store(&mut *commit, &storage, Oid::new(7), "dropped as well");
        commit
    };
    drop(stored());
    assert_eq!(files(&stage.disk.image()), before, "before the vote");
    drop(stored().vote().unwrap());
    assert_eq!(files(&stage.disk.image()), before, "behind the vote");

    let refused = {
        let mut commit = stage.begin(&storage);
        let file = stage.file(&storage, "too late");
        commit
            .store_blob(ONE, Tid::new(1), Record::from(BLOB), file)
            .unwrap();
        finish(commit)
    };
    assert!(matches!(refused, Err(CommitError::Conflict(_))));
    assert_eq!(files(&stage.disk.image()), before, "in the vote");

    let mut commit = stage.begin(&storage);
    let missing = Path::new(BLOBS).join("tmp/missing");
    let refused = commit.store_blob(ONE, kept, Record::from(BLOB), missing);
    assert!(matches!(refused, Err(StorageError::Io { .. })));
    drop(commit);
    assert_eq!(files(&stage.disk.image()), before);
    stage.change(&storage, ONE, "the storage is well");
}

#[test]
fn of_several_files_for_one_object_the_last_counts() {
    let stage = Stage::new();
    let storage = stage.open();
    let mut commit = stage.begin(&storage);
    stage.store(&mut *commit, &storage, ONE, "one");
    stage.store(&mut *commit, &storage, ONE, "two");
    let tid = finish(commit).unwrap();
    assert_eq!(stage.loaded(&storage, ONE, tid).as_deref(), Some("two"));
    assert_eq!(files(&stage.disk.image()).len(), 1);
}

#[test]
fn an_undo_brings_the_older_file_back() {
    let stage = Stage::new();
    let storage = stage.open();
    let created = stage.change(&storage, ONE, "one");
    let changed = stage.change(&storage, ONE, "uno");
    let undone = stage.undo(&storage, changed).unwrap();
    assert_eq!(stage.loaded(&storage, ONE, undone).as_deref(), Some("one"));
    let redone = stage.undo(&storage, undone).unwrap();
    assert_eq!(stage.loaded(&storage, ONE, redone).as_deref(), Some("uno"));
    for (tid, text) in [(created, "one"), (changed, "uno")] {
        assert_eq!(stage.loaded(&storage, ONE, tid).as_deref(), Some(text));
    }

    let other = Oid::new(2);
    let created = stage.change(&storage, other, "two");
    let undone = stage.undo(&storage, created).unwrap();
    assert_eq!(stage.loaded(&storage, other, undone), None);
    assert_eq!(current(&storage, other), Tid::ZERO);
    let redone = stage.undo(&storage, undone).unwrap();
    assert_eq!(
        stage.loaded(&storage, other, redone).as_deref(),
        Some("two")
    );
    assert_eq!(files(&stage.disk.image()).len(), 6);
}

#[test]
fn several_undos_in_one_transaction_leave_one_file() {
    let stage = Stage::new();
    let storage = stage.open();
    stage.change(&storage, ONE, "one");
    let second = stage.change(&storage, ONE, "two");
    let third = stage.change(&storage, ONE, "three");
    let mut commit = stage.begin(&storage);
    commit.undo(third).unwrap();
    commit.undo(second).unwrap();
    let undone = finish(commit).unwrap();
    assert_eq!(stage.loaded(&storage, ONE, undone).as_deref(), Some("one"));
    assert_eq!(files(&stage.disk.image()).len(), 4);
}

/// The records of all blobs are the same, so that equal records say nothing. The original goes by
/// them, and takes the later change back too.
#[test]
fn a_change_that_was_built_upon_is_not_undone() {
    let stage = Stage::new();
    let storage = stage.open();
    stage.change(&storage, ONE, "one");
    let second = stage.change(&storage, ONE, "two");
    let third = stage.change(&storage, ONE, "three");
    let refused = stage.undo(&storage, second).unwrap_err();
    let CommitError::Undo(obstacles) = refused else {
        panic!("{refused}");
    };
    assert_eq!(obstacles[0].reason, UndoReason::ChangedLater);
    assert_eq!(current(&storage, ONE), third);
}

#[test]
fn an_undo_needs_the_older_file() {
    let stage = Stage::new();
    let storage = stage.open();
    let created = stage.change(&storage, ONE, "one");
    let changed = stage.change(&storage, ONE, "uno");
    let path = storage.load_blob(ONE, created).unwrap();
    stage.disk.remove(&path).unwrap();
    let refused = stage.undo(&storage, changed).unwrap_err();
    let CommitError::Undo(obstacles) = refused else {
        panic!("{refused}");
    };
    assert_eq!(obstacles[0].reason, UndoReason::BlobFileMissing);
}

/// Commits a root that keeps the object 1, two revisions of it, an undo, and garbage.
fn packable(stage: &Stage, storage: &Arc<FileStorage>) -> [Tid; 4] {
    let mut commit = stage.begin(storage);
    commit
        .store(Oid::ROOT, Tid::ZERO, Record::from(ROOT))
        .unwrap();
    stage.store(&mut *commit, storage, Oid::new(2), "two");
    stage.store(&mut *commit, storage, Oid::new(9), "garbage");
    stage.store(&mut *commit, storage, ONE, "one");
    let first = finish(commit).unwrap();
    let garbage = stage.change(storage, Oid::new(9), "garbage again");
    let second = stage.change(storage, ONE, "uno");
    let undone = stage.undo(storage, second).unwrap();
    [first, garbage, second, undone]
}

/// How many files the pack says it has removed.
fn pack(storage: &FileStorage, to: Tid, keep_old: bool) -> u64 {
    let options = PackOptions {
        to,
        keep_old,
        ..PackOptions::default()
    };
    let report = storage.pack(&options).unwrap();
    assert!(report.packed);
    report.blobs_removed.unwrap()
}

#[test]
fn a_pack_removes_the_files_of_the_records_it_drops() {
    for keep_old in [true, false] {
        let stage = Stage::new();
        let storage = stage.open();
        let [first, _, _, undone] = packable(&stage, &storage);
        let before = files(&stage.disk.image());
        assert_eq!(before.len(), 6);
        assert_eq!(pack(&storage, Tid::MAX, keep_old), 4);
        assert_eq!(listed(&storage), [(ONE, undone), (Oid::new(2), first)]);
        assert_eq!(stage.loaded(&storage, ONE, undone).as_deref(), Some("one"));
        let image = stage.disk.image();
        let garbage = storage.blob_directory().unwrap().directory_of(Oid::new(9));
        assert!(!image.directories.contains(&garbage), "empty ones are gone");
        assert_eq!(files(&image).len(), 2, "and the list");

        let old = |(path, bytes): (&PathBuf, &Arc<[u8]>)| {
            let path = path.strip_prefix("/db/blobs.old").ok()?.to_owned();
            Some((path, String::from_utf8_lossy(bytes).into_owned()))
        };
        let mut old: BTreeMap<_, _> = image.files.iter().filter_map(old).collect();
        if keep_old {
            assert_eq!(old.remove(Path::new(".layout")).as_deref(), Some("bushy"));
            assert_eq!(old, before, "what belongs to Data.fs.old");
        } else {
            assert_eq!(old, BTreeMap::new());
        }
        stage.change(&storage, ONE, "life goes on");
        pack(&storage, Tid::MAX, false);
        assert_eq!(listed(&storage).len(), 2);
        let image = stage.disk.image();
        let is_old = |path: &&PathBuf| path.starts_with("/db/blobs.old");
        assert_eq!(image.files.keys().find(is_old), None);
        assert_eq!(image.directories.iter().find(is_old), None);
    }
}

/// Behind the pack time there is an undo whose file is a copy of one that the pack drops.
#[test]
fn a_pack_keeps_what_an_undo_may_need() {
    let stage = Stage::new();
    let storage = stage.open();
    let [_, _, second, undone] = packable(&stage, &storage);
    pack(&storage, second, false);
    let redone = stage.undo(&storage, undone).unwrap();
    assert_eq!(stage.loaded(&storage, ONE, redone).as_deref(), Some("uno"));
    let undone = stage.undo(&storage, redone).unwrap();
    assert_eq!(stage.loaded(&storage, ONE, undone).as_deref(), Some("one"));
}

/// A pack of the original that was killed leaves a list, whether its new file came to be or not.
#[test]
fn a_list_removes_nothing_that_is_needed() {
    let stage = Stage::new();
    let storage = stage.open();
    let [first, garbage, second, undone] = packable(&stage, &storage);
    let before = files(&stage.disk.image());
    let orphan = [(ONE, first.next()), (Oid::new(0x77), first)].map(|(oid, tid)| {
        let path = storage.blob_directory().unwrap().path(oid, tid);
        stage.disk.put(&path, b"orphan");
        (oid, tid)
    });
    storage.close().unwrap();
    let mut list = String::new();
    for (oid, tid) in [
        (ONE, first),
        (ONE, second),
        (ONE, undone),
        (Oid::new(9), garbage),
        orphan[0],
    ] {
        list += &format!("{:016x}{:016x}\n", oid.number(), tid.number());
    }
    list += "0000000000000009\n0000000000000077\n00000000";
    let removed = Path::new(BLOBS).join(".removed");
    stage.disk.put(&removed, list.as_bytes());
    let storage = stage.open();
    assert_eq!(
        files(&stage.disk.image()),
        before,
        "the orphans and the list"
    );
    storage.close().unwrap();
}

#[test]
fn the_layout_is_found_out() {
    let file = "0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x03f0000100000000.blob";
    let cases: [(&[(&str, &str)], _); 7] = [
        (&[], Some(BlobLayout::Bushy)),
        (&[(".layout", "lawn")], Some(BlobLayout::Lawn)),
        (&[(".layout", " bushy\n")], Some(BlobLayout::Bushy)),
        (&[(".layout", "shrub")], None),
        // Its marker was lost, or never written.
        (&[(".layout", ""), (file, "x")], Some(BlobLayout::Bushy)),
        (&[(file, "x")], Some(BlobLayout::Bushy)),
        (
            &[("0x01/0x03f0000100000000.blob", "x"), ("tmp/x", "x")],
            Some(BlobLayout::Lawn),
        ),
    ];
    for (files, expected) in cases {
        let stage = Stage::new();
        for (name, text) in files {
            stage
                .disk
                .put(&Path::new(BLOBS).join(name), text.as_bytes());
        }
        let opened = FileStorage::open(PATH, stage.options.clone());
        let Some(expected) = expected else {
            let error = opened.err().unwrap();
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
            continue;
        };
        let layout = opened.unwrap().blob_directory().unwrap().layout();
        assert_eq!(layout, expected, "{files:?}");
        let marker = stage.text(&Path::new(BLOBS).join(".layout"));
        assert_eq!(marker.trim(), expected.to_string(), "{files:?}");
    }
}

#[test]
fn a_look_makes_nothing() {
    let stage = Stage::new();
    crate::open(&stage.disk).unwrap().close().unwrap();
    let before = stage.disk.image();
    let options = Options {
        read_only: true,
        ..stage.options.clone()
    };
    let storage = FileStorage::open(PATH, options).unwrap();
    assert_eq!(stage.loaded(&storage, ONE, Tid::new(1)), None);
    assert_eq!(listed(&storage), []);
    assert_eq!(stage.disk.image(), before);
}

/// A process that was killed leaves files in `tmp`: ours are removed, those of others stay.
#[test]
fn an_open_clears_up_after_the_killed() {
    let stage = Stage::new();
    let storage = stage.open();
    let kept = stage.change(&storage, ONE, "kept");
    stage.file(&storage, "never stored");
    let other = Path::new(BLOBS).join("tmp/BUC123");
    stage.disk.put(&other, b"of a client");
    let mut commit = stage.begin(&storage);
    stage.store(&mut *commit, &storage, ONE, "voted");
    std::mem::forget(commit.vote().unwrap());
    drop(storage);
    stage.disk.restart_process();
    let storage = stage.open();
    assert_eq!(listed(&storage), [(ONE, kept)]);
    let left: Vec<_> = files(&stage.disk.image()).into_values().collect();
    assert_eq!(left, ["kept", "of a client"]);
}

/// Copies of another storage.
#[test]
fn a_restored_blob_brings_its_file_and_its_id() {
    let stage = Stage::new();
    let storage = stage.open();
    let tid = stage.change(&storage, ONE, "one");
    let copied = Tid::new(tid.number() + (7 << 32));
    let meta = TransactionMeta::default();
    let mut commit = storage.clone().begin_restore(meta, copied, false).unwrap();
    let file = stage.file(&storage, "copied");
    commit
        .restore_blob(Oid::new(5), Record::from(BLOB), None, file)
        .unwrap();
    commit.restore(ONE, None, None).unwrap();
    assert_eq!(finish(commit).unwrap(), copied);
    let loaded = stage.loaded(&storage, Oid::new(5), copied);
    assert_eq!(loaded.as_deref(), Some("copied"));
    assert_eq!(files(&stage.disk.image()).len(), 2);
}
