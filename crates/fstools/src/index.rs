//! The `.index` beside a Data.fs: whether it is right, and making it anew.

use std::fmt;

use filestorage::{
    Longer, Positions, Rebuild, Step, Survey, SurveyedRecord, SurveyedTransaction, Walk,
};
use serde::Serialize;
use storage::StorageError;

use crate::dump::damage;
use crate::line::{IndexState, Line, counted};
use crate::listener::{Listener, ToolError, Verdict};
use crate::testimony::Testimony;

/// The `.index` of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IndexLine {
    /// The Data.fs.
    pub path: String,
    /// How the `.index` was found.
    pub index: IndexState,
    /// How the checkpoint (`.zidx`) was found.
    pub checkpoint: IndexState,
    /// Places where the Data.fs itself is broken, or contradicts itself.
    pub damages: u64,
    /// Objects in the Data.fs.
    pub objects: u64,
    /// Whether the `.index` was written anew.
    pub written: bool,
}

/// Compares the `.index` with the file. Exit without a complaint only where it can be used.
///
/// # Errors
/// The file cannot be read.
pub fn index_check(survey: &Survey, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
    let read = Reading::all(survey, listener)?;
    read.testify(survey, listener)?;
    let index = read.comparison.state(read.end);
    let agrees = matches!(index, IndexState::Agrees { .. });
    let checkpoint = read.checkpoint.state(read.end);
    let is_wrong = !checkpoint.remedy().is_empty();
    listener.tell(Line::Index(read.line(survey, index, false)))?;
    Ok(Verdict::of(
        read.damages + u64::from(!agrees) + u64::from(is_wrong),
    ))
}

/// Writes the `.index` anew from the file. A damaged file gets none; one that an old index or checkpoint
/// speaks against gets one only by `force`, as nothing else may tell any more what is wrong.
///
/// # Errors
/// The file cannot be read, or the `.index` not written.
pub fn index_rebuild(
    rebuild: Rebuild,
    force: bool,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let survey = rebuild.survey();
    let read = Reading::all(survey, listener)?;
    let index = read.comparison.state(read.end);
    let checkpoint = read.checkpoint.state(read.end);
    let is_witness = index.is_witness() || checkpoint.is_witness();
    if is_witness {
        read.testify(survey, listener)?;
    }
    let is_written = read.damages == 0 && (force || !is_witness);
    let line = read.line(survey, index, is_written);
    if is_written {
        rebuild.finish(&read.positions, read.end)?;
    }
    listener.tell(Line::Index(line))?;
    Ok(Verdict::of(read.damages + u64::from(!is_written)))
}

/// What is read of a file to know where its current records are.
struct Reading {
    positions: Positions,
    comparison: Comparison,
    checkpoint: Comparison,
    end: u64,
    damages: u64,
    /// How many of these are pointers that lead to another object.
    contradictions: u64,
}

impl Reading {
    fn all(survey: &Survey, listener: &mut dyn Listener) -> Result<Self, ToolError> {
        let mut walk = survey.walk();
        let mut this = Self {
            positions: Positions::default(),
            comparison: Comparison::new(survey),
            checkpoint: Comparison::of_checkpoint(survey),
            end: walk.next_offset(),
            damages: 0,
            contradictions: 0,
        };
        this.compare(survey)?;
        while let Some(step) = walk.next_step()? {
            match step {
                Step::Transaction(found) => {
                    this.comparison.transaction();
                    this.checkpoint.transaction();
                    this.records(&found, &mut walk, listener)?;
                }
                Step::Damage(damage) => {
                    this.damages += 1;
                    listener.tell(damage.into())?;
                }
                Step::Unfinished(tail) => {
                    listener.tell(tail.into())?;
                    break;
                }
            }
            this.end = walk.next_offset();
            this.compare(survey)?;
            listener.reached(this.end);
        }
        let longer = survey.longer(this.end)?;
        this.comparison.ends(longer.as_ref());
        this.checkpoint.ends(longer.as_ref());
        Ok(this)
    }

    fn compare(&mut self, survey: &Survey) -> Result<(), StorageError> {
        self.comparison.at(self.end, &self.positions, survey)?;
        self.checkpoint.at(self.end, &self.positions, survey)?;
        Ok(())
    }

    /// Tells what the index and the checkpoint say against the file.
    fn testify(&self, survey: &Survey, listener: &mut dyn Listener) -> Result<(), ToolError> {
        for saved in [&self.comparison, &self.checkpoint] {
            saved.testify(survey, listener)?;
        }
        Ok(())
    }

    fn records(
        &mut self,
        transaction: &SurveyedTransaction,
        walk: &mut Walk<'_>,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        loop {
            match walk.next_record() {
                Ok(Some(record)) => {
                    let found = self.positions.get(record.oid);
                    let is_beside = found.is_some_and(|found| found >= transaction.offset);
                    // Behind damage the one before may be hidden.
                    if let Some(previous) = record.previous
                        && found != Some(previous)
                        && !is_beside
                        && self.damages == self.contradictions
                    {
                        self.damages += 1;
                        self.contradictions += 1;
                        listener.tell(contradiction(&record, previous, found))?;
                    }
                    self.positions.enter(&record);
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.damages += 1;
                    listener.tell(damage(error, None, None)?)?;
                    return Ok(());
                }
            }
        }
    }

    fn line(&self, survey: &Survey, index: IndexState, written: bool) -> IndexLine {
        IndexLine {
            path: survey.path().display().to_string(),
            index,
            checkpoint: self.checkpoint.state(self.end),
            damages: self.damages,
            objects: self.positions.len(),
            written,
        }
    }
}

/// Compares a saved index with a file while that is read.
pub(crate) struct Comparison {
    saved: Option<Positions>,
    /// How its name ends.
    extension: &'static str,
    /// What is said where there is none that can be read.
    without: IndexState,
    testimony: Testimony,
    longer: Option<Longer>,
    behind_transactions: u64,
}

impl Comparison {
    pub(crate) fn new(survey: &Survey) -> Self {
        Self::of("index", survey.saved_index(), survey.has_index())
    }

    pub(crate) fn of_checkpoint(survey: &Survey) -> Self {
        let (saved, is_there) = (survey.saved_checkpoint(), survey.has_checkpoint());
        Self::of("zidx", saved, is_there)
    }

    fn of(extension: &'static str, saved: Option<Positions>, is_there: bool) -> Self {
        Self {
            without: match is_there {
                true => IndexState::Broken,
                false => IndexState::Missing,
            },
            saved,
            extension,
            testimony: Testimony::default(),
            longer: None,
            behind_transactions: 0,
        }
    }

    /// A transaction is read.
    pub(crate) fn transaction(&mut self) {
        self.behind_transactions += 1;
    }

    /// Up to there the current records are at those positions. Where the saved index ends, it has to
    /// say the same; whether it ends there.
    pub(crate) fn at(
        &mut self,
        offset: u64,
        positions: &Positions,
        survey: &Survey,
    ) -> Result<bool, StorageError> {
        let is_end = self.ends_at(offset);
        if let Some(saved) = self.saved.as_ref().filter(|_| is_end) {
            self.testimony = Testimony::hear(saved, positions, survey)?;
            self.behind_transactions = 0;
        }
        Ok(is_end)
    }

    /// Whether the saved index is of the file up to there.
    pub(crate) fn ends_at(&self, offset: u64) -> bool {
        let saved = self.saved.as_ref();
        saved.is_some_and(|saved| saved.end() == offset)
    }

    /// All is read. The file was longer, where an index beside it proves that.
    pub(crate) fn ends(&mut self, longer: Option<&Longer>) {
        let is_this = |longer: &&Longer| longer.index.extension() == Some(self.extension.as_ref());
        self.longer = longer.filter(is_this).cloned();
    }

    /// Tells what the saved index says against the file, and the file against it.
    fn testify(&self, survey: &Survey, listener: &mut dyn Listener) -> Result<(), ToolError> {
        if let Some(longer) = &self.longer {
            listener.tell(missing_end(longer))?;
        }
        for line in self.testimony.lines(survey, TOLD_MAX)? {
            listener.tell(line)?;
        }
        for line in self.wrong_lines(survey, TOLD_MAX) {
            listener.tell(line)?;
        }
        Ok(())
    }

    /// What the saved index says against the file.
    pub(crate) fn lines(&self, survey: &Survey, max: usize) -> Result<Vec<Line>, StorageError> {
        self.testimony.lines(survey, max)
    }

    /// What the file says against the saved index.
    pub(crate) fn wrong_lines(&self, survey: &Survey, max: usize) -> Vec<Line> {
        self.testimony.wrong_lines(survey, self.extension, max)
    }

    /// How the saved index is, in a file that ends there.
    pub(crate) fn state(&self, end: u64) -> IndexState {
        if let Some(longer) = &self.longer {
            return IndexState::Longer {
                end: longer.end,
                objects: longer.objects,
            };
        }
        match &self.saved {
            None => self.without,
            Some(saved) if self.testimony.agrees => IndexState::Agrees {
                behind_transactions: self.behind_transactions,
                behind_bytes: end.saturating_sub(saved.end()),
            },
            Some(_) => self.testimony.state(),
        }
    }
}

/// What is missing at the end of the file.
pub(crate) fn missing_end(longer: &Longer) -> Line {
    Line::Damage {
        offset: longer.found,
        tid: None,
        oid: None,
        what: longer.to_string(),
        resumed: None,
    }
}

/// A pointer to the previous record that leads elsewhere.
fn contradiction(record: &SurveyedRecord, previous: u64, found: Option<u64>) -> Line {
    let what = match found {
        Some(found) => {
            format!("the previous record is said to be at {previous}, it is at {found}")
        }
        None => format!("the previous record is said to be at {previous}, there is none"),
    };
    Line::Damage {
        offset: record.offset,
        tid: Some(record.tid),
        oid: Some(record.oid),
        what,
        resumed: None,
    }
}

impl IndexLine {
    /// What is still to be done.
    fn remedy(&self, state: IndexState) -> &'static str {
        let is_open = !self.written && self.damages == 0;
        if is_open { state.remedy() } else { "" }
    }
}

impl fmt::Display for IndexLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index of {}: ", self.path)?;
        match self.index {
            // What it says of a damaged file may be all that tells what is right.
            IndexState::Disagrees | IndexState::Wrong { .. } if self.damages > 0 => {
                f.write_str("disagrees with the file, which is damaged itself: keep it")?;
            }
            index => write!(f, "{index}{}", self.remedy(index))?,
        }
        match self.checkpoint {
            IndexState::Missing => {}
            IndexState::Disagrees | IndexState::Wrong { .. } if self.damages > 0 => {
                f.write_str(
                    "\ncheckpoint (.zidx): disagrees with the file, which is damaged itself",
                )?;
            }
            checkpoint => {
                let remedy = self.remedy(checkpoint);
                write!(f, "\ncheckpoint (.zidx): {checkpoint}{remedy}")?;
            }
        }
        if self.damages > 0 {
            write!(
                f,
                "\nthe file itself is damaged in {} places: a new index does not help. Restore a \
                 backup that `zodiac fs backup-verify` finds sound, or copy what is sound with \
                 `zodiac fs recover`, and keep the index beside the file until then",
                self.damages
            )?;
        }
        if self.index.is_witness() || self.checkpoint.is_witness() {
            f.write_str(WITNESS)?;
        }
        if self.written {
            let objects = counted(self.objects, "object", "objects");
            write!(f, "\nwritten anew, with {objects}")?;
        }
        Ok(())
    }
}

const WITNESS: &str = "
only the index tells now what is wrong with the file: a new one would say that all is well. Restore a \
backup that `zodiac fs backup-verify` finds sound, or copy the file and its index away and let `zodiac fs \
recover` copy what is sound. If the file was put in place of another on purpose, `zodiac fs index \
--force` writes its index";
/// Of more contradictions, no more are told.
const TOLD_MAX: usize = 10;
