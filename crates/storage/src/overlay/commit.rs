//! Committing to an overlay: what has to be checked is checked here, against base and changes, and
//! the changes take the records as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::OverlayStorage;
use crate::claims::{Claim, ClaimGuard};
use crate::draft::{Draft, Planned};
use crate::{
    Blobs, Commit, CommitError, DataRecord, Oid, Publish, Record, Storage, StorageError, Tid,
    TransactionMeta, Voted,
};

pub(super) struct OverlayCommit {
    storage: Arc<OverlayStorage>,
    draft: Draft,
    files: Files,
}

impl OverlayCommit {
    pub(super) fn new(storage: Arc<OverlayStorage>, draft: Draft) -> Self {
        let files = Files {
            changes: Arc::clone(&storage.changes),
            files: BTreeMap::new(),
        };
        Self {
            storage,
            draft,
            files,
        }
    }

    fn knows(&self, oid: Oid) {
        let last_oid = &self.storage.last_oid;
        last_oid.fetch_max(oid.number(), Ordering::Relaxed);
    }
}

impl Commit for OverlayCommit {
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError> {
        self.knows(oid);
        self.files.discard(oid);
        self.draft.store(oid, base, record);
        Ok(())
    }

    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.draft.check_current(oid, base);
        Ok(())
    }

    fn store_blob(
        &mut self,
        oid: Oid,
        base: Tid,
        record: Record,
        file: PathBuf,
    ) -> Result<(), StorageError> {
        self.knows(oid);
        self.files.keep(oid, record.clone(), file)?;
        self.draft.store(oid, base, record);
        Ok(())
    }

    fn delete(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.files.discard(oid);
        self.draft.delete(oid, base);
        Ok(())
    }

    fn restore(
        &mut self,
        oid: Oid,
        data: Option<Record>,
        data_tid: Option<Tid>,
    ) -> Result<(), StorageError> {
        self.knows(oid);
        self.files.discard(oid);
        self.draft.restore(oid, data, data_tid)
    }

    fn restore_blob(
        &mut self,
        oid: Oid,
        data: Record,
        data_tid: Option<Tid>,
        file: PathBuf,
    ) -> Result<(), StorageError> {
        self.knows(oid);
        self.files.keep(oid, data.clone(), file)?;
        self.draft.restore(oid, Some(data), data_tid)
    }

    fn undo(&mut self, tid: Tid) -> Result<(), StorageError> {
        self.draft.undo(tid);
        Ok(())
    }

    fn vote(self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        let Self {
            storage,
            draft,
            mut files,
        } = *self;
        let claim = storage.claims.acquire(Claim::Everything);
        let (tid, is_packed) = draft
            .restored
            .unwrap_or_else(|| (storage.next_tid(), false));
        let last = storage.last_tid();
        if tid <= last {
            return Err(StorageError::NotLater { tid, last }.into());
        }
        let resolver = storage.options.resolver.as_deref();
        let Planned {
            records,
            older_files,
            resolved,
        } = draft.plan(&*storage, resolver)?;
        let added = storage.count_added(&records)?;
        let changes = Arc::clone(&storage.changes);
        let mut commit = changes.begin_restore(draft.meta.clone(), tid, is_packed)?;
        let mut oids = Vec::with_capacity(records.len());
        for (place, record) in records.iter().enumerate() {
            let oid = record.oid;
            let is_last = records[place + 1..].iter().all(|later| later.oid != oid);
            if let Some(file) = older_files.get(&place).filter(|_| is_last) {
                files.replace(record, file)?;
            }
            restore(&mut *commit, record, is_last, &mut files)?;
            oids.push(oid);
        }
        Ok(Box::new(OverlayVoted {
            voted: commit.vote()?,
            storage,
            oids,
            resolved,
            added,
            _claim: claim,
        }))
    }
}

fn restore(
    commit: &mut dyn Commit,
    record: &DataRecord,
    is_last: bool,
    files: &mut Files,
) -> Result<(), StorageError> {
    let (oid, data_tid) = (record.oid, record.data_tid);
    match files.take(oid, record.data.as_ref().filter(|_| is_last)) {
        Some((data, file)) => commit.restore_blob(oid, data, data_tid, file),
        None => commit.restore(oid, record.data.clone(), data_tid),
    }
}

struct OverlayVoted {
    storage: Arc<OverlayStorage>,
    voted: Box<dyn Voted>,
    /// What it touches.
    oids: Vec<Oid>,
    resolved: Vec<Oid>,
    added: u64,
    _claim: ClaimGuard,
}

impl Voted for OverlayVoted {
    fn resolved(&self) -> &[Oid] {
        &self.resolved
    }

    fn finish(self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        let Self {
            storage,
            voted,
            oids,
            added,
            _claim,
            ..
        } = *self;
        voted.finish(Box::new(move |tid| {
            storage.enter(tid, &oids, added);
            publish(tid);
        }))
    }
}

/// The files of blobs that were handed over and have not reached the changes yet.
struct Files {
    changes: Arc<dyn Storage>,
    files: BTreeMap<Oid, (Record, PathBuf)>,
}

impl Files {
    fn keep(&mut self, oid: Oid, record: Record, file: PathBuf) -> Result<(), StorageError> {
        self.blobs()?;
        self.discard(oid);
        self.files.insert(oid, (record, file));
        Ok(())
    }

    /// Keeps a copy of an older file for the record.
    fn replace(&mut self, record: &DataRecord, file: &Path) -> Result<(), StorageError> {
        let data = record.data.clone().expect("an undo brings a blob back");
        let copy = self.blobs()?.stage_copy(file)?;
        self.keep(record.oid, data, copy)
    }

    fn blobs(&self) -> Result<&dyn Blobs, StorageError> {
        self.changes.blobs().ok_or(StorageError::Unsupported {
            operation: "storing blobs: the changes of the overlay keep none",
        })
    }

    /// The file that belongs to this record.
    fn take(&mut self, oid: Oid, record: Option<&Record>) -> Option<(Record, PathBuf)> {
        let (stored, _) = self.files.get(&oid)?;
        if Some(stored) != record {
            return None;
        }
        self.files.remove(&oid)
    }

    /// Gives the file to a transaction of the changes that is aborted at once: whoever keeps blobs
    /// removes the files of those.
    fn discard(&mut self, oid: Oid) {
        let Some((record, file)) = self.files.remove(&oid) else {
            return;
        };
        let aborted = Arc::clone(&self.changes).begin(TransactionMeta::default());
        if let Ok(mut aborted) = aborted {
            aborted.store_blob(oid, Tid::ZERO, record, file).ok();
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        while let Some((&oid, _)) = self.files.first_key_value() {
            self.discard(oid);
        }
    }
}
