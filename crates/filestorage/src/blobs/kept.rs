//! The blobs of a Data.fs.

use std::path::{Path, PathBuf};

use storage::{Blobs, Oid, Storage, StorageError, Tid};

use super::{BlobDirectory, Needs};
use crate::file_storage::FileStorage;
use crate::format::Offset;

impl FileStorage {
    /// The directory of blobs, where the storage was opened with one.
    pub fn blob_directory(&self) -> Option<&BlobDirectory> {
        self.blobs.as_deref()
    }

    /// Takes away what a crash has left in the directory of blobs.
    pub(crate) fn clear_blobs(&self) -> Result<(), StorageError> {
        match &self.blobs {
            Some(blobs) if !self.read_only => {
                blobs.clear_leftovers(self)?;
                blobs.remove_listed(self).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn kept_blobs(&self) -> &BlobDirectory {
        self.blob_directory()
            .expect("the capability is given only with a directory")
    }
}

impl Blobs for FileStorage {
    fn load_blob(&self, oid: Oid, tid: Tid) -> Result<PathBuf, StorageError> {
        let path = self.kept_blobs().path(oid, tid);
        match self.disk.exists(&path) {
            Ok(true) => Ok(path),
            Ok(false) => Err(StorageError::NotFound { oid }),
            Err(error) => Err(StorageError::io(path, "look for", error)),
        }
    }

    fn staging_directory(&self) -> &Path {
        self.kept_blobs().temporary()
    }

    fn staging_file(&self) -> PathBuf {
        self.kept_blobs().temporary_file()
    }

    fn stage_copy(&self, from: &Path) -> Result<PathBuf, StorageError> {
        let staged = self.staging_file();
        self.kept_blobs().copy_of(from, &staged)?;
        Ok(staged)
    }

    fn shared_file(&self, oid: Oid, name: &str) -> Option<PathBuf> {
        Some(self.kept_blobs().directory_of(oid).join(name))
    }
}

impl Needs for FileStorage {
    fn has_object(&self, oid: Oid) -> Result<bool, StorageError> {
        match self.generation().locate(oid) {
            Ok(_) => Ok(true),
            Err(StorageError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A record that refers to an older one is undone by copying that one's blob: so both are
    /// needed, even where the older one is no longer in the chain of previous records.
    fn needs(&self, oid: Oid, tid: Tid) -> Result<bool, StorageError> {
        let generation = self.generation();
        let log = &generation.log;
        let (mut at, end) = match generation.locate(oid) {
            Ok(place) => place,
            Err(StorageError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        loop {
            let page = log.page(at, oid, end)?;
            let header = &page.header;
            if header.tid <= tid {
                return Ok(header.tid == tid);
            }
            let mut from = at;
            let mut target = log.back_pointer(&page)?.and_then(Offset::some);
            while let Some(next) = target.filter(|next| *next < from) {
                let page = log.page(next, oid, from)?;
                if page.header.tid == tid {
                    return Ok(true);
                }
                from = next;
                target = log.back_pointer(&page)?.and_then(Offset::some);
            }
            match header.previous.some() {
                Some(previous) => at = previous,
                None => return Ok(false),
            }
        }
    }

    fn last_tid(&self) -> Tid {
        Storage::last_tid(self)
    }
}
