//! Savepoints: what a transaction goes back to without giving up all it did.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::Oid;

use crate::connection::Change;

/// A moment in the course of a transaction, made by
/// [`Connection::savepoint`](crate::Connection::savepoint). It stays good when the transaction goes
/// back to it, or to a later one; going back to an earlier one ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Savepoint(u64);

/// What changes replaced, newest last, since the first savepoint.
///
/// A savepoint costs nothing by itself; each change after it keeps what was there before.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    replaced: Vec<(Oid, Option<Change>)>,
    /// The savepoints that are still good, oldest first, with the length of the list then.
    marks: Vec<(Savepoint, usize)>,
}

impl Journal {
    pub(crate) fn mark(&mut self) -> Savepoint {
        // Of all connections together, so that none takes another's for its own.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let savepoint = Savepoint(NEXT.fetch_add(1, Ordering::Relaxed));
        self.marks.push((savepoint, self.replaced.len()));
        savepoint
    }

    /// Takes down what a change replaces.
    pub(crate) fn note(&mut self, oid: Oid, replaced: Option<Change>) {
        if !self.marks.is_empty() {
            self.replaced.push((oid, replaced));
        }
    }

    /// Brings the changes back to what they were at the savepoint; false where it is none of these.
    pub(crate) fn roll_back(
        &mut self,
        savepoint: Savepoint,
        changes: &mut BTreeMap<Oid, Change>,
    ) -> bool {
        let mark = self.marks.iter().position(|(known, _)| *known == savepoint);
        let Some(mark) = mark else {
            return false;
        };
        let length = self.marks[mark].1;
        for (oid, before) in self.replaced.drain(length..).rev() {
            match before {
                Some(change) => changes.insert(oid, change),
                None => changes.remove(&oid),
            };
        }
        self.marks.truncate(mark + 1);
        true
    }
}
