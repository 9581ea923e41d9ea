//! Records that a saved index should name and does not: of objects that it does not know, or of which it
//! names an older record.
//!
//! All entries of such an index may lead to records of their objects, so a look at entries does not find
//! it: records are looked at. In a small log these are all, in a large one the last ones and those of
//! transactions that a sample of the entries leads to.
//!
//! What such a record says of itself may be damaged, and then it is the index that is right. So its
//! pointer has to lead to an older record of the same object, and nothing else may say that it is
//! another object's: no entry of the index, and no pointer of a later record.

use std::collections::BTreeMap;

use storage::{Oid, StorageError};

use super::refuse_corrupt;
use crate::format::{DataHeader, LENGTH_LEN, LOG_START, Offset, Status, TransactionHeader};
use crate::index::Index;
use crate::log::Log;
use crate::scan::Window;

/// A record that the index does not name, nor a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) oid: Oid,
    pub(crate) at: Offset,
    /// The older one that the index names.
    pub(crate) named: Option<Offset>,
    /// Where the record says that the one before it is.
    pub(crate) previous: Offset,
}

/// The first gap in an index that holds up to `end`. The entries are some that lead to records of their
/// objects.
pub(super) fn first(
    log: &Log,
    index: &Index,
    end: Offset,
    entries: &[(Oid, Offset)],
) -> Result<Option<Gap>, StorageError> {
    look(log, index, end, entries, LOOKED_THROUGH_MAX)
}

fn look(
    log: &Log,
    index: &Index,
    end: Offset,
    entries: &[(Oid, Offset)],
    looked_through_max: Offset,
) -> Result<Option<Gap>, StorageError> {
    let mut search = Search {
        window: Window::new(log, end),
        log,
        index,
        end,
        found: BTreeMap::new(),
    };
    if end <= looked_through_max {
        search.transactions(LOG_START, end)?;
    } else {
        search.newest()?;
        for (_, at) in entries {
            let record = DataHeader::decode(&log.read_array(*at)?);
            search.transaction(record.transaction, RECORDS_MAX)?;
        }
    }
    search.proven()
}

struct Search<'a> {
    window: Window<'a>,
    log: &'a Log,
    index: &'a Index,
    end: Offset,
    /// By their places.
    found: BTreeMap<Offset, Gap>,
}

impl Search<'_> {
    fn newest(&mut self) -> Result<(), StorageError> {
        let mut start = self.end;
        for _ in 0..NEWEST_MAX {
            if start == LOG_START || self.end - start > NEWEST_BYTES_MAX {
                break;
            }
            let before = self.log.transaction_before(start).map(Some);
            let Some((before, _)) = refuse_corrupt(before)? else {
                break;
            };
            start = before;
        }
        self.transactions(start, self.end)
    }

    /// Goes as far as nothing is damaged.
    fn transactions(&mut self, start: Offset, end: Offset) -> Result<(), StorageError> {
        let mut next = Some(start);
        while let Some(at) = next.filter(|at| *at < end) {
            next = self.transaction(at, usize::MAX)?;
        }
        Ok(())
    }

    /// Where the next transaction begins, if this one is sound.
    fn transaction(
        &mut self,
        start: Offset,
        records_max: usize,
    ) -> Result<Option<Offset>, StorageError> {
        let Some(bytes) = self.window.read(start)? else {
            return Ok(None);
        };
        let header = TransactionHeader::decode(&bytes);
        let sound = self.log.check_transaction(start, &header, self.end);
        if refuse_corrupt(sound.map(Some))?.is_none() {
            return Ok(None);
        }
        let end = start + header.length;
        let next = end + LENGTH_LEN;
        if header.status == Status::UNDONE {
            return Ok(Some(next));
        }
        let mut at = start + header.records_start();
        for _ in 0..records_max {
            if at >= end {
                break;
            }
            let Some(bytes) = self.window.read(at)? else {
                return Ok(None);
            };
            let record = DataHeader::decode(&bytes);
            let is_in = record.transaction == start && record.tid == header.tid;
            if !is_in || record.record_length() > end - at {
                return Ok(None);
            }
            self.record(at, &record);
            if record.data_length == 0
                && !self.found.is_empty()
                && let Some(back) = self.window.read(at + DataHeader::LEN as u64)?
            {
                self.is_led_to(Offset::new(u64::from_be_bytes(back)), record.oid);
            }
            at = at + record.record_length();
        }
        Ok(Some(next))
    }

    fn record(&mut self, at: Offset, record: &DataHeader) {
        let (oid, previous) = (record.oid, record.previous);
        self.is_led_to(previous, oid);
        let named = self.index.get(oid);
        if named.is_none_or(|named| named < at) && self.found.len() < FOUND_MAX {
            let gap = Gap {
                oid,
                at,
                named,
                previous,
            };
            self.found.insert(at, gap);
        }
    }

    /// A record of that object leads there.
    fn is_led_to(&mut self, at: Offset, oid: Oid) {
        if self.found.get(&at).is_some_and(|gap| gap.oid != oid) {
            self.found.remove(&at);
        }
    }

    fn proven(mut self) -> Result<Option<Gap>, StorageError> {
        if self.found.is_empty() {
            return Ok(None);
        }
        for (_, at) in self.index.iter() {
            self.found.remove(&at);
        }
        for gap in self.found.values() {
            if is_of_object(self.log, gap)? {
                return Ok(Some(*gap));
            }
        }
        Ok(None)
    }
}

/// Whether the record follows those of its object that are known, so that it is what it says.
pub(crate) fn is_of_object(log: &Log, gap: &Gap) -> Result<bool, StorageError> {
    let Some(previous) = gap.previous.some() else {
        return Ok(gap.named.is_none());
    };
    if previous >= gap.at || gap.named.is_some_and(|named| named > previous) {
        return Ok(false);
    }
    let before = refuse_corrupt(log.read_array(previous).map(Some))?;
    let before = before.map(|bytes| DataHeader::decode(&bytes));
    Ok(before.is_some_and(|before| before.oid == gap.oid))
}

/// A log up to that length is looked through: a fraction of a second, as
/// [behind a checkpoint](crate::checkpoint::CHECKPOINT_EVERY_BYTES).
const LOOKED_THROUGH_MAX: Offset = Offset::new(64 << 20);
/// Of a longer one so many transactions at its end are.
const NEWEST_MAX: usize = 1000;
const NEWEST_BYTES_MAX: u64 = 4 << 20;
/// And so many records of each transaction of a sample.
const RECORDS_MAX: usize = 100;
const FOUND_MAX: usize = 1000;

#[cfg(test)]
mod tests;
