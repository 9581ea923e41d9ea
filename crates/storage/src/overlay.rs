//! A storage over another one, which stays as it is: what the original calls a DemoStorage.
//!
//! All that is committed goes to the *changes*, any storage; all that is not there is read from the
//! *base*, as it was when the overlay was made. An object that was removed in the changes is gone,
//! whatever the base has: the original shows that of the base again.
//!
//! ```
//! use std::sync::Arc;
//! use storage::{MemoryStorage, Oid, OverlayStorage, Record, Storage, Tid, TransactionMeta};
//!
//! # fn store(storage: Arc<dyn Storage>, base: Tid, text: &str) -> Result<Tid, storage::CommitError> {
//! #     let mut commit = storage.begin(TransactionMeta::default())?;
//! #     commit.store(Oid::ROOT, base, Record::from(text.as_bytes()))?;
//! #     commit.vote()?.finish(Box::new(|_| {}))
//! # }
//! let base = Arc::new(MemoryStorage::new());
//! let first = store(base.clone(), Tid::ZERO, "as it is")?;
//! let overlay = OverlayStorage::over(base.clone())?;
//! store(overlay.clone(), first, "as it could be")?;
//!
//! let seen = |storage: &dyn Storage| storage.load_before(Oid::ROOT, Tid::MAX);
//! assert_eq!(&*seen(&*overlay)?.expect("it is there").record, b"as it could be");
//! assert_eq!(&*seen(&*base)?.expect("it is there").record, b"as it is");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::claims::Claims;
use crate::draft::{Draft, View};
use crate::memory::Clock;
use crate::{
    Blobs, Changes, Commit, CommitError, DataRecord, Iterate, MemoryStorage, Oid, Pack, PackError,
    PackOptions, PackReport, Resolver, Revision, Storage, StorageError, StorageStats, Tid,
    TransactionMeta, Undo, UndoRefusal, is_blob_record,
};

mod base;
mod commit;
mod look;

use base::Base;
use commit::OverlayCommit;

/// Changes over a base that is only read.
pub struct OverlayStorage {
    base: Base,
    changes: Arc<dyn Storage>,
    touched: RwLock<Touched>,
    /// One transaction at a time is between its vote and its end: it has its id at the vote.
    claims: Arc<Claims>,
    /// The newest id handed out or stored, as a number.
    last_oid: AtomicU64,
    options: OverlayOptions,
}

/// How an overlay behaves.
#[derive(Clone, Default)]
pub struct OverlayOptions {
    /// Where transaction ids come from: time stamps of this clock (since 1970, UTC). Without one they
    /// count up from the last one of the base, so that runs repeat exactly.
    pub clock: Option<Clock>,
    /// Merges changes of one object that were made side by side.
    pub resolver: Option<Arc<dyn Resolver>>,
}

impl fmt::Debug for OverlayOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverlayOptions").finish_non_exhaustive()
    }
}

/// What the changes hold.
struct Touched {
    objects: BTreeMap<Oid, Span>,
    /// How many of them are not in the base.
    added: u64,
    last_tid: Tid,
}

/// What the changes know of one object.
#[derive(Clone, Copy)]
struct Span {
    first: Tid,
    last: Tid,
}

impl OverlayStorage {
    /// Changes in memory over that base.
    ///
    /// # Errors
    /// As for [`OverlayStorage::new`].
    pub fn over(base: Arc<dyn Storage>) -> Result<Arc<Self>, StorageError> {
        let changes = Arc::new(MemoryStorage::new());
        Self::new(base, changes, OverlayOptions::default())
    }

    /// These changes over that base. Nothing else may commit to the changes while the overlay is in
    /// use. They must be able to iterate, and to restore ([`Storage::begin_restore`]): the ids of
    /// what is committed have to be later than those of the base.
    ///
    /// # Errors
    /// [`StorageError::NotLater`] where the base has changed since the changes were begun, so that
    /// they do not belong on top of it.
    pub fn new(
        base: Arc<dyn Storage>,
        changes: Arc<dyn Storage>,
        options: OverlayOptions,
    ) -> Result<Arc<Self>, StorageError> {
        let base = Base::new(base);
        let touched = Touched::read(&base, &*changes)?;
        let newest = touched.objects.keys().next_back();
        let newest = newest.map_or(0, |oid| oid.number());
        let last_oid = newest.max(base.last_oid()?.number());
        Ok(Arc::new(Self {
            base,
            changes,
            touched: RwLock::new(touched),
            claims: Arc::default(),
            last_oid: AtomicU64::new(last_oid),
            options,
        }))
    }

    /// Changes in memory over this overlay as it is now: for a test, say, that leaves nothing behind.
    ///
    /// # Errors
    /// As for [`OverlayStorage::new`].
    pub fn push(self: &Arc<Self>) -> Result<Arc<Self>, StorageError> {
        Self::over(Arc::<Self>::clone(self))
    }

    /// What is below the changes.
    pub fn base(&self) -> &Arc<dyn Storage> {
        self.base.storage()
    }

    /// What was committed over the base.
    pub fn changes(&self) -> &Arc<dyn Storage> {
        &self.changes
    }

    fn span(&self, oid: Oid) -> Option<Span> {
        self.touched.read().objects.get(&oid).copied()
    }

    fn changes_iterate(&self) -> Result<&dyn Iterate, StorageError> {
        iterate(&*self.changes)
    }

    fn check_writable(&self) -> Result<(), StorageError> {
        if self.changes.is_read_only() {
            return Err(StorageError::ReadOnly);
        }
        Ok(())
    }

    /// The id of a transaction that votes now.
    fn next_tid(&self) -> Tid {
        let last = self.last_tid();
        let clock = self.options.clock.as_ref();
        clock.map_or_else(|| last.next(), |clock| Tid::after(last, clock()))
    }

    /// How many of the objects neither the changes nor the base have had.
    fn count_added(&self, records: &[DataRecord]) -> Result<u64, StorageError> {
        let mut untouched: Vec<Oid> = records.iter().map(|record| record.oid).collect();
        untouched.sort_unstable();
        untouched.dedup();
        untouched.retain(|oid| self.span(*oid).is_none());
        let mut added = 0;
        for oid in untouched {
            let known = self.base.revision_before(oid, Tid::MAX)?;
            added += u64::from(known.is_none());
        }
        Ok(added)
    }

    /// With what the record of the changes refers to, which only iterating tells.
    fn with_reference(&self, mut record: DataRecord) -> Result<DataRecord, StorageError> {
        let (oid, tid) = (record.oid, record.tid);
        for transaction in self.changes_iterate()?.iterate_transactions(tid, tid)? {
            for found in transaction?.records {
                let found = found?;
                if found.oid == oid {
                    record.data_tid = found.data_tid;
                }
            }
        }
        Ok(record)
    }

    /// Called before the transaction is published, and after the changes show it: until then, whoever
    /// asks is shown what the base has.
    fn enter(&self, tid: Tid, oids: &[Oid], added: u64) {
        let mut touched = self.touched.write();
        for oid in oids {
            touched.enter(*oid, tid);
        }
        touched.added += added;
        touched.last_tid = tid;
    }
}

impl Touched {
    fn read(base: &Base, changes: &dyn Storage) -> Result<Self, StorageError> {
        let last = base.end();
        let mut touched = Self {
            objects: BTreeMap::new(),
            added: 0,
            last_tid: last.max(changes.last_tid()),
        };
        for transaction in iterate(changes)?.iterate_transactions(Tid::ZERO, Tid::MAX)? {
            let transaction = transaction?;
            let tid = transaction.tid;
            if tid <= last {
                return Err(StorageError::NotLater { tid, last });
            }
            for record in transaction.records {
                let record = record?;
                touched.enter(record.oid, tid);
            }
        }
        for oid in touched.objects.keys() {
            touched.added += u64::from(base.revision_before(*oid, Tid::MAX)?.is_none());
        }
        Ok(touched)
    }

    fn enter(&mut self, oid: Oid, tid: Tid) {
        let (first, last) = (tid, tid);
        self.objects.entry(oid).or_insert(Span { first, last }).last = tid;
    }
}

fn iterate(storage: &dyn Storage) -> Result<&dyn Iterate, StorageError> {
    storage.iterate().ok_or(StorageError::Unsupported {
        operation: "iterating, which an overlay needs",
    })
}

impl View for OverlayStorage {
    fn revision_before(&self, oid: Oid, before: Tid) -> Result<Option<DataRecord>, StorageError> {
        let Some(span) = self.span(oid).filter(|span| span.first < before) else {
            return self.base.revision_before(oid, before);
        };
        let (tid, data) = match self.changes.load_before(oid, before) {
            Ok(None) => return Ok(None),
            Ok(Some(Revision { tid, record, .. })) => (tid, Some(record)),
            Err(StorageError::NotFound { .. }) if span.last < before => (span.last, None),
            Err(StorageError::NotFound { .. }) => {
                let history = self.changes_iterate()?.history(oid, usize::MAX)?;
                let entry = history.into_iter().find(|entry| entry.tid < before);
                (entry.map_or(span.first, |entry| entry.tid), None)
            }
            Err(error) => return Err(error),
        };
        // Of others the data tell whether they are the same.
        let is_reference_needed = data.as_deref().is_none_or(is_blob_record);
        let record = DataRecord {
            oid,
            tid,
            data,
            data_tid: None,
        };
        if is_reference_needed {
            return self.with_reference(record).map(Some);
        }
        Ok(Some(record))
    }

    fn blob_file(&self, oid: Oid, tid: Tid) -> Result<Option<PathBuf>, StorageError> {
        // Where the copy goes.
        if self.changes.blobs().is_none() {
            return Ok(None);
        }
        match self.load_blob(oid, tid) {
            Ok(file) => Ok(Some(file)),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn undoable(&self, tid: Tid) -> Result<Vec<DataRecord>, CommitError> {
        let refused = |reason| Err(CommitError::NotUndoable { tid, reason });
        if tid <= self.base.end() && self.base.has_transaction(tid)? {
            return refused(UndoRefusal::Base);
        }
        let mut found = self.changes_iterate()?.iterate_transactions(tid, tid)?;
        match found.next().transpose()? {
            None => refused(UndoRefusal::Unknown),
            Some(transaction) if transaction.is_packed => refused(UndoRefusal::Packed),
            Some(transaction) => Ok(transaction.records.collect::<Result<_, _>>()?),
        }
    }
}

impl Storage for OverlayStorage {
    fn name(&self) -> String {
        format!(
            "{} over {}",
            self.changes.name(),
            self.base.storage().name()
        )
    }

    fn last_tid(&self) -> Tid {
        self.touched.read().last_tid
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        let span = self.span(oid);
        if span.is_some_and(|span| span.first < before) {
            return self.changes.load_before(oid, before);
        }
        let found = match self.base.load_before(oid, before) {
            // Unknown to the base, the object has later revisions all the same.
            Err(StorageError::NotFound { .. })
                if span.is_some() && self.base.revision_before(oid, before)?.is_none() =>
            {
                return Ok(None);
            }
            found => found?,
        };
        let first_change = span.map(|span| span.first);
        Ok(found.map(|found| Revision {
            next: found.next.or(first_change),
            ..found
        }))
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.check_writable()?;
        let count = count as u64;
        let last = self
            .last_oid
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                last.checked_add(count)
            })
            .map_err(|last| StorageError::Limit {
                what: "the largest object id",
                found: last,
                max: u64::MAX,
            })?;
        Ok((last + 1..=last + count).map(Oid::new).collect())
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        self.check_writable()?;
        Ok(Box::new(OverlayCommit::new(self, Draft::new(meta))))
    }

    fn begin_restore(
        self: Arc<Self>,
        meta: TransactionMeta,
        tid: Tid,
        is_packed: bool,
    ) -> Result<Box<dyn Commit>, StorageError> {
        self.check_writable()?;
        let draft = Draft::restoring(meta, tid, is_packed);
        Ok(Box::new(OverlayCommit::new(self, draft)))
    }

    fn is_read_only(&self) -> bool {
        self.changes.is_read_only()
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.changes.sync()
    }

    fn stats(&self) -> StorageStats {
        let (base, changes) = (self.base.storage().stats(), self.changes.stats());
        StorageStats {
            objects: base.objects + self.touched.read().added,
            bytes: base.bytes + changes.bytes,
        }
    }

    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        let Some(mut found) = self.base.changes_since(since, transactions_max)? else {
            return Ok(None);
        };
        let since = since.max(self.base.end());
        let left = transactions_max - found.len();
        let later = self.changes.changes_since(since, left)?;
        Ok(later.map(|later| {
            found.extend(later);
            found
        }))
    }

    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError> {
        let later = self.changes.recent_changes(transactions_max)?;
        let mut found = self.base.recent_changes(transactions_max - later.len())?;
        found.extend(later);
        Ok(found)
    }

    fn iterate(&self) -> Option<&dyn Iterate> {
        self.base.storage().iterate()?;
        Some(self)
    }

    fn undo(&self) -> Option<&dyn Undo> {
        self.changes.undo()?;
        Some(self)
    }

    fn packer(&self) -> Option<&dyn Pack> {
        self.changes.packer()?;
        Some(self)
    }

    fn blobs(&self) -> Option<&dyn Blobs> {
        self.changes.blobs()?;
        Some(self)
    }
}

impl Blobs for OverlayStorage {
    fn load_blob(&self, oid: Oid, tid: Tid) -> Result<PathBuf, StorageError> {
        let storage = if tid > self.base.end() {
            &self.changes
        } else {
            self.base.storage()
        };
        let blobs = storage.blobs().ok_or(StorageError::NotFound { oid })?;
        blobs.load_blob(oid, tid)
    }

    fn staging_directory(&self) -> &Path {
        let blobs = self.changes.blobs();
        let blobs = blobs.expect("without them, nobody is given this capability");
        blobs.staging_directory()
    }

    fn staging_file(&self) -> PathBuf {
        let blobs = self.changes.blobs();
        let blobs = blobs.expect("without them, nobody is given this capability");
        blobs.staging_file()
    }

    fn stage_copy(&self, from: &Path) -> Result<PathBuf, StorageError> {
        let blobs = self.changes.blobs();
        let blobs = blobs.expect("without them, nobody is given this capability");
        blobs.stage_copy(from)
    }
}

impl Pack for OverlayStorage {
    /// Packs the changes. What refers to their objects may be in the base, so no garbage is collected.
    fn pack(&self, options: &PackOptions) -> Result<PackReport, PackError> {
        if options.gc {
            return Err(PackError::Storage(StorageError::Unsupported {
                operation: "collecting garbage: it is an overlay; pack without",
            }));
        }
        let packer = self.changes.packer();
        let packer = packer.ok_or(StorageError::Unsupported { operation: "pack" })?;
        packer.pack(options)
    }

    fn options(&self) -> PackOptions {
        let options = self.changes.packer().map(Pack::options);
        PackOptions {
            gc: false,
            ..options.unwrap_or_default()
        }
    }

    fn is_packing(&self) -> bool {
        self.changes.packer().is_some_and(Pack::is_packing)
    }
}
