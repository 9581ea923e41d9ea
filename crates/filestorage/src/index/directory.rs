//! Finding a page without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::Page;

/// The pages by their numbers. They hang in blocks, so that a new page leaves the list of the blocks
/// as it is; a new block makes a new list, which readers see whole.
#[derive(Default)]
pub(super) struct Directory {
    /// Sorted by the number of the block.
    blocks: ArcSwap<Vec<(u64, Arc<Block>)>>,
}

/// Neighbouring pages.
pub(crate) struct Block {
    pages: [OnceLock<Box<Page>>; BLOCK_PAGES],
    /// Moves with every change of one of the pages, behind it.
    changes: AtomicU64,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            pages: [const { OnceLock::new() }; BLOCK_PAGES],
            changes: AtomicU64::new(0),
        }
    }
}

impl Directory {
    /// What `read` makes of the page, where there is one.
    pub(super) fn with_page<T>(&self, number: u64, read: impl FnOnce(&Page) -> T) -> Option<T> {
        let (block, at) = split(number);
        let blocks = self.blocks.load();
        let found = find(&blocks, block).ok()?;
        blocks[found].1.pages[at].get().map(|page| read(page))
    }

    /// The same for a writer, of whom there is one.
    pub(super) fn change<T>(&self, number: u64, write: impl FnOnce(&Page) -> T) -> Option<T> {
        let (block, at) = split(number);
        let blocks = self.blocks.load();
        let found = find(&blocks, block).ok()?;
        let block = &blocks[found].1;
        let written = write(block.pages[at].get()?);
        block.changes.fetch_add(1, Ordering::Release);
        Some(written)
    }

    /// Puts a new page into its place, for a writer, of whom there is one.
    pub(super) fn publish(&self, number: u64, page: Page) {
        let (block_number, at) = split(number);
        let blocks = self.blocks.load();
        let put = |block: &Block| {
            let occupied = block.pages[at].set(Box::new(page)).is_err();
            assert!(!occupied, "a page is made once");
            block.changes.fetch_add(1, Ordering::Release);
        };
        match find(&blocks, block_number) {
            Ok(found) => put(&blocks[found].1),
            Err(place) => {
                let block = Arc::new(Block::default());
                put(&block);
                let mut longer = Vec::with_capacity(blocks.len() + 1);
                longer.extend_from_slice(&blocks[..place]);
                longer.push((block_number, block));
                longer.extend_from_slice(&blocks[place..]);
                self.blocks.store(Arc::new(longer));
            }
        }
    }

    /// The number of the first page that is not before that one.
    pub(super) fn next(&self, number: u64) -> Option<u64> {
        let (block, at) = split(number);
        let blocks = self.blocks.load();
        let (Ok(found) | Err(found)) = find(&blocks, block);
        blocks[found..].iter().find_map(|(number, pages)| {
            let from = if *number == block { at } else { 0 };
            let at = (from..BLOCK_PAGES).find(|at| pages.pages[*at].get().is_some())?;
            Some(join(*number, at))
        })
    }

    /// What `read` makes of the last page for which it makes something.
    pub(super) fn last<T>(&self, mut read: impl FnMut(u64, &Page) -> Option<T>) -> Option<T> {
        self.blocks.load().iter().rev().find_map(|(number, block)| {
            let pages = block.pages.iter().enumerate().rev();
            pages
                .filter_map(|(at, page)| Some((at, page.get()?)))
                .find_map(|(at, page)| read(join(*number, at), page))
        })
    }

    /// The blocks, each with the number of its first page.
    pub(super) fn blocks(&self) -> Vec<(u64, Arc<Block>)> {
        let blocks = self.blocks.load();
        let first = |(number, block): &(u64, Arc<Block>)| (join(*number, 0), block.clone());
        blocks.iter().map(first).collect()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let blocks = self.blocks.load();
        let list = blocks.capacity() * size_of::<(u64, Arc<Block>)>();
        let pages = blocks.iter().flat_map(|(_, block)| &block.pages);
        let pages = pages.filter(|page| page.get().is_some()).count();
        (list + blocks.len() * size_of::<Block>() + pages * size_of::<Page>()) as u64
    }
}

impl Block {
    /// A number that has moved when a page has changed. It moves behind the change, so it must be
    /// taken before the pages are looked at.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The pages, with their places from the first on.
    pub(crate) fn pages(&self) -> impl Iterator<Item = (u64, &Page)> {
        (0..)
            .zip(&self.pages)
            .filter_map(|(at, page)| Some((at, &**page.get()?)))
    }
}

fn find(blocks: &[(u64, Arc<Block>)], number: u64) -> Result<usize, usize> {
    blocks.binary_search_by_key(&number, |entry| entry.0)
}

/// The block of a page, and the place in it.
fn split(page: u64) -> (u64, usize) {
    let at = usize::try_from(page % BLOCK_PAGES as u64).expect("a block is small");
    (page / BLOCK_PAGES as u64, at)
}

fn join(block: u64, at: usize) -> u64 {
    block * BLOCK_PAGES as u64 + at as u64
}

/// Few enough that a block with one page costs little, many enough that the list of the blocks,
/// which a new block copies, stays short.
const BLOCK_PAGES: usize = 64;
