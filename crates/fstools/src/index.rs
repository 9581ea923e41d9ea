//! The `.index` beside a Data.fs: whether it is right, and making it anew.

use std::fmt;

use filestorage::{Positions, Rebuild, Step, Survey, Walk};
use serde::Serialize;

use crate::dump::damage;
use crate::line::{IndexState, Line};
use crate::listener::{Listener, ToolError, Verdict};

/// The `.index` of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IndexLine {
    /// The Data.fs.
    pub path: String,
    /// How the `.index` was found.
    pub index: IndexState,
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
    listener.tell(Line::Index(read.line(survey, index, false)))?;
    Ok(Verdict::of(read.damages + u64::from(!agrees)))
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
    end: u64,
    damages: u64,
}

impl Reading {
    fn all(survey: &Survey, listener: &mut dyn Listener) -> Result<Self, ToolError> {
        let mut walk = survey.walk();
        let mut this = Self {
            positions: Positions::default(),
            comparison: Comparison::new(survey),
            end: walk.next_offset(),
            damages: 0,
        };
        this.comparison.at(this.end, &this.positions);
        while let Some(step) = walk.next_step()? {
            match step {
                Step::Transaction(_) => {
                    this.comparison.transaction();
                    this.records(&mut walk, listener)?;
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
            this.comparison.at(this.end, &this.positions);
            listener.reached(this.end);
        }
        Ok(this)
    }

    fn records(
        &mut self,
        walk: &mut Walk<'_>,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        loop {
            match walk.next_record() {
                Ok(Some(record)) => self.positions.enter(&record),
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

impl fmt::Display for IndexLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index of {}: {}", self.path, self.index)?;
        if self.written {
            write!(f, "\nwritten anew, with {} objects", self.objects)?;
        }
        Ok(())
    }
}
