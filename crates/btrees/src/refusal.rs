//! Why states are not merged.

use std::fmt;

/// Why the states of a class that is known here cannot be merged: nobody can.
///
/// The first fourteen are the original's, with its numbers (the last argument of its
/// `BTreesConflictError`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// One of the changes split a bucket, or removed the one behind it.
    NextChanged,
    /// Both changed the value of a key.
    BothChangedValue,
    /// The new state lost a key whose value the committed one changed.
    NewDeletedCommittedChanged,
    /// The committed state lost a key whose value the new one changed.
    CommittedDeletedNewChanged,
    /// Both inserted, or deleted, the same key.
    SameKey,
    /// Both deleted a key.
    BothDeleted,
    /// Both inserted a key behind the last one.
    SameKeyAtEnd,
    /// Behind the last key of the new state, both deleted one, or one changed what the other deleted.
    RestOfNew,
    /// The same, behind the last key of the committed state.
    RestOfCommitted,
    /// Both deleted the last keys.
    BothDeletedRest,
    /// Together they deleted all keys, and the bucket would have to leave its tree.
    Emptied,
    /// The tree has more than one bucket.
    SeveralBuckets,
    /// One of the changes emptied the bucket, which has left its tree.
    EmptyBucket,
    /// A first key was deleted, which the node above may have to know.
    FirstKeyDeleted,
    /// Values that Python does not compare: of different kinds, or references to different objects.
    NotComparable,
    /// A state, or a part of it, is none that the class has.
    WrongState,
    /// The state of a counter is no number.
    NoNumber,
    /// The class has no rule for merging.
    NoRule,
}

impl Refusal {
    /// The original's number, where it has one.
    pub fn code(self) -> Option<u8> {
        let at = ORIGINAL.iter().position(|reason| *reason == self)?;
        u8::try_from(at).ok()
    }

    /// The reason in words, and the original's number.
    pub fn text(self) -> &'static str {
        match self {
            Self::NextChanged => "a bucket was split, or the one behind it removed (0)",
            Self::BothChangedValue => "both changed the value of a key (1)",
            Self::NewDeletedCommittedChanged => {
                "a key was deleted, and its value changed before (2)"
            }
            Self::CommittedDeletedNewChanged => {
                "a value was changed, and its key deleted before (3)"
            }
            Self::SameKey => "both inserted, or deleted, the same key (4)",
            Self::BothDeleted => "both deleted the same key (5)",
            Self::SameKeyAtEnd => "both inserted the same key at the end (6)",
            Self::RestOfNew => "both deleted a key near the end, or one changed it (7)",
            Self::RestOfCommitted => "both deleted a key near the end, or one changed it (8)",
            Self::BothDeletedRest => "both deleted the last keys (9)",
            Self::Emptied => "together they deleted all keys (10)",
            Self::SeveralBuckets => "the tree has more than one bucket (11)",
            Self::EmptyBucket => "one of them emptied the bucket (12)",
            Self::FirstKeyDeleted => "the first key was deleted (13)",
            Self::NotComparable => "keys or values that Python does not compare",
            Self::WrongState => "a state that the class does not have",
            Self::NoNumber => "a counter that is no number",
            Self::NoRule => "the class has no rule for merging",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.text())
    }
}

const ORIGINAL: [Refusal; 14] = [
    Refusal::NextChanged,
    Refusal::BothChangedValue,
    Refusal::NewDeletedCommittedChanged,
    Refusal::CommittedDeletedNewChanged,
    Refusal::SameKey,
    Refusal::BothDeleted,
    Refusal::SameKeyAtEnd,
    Refusal::RestOfNew,
    Refusal::RestOfCommitted,
    Refusal::BothDeletedRest,
    Refusal::Emptied,
    Refusal::SeveralBuckets,
    Refusal::EmptyBucket,
    Refusal::FirstKeyDeleted,
];

/// Why there is no merged state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmerged {
    /// Nobody can merge them.
    Refused(Refusal),
    /// It takes code that only a client has: the class is unknown, or the values are instances of
    /// others. Also where it would take too much.
    Unknown,
}

impl From<Refusal> for Unmerged {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
