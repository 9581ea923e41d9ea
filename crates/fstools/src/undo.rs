//! Taking transactions back: which ones may be, what that would change, and doing it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use filestorage::{BlobDirectory, Positions, RawRecord, Status, Step, Survey, SurveyedRecord};
use serde::Serialize;
use storage::{
    CommitError, Oid, Storage, StorageError, Tid, TransactionMeta, UndoObstacle, UndoReason,
    UndoRefusal, is_blob_record,
};

use crate::Stamp;
use crate::content::class_of;
use crate::line::{Line, counted, named, shown, shown_some};
use crate::listener::{Listener, ToolError, Verdict};
use crate::paths::Paths;

/// A transaction that may be undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UndoableLine {
    /// Its id.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// When it was.
    pub time: String,
    /// Who.
    pub user: String,
    /// What.
    pub description: String,
    /// Its length.
    pub bytes: u64,
}

/// What an undo does to an object, or why it cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UndoObjectLine {
    /// The transaction that is to be undone.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// The object.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// Its class.
    pub class: Option<String>,
    /// The way from the root to it, by the names under which objects hold each other; nothing where
    /// the root does not reach it now.
    pub path: Option<String>,
    /// The transaction whose state of the object comes back; nothing where there was no such object
    /// before, so that it ceases to exist.
    #[serde(serialize_with = "shown_some")]
    pub restored: Option<Tid>,
    /// What stands in the way.
    pub obstacle: Option<String>,
}

/// Transactions were taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UndoneLine {
    /// The transaction that does it.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// Those that it takes back.
    pub undone: Vec<String>,
    /// How many objects it changes.
    pub objects: usize,
}

/// Tells of the newest `count` transactions that may be undone, newest first.
///
/// # Errors
/// The storage cannot be read, or cannot undo.
pub fn undoable(
    storage: &dyn Storage,
    count: usize,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let undo = storage.undo().ok_or(NO_UNDO)?;
    for entry in undo.undo_log(0, count, &mut |_| true)? {
        listener.tell(Line::Undoable(UndoableLine {
            tid: entry.tid,
            time: Stamp(entry.tid).to_string(),
            user: String::from_utf8_lossy(&entry.meta.user).into_owned(),
            description: String::from_utf8_lossy(&entry.meta.description).into_owned(),
            bytes: entry.bytes,
        }))?;
    }
    Ok(Verdict::Sound)
}

/// Takes the transactions back in one new one, the newest first. Where objects stand in the way, the
/// file tells their paths.
///
/// # Errors
/// The storage cannot be written, or cannot undo. What stands in the way of an undo is no error: it is
/// told.
pub fn undo(
    storage: &Arc<dyn Storage>,
    tids: &[Tid],
    meta: TransactionMeta,
    file: Option<&Survey>,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    storage.undo().ok_or(NO_UNDO)?;
    let tids = newest_first(tids);
    match commit(storage, &tids, meta) {
        Ok((tid, objects)) => {
            listener.tell(Line::Undone(UndoneLine {
                tid,
                undone: tids.iter().map(ToString::to_string).collect(),
                objects,
            }))?;
            Ok(Verdict::Sound)
        }
        Err(CommitError::Undo(obstacles)) => {
            // What is wrong with the file is not what stands in the way.
            let positions = file.and_then(|file| Some((file, file.positions().ok()?)));
            let mut paths = positions
                .as_ref()
                .map(|(file, positions)| Paths::new(file, positions));
            let has_blobs = storage.blobs().is_some();
            for UndoObstacle { oid, reason } in obstacles {
                let class = storage.load_before(oid, Tid::MAX).ok().flatten();
                let path = match &mut paths {
                    Some(paths) => paths.path_to(oid, listener)?,
                    None => None,
                };
                listener.tell(Line::UndoObject(UndoObjectLine {
                    tid: tids[0],
                    oid,
                    class: class.and_then(|revision| class_of(&revision.record)),
                    path,
                    restored: None,
                    obstacle: Some(said(reason, has_blobs)),
                }))?;
            }
            Ok(Verdict::Wrong)
        }
        Err(CommitError::NotUndoable { tid, reason }) => refuse(tid, reason, listener),
        Err(error) => Err(error.into()),
    }
}

fn commit(
    storage: &Arc<dyn Storage>,
    tids: &[Tid],
    meta: TransactionMeta,
) -> Result<(Tid, usize), CommitError> {
    let mut commit = Arc::clone(storage).begin(meta)?;
    for tid in tids {
        commit.undo(*tid)?;
    }
    let voted = commit.vote()?;
    let objects = voted.resolved().len();
    Ok((voted.finish(Box::new(|_| {}))?, objects))
}

fn refuse(
    tid: Tid,
    reason: UndoRefusal,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    listener.tell(Line::UndoRefused {
        tid,
        reason: reason.to_string(),
    })?;
    Ok(Verdict::Wrong)
}

/// Tells of each object that an undo of the transactions would change, and of what stands in its way.
/// Takes no lock and writes nothing. Whether the classes of changed objects could merge the change
/// with later ones is not asked.
///
/// # Errors
/// The file cannot be read, or is damaged before its end, so that what is current is unknown.
pub fn undo_preview(
    survey: &Survey,
    tids: &[Tid],
    blobs: Option<&BlobDirectory>,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let positions = survey.positions()?;
    if let Some(longer) = survey.longer(positions.end())? {
        return Err(longer.refusal(survey.path()).into());
    }
    let mut preview = Preview {
        survey,
        positions: &positions,
        paths: Paths::new(survey, &positions),
        planned: HashMap::new(),
        blobs,
        obstacles: 0,
    };
    for tid in newest_first(tids) {
        preview.transaction(tid, listener)?;
    }
    Ok(Verdict::of(preview.obstacles))
}

struct Preview<'a> {
    survey: &'a Survey,
    positions: &'a Positions,
    paths: Paths<'a>,
    /// What objects become by the undos so far: the place of the record that comes back.
    planned: HashMap<Oid, Option<u64>>,
    blobs: Option<&'a BlobDirectory>,
    obstacles: u64,
}

impl Preview<'_> {
    fn transaction(&mut self, tid: Tid, listener: &mut dyn Listener) -> Result<(), ToolError> {
        let records = match self.records(tid)? {
            Ok(records) => records,
            Err(reason) => {
                self.obstacles += 1;
                let _ = refuse(tid, reason, listener)?;
                return Ok(());
            }
        };
        let mut planned = Vec::new();
        for record in &records {
            let obstacle = self.obstacle(record)?;
            self.obstacles += u64::from(obstacle.is_some());
            planned.push((record.oid, record.previous));
            let written = self.data(record.oid, Some(record.offset))?;
            let path = self.paths.path_to(record.oid, listener)?;
            listener.tell(Line::UndoObject(UndoObjectLine {
                tid,
                oid: record.oid,
                class: written.as_deref().and_then(class_of),
                path,
                restored: self.restored(record)?,
                obstacle: obstacle.map(|reason| said(reason, self.blobs.is_some())),
            }))?;
        }
        self.planned.extend(planned);
        Ok(())
    }

    /// The records of the transaction. Of several of one object, the last decides.
    fn records(&self, tid: Tid) -> Result<Result<Vec<SurveyedRecord>, UndoRefusal>, StorageError> {
        let start = self.survey.first_from(self.positions, tid)?;
        let mut walk = self.survey.walk_from(start);
        let found = match walk.next_step()? {
            Some(Step::Transaction(found)) if found.tid == tid => found,
            _ => return Ok(Err(UndoRefusal::Unknown)),
        };
        match found.status {
            Status::COMPLETE => {}
            Status::PACKED => return Ok(Err(UndoRefusal::Packed)),
            _ => return Ok(Err(UndoRefusal::Undone)),
        }
        let mut records: Vec<SurveyedRecord> = Vec::new();
        while let Some(record) = walk.next_record()? {
            records.retain(|earlier| earlier.oid != record.oid);
            records.push(record);
        }
        Ok(Ok(records))
    }

    /// What the original's `_transactionalUndoRecord` asks.
    fn obstacle(&self, record: &SurveyedRecord) -> Result<Option<UndoReason>, StorageError> {
        let oid = record.oid;
        let before = self.data(oid, record.previous)?;
        let current = match self.planned.get(&oid) {
            Some(planned) => *planned,
            None => self.positions.get(oid),
        };
        if current != Some(record.offset) {
            let undone = self.data(oid, Some(record.offset))?;
            let is_taken_up = self.refers_to(oid, current, record.offset)?;
            let current = self.data(oid, current)?;
            if undone.is_none() || current.is_none() {
                return Ok(Some(UndoReason::Removed));
            }
            // The records of all blobs are the same, whatever their files are.
            let may_differ = !is_taken_up && undone.as_deref().is_some_and(is_blob_record);
            if undone != current || may_differ {
                return Ok(Some(match (record.previous, &before) {
                    (None, _) => UndoReason::CreatedAndChangedLater,
                    (Some(_), None) => UndoReason::Removed,
                    (Some(_), Some(_)) => UndoReason::ChangedLater,
                }));
            }
        }
        let is_blob = before.is_some_and(|data| is_blob_record(&data));
        let is_missing = match record.previous.filter(|_| is_blob) {
            Some(previous) => !self.has_file(oid, previous)?,
            None => false,
        };
        Ok(is_missing.then_some(UndoReason::BlobFileMissing))
    }

    /// Whether the file of the blob's record is there, or that of one that it refers to: an undo has a
    /// copy of its own, and does without.
    fn has_file(&self, oid: Oid, at: u64) -> Result<bool, StorageError> {
        let Some(blobs) = self.blobs else {
            return Ok(false);
        };
        let files = blobs.revisions(oid)?;
        let mut next = Some(at);
        while let Some(at) = next {
            if files.contains(&self.survey.tid_at(oid, at)?) {
                return Ok(true);
            }
            let mut record = [0; RawRecord::LEN + 8];
            self.survey.read_exact(at, &mut record)?;
            let Some((header, body)) = record.split_first_chunk() else {
                break;
            };
            let target = body
                .first_chunk()
                .map_or(0, |body| u64::from_be_bytes(*body));
            let leads_back = RawRecord::decode(header).data_bytes == 0;
            next = Some(target).filter(|target| leads_back && (1..at).contains(target));
        }
        Ok(false)
    }

    /// Whether the record at `at` has its data from the one at `target`.
    fn refers_to(&self, oid: Oid, at: Option<u64>, target: u64) -> Result<bool, StorageError> {
        let Some(at) = at else {
            return Ok(false);
        };
        let back = self.survey.data_at(oid, at)?.back;
        Ok(back == Some(self.survey.tid_at(oid, target)?))
    }

    fn data(&self, oid: Oid, at: Option<u64>) -> Result<Option<storage::Record>, StorageError> {
        match at {
            Some(at) => Ok(self.survey.data_at(oid, at)?.record),
            None => Ok(None),
        }
    }

    fn restored(&self, record: &SurveyedRecord) -> Result<Option<Tid>, StorageError> {
        let Some(previous) = record.previous else {
            return Ok(None);
        };
        let exists = self.data(record.oid, Some(previous))?.is_some();
        let tid = self.survey.tid_at(record.oid, previous)?;
        Ok(Some(tid).filter(|_| exists))
    }
}

/// The obstacle in words. Where no directory of blobs is known no file is missing.
fn said(reason: UndoReason, has_blobs: bool) -> String {
    if reason == UndoReason::BlobFileMissing && !has_blobs {
        return "it is a blob, and no directory of blobs is known: --blobs DIR names it".to_owned();
    }
    reason.to_string()
}

/// So that each is undone while what it changed is current.
fn newest_first(tids: &[Tid]) -> Vec<Tid> {
    let mut tids = tids.to_vec();
    tids.sort_unstable_by(|a, b| b.cmp(a));
    tids.dedup();
    tids
}

const NO_UNDO: StorageError = StorageError::Unsupported { operation: "undo" };

impl fmt::Display for UndoableLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} user={:?} description={:?}",
            self.tid, self.time, self.user, self.description
        )
    }
}

impl fmt::Display for UndoObjectLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} object {} {}", self.tid, self.oid, named(&self.class))?;
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        match (&self.obstacle, self.restored) {
            (Some(obstacle), _) => write!(f, ": cannot be undone: {obstacle}"),
            (None, Some(tid)) => write!(f, ": back to the state of {tid}"),
            (None, None) => f.write_str(": ceases to exist, as before"),
        }
    }
}

impl fmt::Display for UndoneLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undone = self.undone.join(", ");
        let objects = counted(self.objects as u64, "object", "objects");
        write!(
            f,
            "undone: {undone}, by transaction {} with {objects}",
            self.tid
        )
    }
}
