//! Three buckets to one.
//!
//! The order of the questions is the original's (`bucket_merge`), so that each refusal has its number.

use std::cmp::Ordering;

use crate::bucket::{Bucket, Item};
use crate::compare::Comparer;
use crate::refusal::{Refusal, Unmerged};

/// What both changes made of the old bucket.
///
/// A key may be inserted, deleted, or given another value by one of them while the other leaves it
/// alone; both may give it the same value.
pub(crate) fn merge(
    old: &Bucket,
    committed: &Bucket,
    new: &Bucket,
    comparer: &Comparer<'_>,
) -> Result<Bucket, Unmerged> {
    if old.next != committed.next || old.next != new.next {
        return Err(Refusal::NextChanged.into());
    }
    if committed.items.is_empty() || new.items.is_empty() {
        return Err(Refusal::EmptyBucket.into());
    }
    let mut merge = Merge {
        comparer,
        old: Cursor::new(old),
        committed: Cursor::new(committed),
        new: Cursor::new(new),
        merged: Vec::new(),
    };
    merge.all()?;
    if merge.merged.is_empty() {
        return Err(Refusal::Emptied.into());
    }
    Ok(Bucket {
        items: merge.merged,
        next: old.next,
    })
}

struct Cursor<'a> {
    items: &'a [(Item, Item)],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn new(bucket: &'a Bucket) -> Self {
        Self {
            items: &bucket.items,
            position: 0,
        }
    }

    fn get(&self) -> Option<(Item, Item)> {
        self.items.get(self.position).copied()
    }

    fn is_at_first(&self) -> bool {
        self.position == 0
    }
}

struct Merge<'a> {
    comparer: &'a Comparer<'a>,
    old: Cursor<'a>,
    committed: Cursor<'a>,
    new: Cursor<'a>,
    merged: Vec<(Item, Item)>,
}

type Pair = (Item, Item);

impl Merge<'_> {
    fn all(&mut self) -> Result<(), Unmerged> {
        while let (Some(old), Some(committed), Some(new)) =
            (self.old.get(), self.committed.get(), self.new.get())
        {
            self.three(old, committed, new)?;
        }
        while let (Some(committed), Some(new)) = (self.committed.get(), self.new.get()) {
            match self.keys(committed, new)? {
                Ordering::Equal => return Err(Refusal::SameKeyAtEnd.into()),
                Ordering::Greater => self.insert_new(new),
                Ordering::Less => self.insert_committed(committed),
            }
        }
        while let (Some(old), Some(committed)) = (self.old.get(), self.committed.get()) {
            match self.keys(old, committed)? {
                Ordering::Greater => self.insert_committed(committed),
                Ordering::Equal if self.same_value(old, committed)? => {
                    self.old.position += 1;
                    self.committed.position += 1;
                }
                _ => return Err(Refusal::RestOfNew.into()),
            }
        }
        while let (Some(old), Some(new)) = (self.old.get(), self.new.get()) {
            match self.keys(old, new)? {
                Ordering::Greater => self.insert_new(new),
                Ordering::Equal if self.same_value(old, new)? => {
                    self.old.position += 1;
                    self.new.position += 1;
                }
                _ => return Err(Refusal::RestOfCommitted.into()),
            }
        }
        if self.old.get().is_some() {
            return Err(Refusal::BothDeletedRest.into());
        }
        while let Some(committed) = self.committed.get() {
            self.insert_committed(committed);
        }
        while let Some(new) = self.new.get() {
            self.insert_new(new);
        }
        Ok(())
    }

    /// One step while none of them is at its end.
    fn three(&mut self, old: Pair, committed: Pair, new: Pair) -> Result<(), Unmerged> {
        let with_committed = self.keys(old, committed)?;
        let with_new = self.keys(old, new)?;
        match (with_committed, with_new) {
            (Ordering::Equal, Ordering::Equal) => self.value(old, committed, new),
            (Ordering::Equal, Ordering::Greater) => {
                self.insert_new(new);
                Ok(())
            }
            (Ordering::Equal, Ordering::Less) => {
                if !self.same_value(old, committed)? {
                    return Err(Refusal::NewDeletedCommittedChanged.into());
                }
                if self.new.is_at_first() {
                    return Err(Refusal::FirstKeyDeleted.into());
                }
                self.old.position += 1;
                self.committed.position += 1;
                Ok(())
            }
            (Ordering::Greater, Ordering::Equal) => {
                self.insert_committed(committed);
                Ok(())
            }
            (Ordering::Less, Ordering::Equal) => {
                if !self.same_value(old, new)? {
                    return Err(Refusal::CommittedDeletedNewChanged.into());
                }
                if self.committed.is_at_first() {
                    return Err(Refusal::FirstKeyDeleted.into());
                }
                self.old.position += 1;
                self.new.position += 1;
                Ok(())
            }
            (with_committed, with_new) => {
                let between = self.keys(committed, new)?;
                match (between, with_committed, with_new) {
                    (Ordering::Equal, _, _) => return Err(Refusal::SameKey.into()),
                    (Ordering::Greater, Ordering::Greater, _) => self.insert_new(new),
                    (_, Ordering::Greater, _) => self.insert_committed(committed),
                    (_, _, Ordering::Greater) => self.insert_new(new),
                    _ => return Err(Refusal::BothDeleted.into()),
                }
                Ok(())
            }
        }
    }

    /// A key that all three have.
    fn value(&mut self, old: Pair, committed: Pair, new: Pair) -> Result<(), Unmerged> {
        let pair = if self.same_value(old, committed)? {
            new
        } else if self.same_value(old, new)? {
            committed
        } else {
            return Err(Refusal::BothChangedValue.into());
        };
        self.merged.push(pair);
        self.old.position += 1;
        self.committed.position += 1;
        self.new.position += 1;
        Ok(())
    }

    fn insert_committed(&mut self, pair: Pair) {
        self.merged.push(pair);
        self.committed.position += 1;
    }

    fn insert_new(&mut self, pair: Pair) {
        self.merged.push(pair);
        self.new.position += 1;
    }

    fn keys(&self, left: Pair, right: Pair) -> Result<Ordering, Unmerged> {
        left.0.order(right.0, self.comparer)
    }

    /// The original goes on after an error here, to no avail: the error ends the merge later.
    fn same_value(&self, left: Pair, right: Pair) -> Result<bool, Unmerged> {
        Ok(left.1.order(right.1, self.comparer)?.is_eq())
    }
}
