//! What can go wrong with objects and transactions.

use pickle::UnpickleError;
use storage::{CommitError, Oid, Severity, StorageError, Tid};

/// An error of loading or changing objects.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZodbError {
    /// The record of one object makes no sense; every other object is untouched by this.
    #[error("object {oid}, written in transaction {tid}, cannot be decoded: {source}")]
    Undecodable {
        /// The object.
        oid: Oid,
        /// The transaction that wrote the record; [`Tid::ZERO`] for one that is not stored yet.
        tid: Tid,
        /// What is wrong with the record.
        source: RecordError,
    },
    /// The storage could not deliver; an absent object is [`StorageError::NotFound`].
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ZodbError {
    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Undecodable { .. } => Severity::Refuse,
            Self::Storage(error) => error.severity(),
        }
    }

    /// Whether the object does not exist in the snapshot.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Storage(StorageError::NotFound { .. }))
    }
}

/// What is wrong with one record.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// One of its pickles is damaged or over a limit.
    #[error(transparent)]
    Pickle(#[from] UnpickleError),
    /// It is not two pickles.
    #[error("a record is two pickles, class and state, and this has {found}")]
    Roots {
        /// How many pickles there are.
        found: usize,
    },
    /// The first pickle names no class.
    #[error(
        "the first pickle is no class, no (class, arguments) and no ((module, name), arguments)"
    )]
    Class,
}

/// Why [`Database::transact`](crate::Database::transact) gave up.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransactError<E> {
    /// The work itself failed. Nothing was committed.
    #[error(transparent)]
    Work(E),
    /// The last attempt to commit failed.
    #[error(transparent)]
    Commit(CommitError),
}
