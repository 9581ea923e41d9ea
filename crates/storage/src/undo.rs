//! Taking transactions back.

use std::fmt;

use crate::{Oid, StorageError, Tid, TransactionMeta};

/// The capability to undo, reached by [`Storage::undo`](crate::Storage::undo). The undo itself is
/// part of a transaction: [`Commit::undo`](crate::Commit::undo).
pub trait Undo: Send + Sync {
    /// The transactions that may be undone and that `is_wanted` names, newest first: those from the
    /// place `first` on and before the place `last`, counted from 0 among the wanted ones. The first
    /// transaction that a pack wrote ends the list, as nothing older can be undone.
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        is_wanted: &mut dyn FnMut(&UndoEntry) -> bool,
    ) -> Result<Vec<UndoEntry>, StorageError>;
}

/// A transaction that may be undone. Whether it can be is known only when it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoEntry {
    /// Its id.
    pub tid: Tid,
    /// What it says of itself.
    pub meta: TransactionMeta,
    /// The length of the whole transaction, as its header has it.
    pub bytes: u64,
}

/// Why a transaction as a whole cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UndoRefusal {
    /// There is no such transaction; a pack may have removed it.
    Unknown,
    /// A pack wrote it: the records it replaced are gone.
    Packed,
    /// It is in the base of an overlay, which is only read.
    Base,
    /// A ZODB of long ago has undone it already, in its own way.
    Undone,
}

impl fmt::Display for UndoRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it does not exist (a pack may have removed it)",
            Self::Packed => "a pack has removed what was before it",
            Self::Base => "it belongs to the base of an overlay, which is only read",
            Self::Undone => "it was undone already",
        })
    }
}

/// An object that stands in the way of an undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndoObstacle {
    /// The object.
    pub oid: Oid,
    /// What is the matter with it.
    pub reason: UndoReason,
}

impl fmt::Display for UndoObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}: {}", self.oid, self.reason)
    }
}

/// Why the change of one object cannot be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UndoReason {
    /// A later transaction changed the object to something else, and nobody could merge that.
    ChangedLater,
    /// The transaction created the object, and a later one changed it.
    CreatedAndChangedLater,
    /// The object does not exist where its data would be compared or restored.
    Removed,
    /// The object is a blob, and the file with its older data is not there, or the storage was opened
    /// without the directory of blobs.
    BlobFileMissing,
}

impl fmt::Display for UndoReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChangedLater => "its data were modified by a later transaction",
            Self::CreatedAndChangedLater => {
                "it was created by the transaction and changed by a later one"
            }
            Self::Removed => "it was removed by another transaction",
            Self::BlobFileMissing => "it is a blob, and the file of its older data is missing",
        })
    }
}
