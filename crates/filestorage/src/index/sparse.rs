//! Entries with few neighbours: a sorted map in chunks, as the leaves of a B-tree.

use std::collections::BTreeMap;

use storage::Oid;

use crate::format::Offset;

/// A map from ids to offsets that costs some sixteen bytes an entry, whatever the ids are.
#[derive(Default)]
pub(super) struct Sparse {
    /// By a bound below the ids of the chunk; they are below the bound of the next one.
    chunks: BTreeMap<Oid, Chunk>,
    changes: u64,
}

struct Chunk {
    /// Sorted.
    entries: Vec<(Oid, Offset)>,
    /// The number of the last change. No two changes have the same.
    version: u64,
}

impl Sparse {
    pub(super) fn get(&self, oid: Oid) -> Option<Offset> {
        let (_, chunk) = self.chunks.range(..=oid).next_back()?;
        let at = find(&chunk.entries, oid).ok()?;
        Some(chunk.entries[at].1)
    }

    /// Whether the id had no entry.
    pub(super) fn insert(&mut self, oid: Oid, offset: Offset) -> bool {
        self.changes += 1;
        let version = self.changes;
        let bound = self.bound(oid).unwrap_or(Oid::new(0));
        let chunk = self.chunks.entry(bound).or_insert_with(|| Chunk {
            entries: Vec::new(),
            version,
        });
        chunk.version = version;
        let place = match find(&chunk.entries, oid) {
            Ok(at) => {
                chunk.entries[at].1 = offset;
                return false;
            }
            Err(place) => place,
        };
        chunk.entries.insert(place, (oid, offset));
        if chunk.entries.len() > CHUNK_ENTRIES_MAX {
            // Ids that come in order fill one chunk after the other.
            let is_last = place == CHUNK_ENTRIES_MAX;
            let half = if is_last {
                place
            } else {
                CHUNK_ENTRIES_MAX / 2
            };
            let entries = chunk.entries.split_off(half);
            self.chunks.insert(entries[0].0, Chunk { entries, version });
        }
        true
    }

    /// Whether the id had an entry.
    pub(super) fn remove(&mut self, oid: Oid) -> bool {
        let before = self.count(oid, oid);
        self.remove_range(oid, oid);
        before > 0
    }

    /// Takes away the entries from `first` up to and with `last`.
    pub(super) fn remove_range(&mut self, first: Oid, last: Oid) {
        self.changes += 1;
        let start = self.bound(first).unwrap_or(first);
        let mut emptied = Vec::new();
        for (bound, chunk) in self.chunks.range_mut(start..=last) {
            let range = places(&chunk.entries, first, last);
            if !range.is_empty() {
                chunk.entries.drain(range);
                chunk.version = self.changes;
            }
            if chunk.entries.is_empty() {
                emptied.push(*bound);
            }
        }
        for bound in emptied {
            self.chunks.remove(&bound);
        }
    }

    /// How many entries there are from `first` up to and with `last`.
    pub(super) fn count(&self, first: Oid, last: Oid) -> usize {
        let start = self.bound(first).unwrap_or(first);
        let chunks = self.chunks.range(start..=last);
        chunks
            .map(|(_, chunk)| places(&chunk.entries, first, last).len())
            .sum()
    }

    pub(super) fn last_oid(&self) -> Option<Oid> {
        let (_, chunk) = self.chunks.last_key_value()?;
        Some(chunk.entries.last()?.0)
    }

    /// The entries whose ids are not before that one, in order.
    pub(super) fn range_from(&self, from: Oid) -> impl Iterator<Item = (Oid, Offset)> {
        let start = self.bound(from).unwrap_or(from);
        self.chunks.range(start..).flat_map(move |(_, chunk)| {
            let place = chunk.entries.partition_point(|entry| entry.0 < from);
            chunk.entries[place..].iter().copied()
        })
    }

    /// Bound, version and entries of each chunk.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (Oid, u64, &[(Oid, Offset)])> {
        let chunks = self.chunks.iter();
        chunks.map(|(bound, chunk)| (*bound, chunk.version, &*chunk.entries))
    }

    /// Puts a chunk of sorted entries between the others; its version, or nothing where it does
    /// not fit there.
    pub(super) fn restore(&mut self, bound: Oid, entries: &[(Oid, Offset)]) -> Option<u64> {
        let (first, last) = (entries.first()?.0, entries.last()?.0);
        let before = self.chunks.range(..bound).next_back();
        let overlaps = before
            .is_some_and(|(_, chunk)| chunk.entries.last() >= Some(&(bound, Offset::NONE)))
            || self.chunks.range(bound..=last.max(bound)).next().is_some();
        if overlaps || first < bound || entries.len() > CHUNK_ENTRIES_MAX {
            return None;
        }
        self.changes += 1;
        let chunk = Chunk {
            entries: entries.to_vec(),
            version: self.changes,
        };
        self.chunks.insert(bound, chunk);
        Some(self.changes)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let chunks = self.chunks.values();
        let bytes = chunks.map(|chunk| chunk.entries.capacity() * size_of::<(Oid, Offset)>());
        (bytes.sum::<usize>() + self.chunks.len() * CHUNK_BYTES) as u64
    }

    /// The bound of the chunk that an id belongs to.
    fn bound(&self, oid: Oid) -> Option<Oid> {
        Some(*self.chunks.range(..=oid).next_back()?.0)
    }
}

fn find(entries: &[(Oid, Offset)], oid: Oid) -> Result<usize, usize> {
    entries.binary_search_by_key(&oid, |entry| entry.0)
}

/// The places of the entries from `first` up to and with `last`.
fn places(entries: &[(Oid, Offset)], first: Oid, last: Oid) -> std::ops::Range<usize> {
    let start = entries.partition_point(|entry| entry.0 < first);
    let end = entries.partition_point(|entry| entry.0 <= last);
    start..end
}

/// They fit a page of the checkpoint.
pub(crate) const CHUNK_ENTRIES_MAX: usize = 512;
/// What a chunk costs without its entries, nearly.
const CHUNK_BYTES: usize = 64;
