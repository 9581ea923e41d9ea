//! What can go wrong with a tree.

use storage::{Oid, Severity, StorageError};
use zodb::{ClassName, ZodbError};

use crate::refusal::{Refusal, Unmerged};

/// An error of reading or changing a tree, a bucket or a set.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The object is none of the family.
    #[error("object {oid} is a {class}, no BTree, bucket or set that is known")]
    Class {
        /// The object.
        oid: Oid,
        /// Its class.
        class: ClassName,
    },
    /// There is no such class in the family.
    #[error("{0} is no BTree, bucket or set that is known")]
    UnknownClass(ClassName),
    /// A key or value of a kind that the tree does not hold (Python's `TypeError`).
    #[error("{what} must be {expected}, not {found}")]
    Kind {
        /// "the key" or "the value".
        what: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Keys that Python does not compare with one another (its `TypeError`).
    #[error("the key cannot be compared with those that are there")]
    NotComparable,
    /// Keys whose order only their class knows.
    #[error(
        "the order of the keys is known to their class alone: they can be iterated, but not looked up"
    )]
    UnknownOrder,
    /// A key that has the order of its address in memory (Python's `TypeError`).
    #[error("the key is {found}, which has no order of its own")]
    DefaultComparison {
        /// What it is.
        found: &'static str,
    },
    /// A set was asked to do what takes values, or the other way round.
    #[error("{class} has no {operation}")]
    NotSupported {
        /// The class.
        class: ClassName,
        /// What was asked for.
        operation: &'static str,
    },
    /// Trees that are put together, and do not fit.
    #[error("a {class} and a {other} are not put together: they are of different families")]
    OtherFamily {
        /// The class of the one.
        class: ClassName,
        /// The class of the other.
        other: ClassName,
    },
    /// A node is not what the tree needs there.
    #[error("the tree is damaged at object {oid}: {what}")]
    Damaged {
        /// The object.
        oid: Oid,
        /// What is wrong.
        what: &'static str,
    },
    /// A change failed halfway.
    #[error("an earlier change failed halfway: open the tree again; nothing of it was saved")]
    Torn,
    /// An object could not be had.
    #[error(transparent)]
    Zodb(#[from] ZodbError),
}

impl TreeError {
    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Zodb(error) => error.severity(),
            _ => Severity::Refuse,
        }
    }
}

impl From<StorageError> for TreeError {
    fn from(error: StorageError) -> Self {
        Self::Zodb(error.into())
    }
}

/// Of a comparison.
impl From<Unmerged> for TreeError {
    fn from(error: Unmerged) -> Self {
        match error {
            Unmerged::Refused(Refusal::NotComparable) => Self::NotComparable,
            _ => Self::UnknownOrder,
        }
    }
}
