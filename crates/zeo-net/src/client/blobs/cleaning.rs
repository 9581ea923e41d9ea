//! Making room in a cache of blobs: what was used longest ago goes first.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use storage::StorageError;
use vfs::{Disk, LockError, RealDisk};

use super::layout::{LOCK, SUFFIX, is_cache};

/// Held by whoever cleans, of all processes.
const CHECK_LOCK: &str = "check_size.lock";
/// Made by whoever wanted to clean meanwhile, so that it is looked at once more.
const ATTEMPT: &str = "check_size.attempt";

struct Entry {
    used: SystemTime,
    path: PathBuf,
    length: u64,
}

/// Removes files until the rest has at most so many bytes. A file in a directory that somebody locks
/// stays.
pub(super) fn clean(root: &Path, target: u64) -> Result<(), StorageError> {
    if !is_cache(root)? {
        let error = io::Error::other("it is no cache of blobs any more");
        return Err(StorageError::io(root, "clean", error));
    }
    let attempt = root.join(ATTEMPT);
    let lock = root.join(CHECK_LOCK);
    let _lock = match RealDisk.lock(&lock) {
        Ok(held) => held,
        Err(LockError::Held { .. }) => {
            return File::create(&attempt)
                .map(drop)
                .map_err(|error| StorageError::io(attempt, "make", error));
        }
        Err(LockError::Io(error)) => return Err(StorageError::io(lock, "lock", error)),
    };
    loop {
        let _nobody_tried = fs::remove_file(&attempt);
        let mut entries =
            entries(root).map_err(|error| StorageError::io(root, "look through", error))?;
        entries
            .sort_unstable_by(|one, other| (one.used, &one.path).cmp(&(other.used, &other.path)));
        let mut bytes: u64 = entries.iter().map(|entry| entry.length).sum();
        for entry in entries {
            if bytes <= target {
                break;
            }
            if remove(&entry.path) {
                bytes -= entry.length;
            }
        }
        if !attempt.exists() {
            return Ok(());
        }
    }
}

/// Whether it is gone.
fn remove(path: &Path) -> bool {
    let Some(directory) = path.parent() else {
        return false;
    };
    let Ok(_lock) = RealDisk.lock(&directory.join(LOCK)) else {
        return false;
    };
    fs::remove_file(path).is_ok()
}

fn entries(root: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for bucket in fs::read_dir(root)? {
        let bucket = bucket?;
        let name = bucket.file_name();
        let is_bucket = name
            .to_str()
            .is_some_and(|name| name.parse::<u16>().is_ok());
        if !is_bucket || !bucket.file_type()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(bucket.path())? {
            let path = entry?.path();
            let is_blob = path.to_str().is_some_and(|path| path.ends_with(SUFFIX));
            // Another process may have removed it.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if is_blob && metadata.is_file() {
                found.push(Entry {
                    used: metadata.accessed()?,
                    length: metadata.len(),
                    path,
                });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::time::Duration;

    use super::super::layout::prepare_cache;
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_unless_somebody_locks_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("cache");
        prepare_cache(&root).unwrap();
        let file = |bucket: u64, age: u64| {
            let directory = root.join(bucket.to_string());
            fs::create_dir_all(&directory).unwrap();
            let path = directory.join(format!("0.{age:016x}.blob"));
            fs::write(&path, [7; 1000]).unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age);
            let times = FileTimes::new().set_accessed(used);
            File::open(&path).unwrap().set_times(times).unwrap();
            path
        };
        let files = [
            file(1, 50),
            file(2, 40),
            file(3, 30),
            file(4, 20),
            file(5, 10),
        ];
        fs::write(root.join("1/letter"), [7; 1000]).unwrap();
        let _held = RealDisk.lock(&root.join("2/.lock")).unwrap();
        clean(&root, 3000).unwrap();
        let left = files.map(|path| path.exists());
        assert_eq!(left, [false, true, false, true, true]);
        assert!(root.join("1/letter").exists());
        // Whoever comes while another cleans leaves a word.
        let held = RealDisk.lock(&root.join(CHECK_LOCK)).unwrap();
        clean(&root, 0).unwrap();
        assert!(
            root.join(ATTEMPT).exists()
                && root.join("5").join(format!("0.{:016x}.blob", 10)).exists()
        );
        drop(held);
        clean(&root, 2000).unwrap();
        assert!(!root.join(ATTEMPT).exists());
        fs::write(root.join(".layout"), "bushy").unwrap();
        assert!(clean(&root, 0).is_err());
    }
}
