//! Why a pack did not take place.

use crate::{Oid, Severity, StorageError, Tid};

/// A pack that failed. The storage is what it was, and reads and commits go on, except after
/// [`StorageError::Poisoned`] or where the error says otherwise.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// One pack at a time.
    #[error("a pack is running already")]
    Running,
    /// An object that has to be kept refers to one that does not exist. Collecting garbage in such
    /// a database could take what is still of use.
    #[error(
        "object {parent} refers to {missing}, which does not exist; nothing was packed. Mend the \
         reference, or pack without collecting garbage"
    )]
    Dangling {
        /// The object that has the reference.
        parent: Oid,
        /// The object that is not there.
        missing: Oid,
    },
    /// There are objects and no root, so that nothing would be reached.
    #[error(
        "there is no root object at the pack time; nothing was packed. Pack without collecting \
         garbage"
    )]
    NoRoot,
    /// What an object refers to cannot be found out.
    #[error(
        "the references of object {oid} in transaction {tid} cannot be read: {cause}; nothing was packed"
    )]
    Unreadable {
        /// The object.
        oid: Oid,
        /// The transaction that wrote the record.
        tid: Tid,
        /// What is wrong with the record.
        cause: String,
    },
    /// A transaction that was committed during the pack took up again what the pack had left out.
    #[error(
        "object {parent}, committed during the pack, needs {needed}, which was garbage when the pack began; nothing was packed. Pack again"
    )]
    Overtaken {
        /// The object that was committed.
        parent: Oid,
        /// The object that it refers to, or itself where an undo brought back an old revision.
        needed: Oid,
    },
    /// Somebody gave it up: [`PackOptions::cancel`](crate::PackOptions::cancel).
    #[error("the pack was given up; nothing was packed")]
    Cancelled,
    /// The storage cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl PackError {
    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Overtaken { .. } => Severity::Retry,
            Self::Running
            | Self::Dangling { .. }
            | Self::NoRoot
            | Self::Unreadable { .. }
            | Self::Cancelled => Severity::Refuse,
            Self::Storage(error) => error.severity(),
        }
    }
}
