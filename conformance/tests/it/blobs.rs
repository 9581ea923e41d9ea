//! Blobs that genuine ZODB and our engine write by turns, in one directory.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use conformance::judge;
use filestorage::{BlobLayout, FileStorage, Options};
use serde_json::{Value, json};
use storage::{Blobs, Commit, Oid, PackOptions, Storage, Tid, TransactionMeta, is_blob_record};

/// A folder with a Data.fs and its blobs.
struct Site {
    folder: tempfile::TempDir,
    layout: BlobLayout,
}

impl Site {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// What the original makes of it.
    fn original(&self, steps: Value) -> Value {
        let wanted = json!({
            "data": self.path("Data.fs"),
            "blobs": self.path("blobs"),
            "layout": self.layout.to_string(),
            "steps": steps,
        });
        let said = judge::run("blobs.py", &wanted).unwrap();
        assert_eq!(said["orphans"], json!([]), "{said}");
        said
    }

    fn open(&self) -> Arc<FileStorage> {
        let options = Options {
            blob_dir: Some(self.path("blobs").into()),
            ..Options::default()
        };
        FileStorage::open(self.path("Data.fs"), options).unwrap()
    }
}

/// Every revision of a blob with its file, as the judge tells it.
fn files(storage: &FileStorage) -> Value {
    let mut found = Vec::new();
    for transaction in storage.transactions(Tid::ZERO, Tid::MAX).unwrap() {
        for record in transaction.unwrap().records() {
            let record = record.unwrap();
            if record.data.is_some_and(|data| is_blob_record(&data)) {
                let path = storage.load_blob(record.oid, record.tid).unwrap();
                let text = fs::read_to_string(path).unwrap();
                found.push((record.oid.number(), record.tid.number(), text));
            }
        }
    }
    found.sort_unstable();
    let mut listed = Vec::new();
    let blobs = storage.blob_directory().unwrap();
    blobs
        .each(&mut |oid, tid, _| {
            listed.push((oid.number(), tid.number()));
            Ok(())
        })
        .unwrap();
    let named: Vec<_> = found.iter().map(|(oid, tid, _)| (*oid, *tid)).collect();
    assert_eq!(listed, named, "no file without a record");
    json!(found)
}

fn begin(storage: &Arc<FileStorage>) -> Box<dyn Commit> {
    storage.clone().begin(TransactionMeta::default()).unwrap()
}

fn finish(commit: Box<dyn Commit>) -> Tid {
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}

fn change(storage: &Arc<FileStorage>, oid: Oid, text: &str) -> Tid {
    let revision = storage.load_before(oid, Tid::MAX).unwrap().unwrap();
    let file = storage.staging_file();
    fs::write(&file, text).unwrap();
    let mut commit = begin(storage);
    commit
        .store_blob(oid, revision.tid, revision.record, file)
        .unwrap();
    finish(commit)
}

fn undo(storage: &Arc<FileStorage>, tid: Tid) -> Tid {
    let mut commit = begin(storage);
    commit.undo(tid).unwrap();
    finish(commit)
}

#[test]
fn both_write_blobs_undo_those_of_the_other_and_pack() {
    for layout in [BlobLayout::Bushy, BlobLayout::Lawn] {
        let folder = tempfile::tempdir().unwrap();
        let site = Site { folder, layout };
        let said = site.original(json!([
            ["create", "one"],
            ["create", "two"],
            ["change", "one", "uno"],
            ["undo", "last"],
            ["change", "two", "due"],
        ]));
        let storage = site.open();
        assert_eq!(files(&storage), said["files"]);

        // Ours: a change, an undo of theirs, a pack in between.
        let [.., two] = &*oids(&said) else { panic!() };
        let theirs = storage.last_tid();
        undo(&storage, theirs);
        let changed = change(&storage, *two, "zwei");
        let options = PackOptions {
            to: changed,
            ..PackOptions::default()
        };
        assert!(storage.pack(&options).unwrap().packed);
        let ours = change(&storage, *two, "drei");
        let undone = undo(&storage, ours);
        let found = files(&storage);
        storage.close().unwrap();
        assert_old_is_whole(&site, &said["files"]);

        let said = site.original(json!([]));
        assert_eq!(said["files"], found);
        assert_eq!(said["current"], json!({ "one": "new", "two": "zwei" }));

        // Theirs again: the undo of our undo, a pack, and an undo for us.
        let said = site.original(json!([
            ["undo", undone.number()],
            ["change", "one", "eins"],
            ["pack"],
            ["change", "one", "ein"],
        ]));
        let expected = json!({ "one": "ein", "two": "drei" });
        assert_eq!(said["current"], expected);
        let storage = site.open();
        assert_eq!(files(&storage), said["files"]);
        undo(&storage, storage.last_tid());
        storage.close().unwrap();
        let said = site.original(json!([]));
        let expected = json!({ "one": "eins", "two": "drei" });
        assert_eq!(said["current"], expected);
    }
}

/// The objects that have blobs.
fn oids(said: &Value) -> Vec<Oid> {
    let files = said["files"].as_array().unwrap();
    let mut oids: Vec<_> = files
        .iter()
        .map(|file| Oid::new(file[0].as_u64().unwrap()))
        .collect();
    oids.dedup();
    oids
}

/// The old file is kept with all of its blobs, those that went and those that stayed.
fn assert_old_is_whole(site: &Site, before: &Value) {
    let copy = tempfile::tempdir().unwrap();
    let old = Site {
        folder: copy,
        layout: site.layout,
    };
    fs::rename(site.path("Data.fs.old"), old.path("Data.fs")).unwrap();
    fs::rename(site.path("blobs.old"), old.path("blobs")).unwrap();
    fs::create_dir(Path::new(&old.path("blobs")).join("tmp")).unwrap();
    let said = old.original(json!([]));
    let files = said["files"].as_array().unwrap();
    for file in before.as_array().unwrap() {
        assert!(files.contains(file), "{file}");
    }
}
