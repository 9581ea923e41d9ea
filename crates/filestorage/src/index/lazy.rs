//! An index of which pages are still in a file: the one that a pack makes.
//!
//! While a pack runs, the index of the old file serves readers. The index of the new file takes as
//! much memory, so until the old one is gone it waits in a file: [`PageWriter`] writes its pages, in the
//! order of the ids, and [`LazyIndex`] brings each into memory when somebody first asks for an id of
//! it, or [all of them](LazyIndex::whole). Once all are there the file is gone, and a look costs one load of a
//! flag more than in an [`Index`].
//!
//! The file has no name and is never read by another process. Where a page of it cannot be read, or is
//! not what was written, whoever asks gets an error and no answer.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use storage::{Oid, StorageError};
use vfs::{File, SequentialWriter};

use super::{Index, PAGE_SLOTS, Page, SPARSE_ENTRIES_MAX, split};
use crate::format::Offset;

/// An index whose pages may come later.
pub(crate) struct LazyIndex {
    index: Index,
    is_whole: AtomicBool,
    /// Nothing where all are there.
    rest: ArcSwapOption<Rest>,
}

/// Pages in a file.
struct Rest {
    file: Arc<dyn File>,
    /// Of the Data.fs, for errors.
    path: PathBuf,
    /// In the order of their numbers. In the file they lie in this order, one behind the other.
    pages: Vec<Saved>,
}

#[derive(Clone, Copy)]
struct Saved {
    number: u64,
    checksum: u32,
}

impl From<Index> for LazyIndex {
    fn from(index: Index) -> Self {
        Self {
            index,
            is_whole: AtomicBool::new(true),
            rest: ArcSwapOption::empty(),
        }
    }
}

impl LazyIndex {
    /// Where the current record is; see [`Index::get`].
    ///
    /// # Errors
    /// The page that says it cannot be read.
    pub(crate) fn get(&self, oid: Oid) -> Result<Option<Offset>, StorageError> {
        self.fetch(oid)?;
        Ok(self.index.get(oid))
    }

    /// Enters the offset; see [`Index::insert`].
    ///
    /// # Errors
    /// The page that it belongs to cannot be read. There is none for an id that was looked for with
    /// success before.
    pub(crate) fn insert(&self, oid: Oid, offset: Offset) -> Result<(), StorageError> {
        self.fetch(oid)?;
        self.index.insert(oid, offset);
        Ok(())
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> u64 {
        self.index.len()
    }

    /// The index with all of its pages, for those who want more than one entry.
    ///
    /// # Errors
    /// A page cannot be read.
    pub(crate) fn whole(&self) -> Result<&Index, StorageError> {
        if let Some(rest) = &*self.rest.load() {
            for at in 0..rest.pages.len() {
                rest.fetch(at, &self.index)?;
            }
        }
        self.is_whole.store(true, Ordering::Release);
        self.rest.store(None);
        Ok(&self.index)
    }

    /// Sees to it that the page is there which the id belongs to.
    fn fetch(&self, oid: Oid) -> Result<(), StorageError> {
        // Who sees it whole sees all pages.
        if self.is_whole.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.rest.load() {
            Some(rest) => match rest.find(split(oid).0) {
                Some(at) => rest.fetch(at, &self.index),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

impl Rest {
    fn find(&self, number: u64) -> Option<usize> {
        let found = self.pages.binary_search_by_key(&number, |page| page.number);
        found.ok()
    }

    /// Brings a page into the index, unless it is there.
    fn fetch(&self, at: usize, index: &Index) -> Result<(), StorageError> {
        let Saved { number, checksum } = self.pages[at];
        if index.has_page(number) {
            return Ok(());
        }
        let mut bytes = [0; PAGE_BYTES];
        let read = self
            .file
            .read_exact_at(&mut bytes, (at * PAGE_BYTES) as u64);
        let checked = read.and_then(|()| match crc32fast::hash(&bytes) {
            found if found == checksum => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, CHANGED)),
        });
        checked.map_err(|error| {
            let what = "read a page of the index that a pack made (reopen it, which makes the index anew) of";
            StorageError::io(self.path.as_path(), what, error)
        })?;
        let page = Page::default();
        for (slot, bytes) in bytes.chunks_exact(POSITION_BYTES).enumerate() {
            let mut position = [0; 8];
            position[8 - POSITION_BYTES..].copy_from_slice(bytes);
            let position = u64::from_be_bytes(position);
            if position != Offset::NONE.number() {
                page.replace(slot, position);
            }
        }
        index.admit_page(number, page);
        Ok(())
    }
}

/// Writes the pages of an index to a file. Entries come in the order of their ids; of several of one
/// id the last counts.
pub(crate) struct PageWriter {
    file: Arc<dyn File>,
    path: PathBuf,
    out: BufWriter<SequentialWriter>,
    pages: Vec<Saved>,
    /// Entries of ranges that are too empty for a page.
    index: Index,
    /// A range with more entries than that gets a page.
    sparse_max: usize,
    /// The range that is being filled, and the entries in it.
    number: u64,
    entries: Vec<(usize, Offset)>,
}

impl PageWriter {
    /// Begins in an empty file. A range of ids with more than `sparse_max` entries gets a page there, and
    /// one that has to be a page in memory in any case.
    pub(crate) fn new(file: Arc<dyn File>, data_path: &Path, sparse_max: usize) -> Self {
        let writer = SequentialWriter::new(file.clone(), 0);
        Self {
            file,
            path: data_path.to_owned(),
            out: BufWriter::with_capacity(BUFFER_BYTES, writer),
            pages: Vec::new(),
            index: Index::default(),
            sparse_max: sparse_max.min(SPARSE_ENTRIES_MAX),
            number: 0,
            entries: Vec::with_capacity(PAGE_SLOTS),
        }
    }

    pub(crate) fn push(&mut self, oid: Oid, offset: Offset) -> Result<(), StorageError> {
        let (number, slot) = split(oid);
        if number != self.number {
            self.end_page()?;
            self.number = number;
        }
        match self.entries.last_mut() {
            Some((last, at)) if *last == slot => *at = offset,
            _ => self.entries.push((slot, offset)),
        }
        Ok(())
    }

    /// The index of everything that was pushed.
    pub(crate) fn finish(mut self) -> Result<LazyIndex, StorageError> {
        self.end_page()?;
        let flushed = self.out.flush();
        flushed.map_err(|error| write_failed(&self.path, error))?;
        if self.pages.is_empty() {
            return Ok(LazyIndex::from(self.index));
        }
        let rest = Rest {
            file: self.file,
            path: self.path,
            pages: self.pages,
        };
        Ok(LazyIndex {
            index: self.index,
            is_whole: AtomicBool::new(false),
            rest: ArcSwapOption::from_pointee(rest),
        })
    }

    fn end_page(&mut self) -> Result<(), StorageError> {
        if self.entries.len() <= self.sparse_max {
            for (slot, offset) in self.entries.drain(..) {
                self.index.insert(super::join(self.number, slot), offset);
            }
            return Ok(());
        }
        let mut bytes = [0; PAGE_BYTES];
        self.index.announce(self.entries.len() as u64);
        for (slot, offset) in self.entries.drain(..) {
            let position = offset.number().to_be_bytes();
            bytes[slot * POSITION_BYTES..][..POSITION_BYTES]
                .copy_from_slice(&position[8 - POSITION_BYTES..]);
        }
        self.pages.push(Saved {
            number: self.number,
            checksum: crc32fast::hash(&bytes),
        });
        let written = self.out.write_all(&bytes);
        written.map_err(|error| write_failed(&self.path, error))
    }
}

fn write_failed(path: &Path, error: io::Error) -> StorageError {
    StorageError::io(path, "write the new index of", error)
}

const CHANGED: &str = "it is not what was written";
const POSITION_BYTES: usize = 6;
const PAGE_BYTES: usize = PAGE_SLOTS * POSITION_BYTES;
const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::thread;

    use sim::SimDisk;
    use vfs::{Disk, OpenMode};

    use super::*;

    /// Full ranges, some with gaps, one that is too empty for a page, and ids far away.
    fn entries() -> impl Iterator<Item = (Oid, Offset)> {
        let numbers = (0..3000)
            .chain((3000..5000).step_by(3))
            .chain(50_000..50_003)
            .chain((1 << 40..(1 << 40) + 500).step_by(2));
        let offset = |number: u64| Offset::new((number * 0x1_0001 + 7) % (1 << 47));
        numbers.map(move |number| (Oid::new(number), offset(number)))
    }

    fn write(disk: &SimDisk) -> LazyIndex {
        let file = disk.open("pages".as_ref(), OpenMode::Truncate).unwrap();
        let mut writer = PageWriter::new(file, "Data.fs".as_ref(), usize::MAX);
        for (oid, offset) in entries() {
            writer.push(oid, Offset::new(1)).unwrap();
            writer.push(oid, offset).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn pages_come_when_somebody_asks_or_all_together() {
        let index = write(&SimDisk::new());
        let count = entries().count() as u64;
        assert_eq!(index.len(), count);
        for number in [2999, 50_001, 50_003, u64::MAX] {
            let expected = entries().find(|entry| entry.0 == Oid::new(number));
            let found = index.get(Oid::new(number)).unwrap();
            assert_eq!(found, expected.map(|entry| entry.1));
        }
        let pages = index.index.blocks();
        let pages = pages.iter().map(|(_, block)| block.pages().count());
        assert_eq!(pages.sum::<usize>(), 1, "the others wait");
        assert!(index.whole().unwrap().iter().eq(entries()));
        assert_eq!(index.len(), count);
        assert!(index.rest.load().is_none(), "the file is gone");
    }

    #[test]
    fn what_is_entered_before_a_page_came_stays() {
        let index = write(&SimDisk::new());
        let (old, new) = (Oid::new(5), Oid::new(3001));
        index.insert(old, Offset::new(11)).unwrap();
        index.insert(new, Offset::new(12)).unwrap();
        assert_eq!(index.len(), entries().count() as u64 + 1);
        let whole = index.whole().unwrap();
        assert_eq!(whole.get(old), Some(Offset::new(11)));
        assert_eq!(whole.get(new), Some(Offset::new(12)));
        assert_eq!(whole.len(), whole.iter().count() as u64);
    }

    #[test]
    fn all_may_ask_and_enter_at_the_same_time() {
        for _ in 0..20 {
            let index = write(&SimDisk::new());
            thread::scope(|scope| {
                for step in [1, 7, 11] {
                    let index = &index;
                    scope.spawn(move || {
                        for (oid, offset) in entries().step_by(step) {
                            let found = index.get(oid).unwrap();
                            let changed = Offset::new(offset.number() + 1);
                            assert!([offset, changed].map(Some).contains(&found));
                            // Those of another thread are not changed twice.
                            if step == 1 {
                                index.insert(oid, changed).unwrap();
                                assert_eq!(index.get(oid).unwrap(), Some(changed));
                            }
                        }
                    });
                }
                scope.spawn(|| index.whole().unwrap().len());
            });
            let changed = entries().map(|(oid, offset)| (oid, Offset::new(offset.number() + 1)));
            assert!(index.whole().unwrap().iter().eq(changed));
        }
    }

    #[test]
    fn a_page_that_is_damaged_or_missing_is_an_error_and_no_answer() {
        let disk = SimDisk::new();
        let index = write(&disk);
        let file = disk.open("pages".as_ref(), OpenMode::Write).unwrap();
        file.write_at(b"\xff\xff", PAGE_BYTES as u64 + 77).unwrap();
        file.set_len(PAGE_BYTES as u64 * 4 - 1).unwrap();
        for _ in 0..2 {
            for (number, is_sound) in [
                (0, true),
                (1024, false),
                (2000, false),
                (2050, true),
                (3102, false),
                (50_001, true),
                (1 << 40, false),
            ] {
                let oid = Oid::new(number);
                match index.get(oid) {
                    Ok(found) => {
                        let expected = entries().find(|entry| entry.0 == oid);
                        assert!(is_sound, "{number}");
                        assert_eq!(found, expected.map(|entry| entry.1));
                    }
                    Err(error) => assert!(!is_sound && error.to_string().contains("Data.fs")),
                }
            }
            index.insert(Oid::new(1025), Offset::new(9)).unwrap_err();
            assert!(index.whole().is_err());
        }
    }
}
