//! Reading the log from front to back at open, and finding out where it ends.
//!
//! The rules are those of ZODB's `read_index`, which has learned from twenty years of broken files;
//! where a file could lose finished transactions to them, we refuse to open it instead.

use storage::{StorageError, Tid};

use crate::displaced::{Behind, Found};
use crate::format::{DataHeader, LENGTH_LEN, LOG_START, Offset, Status, TransactionHeader};
use crate::index::Index;
use crate::log::Log;

/// A log of which only the part before `start` is known to be sound.
pub(crate) struct UncheckedTail {
    pub(crate) index: Index,
    pub(crate) start: Offset,
    pub(crate) last_tid: Tid,
}

/// A log whose transactions have been walked to the last one.
pub(crate) struct CheckedLog {
    pub(crate) index: Index,
    /// Behind the last finished transaction.
    pub(crate) end: Offset,
    pub(crate) last_tid: Tid,
    pub(crate) unfinished: Option<Unfinished>,
}

/// Bytes behind the last finished transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) why: &'static str,
    /// Whether they may be of use to somebody.
    pub(crate) worth_saving: bool,
}

impl UncheckedTail {
    /// Nothing is known.
    pub(crate) fn everything() -> Self {
        Self {
            index: Index::default(),
            start: LOG_START,
            last_tid: Tid::ZERO,
        }
    }

    /// Walks the rest of the log.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where a transaction is broken and others follow it.
    pub(crate) fn check(self, log: &Log) -> Result<CheckedLog, StorageError> {
        let size = log.size()?;
        let mut scan = Scan {
            window: Window::new(log, size),
            index: self.index,
            at: self.start,
            last_tid: self.last_tid,
        };
        let unfinished = loop {
            match scan.judge()? {
                Verdict::End => break None,
                Verdict::Unfinished(unfinished) => break Some(unfinished),
                Verdict::Transaction(header) => scan.take(&header)?,
            }
        };
        Ok(CheckedLog {
            index: scan.index,
            end: scan.at,
            last_tid: scan.last_tid,
            unfinished,
        })
    }
}

struct Scan<'a> {
    window: Window<'a>,
    index: Index,
    at: Offset,
    last_tid: Tid,
}

enum Verdict {
    End,
    Unfinished(Unfinished),
    Transaction(TransactionHeader),
}

impl Scan<'_> {
    /// What there is at the current place.
    fn judge(&mut self) -> Result<Verdict, StorageError> {
        let (log, at, size) = (self.window.log, self.at, self.window.size);
        if at == size {
            return Ok(Verdict::End);
        }
        let Some(bytes) = self.window.read(at)? else {
            return Ok(Verdict::Unfinished(Unfinished {
                why: "the file ends inside a transaction header",
                worth_saving: false,
            }));
        };
        let header = TransactionHeader::decode(&bytes);
        let fits = header
            .length
            .checked_add(LENGTH_LEN)
            .is_some_and(|length| length <= size - at);
        let why = if !fits {
            "the last transaction is longer than the file"
        } else if header.status == Status::UNFINISHED {
            "the last transaction was never finished"
        } else if header.status == Status::NEVER_WRITTEN {
            // A power loss during a vote may keep the end of the transaction and not its header.
            // The original takes this for damage in the middle of the file.
            "the header of the last transaction never reached the disk"
        } else if header.length >= header.records_start() {
            if !header.status.is_finished() {
                let (path, status) = (log.path().display(), header.status);
                tracing::warn!(%path, offset = at.number(), ?status, "unknown transaction status");
            }
            return Ok(Verdict::Transaction(header));
        } else if self.closing_length_is_plausible()? {
            let what = format!(
                "a transaction of {} bytes cannot have a header of {}",
                header.length,
                header.records_start()
            );
            return Err(log.corrupt(at, what));
        } else {
            "the last transaction has no sound header"
        };
        if let Some(later) = self.finished_transaction_behind(&header)? {
            if header.status == Status::NEVER_WRITTEN
                && fits
                && header.length >= header.records_start()
            {
                return Ok(Verdict::Transaction(header));
            }
            // A writer beside a look at the file may have finished both since.
            if self.window.has_changed(at, &bytes)? {
                return self.judge();
            }
            let what = format!(
                "{why}, if this is the last one; but a finished one follows it at {later}. \
                 Nothing was cut off: keep a copy of the file and run `zodiac fs recover`"
            );
            return Err(log.corrupt(at, what));
        }
        Ok(Verdict::Unfinished(Unfinished {
            why,
            worth_saving: true,
        }))
    }

    /// Whether the last eight bytes of the file can be the closing length of a transaction that
    /// does not begin before the current place: the original's test for damage in the middle.
    fn closing_length_is_plausible(&self) -> Result<bool, StorageError> {
        let size = self.window.size;
        let closing = self.window.log.read_closing_length(size)?;
        Ok(closing >= TransactionHeader::LEN as u64 && closing <= size - self.at)
    }

    /// The first finished transaction behind the current place whose finish may have been told to
    /// somebody. Then what is broken here is not the unfinished end of the log, and cutting it would
    /// lose transactions that are thought to be safe.
    ///
    /// What a crash leaves of transactions that were written together looks much like it: some of
    /// them have got their final status and others have not. Nobody was told of any of those; their ids
    /// follow each other without a gap.
    fn finished_transaction_behind(
        &mut self,
        first: &TransactionHeader,
    ) -> Result<Option<Found>, StorageError> {
        let (log, size) = (self.window.log, self.window.size);
        let (mut at, mut header) = (self.at, *first);
        loop {
            let after = at + header.length.saturating_add(LENGTH_LEN).min(size - at);
            if !self.is_whole(at, &header, after)? {
                return self.finished_transaction_somewhere(at);
            }
            if after == size || size - after < TransactionHeader::LEN as u64 {
                return Ok(None);
            }
            let next = TransactionHeader::decode(&log.read_array(after)?);
            let together = next.tid == header.tid.next();
            if next.status.is_finished() && !together {
                // Behind what was never finished there is none, except by damage.
                let end = after + next.length.saturating_add(LENGTH_LEN).min(size - after);
                if self.is_whole(after, &next, end)? && self.is_own(after, &next)? {
                    return Ok(Some(Found::in_place(after, next)));
                }
                return self.finished_transaction_somewhere(after);
            }
            (at, header) = (after, next);
        }
    }

    /// Whether the transaction has both its lengths, and a status that transactions are written with.
    fn is_whole(
        &self,
        at: Offset,
        header: &TransactionHeader,
        after: Offset,
    ) -> Result<bool, StorageError> {
        let written = header.status == Status::UNFINISHED || header.status.is_finished();
        let fits = after - at >= header.length.saturating_add(LENGTH_LEN);
        Ok(written
            && fits
            && header.length >= header.records_start()
            && self.window.log.read_closing_length(after)? == header.length)
    }

    /// A finished transaction behind that place, where none is that is whole.
    fn finished_transaction_somewhere(
        &mut self,
        broken: Offset,
    ) -> Result<Option<Found>, StorageError> {
        // Mostly a look at the end is enough.
        if let Some(found) = self.finished_transaction_at_the_end(broken)? {
            return Ok(Some(found));
        }
        let behind = Behind {
            at: broken,
            shift: 0,
            floor: broken.number(),
            last_tid: self.last_tid,
        };
        let from = behind.unfinished_until(&mut self.window)?.max(broken + 1);
        let hits = behind.search(&mut self.window, from, true, u64::MAX)?;
        Ok(hits.any())
    }

    /// A finished transaction behind that place, after which only whole ones follow to the end of the
    /// file.
    fn finished_transaction_at_the_end(
        &self,
        behind: Offset,
    ) -> Result<Option<Found>, StorageError> {
        let log = self.window.log;
        let mut after = self.window.size;
        loop {
            let (start, header) = match log.transaction_before(after) {
                Ok(found) => found,
                Err(StorageError::Corrupt { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            if start <= behind || header.tid <= self.last_tid || !self.is_own(start, &header)? {
                return Ok(None);
            }
            if header.status.is_finished() {
                return Ok(Some(Found::in_place(start, header)));
            }
            if header.status != Status::UNFINISHED {
                return Ok(None);
            }
            after = start;
        }
    }

    /// Whether the first record agrees that it belongs there. Stored bytes may look like a log; but a
    /// copy of one has other offsets in it.
    fn is_own(&self, start: Offset, header: &TransactionHeader) -> Result<bool, StorageError> {
        let records = header.length - header.records_start();
        if records == 0 {
            return Ok(true);
        }
        if records < DataHeader::LEN as u64 {
            return Ok(false);
        }
        let at = start + header.records_start();
        let first = DataHeader::decode(&self.window.log.read_array(at)?);
        Ok(first.transaction == start && first.tid == header.tid)
    }

    /// Enters the records of the transaction at the current place and moves behind it.
    fn take(&mut self, header: &TransactionHeader) -> Result<(), StorageError> {
        let (log, start) = (self.window.log, self.at);
        let path = log.path().display();
        if header.tid <= self.last_tid {
            tracing::warn!(%path, offset = start.number(), tid = %header.tid, last = %self.last_tid,
                "a transaction is not later than the one before it");
        }
        let end = start + header.length;
        let mut found = Vec::new();
        if header.status != Status::UNDONE {
            let mut at = start + header.records_start();
            while at < end {
                let record = self.record(at, start, end)?;
                let current = self.index.get(record.oid).unwrap_or(Offset::NONE);
                if current != record.previous {
                    tracing::warn!(%path, offset = at.number(), oid = %record.oid,
                        previous = record.previous.number(), expected = current.number(),
                        "wrong pointer to the previous record");
                }
                found.push((record.oid, at));
                at = at + record.record_length();
            }
            assert_eq!(at, end, "each record was checked to lie inside");
        }
        let closing = self.window.read(end)?.map(u64::from_be_bytes);
        if closing != Some(header.length) {
            let what = format!(
                "the closing length is {}, the header says {}",
                closing.unwrap_or_default(),
                header.length
            );
            return Err(log.corrupt(end, what));
        }
        for (oid, at) in found {
            self.index.insert(oid, at);
        }
        self.at = end + LENGTH_LEN;
        self.last_tid = self.last_tid.max(header.tid);
        Ok(())
    }

    /// The header of the record at that offset, which lies inside its transaction.
    fn record(
        &mut self,
        at: Offset,
        start: Offset,
        end: Offset,
    ) -> Result<DataHeader, StorageError> {
        let log = self.window.log;
        let bytes = self.window.read(at)?;
        let record = bytes
            .as_ref()
            .map(DataHeader::decode)
            .ok_or_else(|| log.corrupt(at, "the file ends inside a record"))?;
        let fits = record.record_length() <= end - at;
        if !fits || record.transaction != start || record.version_length != 0 {
            let what = format!(
                "a record of {} bytes in the transaction at {} was expected to end by {} and to \
                 belong to the transaction at {}, without a version",
                record.data_length,
                record.transaction.number(),
                end.number(),
                start.number()
            );
            return Err(log.corrupt(at, what));
        }
        Ok(record)
    }
}

/// A piece of the file in memory that moves forward with the reader.
pub(crate) struct Window<'a> {
    pub(crate) log: &'a Log,
    /// The size of the file, or where reading shall stop.
    pub(crate) size: Offset,
    bytes: Vec<u8>,
    start: Offset,
    /// How much is read at a time.
    step: usize,
}

impl<'a> Window<'a> {
    pub(crate) fn new(log: &'a Log, size: Offset) -> Self {
        Self {
            log,
            size,
            bytes: Vec::new(),
            start: Offset::NONE,
            step: WINDOW_BYTES,
        }
    }

    /// From now on larger pieces are read, for somebody who looks at all bytes and not only at
    /// headers.
    pub(crate) fn read_ahead(&mut self, step: usize) {
        self.step = step;
    }

    /// The bytes at that offset; none where the file ends before the last of them.
    pub(crate) fn read<const N: usize>(
        &mut self,
        at: Offset,
    ) -> Result<Option<[u8; N]>, StorageError> {
        if at
            .checked_add(N as u64)
            .is_none_or(|after| after > self.size)
        {
            return Ok(None);
        }
        if let Some(bytes) = self.held(at) {
            return Ok(Some(*bytes));
        }
        self.fill(at, N)?;
        Ok(self.held(at).copied())
    }

    /// That many bytes at that offset; none where the file ends before the last of them. The caller
    /// has checked that the length makes sense: so much memory is taken.
    pub(crate) fn slice(&mut self, at: Offset, len: usize) -> Result<Option<&[u8]>, StorageError> {
        if at
            .checked_add(len as u64)
            .is_none_or(|after| after > self.size)
        {
            return Ok(None);
        }
        if self.peek_slice(at, len).is_none() {
            self.fill(at, len)?;
        }
        Ok(self.peek_slice(at, len))
    }

    /// Moves to that offset, and holds at least `len` bytes from there where the file has them.
    fn fill(&mut self, at: Offset, len: usize) -> Result<(), StorageError> {
        if len <= self.step {
            // What one long record needed is given back.
            self.bytes.truncate(self.step);
            self.bytes.shrink_to(self.step);
        }
        self.bytes.resize(len.max(self.step), 0);
        let filled = self
            .log
            .file
            .read_most_at(&mut self.bytes, at.number())
            .map_err(|error| self.log.io("read", error))?;
        self.bytes.truncate(filled);
        self.start = at;
        Ok(())
    }

    /// The bytes there, where they are in memory.
    pub(crate) fn peek_slice(&self, at: Offset, len: usize) -> Option<&[u8]> {
        let skip = at.number().checked_sub(self.start.number())?;
        self.bytes.get(usize::try_from(skip).ok()?..)?.get(..len)
    }

    /// Whether the file has other bytes at that offset by now, because another process writes it.
    /// Then nothing that was read counts any more.
    fn has_changed(&mut self, at: Offset, before: &[u8]) -> Result<bool, StorageError> {
        let mut now = vec![0; before.len()];
        self.log.read_exact(at, &mut now)?;
        let has_changed = now != before;
        if has_changed {
            self.bytes.clear();
        }
        Ok(has_changed)
    }

    /// The bytes at that offset; none where the file ends before the last of them. What is in memory
    /// stays there, for somebody who goes on reading where he was.
    pub(crate) fn near<const N: usize>(&self, at: Offset) -> Result<Option<[u8; N]>, StorageError> {
        if at
            .checked_add(N as u64)
            .is_none_or(|after| after > self.size)
        {
            return Ok(None);
        }
        if let Some(bytes) = self.held(at) {
            return Ok(Some(*bytes));
        }
        match self.log.read_array(at) {
            Ok(bytes) => Ok(Some(bytes)),
            // It became shorter.
            Err(StorageError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn held<const N: usize>(&self, at: Offset) -> Option<&[u8; N]> {
        let skip = at.number().checked_sub(self.start.number())?;
        self.bytes.get(usize::try_from(skip).ok()?..)?.first_chunk()
    }
}

const WINDOW_BYTES: usize = 64 * 1024;
pub(crate) const READ_AHEAD_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
