//! What can be saved of a damaged Data.fs, in a new one.
//!
//! Each transaction that is whole is copied, with its pointers set to where things are in the new
//! file. A transaction counts as whole when its records lie one behind the other up to its closing
//! length, and name its place or its id; one broken field in a header, which all others contradict,
//! is put right. Where no transaction is, the next one is looked for that is sound beyond doubt, also
//! behind bytes that are missing.
//!
//! A back pointer into what was lost takes the data along, as far as they can be read; else its
//! record is lost as well.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filestorage::{
    Damage, Positions, RawRecord, RawTransaction, Status, Step, Survey, SurveyedTransaction,
    UnfinishedTail,
};
use storage::{Oid, StorageError, Tid};
use vfs::{Disk, File, OpenMode, SequentialWriter};

use crate::content::Content;
use crate::line::Line;
use crate::listener::{Listener, ToolError, Verdict};

mod doubts;
mod input;
pub(crate) mod lines;
mod segments;
mod tell;
mod witness;

use doubts::Doubts;
use input::{CLOSING_BYTES, Candidate, Input, Reading};
use lines::{LostLine, MendedLine, RecoverLine};
use segments::Segments;
use witness::Finding;

/// How a file is recovered.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoverOptions {
    /// Copy the sound records at the beginning of a transaction also where others are broken.
    /// Objects that were changed together may not fit together then.
    pub partial: bool,
}

/// Copies what is sound in the file to `output`, which must not exist, with an `.index` beside it.
///
/// [`Verdict::Wrong`] says that something was lost or mended; the listener was told.
///
/// # Errors
/// The file cannot be read, or the new one not be written, or is there.
pub fn recover(
    survey: &Survey,
    disk: &dyn Disk,
    output: &Path,
    options: RecoverOptions,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let exists = disk.exists(output);
    if exists.map_err(|error| StorageError::io(output, "look for", error))? {
        return Err(ToolError::Exists(output.to_owned()));
    }
    let draft = with_suffix(output, ".part");
    let recovered = Recovery::new(survey, disk, &draft, options, listener)
        .and_then(|recovery| recovery.run(output));
    if recovered.is_err() {
        disk.remove(&draft).ok();
    }
    recovered
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    input: Input<'a>,
    listener: &'a mut dyn Listener,
    partial: bool,
    draft: PathBuf,
    file: Arc<dyn File>,
    out: BufWriter<SequentialWriter>,
    count: RecoverLine,
    segments: Segments,
    /// The newest record of each object in the new file.
    positions: Positions,
    last_tid: Tid,
    /// How far what was copied last lies before its place.
    gap: u64,
    /// The transaction before: its id, where it began once, and where it is.
    before: Option<(Tid, u64, u64)>,
    /// Objects with a record that was lost, and none behind it: where it was.
    lost: BTreeMap<Oid, u64>,
    /// Headers that others contradict, and the index beside the damaged file.
    doubts: Doubts,
    /// Where transactions begin whose records name another place: by the places of these records.
    misplaced: BTreeMap<u64, u64>,
    /// Objects with a record that is not in that index yet.
    unsaved: BTreeSet<Oid>,
}

/// What becomes of a record's body.
enum Body {
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

impl<'a> Recovery<'a> {
    fn new(
        survey: &'a Survey,
        disk: &'a dyn Disk,
        draft: &Path,
        options: RecoverOptions,
        listener: &'a mut dyn Listener,
    ) -> Result<Self, ToolError> {
        let file = disk
            .open(draft, OpenMode::Truncate)
            .map_err(|error| StorageError::io(draft, "make", error))?;
        let out = SequentialWriter::new(file.clone(), 0);
        Ok(Self {
            disk,
            input: Input::new(survey),
            listener,
            partial: options.partial,
            draft: draft.to_owned(),
            file,
            out: BufWriter::with_capacity(1 << 20, out),
            count: RecoverLine::default(),
            segments: Segments::default(),
            positions: Positions::default(),
            last_tid: Tid::ZERO,
            gap: 0,
            before: None,
            lost: BTreeMap::new(),
            doubts: Doubts::find(survey)?,
            misplaced: BTreeMap::new(),
            unsaved: BTreeSet::new(),
        })
    }

    fn run(mut self, output: &Path) -> Result<Verdict, ToolError> {
        let survey = self.input.survey;
        self.listener.begins(survey.size());
        // The original opens no other beginning.
        self.write(NEW_MAGIC)?;
        let mut walk = survey.walk().across_gaps();
        while let Some(step) = walk.next_step()? {
            match step {
                Step::Transaction(found) => self.found(&found)?,
                Step::Damage(Damage {
                    resumed: Some(resumed),
                    offset,
                    what,
                    ..
                }) => self.damage(offset, resumed, &what)?,
                // The transaction itself is a step of its own.
                Step::Damage(_) => {}
                Step::Unfinished(tail) => self.tail(tail)?,
            }
            self.listener.reached(walk.next_offset());
        }
        self.tell_cut(walk.next_offset())?;
        self.tell_lost_objects()?;
        self.finish(output)
    }

    fn found(&mut self, found: &SurveyedTransaction) -> Result<(), ToolError> {
        let (start, after) = (found.offset, found.offset + found.bytes);
        let by_walk = found.origin.wrapping_sub(start);
        let gap = self.input.gap(start, after, by_walk)?;
        let is_told = self.gap == gap || by_walk == gap;
        let expected = start.wrapping_add(self.gap);
        self.gap = gap;
        let origin = start.wrapping_add(gap);
        let before = self.before.replace((found.tid, origin, start));
        if let Some((tid, same, first)) = before
            && (tid, same) == (found.tid, origin)
            && self.input.is_same(first, start, found.bytes)?
        {
            return self.tell_lost(LostLine {
                offset: start,
                bytes: found.bytes,
                tid: Some(tid),
                kept_records: 0,
                what: format!("the transaction is there twice, also at {first}; that one counts"),
            });
        }
        if !is_told && expected < origin {
            let bytes = origin - expected;
            let what = "they are missing: the records behind them name later places".to_owned();
            self.tell_lost(LostLine {
                offset: start,
                bytes,
                tid: None,
                kept_records: 0,
                what,
            })?;
        } else if !is_told {
            let more = expected - origin;
            let what = format!("it and what follows lie {more} bytes too far behind");
            self.count.mended += 1;
            self.listener.tell(Line::Mended(MendedLine {
                offset: start,
                tid: found.tid,
                oid: None,
                what,
            }))?;
        }
        if found.status == Status::UNDONE && !self.doubts.is_revived(origin) {
            return Ok(());
        }
        match self.input.candidate(start, origin, after)? {
            Some(candidate) => self.transaction(&candidate),
            None => self.skip(start, after, "no sound header"),
        }
    }

    /// A transaction whose header, length and closing length agree.
    fn transaction(&mut self, candidate: &Candidate) -> Result<(), ToolError> {
        let mut reading = self.input.read(candidate, self.last_tid)?;
        self.input.look_inside(candidate, &mut reading)?;
        let status = candidate.header.status;
        if status == Status::UNDONE || !status.is_finished() {
            let what = format!("the transaction counts, though its status is {status:?}");
            reading.mended.insert(0, (candidate.start, None, what));
        }
        self.take(candidate, &reading)
    }

    /// The end of the file: unfinished, or finished once and damaged since.
    fn tail(&mut self, tail: UnfinishedTail) -> Result<(), ToolError> {
        let UnfinishedTail { offset, bytes, .. } = tail;
        let input = &mut self.input;
        if !self.doubts.was_finished(input, offset, self.gap)? {
            return Ok(self.listener.tell(tail.into())?);
        }
        self.damage(offset, offset + bytes, &tail.why)
    }

    /// What is between two transactions: perhaps one with a single broken field.
    fn damage(&mut self, offset: u64, resumed: u64, what: &str) -> Result<(), ToolError> {
        let origin = offset.wrapping_add(self.gap);
        let Some(candidate) = self.input.candidate(offset, origin, resumed)? else {
            return self.skip(offset, resumed, what);
        };
        let mut reading = self.input.read(&candidate, self.last_tid)?;
        self.input.look_inside(&candidate, &mut reading)?;
        // Here nothing else confirms that this is a transaction.
        if reading.records == 0 || !reading.agrees || reading.tid <= self.last_tid {
            return self.skip(offset, resumed, what);
        }
        reading.is_suspect = true;
        if reading.broken.is_some() {
            reading.broken = Some(what.to_owned());
        }
        let mended = format!("the transaction is whole by its records, though {what}");
        reading.mended.insert(0, (offset, None, mended));
        self.take(&candidate, &reading)
    }

    fn skip(&mut self, offset: u64, resumed: u64, what: &str) -> Result<(), ToolError> {
        let origin = offset.wrapping_add(self.gap);
        let mut at = offset;
        // What can be read of the records tells whose newest revision is lost.
        while at + RawRecord::BYTES <= resumed {
            let Some(record) = self.input.record(at)? else {
                break;
            };
            let is_record = record.transaction == origin && record.version_bytes == 0;
            if is_record && record.bytes() <= resumed - at {
                self.lose(record.oid, at.wrapping_add(self.gap));
                at += record.bytes();
            } else {
                at += 1;
            }
        }
        self.tell_lost(LostLine {
            offset,
            bytes: resumed - offset,
            tid: None,
            kept_records: 0,
            what: what.to_owned(),
        })
    }

    /// Copies a transaction, or says why not.
    fn take(&mut self, candidate: &Candidate, reading: &Reading) -> Result<(), ToolError> {
        let measure = self.measure(candidate, reading)?;
        let status = if candidate.header.status == Status::PACKED {
            Status::PACKED
        } else {
            Status::COMPLETE
        };
        let Some(what) = measure.broken.clone() else {
            self.count.transactions += 1;
            self.tell_mended(candidate, reading, &measure)?;
            return self.copy(candidate, reading.tid, status, &measure);
        };
        // One of two contested records is sound, and so is the transaction it is in.
        let is_copied = (self.partial || measure.is_contested) && measure.records > 0;
        let lost = if is_copied {
            for &at in &measure.lost {
                self.lose_records(candidate, at, at + 1)?;
            }
            self.lose_records(candidate, reading.end, candidate.end)?;
            candidate.end - candidate.records - measure.kept_bytes
        } else {
            self.lose_records(candidate, candidate.records, candidate.end)?;
            candidate.end + CLOSING_BYTES - candidate.start
        };
        let first_lost = measure.lost.first().copied().unwrap_or(reading.end);
        self.tell_lost(LostLine {
            offset: if is_copied {
                first_lost
            } else {
                candidate.start
            },
            bytes: lost,
            tid: Some(reading.tid),
            kept_records: if is_copied { measure.records } else { 0 },
            what,
        })?;
        if is_copied {
            self.count.partial += 1;
            self.tell_mended(candidate, reading, &measure)?;
            // As the original marks it: an undo of what is left makes no sense.
            return self.copy(candidate, reading.tid, Status::PACKED, &measure);
        }
        Ok(())
    }

    /// Which records can be copied, and how long they become.
    fn measure(&mut self, candidate: &Candidate, reading: &Reading) -> Result<Measure, ToolError> {
        let mut measure = Measure {
            records: 0,
            end: reading.end,
            kept_bytes: 0,
            bytes: 0,
            lost: Vec::new(),
            broken: reading.broken.clone(),
            is_contested: reading.broken.is_none(),
        };
        // Where a transaction is broken, data beside the damage may be as well.
        let is_suspect = reading.is_suspect || reading.broken.is_some();
        let mut at = candidate.records;
        while at < reading.end {
            let Some(record) = self.record(at, at.wrapping_add(self.gap))? else {
                break;
            };
            let finding = self.doubts.finding(at.wrapping_add(self.gap));
            if let Some(Finding::Doubtful(_) | Finding::Contested) = finding {
                let likely = match finding {
                    Some(Finding::Doubtful(likely)) => likely,
                    _ => None,
                };
                measure.is_contested &= finding == Some(Finding::Contested);
                self.tell_doubtful(at, reading.tid, record.oid, likely)?;
                let what = format!("nobody can say whose the record at {at} is");
                measure.broken.get_or_insert(what);
                measure.lost.push(at);
                at += record.bytes();
                continue;
            }
            let body = match self.body(candidate.origin, at, &record)? {
                // A back pointer with a length of its own becomes data.
                Body::Own
                    if (is_suspect || record.data_bytes == CLOSING_BYTES)
                        && !self.is_data(at, &record)? =>
                {
                    None
                }
                Body::Back(0) if is_suspect => None,
                Body::Own => Some(record.data_bytes),
                Body::Back(_) => Some(CLOSING_BYTES),
                Body::Inline { bytes, .. } => Some(bytes),
                Body::Lost => None,
            };
            match body {
                Some(body) => {
                    measure.records += 1;
                    measure.bytes += RawRecord::BYTES + body;
                    measure.kept_bytes += record.bytes();
                }
                None => {
                    let what = format!("the data of object {} at {at} are lost", record.oid);
                    measure.broken.get_or_insert(what);
                    measure.is_contested = false;
                    measure.lost.push(at);
                }
            }
            at += record.bytes();
        }
        Ok(measure)
    }

    /// Where the data of a record are. A pointer leads to before its transaction.
    fn body(&mut self, origin: u64, at: u64, record: &RawRecord) -> Result<Body, ToolError> {
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
    fn record(&mut self, at: u64, origin: u64) -> Result<Option<RawRecord>, ToolError> {
        let mut record = self.input.record(at)?;
        if let (Some(record), Some(Finding::Is(oid))) = (&mut record, self.doubts.finding(origin)) {
            record.oid = oid;
        }
        Ok(record)
    }

    /// Whether the records of the transaction that it names lead to that place.
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
        let end = start + (target - transaction);
        while at < end {
            let Some(record) = self.input.record(at)? else {
                return Ok(false);
            };
            at = at.saturating_add(record.bytes());
        }
        Ok(at == end)
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
    fn is_data(&mut self, at: u64, record: &RawRecord) -> Result<bool, ToolError> {
        let count = usize::try_from(record.data_bytes).unwrap_or(usize::MAX);
        let data = if record.data_bytes <= CHECKED_BYTES_MAX {
            self.input.bytes(at + RawRecord::BYTES, count)?
        } else {
            None
        };
        Ok(data.is_some_and(|data| Content::decode(data).is_ok()))
    }

    /// Writes the transaction with the records that were measured.
    fn copy(
        &mut self,
        candidate: &Candidate,
        tid: Tid,
        status: Status,
        measure: &Measure,
    ) -> Result<(), ToolError> {
        let tid = if tid > self.last_tid {
            tid
        } else {
            self.count.retimed += 1;
            self.last_tid.next()
        };
        let head = candidate.records - candidate.start;
        let header = RawTransaction {
            tid,
            length: head + measure.bytes,
            status,
            ..candidate.header
        };
        let mut copy = Copy {
            origin: candidate.origin,
            start: self.count.bytes,
            tid,
            newest: BTreeMap::new(),
        };
        self.segments
            .push(candidate.origin, candidate.start, copy.start, head);
        self.write(&header.encode(&candidate.meta))?;
        let mut at = candidate.records;
        while at < measure.end {
            let Some(record) = self.record(at, at.wrapping_add(self.gap))? else {
                break;
            };
            if measure.lost.binary_search(&at).is_err() {
                self.copy_record(&mut copy, at, &record)?;
            }
            at += record.bytes();
        }
        if measure.broken.is_none() {
            let output = self.count.bytes;
            self.segments
                .push(at.wrapping_add(self.gap), at, output, CLOSING_BYTES);
        }
        self.write(&header.length.to_be_bytes())?;
        let saved = self.doubts.index.as_ref();
        let is_unsaved = saved.is_some_and(|saved| at.wrapping_add(self.gap) >= saved.end());
        for (oid, at) in copy.newest {
            self.positions.set(oid, at);
            self.lost.remove(&oid);
            if is_unsaved {
                self.unsaved.insert(oid);
            }
        }
        self.last_tid = tid;
        Ok(())
    }

    fn copy_record(
        &mut self,
        copy: &mut Copy,
        at: u64,
        record: &RawRecord,
    ) -> Result<(), ToolError> {
        let body = self.body(copy.origin, at, record)?;
        let data_bytes = match body {
            Body::Inline { bytes, .. } => bytes,
            _ => record.data_bytes,
        };
        let header = RawRecord {
            oid: record.oid,
            tid: copy.tid,
            // With two in one transaction both point to the one before it, as the original has it.
            previous: self.positions.get(record.oid).unwrap_or(0),
            transaction: copy.start,
            version_bytes: 0,
            data_bytes,
        };
        let copied = if matches!(body, Body::Inline { .. }) {
            RawRecord::BYTES
        } else {
            record.bytes()
        };
        let output = self.count.bytes;
        self.segments
            .push(at.wrapping_add(self.gap), at, output, copied);
        if record.transaction != copy.origin {
            self.misplaced
                .insert(at.wrapping_add(self.gap), copy.origin);
        }
        self.write(&header.encode())?;
        self.count.records += 1;
        copy.newest.insert(record.oid, output);
        match body {
            Body::Own => self.pour(at + RawRecord::BYTES, data_bytes),
            Body::Inline { at, bytes } => self.pour(at, bytes),
            Body::Back(target) => self.write(&target.to_be_bytes()),
            Body::Lost => unreachable!("the record was measured"),
        }
    }

    /// Copies bytes of the damaged file.
    fn pour(&mut self, at: u64, bytes: u64) -> Result<(), ToolError> {
        let end = at + bytes;
        let mut at = at;
        while at < end {
            let count = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(PIECE_BYTES);
            let Some(piece) = self.input.bytes(at, count)? else {
                let path = self.input.survey.path().to_owned();
                let what = "the file became shorter while it was read".to_owned();
                let offset = at;
                return Err(StorageError::Corrupt { path, offset, what }.into());
            };
            let written = self.out.write_all(piece);
            written.map_err(|error| StorageError::io(&*self.draft, "write", error))?;
            self.count.bytes += count as u64;
            at += count as u64;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ToolError> {
        let written = self.out.write_all(bytes);
        written.map_err(|error| StorageError::io(&*self.draft, "write", error))?;
        self.count.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self, output: &Path) -> Result<Verdict, ToolError> {
        let failed = |error| StorageError::io(&*self.draft, "write", error);
        self.out.flush().map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        self.positions.set_end(self.count.bytes);
        if self.count.records > 0 {
            let index = with_suffix(output, ".index");
            let draft = with_suffix(output, ".index_tmp");
            self.positions.save(self.disk, &draft)?;
            rename(self.disk, &draft, &index)?;
        }
        rename(self.disk, &self.draft, output)?;
        let parent = output.parent().unwrap_or(output);
        let synced = self.disk.sync_directory(parent);
        synced.map_err(|error| StorageError::io(parent, "sync", error))?;
        let RecoverLine {
            lost_spans,
            mended,
            retimed,
            ..
        } = self.count;
        self.listener.tell(Line::Recovered(self.count))?;
        Ok(Verdict::of(lost_spans + mended + retimed))
    }
}

/// How much of a transaction can be copied.
struct Measure {
    records: u64,
    /// Behind the last readable record.
    end: u64,
    /// The length of those that can be copied, in the damaged file.
    kept_bytes: u64,
    /// Their length in the new one.
    bytes: u64,
    /// Records before the end that cannot, in order.
    lost: Vec<u64>,
    broken: Option<String>,
    /// Whether records of which two contradict one another are all that is wrong.
    is_contested: bool,
}

/// A transaction that is being written.
struct Copy {
    /// Where it began once.
    origin: u64,
    /// Where it begins in the new file.
    start: u64,
    tid: Tid,
    /// The last record of each object.
    newest: BTreeMap<Oid, u64>,
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), ToolError> {
    let renamed = disk.rename(from, to);
    Ok(renamed.map_err(|error| StorageError::io(to, "replace", error))?)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

const NEW_MAGIC: &[u8] = b"FS30";
const PIECE_BYTES: usize = 1 << 18;
/// A broken length must not ask for all memory.
const CHECKED_BYTES_MAX: u64 = 1 << 30;
