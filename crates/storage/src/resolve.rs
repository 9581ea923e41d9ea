//! Merging changes that were made side by side.

use crate::{Oid, Record};

/// Merges a change with what was committed since it was begun (`_p_resolveConflict` of the
/// object's class). A storage that has one asks it before it refuses a commit or an undo.
pub trait Resolver: Send + Sync {
    /// The state with both changes in it; nothing where the two cannot be merged, or nobody here
    /// knows the class.
    fn resolve(&self, states: &ConflictingStates<'_>) -> Option<Record>;
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
