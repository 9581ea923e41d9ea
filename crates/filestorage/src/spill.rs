//! Records of a transaction that is being filled: in memory, or, when they are many, in a file that has
//! no name.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::{Record, StorageError};
use vfs::{File, OpenMode};

use crate::compress;
use crate::file_storage::FileStorage;
use crate::open::with_suffix;
use crate::pack;

/// The records of one transaction. The first ones stay in memory.
#[derive(Default)]
pub(crate) struct Spill {
    held_bytes: u64,
    file: Option<Arc<dyn File>>,
    end: u64,
}

/// A record as it will be written, compressed or not.
#[derive(Clone)]
pub(crate) enum Stored {
    Held(Record),
    Spilled {
        file: Arc<dyn File>,
        at: u64,
        length: usize,
    },
}

impl Spill {
    /// Takes a record.
    ///
    /// # Errors
    /// It would be spilled, and that is not possible.
    pub(crate) fn keep(
        &mut self,
        storage: &FileStorage,
        record: Record,
    ) -> Result<Stored, StorageError> {
        let record = storage.compression.pack(record);
        let length = record.len();
        if self.held_bytes + length as u64 <= HELD_BYTES_MAX {
            self.held_bytes += length as u64;
            return Ok(Stored::Held(record));
        }
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(nameless(storage)?),
        };
        let at = self.end;
        file.write_at(&record, at).map_err(|error| {
            StorageError::io(
                storage.path.as_path(),
                "write the spilled records of",
                error,
            )
        })?;
        self.end += length as u64;
        Ok(Stored::Spilled {
            file: Arc::clone(file),
            at,
            length,
        })
    }
}

/// A file beside the Data.fs. It has a name for a moment; one that a crash leaves is emptied by the next
/// that has the same name.
pub(crate) fn nameless(storage: &FileStorage) -> Result<Arc<dyn File>, StorageError> {
    let number = storage.spills.fetch_add(1, Ordering::Relaxed);
    let path = with_suffix(&storage.path, &format!(".spill{number}"));
    let file = storage
        .disk
        .open(&path, OpenMode::Truncate)
        .map_err(|error| StorageError::io(path.as_path(), "open", error))?;
    pack::remove(&*storage.disk, &path)?;
    Ok(file)
}

/// How many spill files a storage has made: the number of the next one.
pub(crate) type Spills = AtomicU64;

impl Stored {
    /// How many bytes it has in the file.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Held(record) => record.len() as u64,
            Self::Spilled { length, .. } => *length as u64,
        }
    }

    /// The record as it was stored.
    pub(crate) fn load(&self) -> io::Result<Record> {
        let record = match self {
            Self::Held(record) => record.clone(),
            Self::Spilled { file, at, length } => {
                let mut bytes = vec![0; *length];
                file.read_exact_at(&mut bytes, *at)?;
                Record::from(bytes)
            }
        };
        compress::unpack(record).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

/// How much of a transaction is in memory; what is stored behind that is spilled.
const HELD_BYTES_MAX: u64 = 16 << 20;
