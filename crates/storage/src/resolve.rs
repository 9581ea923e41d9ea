//! Merging changes that were made side by side.

use crate::{Oid, Record};

/// Merges a change with what was committed since it was begun (`_p_resolveConflict` of the
/// object's class). A storage that has one asks it before it refuses a commit or an undo.
pub trait Resolver: Send + Sync {
    /// The state with both changes in it, or why there is none.
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution;
}

/// What came of the attempt to merge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// The state with both changes in it.
    Merged(Record),
    /// The class is known here, and its rules forbid it: nobody else could do better. The text says
    /// why, for the log.
    Refused(&'static str),
    /// Nobody here knows the class, or what it takes to compare its values: the client might.
    Unknown,
}

impl Resolution {
    /// The merged state, if there is one.
    pub fn merged(self) -> Option<Record> {
        match self {
            Self::Merged(record) => Some(record),
            Self::Refused(_) | Self::Unknown => None,
        }
    }
}

/// The three states of a conflict.
#[derive(Clone, Copy, Debug)]
pub struct ConflictingStates<'a> {
    /// The object.
    pub oid: Oid,
    /// What both changes were made from. For an undo: what is to be taken back.
    pub old: &'a Record,
    /// What is current now.
    pub committed: &'a Record,
    /// What is to be stored.
    pub new: &'a Record,
}
