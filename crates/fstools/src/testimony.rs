//! What a saved index says against the file that it belongs to.

use filestorage::{Positions, RawRecord, RawTransaction, Survey};
use storage::{Oid, StorageError};

use crate::line::Line;

/// Where an index and the file that it belongs to name different records.
#[derive(Default)]
pub(crate) struct Testimony {
    /// Whether all is the same.
    pub(crate) agrees: bool,
    /// Where the index says that an object's newest record is, and where the file has it.
    wrong: Vec<(Oid, u64, Option<u64>)>,
}

impl Testimony {
    /// Compares a saved index with the records of the file up to where it ends. One of which most is
    /// wrong is another file's, or from before a pack, and says nothing against this one.
    pub(crate) fn hear(saved: &Positions, positions: &Positions) -> Self {
        let (mut agree, mut against, mut wrong) = (0_u64, 0_u64, Vec::new());
        for (oid, at) in saved.iter() {
            let found = positions.get(oid);
            if found == Some(at) {
                agree += 1;
                continue;
            }
            against += 1;
            if wrong.len() < KEPT_MAX {
                wrong.push((oid, at, found));
            }
        }
        if against > agree {
            wrong.clear();
        }
        Self {
            agrees: against == 0 && saved.len() == positions.len(),
            wrong,
        }
    }

    /// Keeps what leads to records of other objects: in a file that is sound by itself, that is what
    /// only the index knows.
    pub(crate) fn keep_others(&mut self, survey: &Survey) -> Result<(), StorageError> {
        let mut kept = Vec::new();
        for entry in std::mem::take(&mut self.wrong) {
            if there(survey, entry.1)?.is_some_and(|there| there != entry.0) {
                kept.push(entry);
            }
        }
        self.wrong = kept;
        Ok(())
    }

    /// How many entries are told of.
    pub(crate) fn count(&self) -> u64 {
        self.wrong.len() as u64
    }

    /// The first ones, in words.
    pub(crate) fn lines(&self, survey: &Survey, max: usize) -> Result<Vec<Line>, StorageError> {
        let line = |&(oid, at, found): &(Oid, u64, Option<u64>)| {
            let found = match found {
                Some(found) => format!("it is at {found}"),
                None => "there is none".to_owned(),
            };
            let other = match there(survey, at)? {
                Some(other) if other != oid => format!(", and the record here says {other}"),
                _ => String::new(),
            };
            let what = format!(
                "the index beside the file says that the object's newest record is here, {found}{other}"
            );
            Ok(Line::Damage {
                offset: at,
                tid: None,
                oid: Some(oid),
                what,
                resumed: None,
            })
        };
        self.wrong.iter().take(max).map(line).collect()
    }
}

/// The object of the record there, if there is one, which names the transaction that it is in.
fn there(survey: &Survey, at: u64) -> Result<Option<Oid>, StorageError> {
    let mut header = [0; RawRecord::LEN];
    let mut transaction = [0; RawTransaction::LEN];
    let record = match survey.read_exact(at, &mut header) {
        Ok(()) => RawRecord::decode(&header),
        Err(StorageError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The system refuses offsets that are no lengths of files.
    if record.transaction >= at {
        return Ok(None);
    }
    match survey.read_exact(record.transaction, &mut transaction) {
        Ok(()) => {}
        Err(StorageError::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    }
    let is_in = RawTransaction::decode(&transaction).tid == record.tid;
    Ok(Some(record.oid).filter(|_| is_in))
}

/// Of more, no more are counted.
const KEPT_MAX: usize = 100_000;
