//! The `.index` made anew from the log, whatever there is of it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use storage::StorageError;
use vfs::{Disk, DiskLock};

use crate::format::{LOG_START, Offset};
use crate::index_file;
use crate::open::{lock, sync_parent, with_suffix};
use crate::survey::{Positions, Survey};

/// Holds the lock of a Data.fs while its index is made anew: no server may write or pack meanwhile.
pub struct Rebuild {
    survey: Survey,
    disk: Arc<dyn Disk>,
    _lock: Box<dyn DiskLock>,
}

impl Rebuild {
    /// Takes the lock and opens the file.
    ///
    /// # Errors
    /// [`StorageError::Locked`] while another process has the file open for writing, and as for
    /// [`Survey::open`].
    pub fn begin(path: impl AsRef<Path>, disk: Arc<dyn Disk>) -> Result<Self, StorageError> {
        let path = path.as_ref();
        // Without this a mistyped name would leave a lock file behind.
        drop(Survey::open(path, disk.clone())?);
        let lock = lock(&*disk, &with_suffix(path, ".lock"))?;
        let survey = Survey::open(path, disk.clone())?;
        Ok(Self {
            survey,
            disk,
            _lock: lock,
        })
    }

    /// The file.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Writes the `.index` in place of an older one. The positions are those of all records before
    /// `end`, which is behind a finished transaction. The checkpoint goes, as it may be what was wrong:
    /// the next open makes it anew.
    ///
    /// # Errors
    /// It cannot be written. The next open reads the whole file then.
    pub fn finish(self, positions: &Positions, end: u64) -> Result<(), StorageError> {
        let path = self.survey.path();
        self.remove(&with_suffix(path, ".zidx"))?;
        let end = Offset::new(end);
        if positions.is_empty() && end > LOG_START {
            // Beside an index without entries the original cannot open a file of empty transactions.
            self.remove(&with_suffix(path, ".index"))?;
            return sync_parent(&*self.disk, path);
        }
        index_file::save(&*self.disk, path, positions.index(), end)
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io(path, "remove", error))
            }
            _ => Ok(()),
        }
    }
}
