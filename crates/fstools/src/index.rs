//! The `.index` beside a Data.fs: whether it is right, and making it anew.

use std::fmt;

use filestorage::{Positions, Rebuild, Step, Survey, SurveyedRecord, SurveyedTransaction, Walk};
use serde::Serialize;

use crate::dump::damage;
use crate::line::{IndexState, Line, counted};
use crate::listener::{Listener, ToolError, Verdict};

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
    let index = read.comparison.state(read.end);
    let agrees = matches!(index, IndexState::Agrees { .. });
    let checkpoint = read.checkpoint.state(read.end);
    let is_wrong = matches!(checkpoint, IndexState::Disagrees | IndexState::Broken);
    listener.tell(Line::Index(read.line(survey, index, false)))?;
    Ok(Verdict::of(
        read.damages + u64::from(!agrees) + u64::from(is_wrong),
    ))
}

/// Writes the `.index` anew from the file. A damaged file gets none.
///
/// # Errors
/// The file cannot be read, or the `.index` not written.
pub fn index_rebuild(rebuild: Rebuild, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
    let survey = rebuild.survey();
    let read = Reading::all(survey, listener)?;
    let index = read.comparison.state(read.end);
    let is_sound = read.damages == 0;
    let line = read.line(survey, index, is_sound);
    if is_sound {
        rebuild.finish(&read.positions, read.end)?;
    }
    listener.tell(Line::Index(line))?;
    Ok(Verdict::of(read.damages))
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
        this.compare();
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
            this.compare();
            listener.reached(this.end);
        }
        Ok(this)
    }

    fn compare(&mut self) {
        self.comparison.at(self.end, &self.positions);
        self.checkpoint.at(self.end, &self.positions);
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
    /// What is said where there is none that can be read.
    without: IndexState,
    agrees: bool,
    behind_transactions: u64,
}

impl Comparison {
    pub(crate) fn new(survey: &Survey) -> Self {
        let saved = survey.saved_index();
        let without = if saved.is_none() && survey.has_index() {
            IndexState::Broken
        } else {
            IndexState::Missing
        };
        Self {
            saved,
            without,
            agrees: false,
            behind_transactions: 0,
        }
    }

    fn of_checkpoint(survey: &Survey) -> Self {
        let saved = survey.saved_checkpoint();
        let without = if saved.is_none() && survey.has_checkpoint() {
            IndexState::Broken
        } else {
            IndexState::Missing
        };
        Self {
            saved,
            without,
            agrees: false,
            behind_transactions: 0,
        }
    }

    /// A transaction is read.
    pub(crate) fn transaction(&mut self) {
        self.behind_transactions += 1;
    }

    /// Up to there the current records are at those positions. Where the saved index ends, it has to
    /// say the same.
    pub(crate) fn at(&mut self, offset: u64, positions: &Positions) {
        if let Some(saved) = &self.saved
            && saved.end() == offset
        {
            self.agrees = saved.agrees_with(positions);
            self.behind_transactions = 0;
        }
    }

    /// How the saved index is, in a file that ends there.
    pub(crate) fn state(&self, end: u64) -> IndexState {
        match &self.saved {
            None => self.without,
            Some(saved) if self.agrees => IndexState::Agrees {
                behind_transactions: self.behind_transactions,
                behind_bytes: end.saturating_sub(saved.end()),
            },
            Some(_) => IndexState::Disagrees,
        }
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

impl fmt::Display for IndexLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index of {}: ", self.path)?;
        match self.index {
            // What it says of a damaged file may be all that tells what is right.
            IndexState::Disagrees if self.damages > 0 => {
                f.write_str("disagrees with the file, which is damaged itself: keep it")?;
            }
            index => index.fmt(f)?,
        }
        match self.checkpoint {
            IndexState::Missing => {}
            IndexState::Disagrees if self.damages > 0 => {
                f.write_str(
                    "\ncheckpoint (.zidx): disagrees with the file, which is damaged itself",
                )?;
            }
            checkpoint => write!(f, "\ncheckpoint (.zidx): {checkpoint}")?,
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
        if self.written {
            let objects = counted(self.objects, "object", "objects");
            write!(f, "\nwritten anew, with {objects}")?;
        }
        Ok(())
    }
}
