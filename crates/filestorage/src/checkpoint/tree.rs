//! What is known of a `.zidx` file: its pages, and where there is room.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use storage::Oid;
use vfs::File;

use super::format::{Page, Reference, SLOT_BYTES, TABLE_PAGES};

/// The pages of the last checkpoint in the file, and how they compare to the index in memory.
pub(crate) struct Tree {
    pub(super) file: Arc<dyn File>,
    /// That of the last header.
    pub(super) sequence: u64,
    /// By the number of the page, which says where in which table it stands.
    pub(super) pages: Vec<Reference>,
    pub(super) free_numbers: Vec<usize>,
    pub(super) tables: Vec<Reference>,
    pub(super) changed_tables: BTreeSet<usize>,
    /// By the number of the page in the index.
    pub(super) dense: BTreeMap<u64, Known>,
    /// By the bound of the chunk.
    pub(super) sparse: BTreeMap<Oid, Known>,
    /// By the first page of a block of the index, its changes when all of its pages were saved.
    pub(super) blocks: BTreeMap<u64, u64>,
    pub(super) slots: Slots,
}

/// A page of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) number: usize,
    /// The state of the index that it is; nothing where it stands for an earlier one.
    pub(super) version: Option<u64>,
}

/// Which slots are free. One that was given back is free after the next [`Slots::settle`].
#[derive(Debug)]
pub(super) struct Slots {
    end: u32,
    free: BTreeSet<u32>,
    given_back: Vec<u32>,
}

impl Tree {
    /// Of an empty file.
    pub(super) fn new(file: Arc<dyn File>) -> Self {
        Self {
            file,
            sequence: 0,
            pages: Vec::new(),
            free_numbers: Vec::new(),
            tables: Vec::new(),
            changed_tables: BTreeSet::new(),
            dense: BTreeMap::new(),
            sparse: BTreeMap::new(),
            blocks: BTreeMap::new(),
            slots: Slots::new(&BTreeSet::new()),
        }
    }

    /// Writes a page, in place of the one with that number if there is one; its number.
    pub(super) fn put(&mut self, number: Option<usize>, page: &Page) -> io::Result<usize> {
        let reference = self.write_page(page)?;
        let number = number
            .or_else(|| self.free_numbers.pop())
            .unwrap_or_else(|| {
                self.pages.push(Reference::default());
                self.pages.len() - 1
            });
        let old = std::mem::replace(&mut self.pages[number], reference);
        self.slots.give_back(old.slot);
        self.changed_tables.insert(number / TABLE_PAGES);
        Ok(number)
    }

    pub(super) fn remove(&mut self, number: usize) {
        let old = std::mem::take(&mut self.pages[number]);
        self.slots.give_back(old.slot);
        self.free_numbers.push(number);
        self.changed_tables.insert(number / TABLE_PAGES);
    }

    pub(super) fn write_tables(&mut self) -> io::Result<()> {
        let count = self.pages.len().div_ceil(TABLE_PAGES);
        self.tables.resize(count, Reference::default());
        for number in std::mem::take(&mut self.changed_tables) {
            let start = number * TABLE_PAGES;
            let end = self.pages.len().min(start + TABLE_PAGES);
            let reference = self.write_page(&Page::Table {
                number: number as u64,
                pages: self.pages[start..end].to_vec(),
            })?;
            let old = std::mem::replace(&mut self.tables[number], reference);
            self.slots.give_back(old.slot);
        }
        Ok(())
    }

    fn write_page(&mut self, page: &Page) -> io::Result<Reference> {
        let slot = self.slots.take().ok_or(io::ErrorKind::FileTooLarge)?;
        let (bytes, checksum) = page.encode();
        self.file
            .write_at(&bytes, u64::from(slot) * SLOT_BYTES as u64)?;
        Ok(Reference { slot, checksum })
    }
}

impl Slots {
    /// All slots are free but those.
    pub(super) fn new(used: &BTreeSet<u32>) -> Self {
        let end = used
            .last()
            .map_or(FIRST_SLOT, |last| last.saturating_add(1));
        Self {
            end,
            free: (FIRST_SLOT..end)
                .filter(|slot| !used.contains(slot))
                .collect(),
            given_back: Vec::new(),
        }
    }

    /// The lowest first, so that the file grows only where it must.
    fn take(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop_first() {
            return Some(slot);
        }
        let slot = self.end;
        self.end = slot.checked_add(1)?;
        Some(slot)
    }

    fn give_back(&mut self, slot: u32) {
        if slot >= FIRST_SLOT {
            self.given_back.push(slot);
        }
    }

    /// The last header is durable: nothing that came before it is needed any more.
    pub(super) fn settle(&mut self) {
        self.free.extend(self.given_back.drain(..));
    }
}

/// The headers have slot 0.
const FIRST_SLOT: u32 = 1;
