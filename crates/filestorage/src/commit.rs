//! Committing: stores are kept in memory, the vote checks them, the finish has them written.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use storage::{
    Commit, CommitError, Conflict, Oid, Publish, Record, StorageError, Tid, TransactionMeta, Voted,
};

use crate::file_storage::FileStorage;
use crate::format::{
    LENGTH_LEN, Offset, RECORD_BYTES_MAX, Status, TEXT_BYTES_MAX, TransactionHeader,
};
use crate::generation::Generation;
use crate::object_locks::{Intent, ObjectGuard};
use crate::plan::{Plan, PlannedBody, PlannedRecord, Undoing};

/// A transaction being filled.
pub(crate) struct FileCommit {
    storage: Arc<FileStorage>,
    meta: TransactionMeta,
    /// What it does, in order.
    changes: Vec<Change>,
    checked: Vec<(Oid, Tid)>,
}

enum Change {
    Store { oid: Oid, base: Tid, record: Record },
    Undo(Tid),
}

impl FileCommit {
    pub(crate) fn begin(
        storage: Arc<FileStorage>,
        meta: TransactionMeta,
    ) -> Result<Self, StorageError> {
        storage.check_writable()?;
        text_length(USER, &meta.user)?;
        text_length(DESCRIPTION, &meta.description)?;
        text_length(EXTENSION, &meta.extension)?;
        Ok(Self {
            storage,
            meta,
            changes: Vec::new(),
            checked: Vec::new(),
        })
    }

    /// The transactions that it takes back, in order. What they changed is known before it is locked,
    /// and stays.
    fn undoings(&self) -> Result<Vec<Undoing>, CommitError> {
        let tids = self.changes.iter().filter_map(|change| match change {
            Change::Undo(tid) => Some(*tid),
            Change::Store { .. } => None,
        });
        let generation = self.storage.generation();
        tids.map(|tid| Undoing::find(&generation, tid)).collect()
    }

    /// The objects it touches.
    fn objects(&self, undoings: &[Undoing]) -> Result<Vec<(Oid, Intent)>, StorageError> {
        let checked = self.checked.iter().map(|(oid, _)| (*oid, Intent::Rely));
        let stored = self.changes.iter().filter_map(|change| match change {
            Change::Store { oid, .. } => Some((*oid, Intent::Change)),
            Change::Undo(_) => None,
        });
        let mut objects: Vec<_> = checked.chain(stored).collect();
        for undoing in undoings {
            let oids = undoing.oids()?;
            objects.extend(oids.into_iter().map(|oid| (oid, Intent::Change)));
        }
        Ok(objects)
    }

    /// Compares every base with what is current. Called with the objects locked.
    fn check_bases(&self, generation: &Generation) -> Result<(), CommitError> {
        for &(oid, base) in &self.checked {
            let current = generation.current(oid)?;
            let (committed, exists) = current.ok_or(StorageError::NotFound { oid })?;
            if !exists {
                return Err(StorageError::NotFound { oid }.into());
            }
            if committed != base {
                return Err(CommitError::ReadConflict(Conflict {
                    oid,
                    committed,
                    base,
                }));
            }
        }
        let mut conflicts = Vec::new();
        for change in &self.changes {
            let &Change::Store { oid, base, .. } = change else {
                continue;
            };
            // An object that was never stored takes any base, as in the original: that is how
            // copies of other databases come in.
            if let Some((committed, _)) = generation.current(oid)?
                && committed != base
            {
                conflicts.push(Conflict {
                    oid,
                    committed,
                    base,
                });
            }
        }
        if conflicts.is_empty() {
            Ok(())
        } else {
            Err(CommitError::Conflict(conflicts))
        }
    }

    /// The records it writes. Called with the objects locked.
    fn plan(
        &self,
        generation: &Arc<Generation>,
        undoings: Vec<Undoing>,
    ) -> Result<(Vec<PlannedRecord>, Vec<Oid>), CommitError> {
        let mut plan = Plan::new(generation);
        let mut undoings = undoings.into_iter();
        for change in &self.changes {
            match change {
                Change::Store { oid, record, .. } => plan.store(*oid, record.clone()),
                Change::Undo(_) => plan.undo(undoings.next().expect("one for each"))?,
            }
        }
        Ok(plan.finish(self.storage.compression))
    }
}

impl Commit for FileCommit {
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError> {
        if record.is_empty() {
            // The format has no empty records: a length of 0 announces a back pointer.
            return Err(StorageError::Unsupported {
                operation: "storing an empty record",
            });
        }
        check_length("the length of a record", &record, RECORD_BYTES_MAX)?;
        self.storage
            .last_oid
            .fetch_max(oid.number(), Ordering::Relaxed);
        self.changes.push(Change::Store { oid, base, record });
        Ok(())
    }

    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.checked.push((oid, base));
        Ok(())
    }

    fn undo(&mut self, tid: Tid) -> Result<(), StorageError> {
        self.changes.push(Change::Undo(tid));
        Ok(())
    }

    fn vote(self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        self.storage.check_writable()?;
        let undoings = self.undoings()?;
        let locks = self.storage.object_locks.acquire(self.objects(&undoings)?);
        self.storage.check_writable()?;
        let generation = self.storage.generation();
        self.check_bases(&generation)?;
        let (records, undone) = self.plan(&generation, undoings)?;
        let ready = Ready::new(self.meta, records, generation, locks)?;
        Ok(Box::new(FileVoted {
            storage: self.storage,
            ready,
            undone,
        }))
    }
}

/// A transaction that is checked. Nothing of it is in the file.
struct FileVoted {
    storage: Arc<FileStorage>,
    ready: Ready,
    undone: Vec<Oid>,
}

impl Voted for FileVoted {
    fn resolved(&self) -> &[Oid] {
        &self.undone
    }

    fn finish(self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        self.storage.finish(self.ready, publish)
    }
}

/// What is to be written of a transaction that was checked. Holds its objects.
pub(crate) struct Ready {
    meta: TransactionMeta,
    /// As it will be, but for the id and the status.
    header: TransactionHeader,
    records: Vec<PlannedRecord>,
    /// Where back pointers lead, if there are any.
    generation: Option<Arc<Generation>>,
    _locks: ObjectGuard,
}

impl Ready {
    fn new(
        meta: TransactionMeta,
        records: Vec<PlannedRecord>,
        generation: Arc<Generation>,
        locks: ObjectGuard,
    ) -> Result<Self, StorageError> {
        let has_pointers = records.iter().any(PlannedRecord::is_pointer);
        let mut ready = Self {
            header: TransactionHeader {
                tid: Tid::ZERO,
                length: 0,
                status: Status::COMPLETE,
                user_length: text_length(USER, &meta.user)?,
                description_length: text_length(DESCRIPTION, &meta.description)?,
                extension_length: text_length(EXTENSION, &meta.extension)?,
            },
            meta,
            records,
            generation: has_pointers.then_some(generation),
            _locks: locks,
        };
        ready.measure();
        Ok(ready)
    }

    fn measure(&mut self) {
        let lengths = self.records.iter().map(PlannedRecord::length);
        self.header.length = self.header.records_start() + lengths.sum::<u64>();
    }

    /// Whether it comes with an id of its own.
    pub(crate) fn brings_tid(&self) -> bool {
        false
    }

    /// The id that it gets behind that one.
    pub(crate) fn tid_after(&self, last: Tid, now: Duration) -> Result<Tid, StorageError> {
        Ok(Tid::after(last, now))
    }

    /// Sees to it that its back pointers lead to records of that file: where a pack has come in
    /// between, the data themselves take their place.
    pub(crate) fn move_to(&mut self, generation: &Arc<Generation>) -> Result<(), StorageError> {
        let Some(planned) = &self.generation else {
            return Ok(());
        };
        if Arc::ptr_eq(planned, generation) {
            return Ok(());
        }
        for PlannedRecord { oid, body } in &mut self.records {
            if let PlannedBody::BackPointer(target) = body
                && let Some(at) = target.some()
            {
                let page = planned.log.page(at, *oid, planned.end())?;
                *body = match planned.log.stored_data(&page)?.record {
                    Some(data) => PlannedBody::Data(data),
                    None => PlannedBody::BackPointer(Offset::NONE),
                };
            }
        }
        self.generation = None;
        self.measure();
        Ok(())
    }

    pub(crate) fn meta(&self) -> &TransactionMeta {
        &self.meta
    }

    /// The status that it ends with.
    pub(crate) fn status(&self) -> Status {
        self.header.status
    }

    pub(crate) fn header(&self, tid: Tid, status: Status) -> TransactionHeader {
        TransactionHeader {
            tid,
            status,
            ..self.header
        }
    }

    /// The length of the whole in the file.
    pub(crate) fn length(&self) -> u64 {
        self.header.length + LENGTH_LEN
    }

    pub(crate) fn records(&self) -> &[PlannedRecord] {
        &self.records
    }

    /// Where its records are when it begins there.
    pub(crate) fn places(&self, start: Offset) -> Vec<(Oid, Offset)> {
        let mut at = start + self.header.records_start();
        let place = |record: &PlannedRecord| {
            let place = (record.oid, at);
            at = at + record.length();
            place
        };
        self.records.iter().map(place).collect()
    }

    /// Called when they are in the file.
    pub(crate) fn forget_records(&mut self) {
        self.records = Vec::new();
        self.generation = None;
    }
}

fn check_length(what: &'static str, bytes: &[u8], max: u64) -> Result<(), StorageError> {
    let found = bytes.len() as u64;
    if found <= max {
        Ok(())
    } else {
        Err(StorageError::Limit { what, found, max })
    }
}

fn text_length(what: &'static str, text: &[u8]) -> Result<u16, StorageError> {
    u16::try_from(text.len()).map_err(|_| StorageError::Limit {
        what,
        found: text.len() as u64,
        max: TEXT_BYTES_MAX,
    })
}

const USER: &str = "the length of the user";
const DESCRIPTION: &str = "the length of the description";
const EXTENSION: &str = "the length of the extension";
