//! Files on their way to the server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use storage::StorageError;
use vfs::{Disk, RealDisk};

/// A file of ours, which is removed when nobody needs it any more.
pub(in crate::client) struct StagedFile {
    path: PathBuf,
    is_kept: bool,
}

/// What names in `tmp/` begin with that are ours.
const OURS: &str = "client-";
/// A file of ours that is older was left behind by somebody who was stopped.
const AGE_MAX: Duration = Duration::from_secs(2 * 24 * 3600);

/// A name that no other process, and nobody in this one, gives.
pub(super) fn name(number: u64) -> String {
    format!(
        "{OURS}{}-{:x}-{number}",
        std::process::id(),
        fastrand::u64(..)
    )
}

/// Removes what others have left behind.
pub(super) fn remove_old(temporary: &Path) {
    let Ok(entries) = fs::read_dir(temporary) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(OURS);
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let age = written.map(|written| super::now().duration_since(written).unwrap_or_default());
        if is_ours && age.is_ok_and(|age| age > AGE_MAX) {
            let _somebody_else_may_do_it = fs::remove_file(entry.path());
        }
    }
}

impl StagedFile {
    pub(in crate::client) fn new(path: PathBuf) -> Self {
        Self {
            path,
            is_kept: false,
        }
    }

    pub(in crate::client) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length(&self) -> Result<u64, StorageError> {
        let metadata = fs::metadata(&self.path);
        let metadata = metadata.map_err(|error| StorageError::io(&self.path, "look at", error));
        Ok(metadata?.len())
    }

    /// Gives it another name, on another file system if need be.
    pub(super) fn move_to(&mut self, path: PathBuf) -> Result<(), StorageError> {
        match fs::rename(&self.path, &path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let copied = fs::copy(&self.path, &path).and_then(|_| fs::remove_file(&self.path));
                if let Err(error) = copied {
                    let _it_may_not_be_there = fs::remove_file(&path);
                    return Err(StorageError::io(path, "copy to", error));
                }
            }
            Err(error) => return Err(StorageError::io(path, "rename to", error)),
            Ok(()) => {}
        }
        self.path = path;
        Ok(())
    }

    /// Gives it its name for good.
    pub(super) fn keep_as(mut self, path: PathBuf) -> Result<(), StorageError> {
        let made = RealDisk.make_read_only(&self.path);
        made.map_err(|error| StorageError::io(&self.path, "protect", error))?;
        self.move_to(path)?;
        self.leave();
        Ok(())
    }

    /// Leaves it where it is: somebody else may need it.
    pub(in crate::client) fn leave(mut self) {
        self.is_kept = true;
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.is_kept {
            let _the_server_may_have_taken_it = fs::remove_file(&self.path);
        }
    }
}
