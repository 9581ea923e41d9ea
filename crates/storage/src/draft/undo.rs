//! What an undo writes: the state that each object had before, where nothing stands in the way.

use std::path::PathBuf;

use super::Plan;
use crate::{
    CommitError, DataRecord, Record, StorageError, Tid, UndoObstacle, UndoReason, is_blob_record,
};

impl Plan<'_> {
    /// Adds the records that take the transaction back, or says what stands in the way.
    pub(super) fn undo(&mut self, tid: Tid) -> Result<(), CommitError> {
        let records = self.view.undoable(tid)?;
        let mut undoing = Vec::new();
        let mut obstacles: Vec<UndoObstacle> = Vec::new();
        for (place, record) in records.iter().enumerate() {
            let oid = record.oid;
            // Of several records of one object, the last decides.
            obstacles.retain(|obstacle| obstacle.oid != oid);
            let is_last = records[place + 1..].iter().all(|later| later.oid != oid);
            match self.undo_record(record, is_last)? {
                Ok(body) => undoing.push((oid, body)),
                Err(reason) => obstacles.push(UndoObstacle { oid, reason }),
            }
        }
        if !obstacles.is_empty() {
            return Err(CommitError::Undo(obstacles));
        }
        for (oid, undoing) in undoing {
            let UndoingRecord {
                data,
                data_tid,
                file,
            } = undoing;
            if let Some(file) = file {
                self.older_files.insert(self.records.len(), file);
            }
            self.push(oid, data, data_tid);
            self.resolved.insert(oid);
        }
        Ok(())
    }

    /// What takes the record back.
    fn undo_record(
        &self,
        undone: &DataRecord,
        is_last: bool,
    ) -> Result<Result<UndoingRecord, UndoReason>, StorageError> {
        let previous = self.view.revision_before(undone.oid, undone.tid)?;
        let before = previous.as_ref().and_then(|before| before.data.as_ref());
        let planned = self.newest.get(&undone.oid).map(|at| &self.records[*at]);
        let current = match planned {
            Some(planned) => Some(planned.clone()),
            None => self.view.revision_before(undone.oid, Tid::MAX)?,
        };
        let current = current.filter(|current| !is_last || current.tid != undone.tid);
        let mut merged = None;
        if let Some(current) = current
            && let Some(reason) = self.obstacle(undone, &current, previous.as_ref())?
        {
            let states = (undone.data.as_ref(), current.data.as_ref(), before);
            merged = match states {
                (Some(old), Some(committed), Some(new)) => {
                    self.merge(undone.oid, old, committed, new).merged()
                }
                _ => None,
            };
            if merged.is_none() {
                return Ok(Err(reason));
            }
        }
        if let Some(merged) = merged {
            return Ok(Ok(UndoingRecord {
                data: Some(merged),
                data_tid: None,
                file: None,
            }));
        }
        let mut file = None;
        if let Some(previous) = &previous
            && previous.data.as_deref().is_some_and(is_blob_record)
        {
            // The file is named after the transaction: without one of its own the record would refer
            // to nothing.
            file = self.view.blob_file(previous.oid, previous.tid)?;
            if file.is_none() {
                return Ok(Err(UndoReason::BlobFileMissing));
            }
        }
        Ok(Ok(UndoingRecord {
            data: before.cloned(),
            data_tid: previous.map(|before| before.tid),
            file,
        }))
    }

    /// What stands in the way where the record is not the current one. Nothing does where the current
    /// one refers to it, or has the same bytes.
    fn obstacle(
        &self,
        undone: &DataRecord,
        current: &DataRecord,
        previous: Option<&DataRecord>,
    ) -> Result<Option<UndoReason>, StorageError> {
        if current.data_tid == Some(undone.tid) {
            return Ok(None);
        }
        let (Some(old), Some(new)) = (&undone.data, &current.data) else {
            return Ok(Some(UndoReason::Removed));
        };
        // All blobs have the same bytes: theirs are the same only where they are one record's.
        if old == new && (!is_blob_record(old) || self.origin(undone)? == self.origin(current)?) {
            return Ok(None);
        }
        Ok(Some(match previous {
            None => UndoReason::CreatedAndChangedLater,
            Some(previous) if previous.data.is_none() => UndoReason::Removed,
            Some(_) => UndoReason::ChangedLater,
        }))
    }

    /// The transaction whose data the record stands for.
    fn origin(&self, record: &DataRecord) -> Result<Tid, StorageError> {
        let (oid, mut origin, mut referred) = (record.oid, record.tid, record.data_tid);
        while let Some(tid) = referred {
            let found = self.view.revision_before(oid, tid.next())?;
            let found = found.filter(|found| found.tid == tid);
            origin = tid;
            referred = found.and_then(|found| found.data_tid);
            // What is referred to is older. Foreign files may say otherwise.
            referred = referred.filter(|older| *older < tid);
        }
        Ok(origin)
    }
}

/// A record that takes another one back.
struct UndoingRecord {
    data: Option<Record>,
    /// The transaction that the data are from.
    data_tid: Option<Tid>,
    /// Of a blob: the file with its data, which stays where it is.
    file: Option<PathBuf>,
}
