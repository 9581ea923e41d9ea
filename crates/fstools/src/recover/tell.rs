//! Telling what is lost, put right or doubtful, and remembering whose newest revision it was.

use std::io::Write;

use filestorage::{Positions, RawRecord, SurveyedTransaction};
use storage::{Oid, StorageError, Tid};

use super::input::{Candidate, Reading};
use super::lines::{DoubtfulLine, LostLine, LostObjectLine, MendedLine, UnreadableLine};
use super::witness::Finding;
use super::{Measure, Recovery};
use crate::content::Content;
use crate::line::Line;
use crate::listener::ToolError;

/// Transactions one behind the other that were met before.
pub(super) struct Twice {
    /// Where they begin.
    offset: u64,
    bytes: u64,
    count: u64,
    /// The id of the first one, and where that was met before.
    tid: Tid,
    first: u64,
}

impl Recovery<'_> {
    /// Notes a transaction that was met before, at `first`.
    pub(super) fn meet_twice(
        &mut self,
        found: &SurveyedTransaction,
        first: u64,
    ) -> Result<(), ToolError> {
        if let Some(twice) = &mut self.twice
            && twice.offset + twice.bytes == found.offset
            && twice.first + twice.bytes == first
        {
            twice.bytes += found.bytes;
            twice.count += 1;
            return Ok(());
        }
        self.tell_twice()?;
        self.twice = Some(Twice {
            offset: found.offset,
            bytes: found.bytes,
            count: 1,
            tid: found.tid,
            first,
        });
        Ok(())
    }

    /// Tells of transactions that are there twice, once another one follows.
    pub(super) fn tell_twice(&mut self) -> Result<(), ToolError> {
        let Some(twice) = self.twice.take() else {
            return Ok(());
        };
        let Twice { count, first, .. } = twice;
        self.tell_lost(LostLine {
            offset: twice.offset,
            bytes: twice.bytes,
            tid: Some(twice.tid),
            kept_records: 0,
            what: match count {
                1 => format!("the transaction is there twice, also at {first}; that one counts"),
                _ => format!(
                    "{count} transactions are there twice, also from {first} on; those count"
                ),
            },
        })
    }

    /// Tells of bytes that were put into the file.
    pub(super) fn tell_foreign(&mut self, offset: u64, bytes: u64) -> Result<(), ToolError> {
        self.tell_lost(LostLine {
            offset,
            bytes,
            tid: None,
            kept_records: 0,
            what: "they belong to no transaction, and what follows lies as much behind its place"
                .to_owned(),
        })
    }

    /// Tells of a record whose data cannot be read. What has them in a back pointer has the same.
    pub(super) fn tell_unreadable(
        &mut self,
        offset: u64,
        tid: Tid,
        record: &RawRecord,
    ) -> Result<(), ToolError> {
        let count = usize::try_from(record.data_bytes).unwrap_or(usize::MAX);
        let what = match self.input.data(offset, count)? {
            None => "it is too long to be looked at".to_owned(),
            Some(data) => match self.references.read(data) {
                Ok((_, 2)) => return Ok(()),
                _ => match Content::decode(data) {
                    Ok(_) => return Ok(()),
                    Err(what) => what,
                },
            },
        };
        self.count.unreadable += 1;
        if !self.is_told(self.count.unreadable) {
            return Ok(());
        }
        let oid = record.oid;
        let line = UnreadableLine {
            offset,
            tid,
            oid,
            what,
        };
        Ok(self.listener.tell(Line::Unreadable(line))?)
    }

    /// Whether the `number`th of many is told by itself.
    fn is_told(&self, number: u64) -> bool {
        self.options.told_max.is_none_or(|max| number <= max)
    }

    /// Says how many were not told by themselves.
    fn tell_more(&mut self, things: &'static str, count: u64) -> Result<(), ToolError> {
        let told = self.options.told_max.unwrap_or(count);
        if let Some(count) = count.checked_sub(told).filter(|count| *count > 0) {
            self.listener.tell(Line::More { things, count })?;
        }
        Ok(())
    }

    /// Notes the readable records of a transaction between two places.
    pub(super) fn lose_records(
        &mut self,
        candidate: &Candidate,
        from: u64,
        to: u64,
    ) -> Result<(), ToolError> {
        let mut at = from;
        while at < to {
            let record = self.record(at, at.wrapping_add(self.gap))?;
            let Some(record) = record.filter(|record| record.transaction == candidate.origin)
            else {
                break;
            };
            self.lose(record.oid, at.wrapping_add(self.gap));
            if let Some(Finding::Doubtful(Some(likely))) =
                self.doubts.finding(at.wrapping_add(self.gap))
            {
                self.lose(likely, at.wrapping_add(self.gap));
            }
            at = at.saturating_add(record.bytes());
        }
        Ok(())
    }

    pub(super) fn lose(&mut self, oid: Oid, at: u64) {
        if self.lost.len() < LOST_OBJECTS_MAX {
            self.lost.insert(oid, at);
        }
    }

    /// Tells what is put right in what is copied of a transaction.
    pub(super) fn tell_mended(
        &mut self,
        candidate: &Candidate,
        reading: &Reading,
        measure: &Measure,
    ) -> Result<(), ToolError> {
        let is_lost = |at: u64| measure.lost.binary_search(&at).is_ok();
        let mut told = reading.mended.clone();
        let mut at = candidate.records;
        while at < measure.end && !self.doubts.is_empty() {
            let Some(record) = self.input.record(at)? else {
                break;
            };
            let what = match self.doubts.finding(at.wrapping_add(self.gap)) {
                Some(Finding::Is(oid)) => {
                    let what = format!("it is a record of this object, not of {}", record.oid);
                    Some((oid, what))
                }
                Some(Finding::Previous) => {
                    let found = record.previous;
                    let what = format!("its previous record is not at {found}");
                    Some((record.oid, what))
                }
                Some(Finding::Doubtful(_) | Finding::Contested) | None => None,
            };
            told.extend(what.map(|(oid, what)| (at, Some(oid), what)));
            at += record.bytes();
        }
        for (offset, oid, what) in told {
            if is_lost(offset) {
                continue;
            }
            self.count.mended += 1;
            let tid = reading.tid;
            let line = MendedLine {
                offset,
                tid,
                oid,
                what,
            };
            self.listener.tell(Line::Mended(line))?;
        }
        Ok(())
    }

    pub(super) fn tell_doubtful(
        &mut self,
        offset: u64,
        tid: Tid,
        oid: Oid,
        likely: Option<Oid>,
    ) -> Result<(), ToolError> {
        self.count.doubtful += 1;
        let line = DoubtfulLine {
            offset,
            tid,
            oid,
            likely,
        };
        Ok(self.listener.tell(Line::Doubtful(line))?)
    }

    pub(super) fn tell_lost(&mut self, line: LostLine) -> Result<(), ToolError> {
        self.count.lost_spans += 1;
        self.count.lost_bytes += line.bytes;
        Ok(self.listener.tell(Line::Lost(line))?)
    }

    /// Tells of what the index knows behind the end of the file.
    pub(super) fn tell_cut(&mut self, end: u64) -> Result<(), ToolError> {
        let known = self.doubts.index.as_ref().map_or(0, Positions::end);
        let missing = known.saturating_sub(end.wrapping_add(self.gap));
        if missing == 0 || !(self.doubts.knows_end || self.gap != 0) {
            return Ok(());
        }
        self.tell_lost(LostLine {
            offset: end,
            bytes: missing,
            tid: None,
            kept_records: 0,
            what: "the file ends here, and the index beside it knows of more".to_owned(),
        })
    }

    pub(super) fn tell_lost_objects(&mut self) -> Result<(), ToolError> {
        if self.count.lost_spans > 0
            && let Some(saved) = self.doubts.index.take()
        {
            for (oid, at) in saved.iter() {
                let is_in_file = at < self.input.survey.size();
                let is_known = !self.doubts.is_mistrusted(oid)
                    && (is_in_file || self.doubts.knows_end || self.gap != 0);
                if is_known && self.segments.find(at).is_none() && !self.unsaved.contains(&oid) {
                    self.lose(oid, at);
                }
            }
        }
        for (oid, offset) in std::mem::take(&mut self.lost) {
            self.count.lost_objects += 1;
            if !self.is_told(self.count.lost_objects) {
                continue;
            }
            // What was written is still in the buffer, but its transaction's id is in the record.
            let left = self.positions.get(oid);
            let left = left.map(|at| self.written_tid(at)).transpose()?;
            let line = LostObjectLine { oid, offset, left };
            self.listener.tell(Line::LostObject(line))?;
        }
        self.tell_more(
            "objects that lost their newest record",
            self.count.lost_objects,
        )?;
        self.tell_more("records that cannot be read", self.count.unreadable)
    }

    fn written_tid(&mut self, at: u64) -> Result<Tid, ToolError> {
        let failed = |error| StorageError::io(&*self.draft, "read back", error);
        self.out.flush().map_err(failed)?;
        let mut header = [0; RawRecord::LEN];
        self.file.read_exact_at(&mut header, at).map_err(failed)?;
        Ok(RawRecord::decode(&header).tid)
    }
}

/// Beyond these, lost objects are not told one by one.
const LOST_OBJECTS_MAX: usize = 1 << 20;
