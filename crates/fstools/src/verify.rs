//! The structure of every transaction (the original's `fstest`), the pointers between records, and
//! every pickle.

use filestorage::{Damage, Positions, Step, Survey, SurveyedRecord, Walk};
use storage::StorageError;

use crate::content::{Content, is_compressed};
use crate::dump::damage;
use crate::line::{Line, VerifyLine};
use crate::listener::{Listener, ToolError, Verdict};

/// Reads everything and tells what is broken. An unfinished tail is not: a writer cuts it off.
///
/// # Errors
/// The file cannot be read.
pub fn verify(survey: &Survey, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
    let mut verify = Verify {
        survey,
        positions: Positions::default(),
        count: VerifyLine::default(),
        hidden: false,
    };
    let mut walk = survey.walk();
    while let Some(step) = walk.next_step()? {
        match step {
            Step::Transaction(_) => {
                verify.count.transactions += 1;
                verify.records(&mut walk, listener)?;
            }
            Step::Damage(damage) => verify.skipped(damage, listener)?,
            Step::Unfinished(tail) => listener.tell(tail.into())?,
        }
        listener.reached(walk.next_offset());
    }
    let verdict = Verdict::of(verify.count.damages);
    listener.tell(Line::Verified(verify.count))?;
    Ok(verdict)
}

struct Verify<'a> {
    survey: &'a Survey,
    /// The last record of each object so far.
    positions: Positions,
    count: VerifyLine,
    /// Whether records were skipped, to which later ones may point.
    hidden: bool,
}

impl Verify<'_> {
    fn skipped(&mut self, damage: Damage, listener: &mut dyn Listener) -> Result<(), ToolError> {
        self.count.damages += 1;
        if let Some(resumed) = damage.resumed {
            self.count.skipped_bytes += resumed - damage.offset;
            self.hidden = true;
        }
        listener.tell(damage.into())?;
        Ok(())
    }

    fn broken(&mut self, line: Line, listener: &mut dyn Listener) -> Result<(), ToolError> {
        self.count.damages += 1;
        listener.tell(line)?;
        Ok(())
    }

    fn records(
        &mut self,
        walk: &mut Walk<'_>,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        loop {
            match walk.next_record() {
                Ok(Some(record)) => self.record(&record, listener)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    if let StorageError::Corrupt { offset, .. } = error {
                        self.count.skipped_bytes += walk.next_offset() - offset;
                    }
                    self.hidden = true;
                    return self.broken(damage(error, None, None)?, listener);
                }
            }
        }
    }

    fn record(
        &mut self,
        record: &SurveyedRecord,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        self.count.records += 1;
        listener.reached(record.offset);
        let (tid, oid) = (Some(record.tid), Some(record.oid));
        let broken = |what| Line::Damage {
            offset: record.offset,
            tid,
            oid,
            what,
            resumed: None,
        };
        if let Some(what) = self.wrong_previous(record) {
            self.broken(broken(what), listener)?;
        }
        self.positions.enter(record);
        match self.survey.data(record) {
            Ok(data) => {
                // What a back pointer leads to was decoded where it lies.
                let own = data.record.filter(|_| record.data_bytes > 0);
                match own {
                    Some(data) if is_compressed(&data) => self.count.compressed += 1,
                    Some(data) => {
                        if let Err(what) = Content::decode(&data) {
                            self.broken(broken(what), listener)?;
                        }
                    }
                    None => {}
                }
            }
            Err(error) => self.broken(damage(error, tid, oid)?, listener)?,
        }
        Ok(())
    }

    /// What is wrong with the pointer to the object's previous record. None at all is right in a
    /// packed file, which forgets what was before.
    fn wrong_previous(&self, record: &SurveyedRecord) -> Option<String> {
        let previous = record.previous?;
        let found = self.positions.get(record.oid);
        if found == Some(previous) || self.hidden {
            return None;
        }
        Some(match found {
            Some(found) => {
                format!("the previous record is said to be at {previous}, it is at {found}")
            }
            None => format!("the previous record is said to be at {previous}, there is none"),
        })
    }
}
