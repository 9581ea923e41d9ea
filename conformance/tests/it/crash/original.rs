//! What genuine FileStorage makes of the disks, many in one process.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use conformance::judge;
use filestorage::{FileStorage, Options};
use serde_json::{Value, json};
use sim::Image;
use tempfile::TempDir;

use super::stage::relative;
use crate::folder_in_memory;

/// What the original found on a disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// See [`super::stage::digest`].
    pub(super) digest: String,
    /// Of `fstest`, `fsrefs` and the index.
    pub(super) complaints: String,
    /// What it said before our engine had opened the file, where it refused that.
    pub(super) refusal: Option<String>,
}

/// Collects disks for the original.
pub(super) struct Original {
    folder: TempDir,
    seen: HashSet<u64>,
}

impl Original {
    pub(super) fn new() -> Self {
        Self {
            folder: folder_in_memory(),
            seen: HashSet::new(),
        }
    }

    /// Takes a disk, if it differs from those before.
    pub(super) fn add(&mut self, image: &Image) -> bool {
        let mut hasher = DefaultHasher::new();
        image.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return false;
        }
        let number = self.seen.len() - 1;
        let folder = self.folder(number);
        fs::create_dir_all(&folder).unwrap();
        for directory in &image.directories {
            fs::create_dir_all(folder.join(relative(directory))).unwrap();
        }
        for (path, bytes) in &image.files {
            let path = folder.join(relative(path));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        true
    }

    /// Lets the original open all of them. What it refuses is opened by our engine, and then by the
    /// original again.
    pub(super) fn judge(self) -> Vec<Verdict> {
        let mut found: Vec<_> = (0..self.seen.len()).collect();
        let mut first = self.run("crash_images.py", &found);
        found.retain(|number| first[*number]["error"].is_string());
        for number in &found {
            let folder = self.folder(*number);
            let blobs = folder.join("blobs");
            let options = Options {
                blob_dir: blobs.exists().then_some(blobs),
                ..Options::default()
            };
            let storage = FileStorage::open(folder.join("Data.fs"), options).unwrap();
            storage.close().unwrap();
        }
        let second = self.run("crash_images.py", &found);
        for (number, mut second) in found.into_iter().zip(second) {
            second["refusal"] = first[number]["error"].take();
            first[number] = second;
        }
        first.iter().map(verdict).collect()
    }

    /// Lets the original restore all repositories: digests of what it restored, or why it did not.
    pub(super) fn restore_backups(self) -> Vec<Result<String, String>> {
        let all: Vec<_> = (0..self.seen.len()).collect();
        let found = self.run("crash_backups.py", &all);
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        found
            .iter()
            .map(|found| text(&found["digest"]).ok_or_else(|| found["error"].to_string()))
            .collect()
    }

    fn run(&self, script: &str, numbers: &[usize]) -> Vec<Value> {
        let folders = numbers.iter().map(|number| self.folder(*number));
        let folders: Vec<_> = folders.collect();
        let found = judge::run(script, &json!({ "folders": folders })).unwrap();
        let Value::Array(found) = found else {
            panic!("no list: {found}");
        };
        assert_eq!(found.len(), numbers.len());
        found
    }

    fn folder(&self, number: usize) -> PathBuf {
        self.folder.path().join(number.to_string())
    }
}

fn verdict(found: &Value) -> Verdict {
    let text = |key: &str| found[key].as_str().map(ToOwned::to_owned);
    let needed = |key: &str| text(key).unwrap_or_else(|| panic!("no {key}: {found}"));
    Verdict {
        digest: needed("digest"),
        complaints: needed("complaints"),
        refusal: text("refusal"),
    }
}
