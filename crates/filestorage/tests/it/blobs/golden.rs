//! Directories of blobs that the original made. See `golden/MANIFEST.md`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use filestorage::{BlobLayout, FileStorage, Options};
use serde_json::Value;
use storage::{Blobs, Oid, Record, Storage, Tid, TransactionMeta};

use super::{BLOB, current, finish, listed};

const FILES: &str = include_str!("../../golden/blobs.json");

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Each file that the original wrote: object, transaction, content.
fn expected() -> Vec<(Oid, Tid, String)> {
    let files: Value = serde_json::from_str(FILES).unwrap();
    let file = |file: &Value| {
        (
            Oid::new(file[0].as_u64().unwrap()),
            Tid::new(file[1].as_u64().unwrap()),
            file[2].as_str().unwrap().to_owned(),
        )
    };
    let mut files: Vec<_> = files.as_array().unwrap().iter().map(file).collect();
    files.sort_unstable();
    files
}

fn open(folder: &Path) -> Arc<FileStorage> {
    let options = Options {
        create: false,
        blob_dir: Some(folder.join("blobs")),
        ..Options::default()
    };
    FileStorage::open(folder.join("Data.fs"), options).unwrap()
}

#[test]
fn directories_of_the_original_are_read_and_written_on() {
    for layout in [BlobLayout::Bushy, BlobLayout::Lawn] {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(golden("blobs.fs"), folder.path().join("Data.fs")).unwrap();
        let blobs = folder.path().join("blobs");
        copy_tree(&golden(&format!("blobs-{layout}")), &blobs);
        let storage = open(folder.path());
        assert_eq!(storage.blob_directory().unwrap().layout(), layout);
        let expected = expected();
        for (oid, tid, text) in &expected {
            let path = storage.load_blob(*oid, *tid).unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), *text);
        }
        let names: Vec<_> = expected.iter().map(|(oid, tid, _)| (*oid, *tid)).collect();
        assert_eq!(listed(&storage), names);

        let oid = Oid::new(3);
        let last = current(&storage, oid);
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        let file = storage.staging_file();
        fs::write(&file, "four").unwrap();
        commit
            .store_blob(oid, last, Record::from(BLOB), file)
            .unwrap();
        let changed = finish(commit).unwrap();
        let path = storage.load_blob(oid, changed).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o222, 0, "nobody writes into a committed blob");
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        commit.undo(changed).unwrap();
        let undone = finish(commit).unwrap();
        let path = storage.load_blob(oid, undone).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "three ".repeat(100));
    }
}
