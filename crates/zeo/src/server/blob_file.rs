//! The files of blobs that clients send, on their way to the vote.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use storage::StorageError;
use vfs::{Disk, File, OpenMode, RealDisk, SequentialReader, SequentialWriter};

/// A file that a client sends piece by piece, or has left in the directory that it shares with the
/// server. It is there for every vote of its transaction, and is removed when nobody knows it any more.
pub(super) struct BlobFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Open while pieces come.
    file: Option<Arc<dyn File>>,
    length: u64,
    /// Why it is not whole; the vote tells.
    failure: Option<StorageError>,
}

impl BlobFile {
    /// A file that is there, or will be.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::default(),
        }
    }

    /// Makes it, empty.
    pub(super) fn start(&self) {
        let mut state = self.state.lock();
        match RealDisk.open(&self.path, OpenMode::Truncate) {
            Ok(file) => state.file = Some(file),
            Err(error) => state.failure = Some(StorageError::io(&self.path, "make", error)),
        }
    }

    /// Writes the next piece.
    pub(super) fn append(&self, piece: &[u8]) {
        let mut state = self.state.lock();
        if state.failure.is_some() {
            return;
        }
        let offset = state.length;
        let written = match &state.file {
            Some(file) => file.write_at(piece, offset),
            None => Err(io::Error::other("it was not made")),
        };
        match written {
            Ok(()) => state.length += piece.len() as u64,
            Err(error) => {
                state.failure = Some(StorageError::io(&self.path, "write", error));
                state.file = None;
            }
        }
    }

    /// Closes it: nothing more comes.
    pub(super) fn end(&self) {
        self.state.lock().file = None;
    }

    /// Gives the same data a second name, which belongs to the caller: a vote that fails, and maybe
    /// comes again, has used up its own. A copy, where the file system has one name for a file.
    pub(super) fn name_again(&self, name: PathBuf) -> Result<PathBuf, StorageError> {
        if let Some(failure) = &self.state.lock().failure {
            return Err(failure.clone());
        }
        let named = match RealDisk.link(&self.path, &name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.copy(&name),
            result => result,
        };
        named.map_err(|error| StorageError::io(&self.path, "take", error))?;
        Ok(name)
    }

    fn copy(&self, name: &Path) -> io::Result<()> {
        let source = RealDisk.open(&self.path, OpenMode::Read)?;
        let target = RealDisk.open(name, OpenMode::Truncate)?;
        let mut reader = SequentialReader::new(source, 0);
        let writer = SequentialWriter::new(target, 0);
        let mut writer = io::BufWriter::with_capacity(COPY_BYTES, writer);
        let copied = io::copy(&mut reader, &mut writer).and_then(|_| writer.flush());
        copied.inspect_err(|_| {
            RealDisk.remove(name).ok();
        })
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        match RealDisk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "the file of a blob stays until the next start");
            }
            _ => {}
        }
    }
}

const COPY_BYTES: usize = 1 << 20;
