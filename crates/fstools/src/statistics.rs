//! What takes the space: records and bytes by class.

use std::collections::BTreeMap;

use filestorage::{Positions, Step, Survey, SurveyedRecord, Walk};

use crate::content::class_of;
use crate::dump::damage;
use crate::line::{ClassLine, Line};
use crate::listener::{Listener, ToolError, Verdict};

/// Tells of each class, those with the most bytes (current and old) first.
///
/// # Errors
/// The file cannot be read, or is damaged before its end, so that what is current is unknown.
pub fn statistics(survey: &Survey, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
    let positions = survey.positions()?;
    let mut count = Count {
        survey,
        positions: &positions,
        classes: BTreeMap::new(),
        damages: 0,
    };
    let mut walk = survey.walk_within(&positions);
    while let Some(step) = walk.next_step()? {
        match step {
            Step::Transaction(_) => count.records(&mut walk, listener)?,
            Step::Damage(damage) => count.damaged(damage.into(), listener)?,
            Step::Unfinished(tail) => count.damaged(tail.into(), listener)?,
        }
        listener.reached(walk.next_offset());
    }
    let Count {
        classes, damages, ..
    } = count;
    let mut lines: Vec<ClassLine> = classes
        .into_iter()
        .map(|(class, figures)| ClassLine { class, ..figures })
        .collect();
    // Stable: classes of one size stay in the order of their names.
    lines.sort_by_key(|line| std::cmp::Reverse(line.bytes + line.old_bytes));
    for line in lines {
        listener.tell(Line::Class(line))?;
    }
    Ok(Verdict::of(damages))
}

struct Count<'a> {
    survey: &'a Survey,
    positions: &'a Positions,
    classes: BTreeMap<String, ClassLine>,
    damages: u64,
}

impl Count<'_> {
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
        if self.positions.get(record.oid) == Some(record.offset) {
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
