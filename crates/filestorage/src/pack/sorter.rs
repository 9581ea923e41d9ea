//! The index of the new file, made without having it in memory.
//!
//! Records are copied in the order of the file, and the pages of an index are in the order of the ids. So
//! the entries are sorted piece by piece; the pieces go to a file and are merged from there into
//! pages, which wait in a second file: see [`LazyIndex`]. Both files have no name. Where all entries are no
//! more than one piece there are no files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use storage::{Oid, StorageError};
use vfs::File;

use super::ledger::mixed;
use crate::file_storage::FileStorage;
use crate::format::Offset;
use crate::index::{Index, LazyIndex, OFFSET_END, PageWriter};
use crate::spill::nameless;

/// Takes entries in any order.
pub(super) struct Sorter<'a> {
    storage: &'a FileStorage,
    entries: Vec<(Oid, Offset)>,
    entries_max: usize,
    pieces: Option<Pieces>,
}

/// Sorted pieces in a file, one behind the other.
struct Pieces {
    file: Arc<dyn File>,
    ends: Vec<u64>,
    /// Of all entries that were written: what is read must have it too.
    checksum: u64,
}

impl<'a> Sorter<'a> {
    pub(super) fn new(storage: &'a FileStorage) -> Self {
        // So there are not much more than that many pieces, however many objects there are.
        let share = storage.generation().index.len() / PIECES;
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        Self {
            storage,
            entries: Vec::new(),
            entries_max: share.max(storage.pack_sorts_at_once),
            pieces: None,
        }
    }

    /// Takes an entry. Of several of one id the last counts, and has the largest offset.
    pub(super) fn push(&mut self, oid: Oid, offset: Offset) -> Result<(), StorageError> {
        if self.entries.len() >= self.entries_max {
            self.end_piece()?;
        }
        self.entries.push((oid, offset));
        Ok(())
    }

    /// The index of all entries.
    pub(super) fn finish(&mut self) -> Result<LazyIndex, StorageError> {
        if self.pieces.is_none() {
            let index = Index::default();
            for (oid, offset) in std::mem::take(&mut self.entries) {
                index.insert(oid, offset);
            }
            return Ok(LazyIndex::from(index));
        }
        self.end_piece()?;
        // There is no other piece, and the merging takes memory too.
        self.entries = Vec::new();
        let pieces = self.pieces.take().expect("there are some");
        self.merge(&pieces)
    }

    fn end_piece(&mut self) -> Result<(), StorageError> {
        self.entries.sort_unstable();
        let pieces = match &mut self.pieces {
            Some(pieces) => pieces,
            None => self.pieces.insert(Pieces {
                file: nameless(self.storage)?,
                ends: Vec::new(),
                checksum: 0,
            }),
        };
        let mut at = pieces.end();
        let mut bytes = Vec::with_capacity(WRITTEN_ENTRIES * ENTRY_BYTES);
        for entries in self.entries.chunks(WRITTEN_ENTRIES) {
            bytes.clear();
            for (oid, offset) in entries {
                bytes.extend(oid.to_bytes());
                bytes.extend(offset.number().to_be_bytes());
                pieces.checksum = pieces.checksum.wrapping_add(mixed(*oid, *offset));
            }
            let written = pieces.file.write_at(&bytes, at);
            written.map_err(|error| {
                let path = self.storage.path.as_path();
                StorageError::io(path, "write the entries of the new index of", error)
            })?;
            at += bytes.len() as u64;
        }
        pieces.ends.push(at);
        self.entries.clear();
        Ok(())
    }

    fn merge(&self, pieces: &Pieces) -> Result<LazyIndex, StorageError> {
        let file = nameless(self.storage)?;
        let mut pages = PageWriter::new(file, &self.storage.path, self.entries_max);
        let mut runs = pieces.runs();
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (number, run) in runs.iter_mut().enumerate() {
            let head = self.next(pieces, run)?;
            heads.extend(head.map(|head| Reverse((head, number))));
        }
        let mut checksum: u64 = 0;
        let mut last = None;
        while let Some(Reverse((head, number))) = heads.pop() {
            let (oid, offset) = head;
            if last >= Some(head) || offset == Offset::NONE || offset >= OFFSET_END {
                return Err(self.unreadable(changed()));
            }
            last = Some(head);
            checksum = checksum.wrapping_add(mixed(oid, offset));
            pages.push(oid, offset)?;
            let head = self.next(pieces, &mut runs[number])?;
            heads.extend(head.map(|head| Reverse((head, number))));
        }
        if checksum != pieces.checksum {
            return Err(self.unreadable(changed()));
        }
        pages.finish()
    }

    /// The next entry of a piece.
    fn next(&self, pieces: &Pieces, run: &mut Run) -> Result<Option<(Oid, Offset)>, StorageError> {
        if run.taken == run.bytes.len() {
            let rest = usize::try_from(run.end - run.at).unwrap_or(usize::MAX);
            run.bytes.resize(rest.min(PIECE_ENTRIES * ENTRY_BYTES), 0);
            let read = pieces.file.read_exact_at(&mut run.bytes, run.at);
            read.map_err(|error| self.unreadable(error))?;
            run.at += run.bytes.len() as u64;
            run.taken = 0;
        }
        let Some((oid, rest)) = run.bytes[run.taken..].split_first_chunk() else {
            return Ok(None);
        };
        let offset = rest.first_chunk().expect("entries are written whole");
        run.taken += ENTRY_BYTES;
        let offset = Offset::new(u64::from_be_bytes(*offset));
        Ok(Some((Oid::from_bytes(*oid), offset)))
    }

    fn unreadable(&self, error: io::Error) -> StorageError {
        let path = self.storage.path.as_path();
        StorageError::io(path, "read the entries of the new index of", error)
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "they are not what was written")
}

/// What is read of a piece.
struct Run {
    bytes: Vec<u8>,
    taken: usize,
    /// Where the next bytes are.
    at: u64,
    end: u64,
}

impl Pieces {
    fn end(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn runs(&self) -> Vec<Run> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        let runs = starts.zip(&self.ends).map(|(at, end)| Run {
            bytes: Vec::new(),
            taken: 0,
            at,
            end: *end,
        });
        runs.collect()
    }
}

const PIECES: u64 = 128;
/// How much of the pieces is written at a time.
const WRITTEN_ENTRIES: usize = 2 << 10;
/// How much of each piece is read at a time.
const PIECE_ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sim::SimDisk;
    use vfs::Disk;

    use super::*;
    use crate::Options;

    #[test]
    fn entries_come_out_in_order_however_many_pieces_there_are() {
        let disk = SimDisk::new();
        let mut rng = fastrand::Rng::with_seed(3);
        for (count, at_once) in [
            (0, 1),
            (5, 8),
            (8, 8),
            (9, 8),
            (700, 3),
            (3000, 1),
            (3000, 999),
        ] {
            let options = Options {
                disk: Arc::new(disk.clone()),
                pack_sorts_at_once: at_once,
                ..Options::default()
            };
            let storage = FileStorage::open("Data.fs", options).unwrap();
            let mut sorter = Sorter::new(&storage);
            let mut model = BTreeMap::new();
            for at in 1..=count {
                let number = match rng.u8(..10) {
                    0 => rng.u64(..),
                    _ => rng.u64(..2500),
                };
                let (oid, offset) = (Oid::new(number), Offset::new(at * 50));
                sorter.push(oid, offset).unwrap();
                model.insert(oid, offset);
            }
            let index = sorter.finish().unwrap();
            assert_eq!(index.len(), model.len() as u64);
            for (oid, offset) in model.iter().step_by(17) {
                assert_eq!(index.get(*oid).unwrap(), Some(*offset));
            }
            assert!(index.whole().unwrap().iter().eq(model), "{count} {at_once}");
            assert!(!disk.exists("Data.fs.spill0".as_ref()).unwrap());
            storage.close().unwrap();
        }
    }

    #[test]
    fn entries_that_are_not_what_was_written_are_an_error() {
        let disk = SimDisk::new();
        let options = Options {
            disk: Arc::new(disk.clone()),
            pack_sorts_at_once: 10,
            ..Options::default()
        };
        let storage = FileStorage::open("Data.fs", options).unwrap();
        for place in (0..1600).step_by(37) {
            let mut sorter = Sorter::new(&storage);
            for number in 1..=100 {
                sorter
                    .push(Oid::new(number * 3), Offset::new(number * 7))
                    .unwrap();
            }
            sorter.end_piece().unwrap();
            let file = &sorter.pieces.as_ref().unwrap().file;
            let mut byte = [0];
            file.read_exact_at(&mut byte, place).unwrap();
            file.write_at(&[byte[0] ^ 4], place).unwrap();
            assert!(sorter.finish().is_err(), "{place}");
        }
    }
}
