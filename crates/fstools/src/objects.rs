//! All there is of some objects: their records, and who refers to whom (the original's `fsoids`).

use std::collections::BTreeSet;

use filestorage::{Positions, Step, Survey, SurveyedData, SurveyedRecord, Walk};
use storage::Oid;

use crate::content::Content;
use crate::current::{of_file, tell_beside};
use crate::dump::damage;
use crate::line::{Line, RecordLine};
use crate::listener::{Listener, ToolError, Verdict};

/// Tells of every record of the objects, and of the references from and to them as they are now.
///
/// # Errors
/// The file cannot be read, or is damaged before its end, so that what is current is unknown.
pub fn objects(
    survey: &Survey,
    oids: &[Oid],
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let positions = match of_file(survey, listener)? {
        Some(positions) => positions,
        None => survey.positions()?,
    };
    let mut search = Search {
        survey,
        wanted: oids.iter().copied().collect(),
        positions: &positions,
        wrong: 0,
    };
    for &oid in &search.wanted {
        if positions.get(oid).is_none() {
            search.wrong += 1;
            listener.tell(Line::Absent { oid })?;
        }
    }
    let mut walk = survey.walk_within(&positions);
    while let Some(step) = walk.next_step()? {
        match step {
            Step::Transaction(_) => search.look(&mut walk, listener)?,
            Step::Damage(damage) => search.damaged(damage.into(), listener)?,
            Step::Unfinished(tail) => search.damaged(tail.into(), listener)?,
        }
        listener.reached(walk.next_offset());
    }
    let wrong = search.wrong + tell_beside(survey, &positions, listener)?;
    Ok(Verdict::of(wrong))
}

struct Search<'a> {
    survey: &'a Survey,
    wanted: BTreeSet<Oid>,
    positions: &'a Positions,
    wrong: u64,
}

impl Search<'_> {
    fn look(&mut self, walk: &mut Walk<'_>, listener: &mut dyn Listener) -> Result<(), ToolError> {
        loop {
            let record = match walk.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(()),
                Err(error) => return self.damaged(damage(error, None, None)?, listener),
            };
            let wanted = self.wanted.contains(&record.oid);
            let is_current = self.positions.get(record.oid) == Some(record.offset);
            if !wanted && !is_current {
                continue;
            }
            let data = match self.survey.data(&record) {
                Ok(data) => data,
                Err(error) => {
                    let line = damage(error, Some(record.tid), Some(record.oid))?;
                    self.damaged(line, listener)?;
                    continue;
                }
            };
            if wanted {
                let line = RecordLine::new(&record, data.record.as_deref(), data.back);
                listener.tell(Line::Record(line))?;
            }
            if is_current {
                self.tell_references(&record, &data, listener)?;
            }
        }
    }

    fn damaged(&mut self, line: Line, listener: &mut dyn Listener) -> Result<(), ToolError> {
        self.wrong += 1;
        listener.tell(line)?;
        Ok(())
    }

    fn tell_references(
        &mut self,
        record: &SurveyedRecord,
        data: &SurveyedData,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        let Some(data) = &data.record else {
            return Ok(());
        };
        let content = match Content::decode(data) {
            Ok(content) => content,
            Err(what) => {
                let line = Line::Damage {
                    offset: record.offset,
                    tid: Some(record.tid),
                    oid: Some(record.oid),
                    what,
                    resumed: None,
                };
                return self.damaged(line, listener);
            }
        };
        for (to, to_class) in content.references() {
            if self.wanted.contains(&record.oid) || self.wanted.contains(&to) {
                listener.tell(Line::Reference {
                    from: record.oid,
                    from_class: content.class(),
                    to,
                    to_class,
                })?;
            }
        }
        Ok(())
    }
}
