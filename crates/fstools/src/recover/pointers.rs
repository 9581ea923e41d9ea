//! Following back pointers in a damaged file, to data that are data still.

use filestorage::{RawRecord, RawTransaction};

use super::Recovery;
use super::witness::Finding;
use crate::content::Content;
use crate::listener::ToolError;

/// What becomes of a record's body.
pub(super) enum Body {
    /// It is copied.
    Own,
    /// It points to that place of the new file, or to nothing.
    Back(u64),
    /// Data from elsewhere in the damaged file take its place.
    Inline {
        at: u64,
        bytes: u64,
    },
    Lost,
}

impl Recovery<'_> {
    /// Where the data of a record are. A pointer leads to before its transaction.
    pub(super) fn body(
        &mut self,
        origin: u64,
        at: u64,
        record: &RawRecord,
    ) -> Result<Body, ToolError> {
        if record.data_bytes > 0 {
            return Ok(Body::Own);
        }
        let mut limit = origin;
        let mut holder = at;
        loop {
            let Some(target) = self.input.number(holder + RawRecord::BYTES)? else {
                return Ok(Body::Lost);
            };
            if target == 0 {
                // In a record that is lost it may be one of the bytes that are zero now.
                let is_own = holder == at;
                return Ok(if is_own { Body::Back(0) } else { Body::Lost });
            }
            // Every step leads further to the front, so this ends.
            if target >= limit {
                return Ok(Body::Lost);
            }
            limit = target;
            let copied = self.segments.find(target);
            holder = copied.map_or(target, |place| place.input);
            let found = self.record(holder, target)?;
            let Some(found) = found.filter(|found| found.oid == record.oid) else {
                return Ok(Body::Lost);
            };
            // A wrong pointer may lead to bytes that only look like the object's id.
            if !self.is_record(target, &found)? {
                return Ok(Body::Lost);
            }
            if let Some(place) = copied {
                return Ok(Body::Back(place.output));
            }
            if found.data_bytes > 0 {
                return self.inline(holder, &found);
            }
        }
    }

    /// The record's header with its right object, where that is known. `origin` is what pointers to it
    /// say.
    pub(super) fn record(&mut self, at: u64, origin: u64) -> Result<Option<RawRecord>, ToolError> {
        let mut record = self.input.record(at)?;
        if let (Some(record), Some(Finding::Is(oid))) = (&mut record, self.doubts.finding(origin)) {
            record.oid = oid;
        }
        Ok(record)
    }

    /// Whether the record there, which names a transaction, is one of it: its records lead to that place,
    /// or, where one before it is broken, all that follows it in the transaction bears it out.
    fn is_record(&mut self, target: u64, record: &RawRecord) -> Result<bool, ToolError> {
        let transaction = self.misplaced.get(&target).copied();
        let transaction = transaction.unwrap_or(record.transaction);
        let found = self.segments.find(transaction);
        let start = found.map_or(transaction, |place| place.input);
        if transaction >= target {
            return Ok(false);
        }
        let Some(header) = self.input.transaction(start)? else {
            return Ok(false);
        };
        let mut at = start.saturating_add(header.records_start());
        let place = start + (target - transaction);
        while at < place {
            let Some(record) = self.input.record(at)? else {
                break;
            };
            at = at.saturating_add(record.bytes());
        }
        Ok(at == place || self.leads_to_the_end(place, start, &header)?)
    }

    /// Whether sound records of the transaction fill it from that place to its closing length.
    fn leads_to_the_end(
        &mut self,
        place: u64,
        start: u64,
        header: &RawTransaction,
    ) -> Result<bool, ToolError> {
        let Some(end) = start.checked_add(header.length) else {
            return Ok(false);
        };
        let Some(first) = self.input.record(place)? else {
            return Ok(false);
        };
        let mut at = place;
        while at < end {
            let record = self.input.record(at)?.filter(|record| {
                record.bytes() <= end - at
                    && record.tid == header.tid
                    && record.transaction == first.transaction
                    && record.version_bytes == 0
            });
            let Some(record) = record else {
                return Ok(false);
            };
            at += record.bytes();
        }
        Ok(at == end && self.input.number(end)? == Some(header.length))
    }

    /// The data of a record that was not copied, if they are data still.
    fn inline(&mut self, at: u64, record: &RawRecord) -> Result<Body, ToolError> {
        Ok(if self.is_data(at, record)? {
            let at = at + RawRecord::BYTES;
            let bytes = record.data_bytes;
            Body::Inline { at, bytes }
        } else {
            Body::Lost
        })
    }

    /// Whether the record has what records have.
    pub(super) fn is_data(&mut self, at: u64, record: &RawRecord) -> Result<bool, ToolError> {
        let count = usize::try_from(record.data_bytes).unwrap_or(usize::MAX);
        let data = self.input.data(at, count)?;
        Ok(data.is_some_and(|data| Content::decode(data).is_ok()))
    }
}
