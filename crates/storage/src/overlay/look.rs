//! Looking at all that base and changes hold together.

use super::{OverlayStorage, iterate};
use crate::{
    CurrentRecord, HistoryEntry, Iterate, Oid, Record, Storage, StorageError, Tid,
    TransactionStream, Undo, UndoEntry,
};

impl Iterate for OverlayStorage {
    fn iterate_transactions(&self, from: Tid, to: Tid) -> Result<TransactionStream, StorageError> {
        let later = self.changes_iterate()?;
        let end = self.base.end();
        let later = later.iterate_transactions(from.max(end.next()), to)?;
        if from > end {
            return Ok(later);
        }
        let base = iterate(&**self.base.storage())?;
        let mut broken = false;
        let all = base.iterate_transactions(from, to.min(end))?.chain(later);
        // After an error there is nothing more, from the changes neither.
        Ok(Box::new(all.take_while(move |item| {
            !std::mem::replace(&mut broken, item.is_err())
        })))
    }

    fn load_serial(&self, oid: Oid, tid: Tid) -> Result<Record, StorageError> {
        if tid > self.base.end() {
            return self.changes_iterate()?.load_serial(oid, tid);
        }
        iterate(&**self.base.storage())?.load_serial(oid, tid)
    }

    fn history(&self, oid: Oid, revisions_max: usize) -> Result<Vec<HistoryEntry>, StorageError> {
        let mut found = match self.changes_iterate()?.history(oid, revisions_max) {
            Err(StorageError::NotFound { .. }) => Vec::new(),
            found => found?,
        };
        found.extend(self.base.history(oid, revisions_max - found.len())?);
        if found.is_empty() && self.first_from(oid)? != Some(oid) {
            return Err(StorageError::NotFound { oid });
        }
        Ok(found)
    }

    fn current_record(&self, from: Oid) -> Result<Option<CurrentRecord>, StorageError> {
        let Some(oid) = self.first_from(from)? else {
            return Ok(None);
        };
        let found = self.load_before(oid, Tid::MAX)?;
        let revision = found.ok_or(StorageError::NotFound { oid })?;
        let next = match oid.next() {
            Oid::ROOT => None,
            after => self.first_from(after)?,
        };
        Ok(Some(CurrentRecord {
            oid,
            tid: revision.tid,
            record: revision.record,
            next,
        }))
    }
}

impl OverlayStorage {
    fn first_from(&self, from: Oid) -> Result<Option<Oid>, StorageError> {
        let base = self.base.first_from(from)?;
        let touched = self.touched.read();
        let ours = touched.objects.range(from..).next().map(|(oid, _)| *oid);
        Ok(ours.into_iter().chain(base).min())
    }
}

impl Undo for OverlayStorage {
    /// What may be undone is in the changes.
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        is_wanted: &mut dyn FnMut(&UndoEntry) -> bool,
    ) -> Result<Vec<UndoEntry>, StorageError> {
        let undo = self.changes.undo();
        let undo = undo.ok_or(StorageError::Unsupported { operation: "undo" })?;
        undo.undo_log(first, last, is_wanted)
    }
}
