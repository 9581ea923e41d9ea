//! What can be saved of a damaged Data.fs, in a new one.
//!
//! Each transaction that is whole is copied, with its pointers set to where things are in the new
//! file. A transaction counts as whole when its records lie one behind the other up to its closing
//! length, and name its place or its id; one broken field in a header, which all others contradict,
//! is put right. Where no transaction is, the next one is looked for that is sound beyond doubt, also
//! behind bytes that are missing.
//!
//! What was put into the file belongs to no transaction, and displaces what follows; what was written
//! into it once more is copied once.
//!
//! A back pointer into what was lost takes the data along, as far as they can be read; else its
//! record is lost as well.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filestorage::{
    Damage, Positions, RawRecord, RawTransaction, References, Status, Step, Survey,
    SurveyedTransaction, UnfinishedTail,
};
use storage::{Oid, StorageError, Tid};
use vfs::{Disk, File, OpenMode, SequentialWriter};

use crate::line::Line;
use crate::listener::{Listener, ToolError, Verdict};

mod doubts;
mod input;
pub(crate) mod lines;
mod pointers;
mod segments;
mod tell;
mod witness;

use doubts::Doubts;
use input::{CLOSING_BYTES, Candidate, Input, Reading};
use lines::{LostLine, MendedLine, RecoverLine};
use pointers::Body;
use segments::{Met, Segments};
use tell::Twice;
use witness::Finding;

/// How a file is recovered.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoverOptions {
    /// Copy the sound records at the beginning of a transaction also where others are broken.
    /// Objects that were changed together may not fit together then.
    pub partial: bool,
    /// Of more objects that lost their newest revision, and of more records that cannot be read, no
    /// more are told one by one.
    pub told_max: Option<u64>,
}

/// Copies what is sound in the file to `output`, which must not exist, with an `.index` beside it.
///
/// [`Verdict::Wrong`] says that something was lost or mended, or that a record was copied which cannot
/// be read; the listener was told.
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
    options: RecoverOptions,
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
    /// The transactions so far.
    met: Met,
    /// Those that came last, if they were there before.
    twice: Option<Twice>,
    /// Objects with a record that was lost, and none behind it: where it was.
    lost: BTreeMap<Oid, u64>,
    /// Headers that others contradict, and the index beside the damaged file.
    doubts: Doubts,
    /// Where transactions begin whose records name another place: by the places of these records.
    misplaced: BTreeMap<u64, u64>,
    /// Objects with a record that is not in that index yet.
    unsaved: BTreeSet<Oid>,
    /// Looks whether records can be read.
    references: References,
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
            options,
            draft: draft.to_owned(),
            file,
            out: BufWriter::with_capacity(1 << 20, out),
            count: RecoverLine::default(),
            segments: Segments::default(),
            positions: Positions::default(),
            last_tid: Tid::ZERO,
            gap: 0,
            met: Met::default(),
            twice: None,
            lost: BTreeMap::new(),
            doubts: Doubts::find(survey)?,
            misplaced: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            references: References::default(),
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
                }) => {
                    self.tell_twice()?;
                    if walk.next_origin() == offset.wrapping_add(self.gap) {
                        self.tell_foreign(offset, resumed - offset)?;
                    } else {
                        self.damage(offset, resumed, &what)?;
                    }
                }
                // The transaction itself is a step of its own.
                Step::Damage(_) => {}
                Step::Unfinished(tail) => {
                    self.tell_twice()?;
                    self.tail(tail)?;
                }
            }
            self.listener.reached(walk.next_offset());
        }
        self.tell_twice()?;
        self.tell_cut(walk.next_offset())?;
        self.tell_lost_objects()?;
        self.finish(output)
    }

    fn found(&mut self, found: &SurveyedTransaction) -> Result<(), ToolError> {
        let (start, after) = (found.offset, found.offset + found.bytes);
        if let Some(first) = self.met.find(&mut self.input, start, found.bytes)? {
            // What follows is expected where it was.
            self.gap = self.gap.wrapping_sub(found.bytes);
            return self.meet_twice(found, first);
        }
        self.tell_twice()?;
        let by_walk = found.origin.wrapping_sub(start);
        let gap = self.input.gap(start, after, by_walk, self.gap)?;
        let origin = start.wrapping_add(gap);
        self.met.note(origin, start, found.bytes);
        let is_told = self.gap == gap || by_walk == gap;
        let expected = start.wrapping_add(self.gap);
        self.gap = gap;
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
        let is_copied = (self.options.partial || measure.is_contested) && measure.records > 0;
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
            Body::Own => {
                self.tell_unreadable(at, copy.tid, record)?;
                self.pour(at + RawRecord::BYTES, data_bytes)
            }
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
            unreadable,
            ..
        } = self.count;
        self.listener.tell(Line::Recovered(self.count))?;
        Ok(Verdict::of(lost_spans + mended + retimed + unreadable))
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
