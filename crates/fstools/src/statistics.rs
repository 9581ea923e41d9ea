//! What takes the space: records and bytes by class.

use std::collections::BTreeMap;

use filestorage::{Positions, Step, Survey, SurveyedRecord, Walk};

use crate::content::class_of;
use crate::current::{of_file, tell_beside};
use crate::dump::damage;
use crate::line::{ClassLine, Line};
use crate::listener::{Listener, ToolError, Verdict};

/// Tells of each class, those with the most bytes (current and old) first.
///
/// # Errors
/// The file cannot be read, or is damaged before its end, so that what is current is unknown.
pub fn statistics(survey: &Survey, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
    let mut positions = survey.positions()?;
    let mut count = Count::of(survey, &positions, listener)?;
    // What cannot be read is counted nowhere, and told.
    if !count.proves_positions()
        && count.damages == 0
        && let Some(by_file) = of_file(survey, listener)?
    {
        positions = by_file;
        count = Count::of(survey, &positions, listener)?;
    }
    let Count {
        classes, damages, ..
    } = count;
    let wrong = damages + tell_beside(survey, &positions, listener)?;
    let mut lines: Vec<ClassLine> = classes
        .into_iter()
        .map(|(class, figures)| ClassLine { class, ..figures })
        .collect();
    // Stable: classes of one size stay in the order of their names.
    lines.sort_by_key(|line| std::cmp::Reverse(line.bytes + line.old_bytes));
    for line in lines {
        listener.tell(Line::Class(line))?;
    }
    Ok(Verdict::of(wrong))
}

struct Count<'a> {
    survey: &'a Survey,
    positions: &'a Positions,
    classes: BTreeMap<String, ClassLine>,
    damages: u64,
    /// Whether a record is newer than the one that the positions name.
    has_newer: bool,
}

impl<'a> Count<'a> {
    fn of(
        survey: &'a Survey,
        positions: &'a Positions,
        listener: &mut dyn Listener,
    ) -> Result<Self, ToolError> {
        let mut count = Self {
            survey,
            positions,
            classes: BTreeMap::new(),
            damages: 0,
            has_newer: false,
        };
        let mut walk = survey.walk_within(positions);
        while let Some(step) = walk.next_step()? {
            match step {
                Step::Transaction(_) => count.records(&mut walk, listener)?,
                Step::Damage(damage) => count.damaged(damage.into(), listener)?,
                Step::Unfinished(tail) => count.damaged(tail.into(), listener)?,
            }
            listener.reached(walk.next_offset());
        }
        Ok(count)
    }

    /// Whether each position led to a record of its object, and no later one was there.
    fn proves_positions(&self) -> bool {
        let objects: u64 = self.classes.values().map(|class| class.objects).sum();
        !self.has_newer && objects == self.positions.len()
    }

    fn records(
        &mut self,
        walk: &mut Walk<'_>,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        loop {
            let record = match walk.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(()),
                Err(error) => return self.damaged(damage(error, None, None)?, listener),
            };
            match self.survey.data(&record) {
                Ok(data) => self.add(&record, data.record.as_deref()),
                Err(error) => {
                    let line = damage(error, Some(record.tid), Some(record.oid))?;
                    self.damaged(line, listener)?;
                }
            }
        }
    }

    fn damaged(&mut self, line: Line, listener: &mut dyn Listener) -> Result<(), ToolError> {
        self.damages += 1;
        listener.tell(line)?;
        Ok(())
    }

    fn add(&mut self, record: &SurveyedRecord, data: Option<&[u8]>) {
        let class = match data {
            Some(data) => class_of(data).unwrap_or_else(|| UNKNOWN.to_owned()),
            None => GONE.to_owned(),
        };
        let class = if self.classes.len() < CLASSES_MAX || self.classes.contains_key(&class) {
            class
        } else {
            OTHERS.to_owned()
        };
        let figures = self.classes.entry(class).or_default();
        let current = self.positions.get(record.oid);
        self.has_newer |= current.is_none_or(|current| current < record.offset);
        if current == Some(record.offset) {
            figures.objects += 1;
            figures.bytes += record.data_bytes;
        } else {
            figures.old_records += 1;
            figures.old_bytes += record.data_bytes;
        }
    }
}

const UNKNOWN: &str = "(unknown class)";
const GONE: &str = "(creation undone or deleted)";
const OTHERS: &str = "(other classes)";
/// A data file may hold any number of invented names.
const CLASSES_MAX: usize = 100_000;
