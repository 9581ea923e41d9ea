//! The file as a whole.

use filestorage::{Positions, Step, Survey, Walk};
use storage::StorageError;

use crate::Stamp;
use crate::dump::damage;
use crate::index::Comparison;
use crate::line::{IndexState, InfoLine, Line};
use crate::listener::{Listener, ToolError, Verdict};

/// Counts what is in the file and compares the `.index` with it. Reads no data.
///
/// # Errors
/// The file cannot be read.
pub fn info(survey: &Survey, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
    let mut walk = survey.walk();
    let mut count = Count::new(survey);
    count.compare(walk.next_offset(), survey)?;
    while let Some(step) = walk.next_step()? {
        match step {
            Step::Transaction(transaction) => {
                count.info.transactions += 1;
                count.comparison.transaction();
                count.info.first_tid.get_or_insert(transaction.tid);
                count.info.last_tid = Some(transaction.tid);
                count.take_records(&mut walk, listener)?;
            }
            Step::Damage(damage) => {
                count.info.damages += 1;
                listener.tell(damage.into())?;
            }
            Step::Unfinished(tail) => {
                count.info.unfinished_tail = true;
                count.end = tail.offset;
                listener.tell(tail.into())?;
                continue;
            }
        }
        count.end = walk.next_offset();
        count.compare(walk.next_offset(), survey)?;
        listener.reached(walk.next_offset());
    }
    count.comparison.ends(survey.longer(count.end)?.as_ref());
    let info = count.finish();
    let verdict =
        Verdict::of(info.damages + u64::from(info.index.is_witness() || info.index.is_wrong()));
    listener.tell(Line::Info(info))?;
    Ok(verdict)
}

struct Count {
    info: InfoLine,
    positions: Positions,
    comparison: Comparison,
    end: u64,
}

impl Count {
    fn new(survey: &Survey) -> Self {
        Self {
            info: InfoLine {
                path: survey.path().display().to_string(),
                magic: survey.magic().to_owned(),
                bytes: survey.size(),
                transactions: 0,
                first_tid: None,
                first_time: None,
                last_tid: None,
                last_time: None,
                objects: 0,
                records: 0,
                record_bytes: 0,
                index: IndexState::Missing,
                sidecars: survey.sidecars(),
                unfinished_tail: false,
                damages: 0,
            },
            positions: Positions::default(),
            comparison: Comparison::new(survey),
            end: 0,
        }
    }

    fn compare(&mut self, end: u64, survey: &Survey) -> Result<(), StorageError> {
        self.comparison.at(end, &self.positions, survey)?;
        Ok(())
    }

    fn take_records(
        &mut self,
        walk: &mut Walk<'_>,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        loop {
            match walk.next_record() {
                Ok(Some(record)) => {
                    self.info.records += 1;
                    self.info.record_bytes += record.bytes;
                    self.positions.enter(&record);
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.info.damages += 1;
                    listener.tell(damage(error, None, None)?)?;
                    return Ok(());
                }
            }
        }
    }

    fn finish(mut self) -> InfoLine {
        self.info.objects = self.positions.len();
        self.info.first_time = self.info.first_tid.map(|tid| Stamp(tid).to_string());
        self.info.last_time = self.info.last_tid.map(|tid| Stamp(tid).to_string());
        self.info.index = self.comparison.state(self.end);
        self.info
    }
}
