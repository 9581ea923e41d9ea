//! What a saved index says against the file that it belongs to.

use filestorage::{Positions, RawRecord, RawTransaction, Survey};
use storage::{Oid, StorageError};

use crate::line::{IndexState, Line};

/// Where an index and the file that it belongs to name different records.
#[derive(Default)]
pub(crate) struct Testimony {
    /// Whether all is the same.
    pub(crate) agrees: bool,
    /// Where the index says that an object's newest record is, which is another object's, and where the
    /// file has it. In a file that is sound by itself, that is what only the index knows.
    others: Vec<(Oid, u64, Option<u64>)>,
    /// Where the index says that an object's newest record is, if it knows the object, and where the file
    /// has it. Nothing speaks against the file.
    wrong: Vec<(Oid, Option<u64>, Option<u64>)>,
}

impl Testimony {
    /// Compares a saved index with the current records of the file as they were where it ends, or later.
    /// One of which most is wrong is another file's, or from before a pack, and says nothing against this
    /// one.
    pub(crate) fn hear(
        saved: &Positions,
        positions: &Positions,
        survey: &Survey,
    ) -> Result<Self, StorageError> {
        let (mut agree, mut against, mut different) = (0_u64, 0_u64, Vec::new());
        for (oid, at) in saved.iter() {
            let found = positions.get(oid);
            if found == Some(at) || found.is_some_and(|found| found >= saved.end()) {
                agree += 1;
                continue;
            }
            against += 1;
            if different.len() < KEPT_MAX {
                different.push((oid, at, found));
            }
        }
        if against > agree {
            return Ok(Self::default());
        }
        let mut this = Self::default();
        for (oid, at, found) in different {
            if there(survey, at)?.is_some_and(|there| there != oid) {
                this.others.push((oid, at, found));
            } else {
                this.wrong.push((oid, Some(at), found));
            }
        }
        let is_claimed = |at| this.others.iter().any(|other| other.1 == at);
        let unknown = positions
            .iter()
            .filter(|(oid, at)| *at < saved.end() && saved.get(*oid).is_none())
            .map(|(oid, at)| (oid, None, Some(at)));
        let unknown: Vec<_> = unknown.take(KEPT_MAX).collect();
        this.agrees = against == 0 && unknown.is_empty();
        // Of one that is another object's by the index, enough is said.
        this.wrong.extend(unknown);
        this.wrong
            .retain(|(_, _, found)| !found.is_some_and(is_claimed));
        this.wrong.sort_unstable();
        Ok(this)
    }

    /// How the index is, where it does not agree.
    pub(crate) fn state(&self) -> IndexState {
        let entries = self.others.len() as u64;
        let objects = self.wrong.len() as u64;
        match (entries, objects) {
            (0, 0) => IndexState::Disagrees,
            (0, _) => IndexState::Wrong { objects },
            _ => IndexState::Contradicts { entries },
        }
    }

    /// The first entries that lead to other objects' records, in words.
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
        self.others.iter().take(max).map(line).collect()
    }

    /// The first entries that are wrong, or missing, and need not be.
    pub(crate) fn wrong_lines(&self, survey: &Survey, extension: &str, max: usize) -> Vec<Line> {
        let path = beside(survey, extension);
        let line =
            |entry: &(Oid, Option<u64>, Option<u64>)| Line::from((path.clone(), said(entry)));
        self.wrong.iter().take(max).map(line).collect()
    }

    /// The first of these, in words.
    pub(crate) fn first_wrong(&self) -> Option<String> {
        self.wrong.first().map(said)
    }
}

/// The file beside a Data.fs whose name ends so.
pub(crate) fn beside(survey: &Survey, extension: &str) -> std::path::PathBuf {
    let mut path = survey.path().as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

fn said(&(oid, named, found): &(Oid, Option<u64>, Option<u64>)) -> String {
    match (named, found) {
        (None, Some(found)) => {
            format!("it does not know object {oid}, whose newest record is at {found}")
        }
        (Some(named), Some(found)) => format!(
            "it says that the newest record of object {oid} is at {named}, the file has it at {found}"
        ),
        (named, None) => format!(
            "it says that a record of object {oid} is at {}, the file has none",
            named.unwrap_or_default()
        ),
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
