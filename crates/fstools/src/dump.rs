//! Transactions and records, one after the other: what the original's `fsdump` shows.

use std::collections::VecDeque;

use filestorage::{Step, Survey, Walk};
use storage::{StorageError, Tid};

use crate::index::missing_end;
use crate::line::{Line, RecordLine, TransactionLine};
use crate::listener::{Listener, ToolError, Verdict};

/// Which transactions are shown; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from: Tid,
    /// The last.
    pub to: Tid,
}

impl Span {
    /// All transactions.
    pub const ALL: Self = Self {
        from: Tid::ZERO,
        to: Tid::MAX,
    };

    fn contains(self, tid: Tid) -> bool {
        self.from <= tid && tid <= self.to
    }
}

/// Tells of each transaction of the span and of its records. Where the file is damaged it says so and
/// goes on.
///
/// # Errors
/// The file cannot be read.
pub fn dump(
    survey: &Survey,
    span: Span,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    show(survey, &mut survey.walk(), span, listener)
}

/// Tells of the newest `count` transactions.
///
/// # Errors
/// The file cannot be read.
pub fn tail(
    survey: &Survey,
    count: usize,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    if count == 0 {
        return Ok(Verdict::Sound);
    }
    let start = match survey.newest(count)? {
        Some(start) => start,
        None => newest_from_the_front(survey, count, listener)?,
    };
    show(survey, &mut survey.walk_from(start), Span::ALL, listener)
}

/// Where the newest transactions begin, in a file whose end tells nothing.
fn newest_from_the_front(
    survey: &Survey,
    count: usize,
    listener: &mut dyn Listener,
) -> Result<u64, StorageError> {
    let mut newest = VecDeque::new();
    let mut walk = survey.walk();
    while let Some(step) = walk.next_step()? {
        listener.reached(walk.next_offset());
        if let Step::Transaction(transaction) = step {
            if newest.len() == count {
                newest.pop_front();
            }
            newest.push_back(transaction.offset);
        }
    }
    Ok(newest
        .front()
        .copied()
        .unwrap_or_else(|| survey.walk().next_offset()))
}

fn show(
    survey: &Survey,
    walk: &mut Walk<'_>,
    span: Span,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let mut damages = 0;
    let mut end = walk.next_offset();
    while let Some(step) = walk.next_step()? {
        match step {
            Step::Transaction(transaction) if span.contains(transaction.tid) => {
                listener.tell(Line::Transaction(TransactionLine::from(&transaction)))?;
                damages += show_records(survey, walk, listener)?;
            }
            Step::Transaction(transaction) if transaction.tid > span.to => {
                return Ok(Verdict::of(damages));
            }
            Step::Transaction(_) => {}
            Step::Damage(damage) => {
                damages += 1;
                listener.tell(damage.into())?;
            }
            Step::Unfinished(tail) => {
                listener.tell(tail.into())?;
                break;
            }
        }
        end = walk.next_offset();
        listener.reached(end);
    }
    if let Some(longer) = survey.longer(end)? {
        damages += 1;
        listener.tell(missing_end(&longer))?;
    }
    Ok(Verdict::of(damages))
}

fn show_records(
    survey: &Survey,
    walk: &mut Walk<'_>,
    listener: &mut dyn Listener,
) -> Result<u64, ToolError> {
    let mut damages = 0;
    loop {
        let record = match walk.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(damages),
            Err(error) => {
                listener.tell(damage(error, None, None)?)?;
                return Ok(damages + 1);
            }
        };
        listener.reached(record.offset);
        match survey.data(&record) {
            Ok(data) => {
                let line = RecordLine::new(&record, data.record.as_deref(), data.back);
                listener.tell(Line::Record(line))?;
            }
            Err(error) => {
                damages += 1;
                listener.tell(damage(error, Some(record.tid), Some(record.oid))?)?;
            }
        }
    }
}

/// The line for an error about bytes in the file; any other error is handed back.
pub(crate) fn damage(
    error: StorageError,
    tid: Option<Tid>,
    oid: Option<storage::Oid>,
) -> Result<Line, StorageError> {
    match error {
        StorageError::Corrupt { offset, what, .. } => Ok(Line::Damage {
            offset,
            tid,
            oid,
            what,
            resumed: None,
        }),
        error => Err(error),
    }
}
