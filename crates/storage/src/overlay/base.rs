//! The base of an overlay, as it was when the overlay was made. It may go on.

use std::sync::Arc;

use crate::{Changes, DataRecord, HistoryEntry, Oid, Revision, Storage, StorageError, Tid};

/// A storage up to one of its transactions.
pub(super) struct Base {
    storage: Arc<dyn Storage>,
    /// The last transaction that counts.
    end: Tid,
}

impl Base {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        let end = storage.last_tid();
        Self { storage, end }
    }

    pub(super) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(super) fn end(&self) -> Tid {
        self.end
    }

    pub(super) fn load_before(
        &self,
        oid: Oid,
        before: Tid,
    ) -> Result<Option<Revision>, StorageError> {
        let found = self.storage.load_before(oid, before.min(self.end.next()))?;
        Ok(found.map(|found| Revision {
            next: found.next.filter(|next| *next <= self.end),
            ..found
        }))
    }

    /// What the newest transaction before `before` made of the object, removals included.
    pub(super) fn revision_before(
        &self,
        oid: Oid,
        before: Tid,
    ) -> Result<Option<DataRecord>, StorageError> {
        let (tid, data) = match self.load_before(oid, before) {
            Ok(None) => return Ok(None),
            Ok(Some(found)) => (found.tid, Some(found.record)),
            Err(StorageError::NotFound { .. }) => {
                let history = self.history(oid, usize::MAX)?;
                let Some(removal) = history.into_iter().find(|entry| entry.tid < before) else {
                    return Ok(None);
                };
                (removal.tid, None)
            }
            Err(error) => return Err(error),
        };
        Ok(Some(DataRecord {
            oid,
            tid,
            data,
            data_tid: None,
        }))
    }

    pub(super) fn has_transaction(&self, tid: Tid) -> Result<bool, StorageError> {
        let Some(iterate) = self.storage.iterate() else {
            return Ok(true);
        };
        Ok(iterate
            .iterate_transactions(tid, tid)?
            .next()
            .transpose()?
            .is_some())
    }

    /// Empty where the object is unknown, or the base cannot tell.
    pub(super) fn history(
        &self,
        oid: Oid,
        revisions_max: usize,
    ) -> Result<Vec<HistoryEntry>, StorageError> {
        let Some(iterate) = self.storage.iterate() else {
            return Ok(Vec::new());
        };
        // What came later counts for nothing, and takes no room.
        let has_grown = self.storage.last_tid() > self.end;
        let asked = if has_grown { usize::MAX } else { revisions_max };
        let mut history = match iterate.history(oid, asked) {
            Err(StorageError::NotFound { .. }) => Vec::new(),
            history => history?,
        };
        history.retain(|entry| entry.tid <= self.end);
        history.truncate(revisions_max);
        Ok(history)
    }

    pub(super) fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        if since >= self.end {
            return Ok(Some(Vec::new()));
        }
        let found = self.storage.changes_since(since, transactions_max)?;
        // Later ones may have come together with those that count.
        Ok(found.filter(|found| found.iter().all(|changes| changes.tid <= self.end)))
    }

    pub(super) fn recent_changes(
        &self,
        transactions_max: usize,
    ) -> Result<Vec<Changes>, StorageError> {
        let mut found = self.storage.recent_changes(transactions_max)?;
        found.retain(|changes| changes.tid <= self.end);
        Ok(found)
    }

    /// The first object from `from` on, whether it was removed or not.
    pub(super) fn first_from(&self, mut from: Oid) -> Result<Option<Oid>, StorageError> {
        while let Some(oid) = first_from(&*self.storage, from)? {
            if self.revision_before(oid, Tid::MAX)?.is_some() {
                return Ok(Some(oid));
            }
            from = oid.next();
            if from == Oid::ROOT {
                break;
            }
        }
        Ok(None)
    }

    /// The last object, or one that is not before it: found by asking again and again what comes
    /// behind the middle of what is left. A base that cannot be asked gives an id that is new.
    pub(super) fn last_oid(&self) -> Result<Oid, StorageError> {
        if self.storage.iterate().is_some() {
            match self.search_last_oid() {
                Err(StorageError::Unsupported { .. } | StorageError::Remote { .. }) => {}
                found => return found,
            }
        }
        let fresh = self.storage.new_oids(1)?;
        Ok(fresh.first().copied().unwrap_or(Oid::ROOT))
    }

    fn search_last_oid(&self) -> Result<Oid, StorageError> {
        let (mut last, mut behind) = (0, u64::MAX);
        while last < behind {
            let middle = last + (behind - last).div_ceil(2);
            match first_from(&*self.storage, Oid::new(middle))? {
                Some(oid) => last = oid.number(),
                None => behind = middle - 1,
            }
        }
        Ok(Oid::new(last))
    }
}

fn first_from(storage: &dyn Storage, from: Oid) -> Result<Option<Oid>, StorageError> {
    let iterate = super::iterate(storage)?;
    match iterate.current_record(from) {
        Ok(found) => Ok(found.map(|found| found.oid)),
        Err(StorageError::NotFound { oid }) => Ok(Some(oid)),
        Err(error) => Err(error),
    }
}
