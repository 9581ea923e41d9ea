//! A new file that gets its name when it is whole, and never the name of another one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::StorageError;
use vfs::{Disk, File, OpenMode};

use crate::listener::ToolError;

/// A file that is written as `<path>.part`. Dropped before [`NewFile::publish`] it leaves nothing.
pub(crate) struct NewFile<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    draft: PathBuf,
    file: Arc<dyn File>,
}

impl<'a> NewFile<'a> {
    /// Nothing is written where either name is taken.
    pub(crate) fn create(disk: &'a dyn Disk, path: &'a Path) -> Result<Self, ToolError> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let draft = PathBuf::from(draft);
        for taken in [path, &draft] {
            let exists = disk.exists(taken);
            if exists.map_err(|error| StorageError::io(taken, "look for", error))? {
                return Err(ToolError::Exists(taken.to_owned()));
            }
        }
        let file = disk
            .open(&draft, OpenMode::Truncate)
            .map_err(|error| StorageError::io(&*draft, "make", error))?;
        Ok(Self {
            disk,
            path,
            draft,
            file,
        })
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// Gives the file its name, once its bytes are on the disk. A link replaces nothing, also where
    /// somebody took the name meanwhile.
    pub(crate) fn publish(self) -> Result<(), ToolError> {
        let (disk, path) = (self.disk, self.path);
        let failed = |error| StorageError::io(path, "write", error);
        self.file.sync_data().map_err(failed)?;
        match disk.link(&self.draft, path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ToolError::Exists(path.to_owned()));
            }
            // A file system without links.
            Err(_) => {
                if disk.exists(path).map_err(failed)? {
                    return Err(ToolError::Exists(path.to_owned()));
                }
                disk.rename(&self.draft, path).map_err(failed)?;
            }
        }
        let parent = path.parent().unwrap_or(path);
        Ok(disk.sync_directory(parent).map_err(failed)?)
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        // What cannot be removed is no worse than what happened before; after a rename there is nothing.
        let _ = self.disk.remove(&self.draft);
    }
}
