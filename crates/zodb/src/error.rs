//! What can go wrong with objects and transactions.

use std::collections::BTreeMap;

use pickle::{InflateError, UnpickleError, Value};
use storage::{CommitError, Oid, Severity, StorageError, Tid};

use crate::{ClassName, Object};

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
    /// A change through a connection that shows the past.
    #[error(
        "the connection shows the database as it was once, and only reads; open another to change it"
    )]
    Historical,
    /// A snapshot of what is still to come.
    #[error("there is no transaction {tid} yet; the last one is {last}")]
    Future {
        /// The transaction asked for.
        tid: Tid,
        /// The last one there is.
        last: Tid,
    },
    /// Going back to a savepoint that is none here.
    #[error("the savepoint belongs to another connection, or to what was rolled back")]
    Savepoint,
    /// An object that is no blob, where one was asked for.
    #[error("object {oid} is a {class} and no blob")]
    NotABlob {
        /// The object.
        oid: Oid,
        /// Its class.
        class: ClassName,
    },
    /// A blob was to be stored as a mere record.
    #[error(
        "object {oid} is a blob, and there are no data for it: `add_blob` and `put_blob` store one"
    )]
    BlobWithoutData {
        /// The object.
        oid: Oid,
    },
    /// No database of that name is at hand.
    #[error("no database is called {name:?} here")]
    UnknownDatabase {
        /// The name.
        name: String,
    },
    /// The storage could not deliver; an absent object is [`StorageError::NotFound`].
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ZodbError {
    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Undecodable { .. }
            | Self::Historical
            | Self::Future { .. }
            | Self::Savepoint
            | Self::NotABlob { .. }
            | Self::BlobWithoutData { .. }
            | Self::UnknownDatabase { .. } => Severity::Refuse,
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
    /// It is compressed, and damaged.
    #[error(transparent)]
    Compressed(#[from] InflateError),
    /// It refers to something in a way that is not known.
    #[error("a persistent id of unknown form")]
    Reference,
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

/// Why [`Session::commit`](crate::Session::commit) did not commit, or not everywhere.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TogetherError {
    /// One of the databases refused: nothing was written in any of them.
    #[error("database {database:?}: {source}")]
    Refused {
        /// The name of the database.
        database: String,
        /// Why.
        source: CommitError,
    },
    /// All had agreed, and then one failed.
    #[error(
        "database {database:?} failed after all had agreed ({source}); \
         the transaction is written in {} of them: compare the databases",
        .finished.len()
    )]
    Torn {
        /// The name of the database.
        database: String,
        /// How it failed.
        source: CommitError,
        /// Where it is written, and as which transaction.
        finished: BTreeMap<String, Tid>,
    },
}

/// An error of looking at an object as a type of one's own, or at a container.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The object is of another class.
    #[error("object {oid} is a {found} and no {expected}")]
    Class {
        /// The object.
        oid: Oid,
        /// The class asked for.
        expected: ClassName,
        /// Its class.
        found: ClassName,
    },
    /// A part of its state is not what the class has.
    #[error("object {oid}, a {class}: {name:?} is {found}, and {expected} was expected")]
    Field {
        /// The object.
        oid: Oid,
        /// Its class.
        class: ClassName,
        /// The attribute, key or index.
        name: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The object could not be had.
    #[error(transparent)]
    Zodb(#[from] ZodbError),
}

impl ViewError {
    /// That a part of an object's state is not what its class has; nothing found where it is missing.
    pub fn field(
        object: &Object,
        name: &str,
        expected: &'static str,
        found: Option<Value<'_>>,
    ) -> Self {
        crate::view::field(object, name, expected, found)
    }

    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Class { .. } | Self::Field { .. } => Severity::Refuse,
            Self::Zodb(error) => error.severity(),
        }
    }
}

impl From<StorageError> for ViewError {
    fn from(error: StorageError) -> Self {
        Self::Zodb(error.into())
    }
}
