//! A transaction that is being filled, and what becomes of it at the vote, for storages that keep
//! whole records: the one in memory and the overlay.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use crate::claims::{Claim, Intent};
use crate::{
    CommitError, Conflict, ConflictingStates, DataRecord, Oid, Record, Resolution, Resolver,
    StorageError, Tid, TransactionMeta,
};

mod undo;

/// What somebody asked a transaction to do.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) meta: TransactionMeta,
    /// The id of a transaction that is copied, and whether a pack wrote it.
    pub(crate) restored: Option<(Tid, bool)>,
    changes: Vec<Change>,
    checked: Vec<(Oid, Tid)>,
}

enum Change {
    Store {
        oid: Oid,
        base: Tid,
        record: Record,
    },
    Delete {
        oid: Oid,
        base: Tid,
    },
    Undo(Tid),
    Restore {
        oid: Oid,
        data: Option<Record>,
        data_tid: Option<Tid>,
    },
}

/// What a draft is held against.
pub(crate) trait View {
    /// What the newest transaction before `before` that touched the object made of it, removals
    /// included; nothing where there is none.
    fn revision_before(&self, oid: Oid, before: Tid) -> Result<Option<DataRecord>, StorageError>;

    /// The records of a transaction, which is one that may be undone.
    ///
    /// # Errors
    /// [`CommitError::NotUndoable`].
    fn undoable(&self, tid: Tid) -> Result<Vec<DataRecord>, CommitError>;

    /// The file that a transaction gave the blob; nothing where there is none, or nobody keeps blobs.
    fn blob_file(&self, _oid: Oid, _tid: Tid) -> Result<Option<PathBuf>, StorageError> {
        Ok(None)
    }
}

/// What a draft comes to. The records have no transaction id yet.
pub(crate) struct Planned {
    pub(crate) records: Vec<DataRecord>,
    /// For records of blobs that an undo brings back: the file whose copy belongs to it, by the place
    /// of the record.
    pub(crate) older_files: BTreeMap<usize, PathBuf>,
    /// Objects that were merged or undone.
    pub(crate) resolved: Vec<Oid>,
}

impl Draft {
    pub(crate) fn new(meta: TransactionMeta) -> Self {
        Self {
            meta,
            ..Self::default()
        }
    }

    pub(crate) fn restoring(meta: TransactionMeta, tid: Tid, is_packed: bool) -> Self {
        Self {
            restored: Some((tid, is_packed)),
            ..Self::new(meta)
        }
    }

    pub(crate) fn store(&mut self, oid: Oid, base: Tid, record: Record) {
        self.changes.push(Change::Store { oid, base, record });
    }

    pub(crate) fn check_current(&mut self, oid: Oid, base: Tid) {
        self.checked.push((oid, base));
    }

    pub(crate) fn delete(&mut self, oid: Oid, base: Tid) {
        self.changes.push(Change::Delete { oid, base });
    }

    pub(crate) fn undo(&mut self, tid: Tid) {
        self.changes.push(Change::Undo(tid));
    }

    /// # Errors
    /// [`StorageError::Unsupported`] where the transaction is not one that is copied.
    pub(crate) fn restore(
        &mut self,
        oid: Oid,
        data: Option<Record>,
        data_tid: Option<Tid>,
    ) -> Result<(), StorageError> {
        if self.restored.is_none() {
            return Err(StorageError::Unsupported {
                operation: "restoring records in a transaction that was not begun for that",
            });
        }
        self.changes.push(Change::Restore {
            oid,
            data,
            data_tid,
        });
        Ok(())
    }

    /// What it touches. A transaction with an id of its own has to end before any other gets one.
    pub(crate) fn claim(&self, view: &dyn View) -> Claim {
        if self.restored.is_some() {
            return Claim::Everything;
        }
        let mut wanted = BTreeMap::new();
        wanted.extend(self.checked.iter().map(|(oid, _)| (*oid, Intent::Rely)));
        for change in &self.changes {
            match change {
                Change::Store { oid, .. }
                | Change::Delete { oid, .. }
                | Change::Restore { oid, .. } => {
                    wanted.insert(*oid, Intent::Change);
                }
                Change::Undo(tid) => {
                    // Where it cannot be undone, the plan says so.
                    let records = view.undoable(*tid).unwrap_or_default();
                    wanted.extend(records.iter().map(|record| (record.oid, Intent::Change)));
                }
            }
        }
        Claim::Objects(wanted)
    }

    /// Checks every base and finds out what there is to write. Called with the claim held.
    pub(crate) fn plan(
        &self,
        view: &dyn View,
        resolver: Option<&dyn Resolver>,
    ) -> Result<Planned, CommitError> {
        self.check(view)?;
        let mut plan = Plan {
            view,
            resolver,
            records: Vec::new(),
            newest: HashMap::new(),
            older_files: BTreeMap::new(),
            resolved: BTreeSet::new(),
        };
        let mut conflicts = Vec::new();
        for change in &self.changes {
            let refused = match change {
                Change::Store { oid, base, record } => plan.store(*oid, *base, record)?,
                Change::Delete { oid, base } => plan.delete(*oid, *base)?,
                Change::Undo(_) | Change::Restore { .. } => None,
            };
            conflicts.extend(refused);
            match change {
                // One refusal names every conflict; an undo that comes after one is not looked at.
                Change::Undo(tid) if conflicts.is_empty() => plan.undo(*tid)?,
                Change::Restore {
                    oid,
                    data,
                    data_tid,
                } => plan.restore(*oid, data.as_ref(), *data_tid)?,
                _ => {}
            }
        }
        if !conflicts.is_empty() {
            return Err(CommitError::Conflict(conflicts));
        }
        Ok(Planned {
            records: plan.records,
            older_files: plan.older_files,
            resolved: plan.resolved.into_iter().collect(),
        })
    }

    fn check(&self, view: &dyn View) -> Result<(), CommitError> {
        for &(oid, base) in &self.checked {
            let current = view.revision_before(oid, Tid::MAX)?;
            let current = current.filter(|current| current.data.is_some());
            let committed = current.ok_or(StorageError::NotFound { oid })?.tid;
            if committed != base {
                return Err(CommitError::ReadConflict(Conflict {
                    oid,
                    committed,
                    base,
                    refusal: None,
                }));
            }
        }
        Ok(())
    }
}

struct Plan<'a> {
    view: &'a dyn View,
    resolver: Option<&'a dyn Resolver>,
    records: Vec<DataRecord>,
    /// The last record of each object.
    newest: HashMap<Oid, usize>,
    older_files: BTreeMap<usize, PathBuf>,
    resolved: BTreeSet<Oid>,
}

impl Plan<'_> {
    fn push(&mut self, oid: Oid, data: Option<Record>, data_tid: Option<Tid>) {
        self.newest.insert(oid, self.records.len());
        self.records.push(DataRecord {
            oid,
            tid: Tid::ZERO,
            data,
            data_tid,
        });
    }

    /// An object that was never stored takes any base: that is how copies of other databases come
    /// in.
    fn store(
        &mut self,
        oid: Oid,
        base: Tid,
        record: &Record,
    ) -> Result<Option<Conflict>, StorageError> {
        let current = self.view.revision_before(oid, Tid::MAX)?;
        let Some(current) = current.filter(|current| current.tid != base) else {
            self.push(oid, Some(record.clone()), None);
            return Ok(None);
        };
        let refusal = match self.merge_store(&current, base, record)? {
            Resolution::Merged(merged) => {
                self.push(oid, Some(merged), None);
                self.resolved.insert(oid);
                return Ok(None);
            }
            Resolution::Refused(reason) => Some(reason),
            Resolution::Unknown => None,
        };
        Ok(Some(Conflict {
            oid,
            committed: current.tid,
            base,
            refusal,
        }))
    }

    fn merge_store(
        &self,
        current: &DataRecord,
        base: Tid,
        record: &Record,
    ) -> Result<Resolution, StorageError> {
        let (Some(_), Some(committed)) = (self.resolver, &current.data) else {
            return Ok(Resolution::Unknown);
        };
        let old = self.view.revision_before(current.oid, base.next())?;
        let old = old.filter(|old| old.tid == base).and_then(|old| old.data);
        Ok(old.map_or(Resolution::Unknown, |old| {
            self.merge(current.oid, &old, committed, record)
        }))
    }

    fn merge(&self, oid: Oid, old: &Record, committed: &Record, new: &Record) -> Resolution {
        let Some(resolver) = self.resolver else {
            return Resolution::Unknown;
        };
        resolver.resolve(&ConflictingStates {
            oid,
            old,
            committed,
            new,
        })
    }

    fn delete(&mut self, oid: Oid, base: Tid) -> Result<Option<Conflict>, StorageError> {
        let current = self.view.revision_before(oid, Tid::MAX)?;
        let committed = current.ok_or(StorageError::NotFound { oid })?.tid;
        if committed == base {
            self.push(oid, None, None);
            return Ok(None);
        }
        Ok(Some(Conflict {
            oid,
            committed,
            base,
            refusal: None,
        }))
    }

    /// The record refers to an older one only where that is here and has the same data.
    fn restore(
        &mut self,
        oid: Oid,
        data: Option<&Record>,
        data_tid: Option<Tid>,
    ) -> Result<(), StorageError> {
        let referred = match data_tid {
            Some(tid) => self.view.revision_before(oid, tid.next())?,
            None => None,
        };
        let same = |referred: &DataRecord| {
            Some(referred.tid) == data_tid && referred.data.as_ref() == data
        };
        let data_tid = referred.filter(same).map(|referred| referred.tid);
        self.push(oid, data.cloned(), data_tid);
        Ok(())
    }
}
