//! The structure of every transaction (the original's `fstest`), the pointers between records, and
//! every pickle; then the BTrees.

use filestorage::{Damage, Positions, RawRecord, Status, Step, Survey, SurveyedRecord, Walk};
use pickle::{Inflater, is_compressed};
use storage::{StorageError, is_blob_record};

use crate::btrees::Nodes;
use crate::content::Content;
use crate::dump::damage;
use crate::index::{Comparison, missing_end};
use crate::line::{Line, VerifyLine};
use crate::listener::{Listener, ToolError, Verdict};
use crate::sweep::{Glance, Sweep, sweep};

/// Reads everything and tells what is broken. An unfinished tail is not: a writer cuts it off.
///
/// # Errors
/// The file cannot be read.
pub fn verify(survey: &Survey, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
    sweep(&is_odd, |sweep| {
        let mut verify = Verify {
            survey,
            sweep,
            listener,
            positions: Positions::default(),
            count: VerifyLine::default(),
            transaction: 0,
            status: Status::COMPLETE,
            hidden: false,
            nodes: Nodes::default(),
            inflater: Inflater::default(),
            saved: [Comparison::new(survey), Comparison::of_checkpoint(survey)],
            is_unheard: [true; 2],
        };
        verify.run()?;
        verify.check_btrees()?;
        let saved = [verify.count.index, verify.count.checkpoint];
        let wrong = saved.iter().flatten().filter(|state| state.is_wrong());
        let verdict = Verdict::of(verify.count.damages + wrong.count() as u64);
        let count = verify.count.clone();
        listener.tell(Line::Verified(count))?;
        Ok(verdict)
    })
}

/// Whether the record needs a closer look.
fn is_odd(_record: &SurveyedRecord, glance: Glance<'_>) -> bool {
    !matches!(glance, Ok((_references, 2)))
}

struct Verify<'a, 's> {
    survey: &'a Survey,
    sweep: &'a mut Sweep<'s>,
    listener: &'a mut dyn Listener,
    /// The last record of each object so far.
    positions: Positions,
    count: VerifyLine,
    /// Where the current transaction begins.
    transaction: u64,
    status: Status,
    /// Whether records were skipped, to which later ones may point.
    hidden: bool,
    /// The nodes of BTrees so far.
    nodes: Nodes,
    inflater: Inflater,
    /// What the index and the checkpoint beside the file say.
    saved: [Comparison; 2],
    /// Which of them were not heard, because damage hides what they should say.
    is_unheard: [bool; 2],
}

impl Verify<'_, '_> {
    fn run(&mut self) -> Result<(), ToolError> {
        let mut walk = self.survey.walk();
        let mut end = walk.next_offset();
        while let Some(step) = walk.next_step()? {
            match step {
                Step::Transaction(transaction) => {
                    self.transaction = transaction.offset;
                    self.status = transaction.status;
                    self.count.transactions += 1;
                    self.records(&mut walk)?;
                }
                Step::Damage(damage) => self.skipped(damage)?,
                Step::Unfinished(tail) => {
                    self.tell(tail.into())?;
                    break;
                }
            }
            end = walk.next_offset();
            self.compare(walk.next_offset())?;
            self.listener.reached(walk.next_offset());
        }
        let longer = self.survey.longer(end)?;
        if let Some(longer) = &longer {
            self.broken(missing_end(longer))?;
        }
        let hidden = self.hidden;
        for (saved, is_unheard) in self.saved.iter_mut().zip(&mut self.is_unheard) {
            saved.ends(longer.as_ref());
            *is_unheard &= hidden;
        }
        let state = |at: usize| {
            let known = Some(&self.saved[at]).filter(|_| !self.is_unheard[at]);
            known.map(|saved| saved.state(end))
        };
        (self.count.index, self.count.checkpoint) = (state(0), state(1));
        self.catch_up()
    }

    /// Where a saved index ends, it has to name the records that were met last. One of which most is
    /// wrong is another file's, or from before a pack.
    fn compare(&mut self, end: u64) -> Result<(), ToolError> {
        for number in 0..self.saved.len() {
            let saved = &mut self.saved[number];
            saved.transaction();
            if self.hidden || !saved.at(end, &self.positions, self.survey)? {
                continue;
            }
            self.is_unheard[number] = false;
            let lines = saved.lines(self.survey, TOLD_MAX)?;
            let wrong = saved.wrong_lines(self.survey, TOLD_MAX);
            for line in lines {
                self.broken(line)?;
            }
            for line in wrong {
                self.tell(line)?;
            }
        }
        Ok(())
    }

    /// Tells of something, behind what is wrong before it in the file.
    fn tell(&mut self, line: Line) -> Result<(), ToolError> {
        self.catch_up()?;
        Ok(self.listener.tell(line)?)
    }

    fn broken(&mut self, line: Line) -> Result<(), ToolError> {
        self.count.damages += 1;
        self.tell(line)
    }

    fn skipped(&mut self, damage: Damage) -> Result<(), ToolError> {
        if let Some(resumed) = damage.resumed {
            self.count.skipped_bytes += resumed - damage.offset;
            self.hidden = true;
        }
        self.broken(damage.into())
    }

    fn records(&mut self, walk: &mut Walk<'_>) -> Result<(), ToolError> {
        loop {
            match walk.next_record() {
                Ok(Some(record)) => self.record(record, walk)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    if let StorageError::Corrupt { offset, .. } = error {
                        self.count.skipped_bytes += walk.next_offset() - offset;
                    }
                    self.hidden = true;
                    return self.broken(damage(error, None, None)?);
                }
            }
        }
    }

    fn record(&mut self, record: SurveyedRecord, walk: &mut Walk<'_>) -> Result<(), ToolError> {
        self.count.records += 1;
        self.listener.reached(record.offset);
        // What was undone by a ZODB of long ago does not count, and no pointer leads to it.
        if self.status != Status::UNDONE {
            if let Some(what) = self.wrong_previous(&record) {
                self.broken(of(&record, what))?;
            }
            self.positions.enter(&record);
        }
        let odd = match walk.own_data(&record) {
            Ok(data) => {
                let data = data.unwrap_or_default();
                self.count.compressed += u64::from(is_compressed(data));
                self.count.blob_records +=
                    u64::from(self.inflater.plain(data).is_ok_and(is_blob_record));
                self.nodes.note(record.oid, data);
                self.sweep.show(record, data)
            }
            Err(error) => return self.broken(damage(error, Some(record.tid), Some(record.oid))?),
        };
        self.look(odd)
    }

    /// Looks at the BTrees as they are in the end.
    fn check_btrees(&mut self) -> Result<(), ToolError> {
        let nodes = std::mem::take(&mut self.nodes);
        let found = nodes.check(self.survey, &self.positions, self.listener)?;
        self.count.damages += found.wrong;
        self.count.btrees = found.trees;
        self.count.btrees_not_compared = found.not_compared;
        Ok(())
    }

    /// Looks closer at all records so far.
    fn catch_up(&mut self) -> Result<(), ToolError> {
        let odd = self.sweep.rest();
        self.look(odd)
    }

    fn look(&mut self, odd: Vec<SurveyedRecord>) -> Result<(), ToolError> {
        for record in odd {
            let wrong = match self.survey.data(&record) {
                // What a back pointer leads to was looked at where it lies.
                Ok(data) => data
                    .record
                    .filter(|_| record.data_bytes > 0)
                    .and_then(|data| Content::decode(&data).err())
                    .map(|what| of(&record, what)),
                Err(error) => Some(damage(error, Some(record.tid), Some(record.oid))?),
            };
            if let Some(line) = wrong {
                self.count.damages += 1;
                self.listener.tell(line)?;
            }
        }
        Ok(())
    }

    /// Whether the pointer leads over other records of the object in the same transaction: an undo of
    /// several transactions writes them so.
    fn is_before(&self, found: Option<u64>, previous: u64) -> bool {
        let mut at = found.unwrap_or(0);
        while at > previous && at >= self.transaction {
            let mut header = [0; RawRecord::LEN];
            if self.survey.read_exact(at, &mut header).is_err() {
                return false;
            }
            let before = RawRecord::decode(&header).previous;
            if before == previous {
                return true;
            }
            at = before.min(at - 1);
        }
        false
    }

    /// What is wrong with the pointer to the object's previous record. None at all is right where there
    /// is none, and in a packed transaction, which forgets what was before.
    fn wrong_previous(&self, record: &SurveyedRecord) -> Option<String> {
        let found = self.positions.get(record.oid);
        let previous = record.previous.unwrap_or(0);
        let forgets = previous == 0 && self.status == Status::PACKED;
        if found.unwrap_or(0) == previous
            || forgets
            || self.hidden
            || self.is_before(found, previous)
        {
            return None;
        }
        Some(match found {
            Some(found) if previous == 0 => {
                format!(
                    "it says that no record of the object is before it, there is one at {found}"
                )
            }
            Some(found) => {
                format!("the previous record is said to be at {previous}, it is at {found}")
            }
            None => format!("the previous record is said to be at {previous}, there is none"),
        })
    }
}

/// Of more contradictions with an index, no more are told.
const TOLD_MAX: usize = 100;

/// Something that is wrong with a record.
fn of(record: &SurveyedRecord, what: String) -> Line {
    Line::Damage {
        offset: record.offset,
        tid: Some(record.tid),
        oid: Some(record.oid),
        what,
        resumed: None,
    }
}
