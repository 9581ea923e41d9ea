//! What a checkpoint sees of the index: its parts, which of them changed, and how to put them back.

use std::sync::Arc;

use storage::Oid;

use super::directory::Block;
use super::{Index, OFFSET_END, PAGE_SLOTS, Page, join, split};
use crate::format::Offset;

/// A part of the sorted map.
pub(crate) struct Chunk {
    /// A bound below the ids in it, which names the chunk.
    pub(crate) bound: Oid,
    pub(crate) version: u64,
    /// Sorted; nothing where the caller knows that version.
    pub(crate) entries: Option<Vec<(Oid, Offset)>>,
}

impl Index {
    /// All chunks of the sorted map as they are at one moment, those with their entries of which
    /// `is_known` does not know the version.
    ///
    /// Whoever wants all entries must look here first and at [`Index::blocks`] then: entries move
    /// from here to there.
    pub(crate) fn chunks(&self, is_known: impl Fn(Oid, u64) -> bool) -> Vec<Chunk> {
        let sparse = self.sparse.read();
        let chunks = sparse.chunks().map(|(bound, version, entries)| Chunk {
            bound,
            version,
            entries: (!is_known(bound, version)).then(|| entries.to_vec()),
        });
        chunks.collect()
    }

    /// The pages, block by block, each with the number of its first page.
    pub(crate) fn blocks(&self) -> Vec<(u64, Arc<Block>)> {
        self.directory.blocks()
    }

    /// Puts a chunk into an index that nobody else uses yet; its version, or nothing where it does
    /// not fit to what is there.
    pub(crate) fn restore_chunk(&self, bound: Oid, entries: &[(Oid, Offset)]) -> Option<u64> {
        let is_sorted = entries.is_sorted_by(|one, other| one.0 < other.0);
        if !is_sorted || entries.iter().any(|entry| self.has_page(split(entry.0).0)) {
            return None;
        }
        let version = self.sparse.write().restore(bound, entries)?;
        self.len
            .fetch_add(entries.len() as u64, std::sync::atomic::Ordering::Release);
        Some(version)
    }

    /// Puts a page into an index that others use, unless it is there; its entries were
    /// [announced](Index::announce).
    pub(super) fn admit_page(&self, number: u64, page: Page) {
        let _writer = self.writer.lock();
        if !self.has_page(number) {
            self.directory.publish(number, page);
        }
    }

    pub(super) fn has_page(&self, number: u64) -> bool {
        self.directory.with_page(number, |_| ()).is_some()
    }

    /// Counts entries whose pages come later.
    pub(super) fn announce(&self, count: u64) {
        self.len
            .fetch_add(count, std::sync::atomic::Ordering::Release);
    }

    /// Puts a page into an index that nobody else uses yet; its version, or nothing where the page
    /// is there already.
    ///
    /// The positions lie below [`OFFSET_END`].
    pub(crate) fn restore_page(&self, number: u64, positions: &[u64; PAGE_SLOTS]) -> Option<u64> {
        assert!(positions.iter().all(|at| *at < OFFSET_END.number()));
        if self.has_page(number) {
            return None;
        }
        let page = Page::default();
        let entries = positions.iter().enumerate().filter(|entry| *entry.1 != 0);
        let mut count = 0;
        for (slot, position) in entries {
            page.replace(slot, *position);
            count += 1;
        }
        let version = page.version();
        self.directory.publish(number, page);
        self.len
            .fetch_add(count, std::sync::atomic::Ordering::Release);
        Some(version)
    }
}

/// The id of a slot in a page.
pub(crate) fn oid_at(page: u64, slot: usize) -> Oid {
    join(page, slot)
}
