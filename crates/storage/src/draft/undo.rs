//! What an undo writes: the state that each object had before, where nothing stands in the way.

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
        for (oid, (data, data_tid)) in undoing {
            self.push(oid, data, data_tid);
            self.resolved.insert(oid);
        }
        Ok(())
    }

    /// What takes the record back: data, and the transaction that they are from.
    #[allow(clippy::type_complexity, reason = "one caller takes it apart at once")]
    fn undo_record(
        &self,
        undone: &DataRecord,
        is_last: bool,
    ) -> Result<Result<(Option<Record>, Option<Tid>), UndoReason>, StorageError> {
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
            && let Some(reason) = obstacle(undone, &current, previous.as_ref())
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
        // The file of a blob would have to be brought back as well, and there are none.
        if before.is_some_and(|before| is_blob_record(before)) {
            return Ok(Err(UndoReason::BlobFileMissing));
        }
        Ok(Ok(match merged {
            Some(merged) => (Some(merged), None),
            None => (before.cloned(), previous.map(|before| before.tid)),
        }))
    }
}

/// What stands in the way where the record is not the current one. Nothing does where the current one
/// refers to it, or has the same bytes.
fn obstacle(
    undone: &DataRecord,
    current: &DataRecord,
    previous: Option<&DataRecord>,
) -> Option<UndoReason> {
    if current.data_tid == Some(undone.tid) {
        return None;
    }
    let (Some(undone), Some(current)) = (&undone.data, &current.data) else {
        return Some(UndoReason::Removed);
    };
    if undone == current {
        return None;
    }
    Some(match previous {
        None => UndoReason::CreatedAndChangedLater,
        Some(previous) if previous.data.is_none() => UndoReason::Removed,
        Some(_) => UndoReason::ChangedLater,
    })
}
