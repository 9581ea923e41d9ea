//! Where the current record of each object is, for any number of readers while a writer changes it.
//!
//! Ids are handed out in sequence, so most of them have all their neighbours. They live in dense
//! [pages](Page) of 1024 positions of six bytes, which readers find and read without a lock. An id
//! with few neighbours (a client may store whichever ids it likes) lives in a [sorted
//! map](Sparse), where it costs some sixteen bytes and not a page. A page is made when its range has
//! more than [`SPARSE_ENTRIES_MAX`] ids, and stays.
//!
//! One thread writes at a time; a lock inside sees to that.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::vec;

use parking_lot::{Mutex, RwLock};
use storage::Oid;

use crate::format::Offset;

mod directory;
mod lazy;
mod page;
mod saved;
mod sparse;

use directory::Directory;
pub(crate) use lazy::{LazyIndex, PageWriter};
pub(crate) use saved::oid_at;
pub(crate) use sparse::CHUNK_ENTRIES_MAX;
use sparse::Sparse;

/// The atomics of a page, named here so that a test can put modelled ones in their place.
mod sync {
    pub(super) use std::hint::spin_loop;
    pub(super) use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
    pub(super) use std::thread::yield_now;
}

/// The page of the index, with its slots.
type Page = page::Page<PAGE_SLOTS>;

/// A map from object ids to offsets.
#[derive(Default)]
pub(crate) struct Index {
    directory: Directory,
    sparse: RwLock<Sparse>,
    len: AtomicU64,
    writer: Mutex<()>,
}

impl Index {
    /// Where the current record is: some value that was written for that id, and never one older
    /// than what this thread has seen before.
    pub(crate) fn get(&self, oid: Oid) -> Option<Offset> {
        let (number, slot) = split(oid);
        let dense = || self.directory.with_page(number, |page| page.get(slot));
        if let Some(position) = dense() {
            return offset(position);
        }
        let sparse = self.sparse.read();
        match sparse.get(oid) {
            Some(offset) => Some(offset),
            // Between the two looks the entry may have moved into a page. That takes the lock of
            // the map, so under the lock the page is there to be seen.
            None => offset(dense()?),
        }
    }

    /// Enters the offset, which must not be [`Offset::NONE`] and must lie below [`OFFSET_END`].
    pub(crate) fn insert(&self, oid: Oid, offset: Offset) {
        assert!(
            offset != Offset::NONE && offset < OFFSET_END,
            "an index entry points somewhere, and fits six bytes: {offset:?}"
        );
        let _writer = self.writer.lock();
        let (number, slot) = split(oid);
        let replaced = self
            .directory
            .change(number, |page| page.replace(slot, offset.number()));
        let is_new = match replaced {
            Some(old) => old == Offset::NONE.number(),
            None => self.insert_sparse(oid, offset),
        };
        if is_new {
            self.len.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether the id had no entry.
    fn insert_sparse(&self, oid: Oid, offset: Offset) -> bool {
        let (number, _) = split(oid);
        let (first, last) = (join(number, 0), join(number, PAGE_SLOTS - 1));
        let mut sparse = self.sparse.write();
        let is_new = sparse.insert(oid, offset);
        if is_new && sparse.count(first, last) > SPARSE_ENTRIES_MAX {
            let page = Page::default();
            for (oid, offset) in sparse.range_from(first).take_while(|entry| entry.0 <= last) {
                page.replace(split(oid).1, offset.number());
            }
            self.directory.publish(number, page);
            sparse.remove_range(first, last);
        }
        is_new
    }

    /// Takes the entry away, if there is one.
    pub(crate) fn remove(&self, oid: Oid) {
        let _writer = self.writer.lock();
        let (number, slot) = split(oid);
        let replaced = self
            .directory
            .change(number, |page| page.replace(slot, Offset::NONE.number()));
        let was_there = match replaced {
            Some(old) => old != Offset::NONE.number(),
            None => self.sparse.write().remove(oid),
        };
        if was_there {
            self.len.fetch_sub(1, Ordering::Release);
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    /// The largest id that has an entry.
    pub(crate) fn last_oid(&self) -> Option<Oid> {
        let sparse = self.sparse.read();
        let dense = self.directory.last(|number, page| {
            let (slot, _) = page.entries_from(0).last()?;
            Some(join(number, slot))
        });
        dense.max(sparse.last_oid())
    }

    /// The first entry whose id is not before `oid`.
    pub(crate) fn first_from(&self, oid: Oid) -> Option<(Oid, Offset)> {
        let mut cursor = Some(oid);
        while let Some(from) = cursor {
            let (found, next) = self.some_from(from, 1);
            if let Some(entry) = found.first() {
                return Some(*entry);
            }
            cursor = next;
        }
        None
    }

    /// All entries, in the order of the ids. What others change meanwhile may be seen or not.
    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter {
            index: self,
            cursor: Some(Oid::new(0)),
            found: Vec::new().into_iter(),
        }
    }

    /// Some entries from that id on, at most `max` of them and perhaps none, and where to go on.
    fn some_from(&self, from: Oid, max: usize) -> (Vec<(Oid, Offset)>, Option<Oid>) {
        let (number, slot) = split(from);
        // Nothing moves from the map into a page while this lock is held.
        let sparse = self.sparse.read();
        let next_page = self.directory.next(number);
        let before_page = next_page.map(|number| join(number, 0));
        let mut found = Vec::new();
        let entries = sparse.range_from(from);
        found.extend(
            entries
                .take_while(|entry| before_page.is_none_or(|page| entry.0 < page))
                .take(max),
        );
        if found.len() == max {
            let last = found.last().expect("max is not zero").0;
            return (found, after(last));
        }
        let Some(next_page) = next_page else {
            return (found, None);
        };
        if !found.is_empty() {
            return (found, before_page);
        }
        let first_slot = if next_page == number { slot } else { 0 };
        self.directory.with_page(next_page, |page| {
            let entries = page.entries_from(first_slot).take(max);
            found.extend(
                entries.map(|(slot, position)| (join(next_page, slot), Offset::new(position))),
            );
        });
        let cursor = match found.last() {
            Some((last, _)) if found.len() == max => after(*last),
            _ => after(join(next_page, PAGE_SLOTS - 1)),
        };
        (found, cursor)
    }

    /// How much memory the entries take, nearly.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.directory.memory_bytes() + self.sparse.read().memory_bytes()
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("len", &self.len())
            .field("memory_bytes", &self.memory_bytes())
            .finish()
    }
}

/// See [`Index::iter`].
pub(crate) struct Iter<'a> {
    index: &'a Index,
    cursor: Option<Oid>,
    found: vec::IntoIter<(Oid, Offset)>,
}

impl Iterator for Iter<'_> {
    type Item = (Oid, Offset);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.found.next() {
                return Some(entry);
            }
            let (found, cursor) = self.index.some_from(self.cursor?, PAGE_SLOTS);
            self.cursor = cursor;
            self.found = found.into_iter();
        }
    }
}

fn offset(position: u64) -> Option<Offset> {
    Offset::new(position).some()
}

/// The page of an id, and the slot in it.
fn split(oid: Oid) -> (u64, usize) {
    let number = oid.number();
    let slot = usize::try_from(number & SLOT_MASK).expect("the mask leaves ten bits");
    (number >> SLOT_BITS, slot)
}

fn join(page: u64, slot: usize) -> Oid {
    Oid::new((page << SLOT_BITS) | slot as u64)
}

fn after(oid: Oid) -> Option<Oid> {
    oid.number().checked_add(1).map(Oid::new)
}

/// Behind every offset that fits an entry: entries have six bytes, as in Python's `fsIndex`.
pub(crate) const OFFSET_END: Offset = Offset::new(1 << 48);

const SLOT_BITS: u32 = 10;
pub(crate) const PAGE_SLOTS: usize = 1 << SLOT_BITS;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
/// As many ids of one page's range stay in the map. One more, and they get a page, which costs
/// forty-eight bytes for each of them.
const SPARSE_ENTRIES_MAX: usize = PAGE_SLOTS / 8;

#[cfg(test)]
mod modelled;
#[cfg(test)]
mod tests;
