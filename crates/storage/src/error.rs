//! What can go wrong in a storage, and what a caller may do about it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Oid, Tid, UndoObstacle, UndoRefusal};

/// What a caller does with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The same work may succeed when done again on a fresh snapshot, or a little later.
    Retry,
    /// This request cannot be served; the storage is well.
    Refuse,
    /// The storage itself is in trouble: somebody has to look.
    Fault,
}

/// An error of reading or preparing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The object does not exist, or its creation was undone (`POSKeyError`).
    #[error("object {oid} does not exist")]
    NotFound {
        /// The object asked for.
        oid: Oid,
    },
    /// A write on a storage opened for reading.
    #[error("the storage is read-only")]
    ReadOnly,
    /// The storage is out of reach and stayed so for the wait limit.
    #[error("the storage server cannot be reached (waited {waited:?})")]
    Disconnected {
        /// How long the caller waited; zero where the connection broke in the middle of a commit,
        /// so that the work may be done again at once.
        waited: Duration,
    },
    /// An earlier write or sync failed: nothing is accepted until the storage is reopened.
    #[error("an earlier write failed ({cause}); reopen the storage after the disk is mended")]
    Poisoned {
        /// The failure that poisoned it.
        cause: String,
    },
    /// Bytes on disk break the format.
    #[error("{path}: damaged at offset {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the broken structure begins.
        offset: u64,
        /// What was expected and found.
        what: String,
    },
    /// The operating system refused an operation.
    #[error("{path}: cannot {operation}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done, as a verb: "open", "write".
        operation: &'static str,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// Another process uses the storage.
    #[error("{path}: in use by another process{}; stop it first", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process id written in it, where readable.
        pid: Option<u32>,
    },
    /// Something is larger than its limit.
    #[error("{what} of {found} is over the limit of {max}")]
    Limit {
        /// What has the limit.
        what: &'static str,
        /// What was met.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// A transaction of another storage is to be copied behind one with a later id.
    #[error("transaction {tid} is not later than the last one here, {last}")]
    NotLater {
        /// The transaction to be copied.
        tid: Tid,
        /// The last one here.
        last: Tid,
    },
    /// A storage server refused with an error that has no kind of its own here.
    #[error("the storage server refused: {class}: {detail}")]
    Remote {
        /// The Python class name of the error.
        class: String,
        /// Its arguments, as text.
        detail: String,
    },
    /// The storage does not offer this operation.
    #[error("this storage does not support {operation}")]
    Unsupported {
        /// What was asked for.
        operation: &'static str,
    },
}

impl StorageError {
    /// Names the operation and the file of a system error.
    pub fn io(path: impl Into<PathBuf>, operation: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            operation,
            source: Arc::new(source),
        }
    }

    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Disconnected { .. } => Severity::Retry,
            Self::NotFound { .. }
            | Self::ReadOnly
            | Self::Limit { .. }
            | Self::NotLater { .. }
            | Self::Remote { .. }
            | Self::Unsupported { .. } => Severity::Refuse,
            Self::Poisoned { .. }
            | Self::Corrupt { .. }
            | Self::Io { .. }
            | Self::Locked { .. } => Severity::Fault,
        }
    }
}

/// Two transactions changed the same object: the base that one of them read is no longer current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The object.
    pub oid: Oid,
    /// The transaction that is current now.
    pub committed: Tid,
    /// The transaction that the refused change was based on.
    pub base: Tid,
    /// Why the two cannot be merged, where that was found out by one who knows the object's class;
    /// nothing where a client that has the class might merge them.
    pub refusal: Option<&'static str>,
}

/// An error of committing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Objects were changed by somebody else since they were read. Nothing was written.
    #[error("conflict: object {} was changed in transaction {} after it was read at {}", .0[0].oid, .0[0].committed, .0[0].base)]
    Conflict(Vec<Conflict>),
    /// An object whose currency the transaction relies on was changed. Nothing was written.
    #[error("read conflict: object {} was changed in transaction {} after it was read at {}", .0.oid, .0.committed, .0.base)]
    ReadConflict(Conflict),
    /// A transaction cannot be undone at all. Nothing was written.
    #[error("transaction {tid} cannot be undone: {reason}")]
    NotUndoable {
        /// The transaction.
        tid: Tid,
        /// Why not.
        reason: UndoRefusal,
    },
    /// Objects stand in the way of an undo. Nothing was written.
    #[error("the undo is refused: {}", join(.0))]
    Undo(Vec<UndoObstacle>),
    /// The order to finish was given and its outcome never came back: the transaction may be there.
    #[error(
        "the connection to the storage server broke during finish: whether the transaction was committed is unknown"
    )]
    Unknown,
    /// Anything else; nothing was written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl CommitError {
    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Conflict(_) | Self::ReadConflict(_) => Severity::Retry,
            Self::NotUndoable { .. } | Self::Undo(_) => Severity::Refuse,
            Self::Unknown => Severity::Fault,
            Self::Storage(error) => error.severity(),
        }
    }
}

fn join(obstacles: &[UndoObstacle]) -> String {
    let texts: Vec<_> = obstacles.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
