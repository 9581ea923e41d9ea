//! Writing a checkpoint.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use storage::{StorageError, Tid};

use super::format::{Fingerprint, Header, Page, TABLE_PAGES, TABLES_MAX};
use super::tree::{Known, Tree};
use crate::format::{LOG_START, Offset};
use crate::index::{Index, PAGE_SLOTS, oid_at};
use crate::log::{Log, Past};

/// Why a checkpoint was not written.
pub(super) enum Failure {
    /// The log could not be read, or something has no room.
    Storage(StorageError),
    /// The file itself could not be written.
    Io(io::Error),
}

impl Failure {
    /// With the path of the file.
    pub(super) fn at(self, path: &Path) -> StorageError {
        match self {
            Self::Storage(error) => error,
            Self::Io(error) => StorageError::io(path, "write", error),
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Tree {
    /// Writes what has changed; false where it was told to stop. Unless it gives true, what the tree
    /// knows is not what is in the file any more.
    pub(super) fn renew(
        &mut self,
        log: &Log,
        index: &Index,
        end: Offset,
        last_tid: Tid,
        stop: &AtomicBool,
    ) -> Result<bool, Failure> {
        let mut round = Round {
            tree: self,
            past: Past { log, end },
            stop,
        };
        // In this order, because entries move in it.
        if !round.write_chunks(index)? || !round.write_pages(index)? {
            return Ok(false);
        }
        if self.pages.len() > TABLES_MAX * TABLE_PAGES {
            return Err(Failure::Storage(StorageError::Limit {
                what: "the number of pages of a checkpoint",
                found: self.pages.len() as u64,
                max: (TABLES_MAX * TABLE_PAGES) as u64,
            }));
        }
        self.write_tables()?;
        // Only the last transaction can be newer than what the caller saw before it took `end`.
        let newest = if end > LOG_START {
            log.transaction_before(end)?.1.tid
        } else {
            Tid::ZERO
        };
        let header = Header {
            sequence: self.sequence.wrapping_add(1),
            end,
            last_tid: last_tid.max(newest),
            fingerprint: fingerprint(log, end)?,
            tables: self.tables.clone(),
        };
        self.file.sync_data()?;
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        self.file.write_at(&header.encode(), header.place())?;
        self.file.sync_data()?;
        self.sequence = header.sequence;
        self.slots.settle();
        Ok(true)
    }
}

struct Round<'a> {
    tree: &'a mut Tree,
    past: Past<'a>,
    stop: &'a AtomicBool,
}

impl Round<'_> {
    fn write_chunks(&mut self, index: &Index) -> Result<bool, Failure> {
        let mut before = std::mem::take(&mut self.tree.sparse);
        let chunks = index.chunks(|bound, version| {
            let known = before.get(&bound);
            known.is_some_and(|known| known.version == Some(version))
        });
        for chunk in chunks {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let mut known = before.remove(&chunk.bound);
            if let Some(entries) = chunk.entries {
                let bound = chunk.bound;
                let mut is_current = true;
                let mut kept = Vec::with_capacity(entries.len());
                for (oid, now) in entries {
                    let then = self.past.offset(oid, now)?;
                    is_current &= then == Some(now);
                    kept.extend(then.map(|then| (oid, then)));
                }
                let page = (!kept.is_empty()).then_some(Page::Sparse {
                    bound,
                    entries: kept,
                });
                let version = is_current.then_some(chunk.version);
                known = self.put(known, page, version)?;
            }
            if let Some(known) = known {
                self.tree.sparse.insert(chunk.bound, known);
            }
        }
        for known in before.into_values() {
            self.tree.remove(known.number);
        }
        Ok(true)
    }

    fn write_pages(&mut self, index: &Index) -> Result<bool, Failure> {
        for (first, block) in index.blocks() {
            let changes = block.changes();
            if self.tree.blocks.get(&first) == Some(&changes) {
                continue;
            }
            let mut is_current = true;
            for (at, page) in block.pages() {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let number = first + at;
                let version = page.version();
                let known = self.tree.dense.remove(&number);
                let known = if known.and_then(|known| known.version) == Some(version) {
                    known
                } else {
                    let (positions, page_is_current) =
                        self.positions(number, |slot| page.get(slot))?;
                    is_current &= page_is_current;
                    let page = positions
                        .iter()
                        .any(|position| *position != 0)
                        .then_some(Page::Dense { number, positions });
                    self.put(known, page, page_is_current.then_some(version))?
                };
                if let Some(known) = known {
                    self.tree.dense.insert(number, known);
                }
            }
            if is_current {
                self.tree.blocks.insert(first, changes);
            } else {
                self.tree.blocks.remove(&first);
            }
        }
        Ok(true)
    }

    /// The positions of a page at the end, and whether they are those of now.
    fn positions(
        &self,
        number: u64,
        now: impl Fn(usize) -> u64,
    ) -> Result<(Box<[u64; PAGE_SLOTS]>, bool), Failure> {
        let mut is_current = true;
        let mut positions = Box::new([0; PAGE_SLOTS]);
        for (slot, position) in positions.iter_mut().enumerate() {
            let Some(now) = Offset::new(now(slot)).some() else {
                continue;
            };
            let then = self.past.offset(oid_at(number, slot), now)?;
            is_current &= then == Some(now);
            *position = then.unwrap_or_default().number();
        }
        Ok((positions, is_current))
    }

    /// Writes the page, or takes it away where there is nothing in it.
    fn put(
        &mut self,
        known: Option<Known>,
        page: Option<Page>,
        version: Option<u64>,
    ) -> Result<Option<Known>, Failure> {
        let number = known.map(|known| known.number);
        let Some(page) = page else {
            number
                .into_iter()
                .for_each(|number| self.tree.remove(number));
            return Ok(None);
        };
        let number = self.tree.put(number, &page)?;
        Ok(Some(Known { number, version }))
    }
}

/// What the log looks like up to `end`.
pub(super) fn fingerprint(log: &Log, end: Offset) -> Result<Fingerprint, StorageError> {
    let checksum = |from: Offset, to: Offset| {
        let length = usize::try_from(to - from).expect("a few kilobytes");
        let mut bytes = vec![0; length];
        log.read_exact(from, &mut bytes)?;
        Ok::<_, StorageError>(crc32fast::hash(&bytes))
    };
    let last = end.checked_sub(LAST_BYTES).unwrap_or(LOG_START);
    Ok(Fingerprint {
        beginning: checksum(LOG_START, end.min(LOG_START + BEGINNING_BYTES))?,
        last: checksum(last.max(LOG_START), end)?,
    })
}

const BEGINNING_BYTES: u64 = 4096;
const LAST_BYTES: u64 = 64 * 1024;
