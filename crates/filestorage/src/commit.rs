//! Committing: stores are kept in memory, the vote checks them, the finish has them written.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::{
    Commit, CommitError, Conflict, ConflictingStates, Oid, Publish, Record, Resolution, Settled,
    StorageError, Tid, TransactionMeta, Voted, Work,
};

use crate::blobs::{StagedBlobs, StagedFile};
use crate::file_storage::FileStorage;
use crate::format::{RECORD_BYTES_MAX, Status, TEXT_BYTES_MAX};
use crate::generation::Generation;
use crate::object_locks::Intent;
use crate::plan::{Plan, Planned, Undoing};
use crate::ready::Ready;
use crate::spill::{Spill, Stored};

/// A transaction being filled.
pub(crate) struct FileCommit {
    storage: Arc<FileStorage>,
    texts: Texts,
    /// The id and the status of the transaction that this is a copy of.
    brought: Option<(Tid, Status)>,
    /// What it does, in order.
    changes: Vec<Change>,
    spill: Spill,
    checked: Vec<(Oid, Tid)>,
}

enum Change {
    Store {
        oid: Oid,
        base: Tid,
        record: Stored,
    },
    Delete {
        oid: Oid,
        base: Tid,
    },
    Restore {
        oid: Oid,
        data: Option<Stored>,
        data_tid: Option<Tid>,
    },
    /// The file of a blob whose record was stored or restored just before.
    File {
        oid: Oid,
        file: StagedFile,
    },
    Undo(Tid),
}

/// What a transaction says of itself, no longer than the format allows.
pub(crate) struct Texts {
    pub(crate) meta: TransactionMeta,
    pub(crate) user_length: u16,
    pub(crate) description_length: u16,
    pub(crate) extension_length: u16,
}

impl FileCommit {
    pub(crate) fn begin(
        storage: Arc<FileStorage>,
        meta: TransactionMeta,
    ) -> Result<Self, StorageError> {
        storage.check_writable()?;
        Ok(Self {
            storage,
            texts: Texts::new(meta)?,
            brought: None,
            changes: Vec::new(),
            spill: Spill::default(),
            checked: Vec::new(),
        })
    }

    pub(crate) fn begin_restore(
        storage: Arc<FileStorage>,
        meta: TransactionMeta,
        tid: Tid,
        is_packed: bool,
    ) -> Result<Self, StorageError> {
        check_later(tid, &storage.generation())?;
        let status = if is_packed {
            Status::PACKED
        } else {
            Status::COMPLETE
        };
        Ok(Self {
            brought: Some((tid, status)),
            ..Self::begin(storage, meta)?
        })
    }

    /// The transactions that it takes back, in order. What they changed is known before it is locked,
    /// and stays.
    fn undoings(&self) -> Result<Vec<Undoing>, CommitError> {
        let generation = self.storage.generation();
        let undoing = |change: &Change| match change {
            Change::Undo(tid) => Some(Undoing::find(&generation, *tid)),
            _ => None,
        };
        self.changes.iter().filter_map(undoing).collect()
    }

    /// The objects it touches.
    fn objects(&self, undoings: &[Undoing]) -> Result<Vec<(Oid, Intent)>, StorageError> {
        let checked = self.checked.iter().map(|(oid, _)| (*oid, Intent::Rely));
        let changed = self.changes.iter().filter_map(|change| match change {
            Change::Store { oid, .. }
            | Change::Delete { oid, .. }
            | Change::Restore { oid, .. } => Some((*oid, Intent::Change)),
            Change::File { .. } | Change::Undo(_) => None,
        });
        let mut objects: Vec<_> = checked.chain(changed).collect();
        for undoing in undoings {
            let oids = undoing.oids()?;
            objects.extend(oids.into_iter().map(|oid| (oid, Intent::Change)));
        }
        Ok(objects)
    }

    /// Looks whether what it relies on is still current. Called with the objects locked.
    fn check_reliance(&self, generation: &Generation) -> Result<(), CommitError> {
        for &(oid, base) in &self.checked {
            let current = generation.current(oid)?.filter(|(_, exists)| *exists);
            let (committed, _) = current.ok_or(StorageError::NotFound { oid })?;
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

    /// Compares every base with what is current, merges what can be merged, and finds out what there is
    /// to write, and what of it its maker has not seen. Called with the objects locked.
    fn plan(
        &mut self,
        generation: &Arc<Generation>,
        undoings: Vec<Undoing>,
    ) -> Result<Planned, CommitError> {
        let storage = &*self.storage;
        let mut plan = Plan::new(generation, storage);
        let mut undoings = undoings.into_iter();
        let mut conflicts = Vec::new();
        for change in self.changes.drain(..) {
            match change {
                Change::Store { oid, base, record } => match conflict(generation, oid, base)? {
                    None => plan.store(oid, record),
                    Some(conflict) => match storage.merge(generation, conflict, &record)? {
                        Resolution::Merged(merged) => plan.store_merged(oid, merged),
                        Resolution::Refused(reason) => conflicts.push(Conflict {
                            refusal: Some(reason),
                            ..conflict
                        }),
                        Resolution::Unknown => conflicts.push(conflict),
                    },
                },
                Change::Delete { oid, base } => {
                    generation.locate(oid)?;
                    conflicts.extend(conflict(generation, oid, base)?);
                    plan.delete(oid);
                }
                Change::Restore {
                    oid,
                    data,
                    data_tid,
                } => plan.restore(oid, data, data_tid)?,
                Change::File { oid, file } => plan.add_file(oid, file),
                Change::Undo(_) => {
                    let undoing = undoings.next().expect("one for each");
                    // One refusal names every conflict; an undo that comes after one is not looked at.
                    if conflicts.is_empty() {
                        plan.undo(undoing)?;
                    }
                }
            }
        }
        if !conflicts.is_empty() {
            return Err(CommitError::Conflict(conflicts));
        }
        Ok(plan.finish())
    }
}

/// Whether something else than the base is current. An object that was never stored takes any base, as
/// in the original: that is how copies of other databases come in.
fn conflict(
    generation: &Generation,
    oid: Oid,
    base: Tid,
) -> Result<Option<Conflict>, StorageError> {
    let current = generation.current(oid)?;
    Ok(current
        .filter(|(committed, _)| *committed != base)
        .map(|(committed, _)| Conflict {
            oid,
            committed,
            base,
            refusal: None,
        }))
}

impl Commit for FileCommit {
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError> {
        check_record(&record)?;
        self.storage.note_oid(oid);
        let record = self.spill.keep(&self.storage, record)?;
        self.changes.push(Change::Store { oid, base, record });
        Ok(())
    }

    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.checked.push((oid, base));
        Ok(())
    }

    fn delete(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.changes.push(Change::Delete { oid, base });
        Ok(())
    }

    fn restore(
        &mut self,
        oid: Oid,
        data: Option<Record>,
        data_tid: Option<Tid>,
    ) -> Result<(), StorageError> {
        if self.brought.is_none() {
            return Err(StorageError::Unsupported {
                operation: "restoring records in a transaction that was not begun for that",
            });
        }
        data.as_ref().map_or(Ok(()), check_record)?;
        self.storage.note_oid(oid);
        let data = data.map(|data| self.spill.keep(&self.storage, data));
        let data = data.transpose()?;
        self.changes.push(Change::Restore {
            oid,
            data,
            data_tid,
        });
        Ok(())
    }

    fn store_blob(
        &mut self,
        oid: Oid,
        base: Tid,
        record: Record,
        file: PathBuf,
    ) -> Result<(), StorageError> {
        let file = self.storage.take_file(file)?;
        self.store(oid, base, record)?;
        self.changes.push(Change::File { oid, file });
        Ok(())
    }

    fn restore_blob(
        &mut self,
        oid: Oid,
        data: Record,
        data_tid: Option<Tid>,
        file: PathBuf,
    ) -> Result<(), StorageError> {
        let file = self.storage.take_file(file)?;
        self.restore(oid, Some(data), data_tid)?;
        self.changes.push(Change::File { oid, file });
        Ok(())
    }

    fn undo(&mut self, tid: Tid) -> Result<(), StorageError> {
        self.changes.push(Change::Undo(tid));
        Ok(())
    }

    fn vote(mut self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        self.storage.check_writable()?;
        let undoings = self.undoings()?;
        let objects = self.objects(&undoings)?;
        let locks = self.storage.object_locks.acquire(objects);
        self.storage.check_writable()?;
        let votes = Arc::clone(&self.storage.votes);
        let gate = votes.pass();
        let generation = self.storage.generation();
        if let Some((tid, _)) = self.brought {
            check_later(tid, &generation)?;
        }
        self.check_reliance(&generation)?;
        let planned = self.plan(&generation, undoings)?;
        let entry = votes.enter(&generation, &planned.records);
        drop(gate);
        let blobs = match &self.storage.blobs {
            Some(blobs) if !planned.files.is_empty() => {
                let after = generation.last_tid();
                Some(StagedBlobs::new(blobs, planned.files, after)?)
            }
            _ => None,
        };
        let ready = Ready::new(
            self.texts,
            self.brought,
            planned.records,
            &generation,
            entry,
            locks,
        );
        let reservation = self.storage.reserve(&generation, ready.length())?;
        Ok(Box::new(FileVoted {
            ready: ready.with_blobs(blobs).with_room(reservation),
            storage: self.storage,
            resolved: planned.resolved,
        }))
    }
}

/// A transaction that is checked. Nothing of it is in the file.
struct FileVoted {
    storage: Arc<FileStorage>,
    ready: Ready,
    resolved: Vec<Oid>,
}

impl Voted for FileVoted {
    fn resolved(&self) -> &[Oid] {
        &self.resolved
    }

    fn finish(self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        self.storage.finish(self.ready, publish)
    }

    fn submit(self: Box<Self>, publish: Publish, settled: Settled) -> Option<Work> {
        self.storage.submit(self.ready, publish, settled)
    }
}

impl FileStorage {
    /// The record with both changes in it, where somebody can merge them.
    fn merge(
        &self,
        generation: &Generation,
        conflict: Conflict,
        new: &Stored,
    ) -> Result<Resolution, StorageError> {
        let Some(resolver) = &self.resolver else {
            return Ok(Resolution::Unknown);
        };
        let Conflict {
            oid,
            committed,
            base,
            ..
        } = conflict;
        let state = |tid| match generation.load_serial(oid, tid) {
            Err(StorageError::NotFound { .. }) => Ok(None),
            found => found.map(Some),
        };
        let (Some(old), Some(committed)) = (state(base)?, state(committed)?) else {
            return Ok(Resolution::Unknown);
        };
        let new = new
            .load()
            .map_err(|error| generation.log.io("read the spilled records of", error))?;
        let merged = resolver.resolve(&ConflictingStates {
            oid,
            old: &old,
            committed: &committed,
            new: &new,
        });
        Ok(match merged {
            Resolution::Merged(record) if check_record(&record).is_err() => {
                Resolution::Refused("the merged state is no record that the format can hold")
            }
            other => other,
        })
    }

    /// Takes a file over that is handed in, where the storage keeps blobs.
    fn take_file(&self, path: PathBuf) -> Result<StagedFile, StorageError> {
        let blobs = self.blobs.as_ref();
        let blobs = blobs.ok_or(StorageError::Unsupported {
            operation: "storing blobs (it was opened without a directory for them)",
        })?;
        blobs.take(path)
    }

    /// Ids that were stored are not handed out any more.
    fn note_oid(&self, oid: Oid) {
        self.last_oid.fetch_max(oid.number(), Ordering::Relaxed);
    }
}

impl Texts {
    fn new(meta: TransactionMeta) -> Result<Self, StorageError> {
        Ok(Self {
            user_length: text_length("the length of the user", &meta.user)?,
            description_length: text_length("the length of the description", &meta.description)?,
            extension_length: text_length("the length of the extension", &meta.extension)?,
            meta,
        })
    }
}

fn check_record(record: &Record) -> Result<(), StorageError> {
    if record.is_empty() {
        // The format has no empty records: a length of 0 announces a back pointer.
        return Err(StorageError::Unsupported {
            operation: "storing an empty record",
        });
    }
    let (found, max) = (record.len() as u64, RECORD_BYTES_MAX);
    if found > max {
        let what = "the length of a record";
        return Err(StorageError::Limit { what, found, max });
    }
    Ok(())
}

fn text_length(what: &'static str, text: &[u8]) -> Result<u16, StorageError> {
    u16::try_from(text.len()).map_err(|_| StorageError::Limit {
        what,
        found: text.len() as u64,
        max: TEXT_BYTES_MAX,
    })
}

fn check_later(tid: Tid, generation: &Generation) -> Result<(), StorageError> {
    let last = generation.last_tid();
    if tid <= last {
        return Err(StorageError::NotLater { tid, last });
    }
    Ok(())
}
