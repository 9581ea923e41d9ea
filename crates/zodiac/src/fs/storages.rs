//! How tools open what they work on.

use std::path::Path;
use std::sync::Arc;

use filestorage::{FileStorage, Options};
use storage::StorageError;

/// An existing file as it is now, without its lock.
pub(super) fn open_for_reading(path: &Path) -> Result<Arc<FileStorage>, StorageError> {
    let options = Options {
        create: false,
        read_only: true,
        ..Options::default()
    };
    FileStorage::open(path, options)
}

/// An existing file, with its lock.
pub(super) fn open_for_writing(path: &Path) -> Result<Arc<FileStorage>, StorageError> {
    let options = Options {
        create: false,
        ..Options::default()
    };
    FileStorage::open(path, options)
}
