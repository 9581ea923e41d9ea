//! The second part of a pack: the new file. The old one is only read.
//!
//! Packed transactions are written anew: only the records that are kept, each with its data, without
//! back pointers and without pointers to previous records. Later transactions are copied as they
//! are and keep their lengths, so that everything behind the pack time moves by the same distance.

use std::sync::Arc;

use storage::{Oid, PackError, StorageError};
use vfs::File;

use super::mark::{Marks, back_pointer, references, transaction};
use super::{Pack, Stage};
use crate::format::{
    DataHeader, LENGTH_LEN, LOG_START, MAGIC_NEW, Offset, Status, TransactionHeader,
};
use crate::index::Index;
use crate::log::Log;
use crate::transactions::Headers;

/// The new file while it is made.
pub(super) struct Copier<'a> {
    pack: &'a Pack<'a>,
    log: &'a Log,
    marks: Marks,
    out: Draft,
    /// Where the records of packed transactions are.
    packed: Index,
    /// Where the records of later transactions are.
    later: Index,
    /// Up to where the old file is copied.
    pub(super) copied_to: Offset,
    /// Where the later transactions begin in the new file.
    later_start: Offset,
    pub(super) transactions_dropped: u64,
    pub(super) records_dropped: u64,
}

impl<'a> Copier<'a> {
    /// Begins the new file in an empty one.
    pub(super) fn new(
        pack: &'a Pack<'a>,
        log: &'a Log,
        marks: Marks,
        file: Arc<dyn File>,
    ) -> Result<Self, PackError> {
        let magic: [u8; MAGIC_NEW.len()] = log.read_array(Offset::NONE)?;
        let mut out = Draft::new(pack, file);
        out.write(&magic)?;
        Ok(Self {
            pack,
            log,
            marks,
            out,
            packed: Index::default(),
            later: Index::default(),
            copied_to: LOG_START,
            later_start: LOG_START,
            transactions_dropped: 0,
            records_dropped: 0,
        })
    }

    /// Copies what is kept of the transactions up to the pack time. False where that is all of them
    /// and nothing becomes smaller.
    pub(super) fn copy_packed(&mut self) -> Result<bool, PackError> {
        let end = self.marks.pack_end;
        while self.copied_to < end {
            let start = self.copied_to;
            self.pack.tick(
                Stage::Copying,
                start.number(),
                self.marks.looked_to.number(),
            )?;
            let header = transaction(self.log, start, end)?;
            self.pack_transaction(start, &header)?;
            self.copied_to = start + header.length + LENGTH_LEN;
        }
        self.later_start = self.out.position();
        Ok(self.later_start != end)
    }

    fn pack_transaction(
        &mut self,
        start: Offset,
        header: &TransactionHeader,
    ) -> Result<(), PackError> {
        let new_start = self.out.position();
        let mut records = Headers::of(start, header);
        let mut is_begun = false;
        while let Some((at, record)) = records.next(self.log)? {
            if header.status == Status::UNDONE || !self.marks.keeps(record.oid, at) {
                self.records_dropped += 1;
                continue;
            }
            if !is_begun {
                is_begun = true;
                self.begin(start, header, Status::PACKED)?;
            }
            self.pack_record(at, &record, new_start)?;
        }
        if !is_begun {
            self.transactions_dropped += 1;
            return Ok(());
        }
        let length = self.out.position() - new_start;
        self.out.write(&length.to_be_bytes())?;
        self.out.overwrite(
            new_start + TransactionHeader::LENGTH_OFFSET,
            &length.to_be_bytes(),
        )
    }

    /// Writes the header and the texts of a transaction.
    fn begin(
        &mut self,
        start: Offset,
        header: &TransactionHeader,
        status: Status,
    ) -> Result<(), PackError> {
        let header = TransactionHeader { status, ..*header };
        self.out.write(&header.encode())?;
        let texts = header.records_start() - TransactionHeader::LEN as u64;
        let mut bytes = vec![0; usize::try_from(texts).expect("three lengths of two bytes")];
        self.log
            .read_exact(start + TransactionHeader::LEN as u64, &mut bytes)?;
        self.out.write(&bytes)
    }

    /// Writes a record with its data, wherever that is.
    fn pack_record(
        &mut self,
        at: Offset,
        record: &DataHeader,
        new_start: Offset,
    ) -> Result<(), PackError> {
        let page = self.log.page(at, record.oid, self.marks.pack_end)?;
        let data = self.log.stored_data(&page)?.record;
        let new_at = self.out.position();
        let header = DataHeader {
            previous: Offset::NONE,
            transaction: new_start,
            data_length: data.as_ref().map_or(0, |data| data.len() as u64),
            ..*record
        };
        self.out.write(&header.encode())?;
        match &data {
            Some(data) => self.out.write(data)?,
            None => self.out.write(&Offset::NONE.number().to_be_bytes())?,
        }
        self.packed.insert(record.oid, new_at);
        if let Some(copy) = self.marks.copies.get_mut(&at) {
            *copy = new_at;
        }
        Ok(())
    }

    /// Copies the transactions from where the last copying ended up to `end`.
    pub(super) fn copy_later(&mut self, end: Offset) -> Result<(), PackError> {
        while self.copied_to < end {
            let start = self.copied_to;
            self.pack
                .tick(Stage::Copying, start.number(), end.number())?;
            let header = transaction(self.log, start, end)?;
            self.copy_transaction(start, &header)?;
            self.copied_to = start + header.length + LENGTH_LEN;
            assert_eq!(
                self.out.position(),
                self.moved(self.copied_to),
                "later transactions keep their lengths"
            );
        }
        Ok(())
    }

    fn copy_transaction(
        &mut self,
        start: Offset,
        header: &TransactionHeader,
    ) -> Result<(), PackError> {
        let new_start = self.out.position();
        self.begin(start, header, header.status)?;
        let mut found = Vec::new();
        let mut records = Headers::of(start, header);
        while let Some((at, record)) = records.next(self.log)? {
            found.push((record.oid, at, self.out.position()));
            self.copy_record(at, &record, new_start)?;
        }
        self.out.write(&header.length.to_be_bytes())?;
        if header.status == Status::UNDONE {
            return Ok(());
        }
        for &(oid, _, new_at) in &found {
            self.later.insert(oid, new_at);
        }
        if start >= self.marks.looked_to {
            let end = start + header.length;
            for (oid, at, _) in found {
                self.check_overtaking(oid, at, end)?;
            }
        }
        Ok(())
    }

    fn copy_record(
        &mut self,
        at: Offset,
        record: &DataHeader,
        new_start: Offset,
    ) -> Result<(), PackError> {
        let previous = self
            .later
            .get(record.oid)
            .or_else(|| self.packed.get(record.oid));
        let header = DataHeader {
            previous: previous.unwrap_or(Offset::NONE),
            transaction: new_start,
            ..*record
        };
        self.out.write(&header.encode())?;
        if let Some(target) = back_pointer(self.log, at, record)? {
            let target = match target.some() {
                Some(target) => self.target(record.oid, target)?,
                None => Offset::NONE,
            };
            return self.out.write(&target.number().to_be_bytes());
        }
        let mut from = at + DataHeader::LEN as u64;
        let end = from + record.data_length;
        while from < end {
            let piece =
                usize::try_from(end - from).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES));
            self.out.copy(self.log, from, piece)?;
            from = from + piece as u64;
        }
        Ok(())
    }

    /// Where the record is in the new file that a back pointer leads to.
    fn target(&self, oid: Oid, target: Offset) -> Result<Offset, PackError> {
        if target >= self.marks.pack_end {
            return Ok(self.moved(target));
        }
        let copy = match self.marks.copies.get(&target) {
            Some(copy) => copy.some(),
            None if self.marks.kept(oid) == Some(target) => self.packed.get(oid),
            None => None,
        };
        copy.ok_or(PackError::Overtaken {
            parent: oid,
            needed: oid,
        })
    }

    /// Where a place behind the pack time is in the new file.
    fn moved(&self, at: Offset) -> Offset {
        self.later_start + (at - self.marks.pack_end)
    }

    /// Looks whether a record that was committed during the pack needs what the pack leaves out.
    fn check_overtaking(&self, parent: Oid, at: Offset, end: Offset) -> Result<(), PackError> {
        if !self.pack.gc {
            return Ok(());
        }
        for oid in references(self.log, parent, at, end)? {
            if self.marks.is_garbage(oid) && self.later.get(oid).is_none() {
                let needed = oid;
                return Err(PackError::Overtaken { parent, needed });
            }
        }
        Ok(())
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&mut self) -> Result<(), PackError> {
        self.out.sync()
    }

    /// The new file, its index and its end.
    pub(super) fn finish(mut self) -> Result<(Arc<dyn File>, Index, Offset), PackError> {
        self.out.sync()?;
        for (oid, at) in self.later.iter() {
            self.packed.insert(oid, at);
        }
        let end = self.out.position();
        Ok((self.out.file, self.packed, end))
    }
}

/// A file that is written from front to back, with a buffer.
struct Draft {
    file: Arc<dyn File>,
    path: std::path::PathBuf,
    /// Where the buffer begins in the file.
    flushed: Offset,
    buffer: Vec<u8>,
}

impl Draft {
    fn new(pack: &Pack<'_>, file: Arc<dyn File>) -> Self {
        Self {
            file,
            path: pack.draft_path(),
            flushed: Offset::NONE,
            buffer: Vec::with_capacity(BUFFER_BYTES),
        }
    }

    fn position(&self) -> Offset {
        self.flushed + self.buffer.len() as u64
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.buffer.extend_from_slice(bytes);
        self.flush_if_full()
    }

    /// Copies bytes of the old file.
    fn copy(&mut self, log: &Log, from: Offset, length: usize) -> Result<(), PackError> {
        let filled = self.buffer.len();
        self.buffer.resize(filled + length, 0);
        log.read_exact(from, &mut self.buffer[filled..])?;
        self.flush_if_full()
    }

    /// Replaces bytes that were written with one call.
    fn overwrite(&mut self, at: Offset, bytes: &[u8]) -> Result<(), PackError> {
        match at.checked_sub(self.flushed.number()) {
            Some(place) => {
                let place = usize::try_from(place.number()).expect("inside the buffer");
                self.buffer[place..][..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            None => self
                .file
                .write_at(bytes, at.number())
                .map_err(|error| self.failed("write", error)),
        }
    }

    fn flush_if_full(&mut self) -> Result<(), PackError> {
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), PackError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file
            .write_at(&self.buffer, self.flushed.number())
            .map_err(|error| self.failed("write", error))?;
        self.flushed = self.position();
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), PackError> {
        self.flush()?;
        self.file
            .sync_data()
            .map_err(|error| self.failed("sync", error))
    }

    fn failed(&self, operation: &'static str, error: std::io::Error) -> PackError {
        StorageError::io(self.path.as_path(), operation, error).into()
    }
}

const BUFFER_BYTES: usize = 1 << 20;
const PIECE_BYTES: usize = 1 << 20;
