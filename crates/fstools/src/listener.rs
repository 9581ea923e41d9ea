//! Who hears what a tool finds, and how a tool ends.

use std::io;
use std::path::PathBuf;

use storage::{CommitError, Oid, StorageError};

use crate::{CopyError, ImportError, Line, PlaceError, RepositoryError};

/// Hears what a tool finds, as it finds it.
pub trait Listener {
    /// Something was found. An error ends the tool with [`ToolError::Output`].
    ///
    /// # Errors
    /// What cannot be told any more.
    fn tell(&mut self, line: Line) -> io::Result<()>;

    /// From now on offsets are those of a file of so many bytes.
    fn begins(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// From now on what is reached is not an offset but a number of things, out of so many where that
    /// is known.
    fn counts(&mut self, things: &'static str, total: Option<u64>) {
        let _ = (things, total);
    }

    /// The file was read up to that offset. A tool that goes through it again begins again.
    fn reached(&mut self, offset: u64) {
        let _ = offset;
    }
}

/// What a tool that looked at everything says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Nothing is wrong.
    Sound,
    /// The listener was told what is wrong.
    Wrong,
}

impl Verdict {
    /// Sound where both are.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Sound { other } else { self }
    }

    pub(crate) fn of(wrong: u64) -> Self {
        if wrong == 0 { Self::Sound } else { Self::Wrong }
    }
}

/// Why a tool could not look at everything.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The file cannot be read, or not used in the way the tool needs it.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A transaction was not committed. Nothing was written, unless the error says otherwise.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What would be written is there.
    #[error("{}: it is there; nothing is written over it", .0.display())]
    Exists(PathBuf),
    /// A directory of backups cannot be used in the way that is asked for.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// There are blobs, and nothing says where their files are. Leaving them out without a word would
    /// lose them.
    #[error("{}: object {oid} is a blob, and there is no directory \"blobs\" with its file beside: --blobs DIR names it, --no-blobs does without", .path.display())]
    BlobsUnknown {
        /// The Data.fs.
        path: PathBuf,
        /// One of its blobs.
        oid: Oid,
    },
    /// The target of a copy is something else than it should be.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A path names no object.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// An export file cannot be imported. Nothing was committed.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The listener hears nothing any more.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}
