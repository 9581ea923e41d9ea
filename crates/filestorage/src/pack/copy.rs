//! The second part of a pack: the new file. The old one is only read.
//!
//! Packed transactions are written anew: only the records that are kept, each with its data, without
//! back pointers and without pointers to previous records. Later transactions are copied as they
//! are and keep their lengths, so that everything behind the pack time moves by the same distance.
//!
//! The index of the new file waits in a file of its own until that of the old one is gone: see `sorter`.

use std::collections::BTreeSet;
use std::sync::Arc;

use storage::{Oid, PackError, Stage, StorageError, Tid, is_blob_record};
use vfs::File;

use super::draft::Draft;
use super::mark::Marks;
use super::oid_set::OidSet;
use super::read::{Reader, Records};
use super::sorter::Sorter;
use super::{Pack, check};
use crate::blobs::RemovedList;
use crate::format::{DataHeader, LOG_START, MAGIC_NEW, Offset, Status, TransactionHeader};
use crate::index::{Index, LazyIndex};
use crate::log::Log;
use crate::references::References;
use crate::votes::Vote;

/// The new file while it is made.
pub(super) struct Copier<'a> {
    pack: &'a Pack<'a>,
    log: &'a Log,
    marks: Marks,
    /// Where the copies are, until the packed part is copied.
    sorter: Sorter<'a>,
    /// Where the current records are in the new file, from then on.
    index: LazyIndex,
    /// Objects that existed at the pack time and are left out.
    garbage: OidSet,
    out: Draft,
    /// Data that a back pointer leads to.
    data: Vec<u8>,
    references: References,
    /// Up to where the old file is copied.
    pub(super) copied_to: Offset,
    /// Where the later transactions begin in the new file.
    later_start: Offset,
    pub(super) transactions_dropped: u64,
    pub(super) records_dropped: u64,
    /// The records of blobs among them, where blobs are kept.
    pub(super) removed: Option<RemovedList<'a>>,
}

impl<'a> Copier<'a> {
    /// Begins the new file in an empty one.
    pub(super) fn new(
        pack: &'a Pack<'a>,
        log: &'a Log,
        marks: Marks,
        file: Arc<dyn File>,
        removed: Option<RemovedList<'a>>,
    ) -> Result<Self, PackError> {
        let magic: [u8; MAGIC_NEW.len()] = log.read_array(Offset::NONE)?;
        let mut out = Draft::begin(&*pack.storage.disk, file, pack.draft_path());
        out.write(&magic)?;
        Ok(Self {
            pack,
            log,
            marks,
            sorter: Sorter::new(pack.storage),
            index: LazyIndex::from(Index::default()),
            garbage: OidSet::default(),
            out,
            data: Vec::new(),
            references: References::default(),
            copied_to: LOG_START,
            later_start: LOG_START,
            transactions_dropped: 0,
            records_dropped: 0,
            removed,
        })
    }

    /// Copies what is kept of the transactions up to the pack time. False where that is all of them
    /// and nothing becomes smaller.
    pub(super) fn copy_packed(&mut self) -> Result<bool, PackError> {
        let end = self.marks.pack_end;
        let mut reader = Reader::of_all(self.log, end);
        while self.copied_to < end {
            let start = self.copied_to;
            let total = self.marks.looked_to.number();
            self.pack.tick(Stage::Copying, start.number(), total)?;
            let header = reader.transaction(start)?;
            let written = self.out.position();
            self.pack_transaction(&mut reader, start, &header)?;
            self.copied_to = reader.close(start, &header)?;
            self.pack
                .moved(header.length + (self.out.position() - written));
        }
        self.later_start = self.out.position();
        self.garbage = self.marks.take_garbage()?;
        self.index = self.sorter.finish()?;
        Ok(self.later_start != end)
    }

    fn pack_transaction(
        &mut self,
        reader: &mut Reader<'_>,
        start: Offset,
        header: &TransactionHeader,
    ) -> Result<(), PackError> {
        let new_start = self.out.position();
        let packed_header = TransactionHeader {
            status: Status::PACKED,
            length: self.packed_length(reader, start, header)?,
            ..*header
        };
        let mut records = Records::of(start, header);
        let mut is_begun = false;
        let mut blobs = BTreeSet::new();
        while let Some((at, record)) = reader.next(&mut records)? {
            if header.status != Status::UNDONE {
                check::transaction(self.log, header, at, &record)?;
            }
            if header.status == Status::UNDONE || !self.keeps(record.oid, at)? {
                self.records_dropped += 1;
                if self.removed.is_some() && self.is_blob(reader, at, &record)? {
                    blobs.insert(record.oid);
                }
                continue;
            }
            if !is_begun {
                is_begun = true;
                self.begin(reader, start, &packed_header)?;
            }
            check::current(self.pack, self.log, at, &record)?;
            self.pack_record(reader, at, &record, new_start)?;
            // Old files may have an object twice in one transaction. The file of the blob is one.
            blobs.remove(&record.oid);
        }
        if let Some(removed) = &mut self.removed {
            for oid in blobs {
                removed.push(oid, header.tid)?;
            }
        }
        if !is_begun {
            self.transactions_dropped += 1;
            return Ok(());
        }
        let length = self.out.position() - new_start;
        self.out.write(&length.to_be_bytes())?;
        if length != packed_header.length {
            self.out.overwrite(
                new_start + TransactionHeader::LENGTH_OFFSET,
                &length.to_be_bytes(),
            )?;
        }
        Ok(())
    }

    /// How long the transaction will be, where its header would be on its way to the disk before its
    /// end is known: a disk is slow to write a few bytes again. Where back pointers make that hard to
    /// say, or the header will be at hand, this is the length as it was.
    fn packed_length(
        &self,
        reader: &mut Reader<'_>,
        start: Offset,
        header: &TransactionHeader,
    ) -> Result<u64, PackError> {
        if header.length < self.out.room() || header.status == Status::UNDONE {
            return Ok(header.length);
        }
        let mut length = header.records_start();
        let mut records = Records::of(start, header);
        while let Some((at, record)) = reader.next(&mut records)? {
            if !self.keeps(record.oid, at)? {
                continue;
            }
            if record.data_length == 0 {
                return Ok(header.length);
            }
            length += record.record_length();
        }
        Ok(length)
    }

    /// Whether the record is to be copied.
    fn keeps(&self, oid: Oid, at: Offset) -> Result<bool, StorageError> {
        Ok(self.marks.copies.contains_key(&at) || self.marks.kept(oid)? == Some(at))
    }

    fn is_blob(
        &mut self,
        reader: &mut Reader<'_>,
        at: Offset,
        record: &DataHeader,
    ) -> Result<bool, PackError> {
        if record.data_length > 0 {
            return Ok(is_blob_record(reader.own_data(at, record)?));
        }
        let end = self.marks.pack_end;
        self.log.data_into(at, record.oid, end, &mut self.data)?;
        Ok(is_blob_record(&self.data))
    }

    /// Writes the header and the texts of a transaction.
    fn begin(
        &mut self,
        reader: &mut Reader<'_>,
        start: Offset,
        header: &TransactionHeader,
    ) -> Result<(), PackError> {
        self.out.write(&header.encode())?;
        let texts = header.records_start() - TransactionHeader::LEN as u64;
        let length = usize::try_from(texts).expect("three lengths of two bytes");
        let texts = reader.bytes(start + TransactionHeader::LEN as u64, length)?;
        Ok(self.out.write(texts)?)
    }

    /// Writes a record with its data, wherever that is.
    fn pack_record(
        &mut self,
        reader: &mut Reader<'_>,
        at: Offset,
        record: &DataHeader,
        new_start: Offset,
    ) -> Result<(), PackError> {
        let oid = record.oid;
        let new_at = self.out.position();
        let data: &[u8] = if record.data_length > 0 {
            reader.own_data(at, record)?
        } else {
            let end = self.marks.pack_end;
            self.log.data_into(at, oid, end, &mut self.data)?;
            &self.data
        };
        let header = DataHeader {
            previous: Offset::NONE,
            transaction: new_start,
            data_length: data.len() as u64,
            ..*record
        };
        self.out.write(&header.encode())?;
        if data.is_empty() {
            self.out.write(&Offset::NONE.number().to_be_bytes())?;
        } else {
            self.out.write(data)?;
        }
        self.sorter.push(oid, new_at)?;
        if let Some(copy) = self.marks.copies.get_mut(&at) {
            *copy = new_at;
        }
        Ok(())
    }

    /// Copies the transactions from where the last copying ended up to `end`.
    pub(super) fn copy_later(&mut self, end: Offset) -> Result<(), PackError> {
        self.copy_up_to(end, |this, at, moved| {
            this.pack.moved(moved);
            this.pack.tick(Stage::Copying, at.number(), end.number())
        })
    }

    /// The same while commits wait: nobody slows it down or ends it.
    pub(super) fn copy_in_haste(&mut self, end: Offset) -> Result<(), PackError> {
        self.copy_up_to(end, |_, _, _| Ok(()))
    }

    fn copy_up_to(
        &mut self,
        end: Offset,
        mut came_to: impl FnMut(&Self, Offset, u64) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let mut reader = Reader::of_all(self.log, end);
        while self.copied_to < end {
            let start = self.copied_to;
            let header = reader.transaction(start)?;
            self.copy_transaction(&mut reader, start, &header)?;
            self.copied_to = reader.close(start, &header)?;
            assert_eq!(
                self.out.position(),
                self.moved(self.copied_to),
                "later transactions keep their lengths"
            );
            came_to(self, self.copied_to, header.length * 2)?;
        }
        Ok(())
    }

    fn copy_transaction(
        &mut self,
        reader: &mut Reader<'_>,
        start: Offset,
        header: &TransactionHeader,
    ) -> Result<(), PackError> {
        let new_start = self.out.position();
        self.begin(reader, start, header)?;
        let mut found = Vec::new();
        let mut records = Records::of(start, header);
        while let Some((at, record)) = reader.next(&mut records)? {
            if header.status != Status::UNDONE {
                check::transaction(self.log, header, at, &record)?;
                self.check_previous(start, header, at, &record)?;
                // Of what was committed since, the index may not know yet.
                if start < self.marks.looked_to {
                    check::current(self.pack, self.log, at, &record)?;
                }
            }
            found.push((record.oid, at, self.out.position()));
            self.copy_record(reader, at, &record, new_start)?;
        }
        self.out.write(&header.length.to_be_bytes())?;
        if header.status == Status::UNDONE {
            return Ok(());
        }
        for &(oid, _, new_at) in &found {
            self.index.insert(oid, new_at)?;
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
        reader: &mut Reader<'_>,
        at: Offset,
        record: &DataHeader,
        new_start: Offset,
    ) -> Result<(), PackError> {
        let header = DataHeader {
            previous: self.index.get(record.oid)?.unwrap_or_default(),
            transaction: new_start,
            ..*record
        };
        self.out.write(&header.encode())?;
        if let Some(target) = reader.back_pointer(at, record)? {
            let target = match target.some() {
                Some(target) => self.target(record.oid, target)?,
                None => Offset::NONE,
            };
            return Ok(self.out.write(&target.number().to_be_bytes())?);
        }
        let mut from = at + DataHeader::LEN as u64;
        let end = from + record.data_length;
        while from < end {
            let piece =
                usize::try_from(end - from).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES));
            self.out.write(reader.bytes(from, piece)?)?;
            from = from + piece as u64;
        }
        Ok(())
    }

    /// Whether the pointer to the previous record leads to where the last one was.
    fn check_previous(
        &self,
        start: Offset,
        header: &TransactionHeader,
        at: Offset,
        record: &DataHeader,
    ) -> Result<(), PackError> {
        let pack_end = self.marks.pack_end;
        let found = match self.index.get(record.oid)? {
            // Which one it was before the pack time is not known any more.
            Some(new_at) if new_at < self.later_start => match record.previous {
                Offset::NONE => LOG_START,
                previous if previous < pack_end => return Ok(()),
                _ => LOG_START,
            },
            Some(new_at) => pack_end + (new_at - self.later_start),
            None => Offset::NONE,
        };
        let previous = check::Previous {
            log: self.log,
            start,
            status: header.status,
        };
        Ok(previous.check_found(found, at, record)?)
    }

    /// Where the record is in the new file that a back pointer leads to.
    fn target(&mut self, oid: Oid, target: Offset) -> Result<Offset, PackError> {
        if target >= self.marks.pack_end {
            return Ok(self.moved(target));
        }
        let copy = match self.marks.copies.get(&target) {
            Some(copy) => copy.some(),
            None => self.only_copy(oid, target)?,
        };
        copy.ok_or(PackError::Overtaken {
            parent: oid,
            needed: oid,
        })
    }

    /// Where the one packed record of the object is in the new file, if that is the copy of the record
    /// at `target`. Only an undo that was committed during the pack asks: the marks do not know it.
    fn only_copy(&mut self, oid: Oid, target: Offset) -> Result<Option<Offset>, PackError> {
        let original = DataHeader::decode(&self.log.read_array(target)?);
        let mut at = self.index.get(oid)?;
        while let Some(new_at) = at {
            let copy = DataHeader::decode(&self.out.read_array(new_at)?);
            if copy.oid != oid || copy.previous >= new_at {
                let what = format!("a record of {oid} was written, one of {} found", copy.oid);
                return Err(self.log.corrupt(new_at, what).into());
            }
            if new_at < self.later_start {
                let same_data =
                    original.data_length == 0 || original.data_length == copy.data_length;
                return Ok((original.tid == copy.tid && same_data).then_some(new_at));
            }
            at = copy.previous.some();
        }
        Ok(None)
    }

    /// Where a place behind the pack time is in the new file.
    fn moved(&self, at: Offset) -> Offset {
        self.later_start + (at - self.marks.pack_end)
    }

    /// Looks whether a record that was committed during the pack needs what the pack leaves out.
    fn check_overtaking(&mut self, parent: Oid, at: Offset, end: Offset) -> Result<(), PackError> {
        if !self.pack.gc {
            return Ok(());
        }
        let mut data = std::mem::take(&mut self.data);
        let (tid, _) = self.log.data_into(at, parent, end, &mut data)?;
        let checked = self.check_references(parent, tid, &data);
        self.data = data;
        checked
    }

    fn check_references(&mut self, parent: Oid, tid: Tid, data: &[u8]) -> Result<(), PackError> {
        if data.is_empty() {
            // The object was removed.
            return Ok(());
        }
        let (found, _) = self
            .references
            .read(data)
            .map_err(|cause| PackError::Unreadable {
                oid: parent,
                tid,
                cause,
            })?;
        for &needed in found {
            // It may have been stored again since.
            if self.garbage.contains(needed) && self.index.get(needed)?.is_none() {
                return Err(PackError::Overtaken { parent, needed });
            }
        }
        Ok(())
    }

    /// The same for a transaction that will be finished behind the switch.
    pub(super) fn check_vote(&mut self, vote: &Vote) -> Result<(), PackError> {
        if !self.pack.gc {
            return Ok(());
        }
        vote.each_record(&self.pack.storage.path, |oid, data| {
            self.check_references(oid, Tid::MAX, data)
        })
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&mut self) -> Result<(), PackError> {
        Ok(self.out.sync()?)
    }

    /// The new file, its index and its end.
    pub(super) fn finish(self) -> Result<(Arc<dyn File>, LazyIndex, Offset), StorageError> {
        let end = self.out.position();
        Ok((self.out.finish()?, self.index, end))
    }
}

const PIECE_BYTES: usize = 256 << 10;
