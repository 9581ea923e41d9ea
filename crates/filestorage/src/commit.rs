//! Committing: stores are kept in memory, the vote writes them, the finish makes them count.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::{
    Commit, CommitError, Conflict, Oid, Publish, Record, StorageError, Tid, TransactionMeta, Voted,
};

use crate::commit_lock::CommitGuard;
use crate::file_storage::FileStorage;
use crate::format::{
    DataHeader, LENGTH_LEN, Offset, RECORD_BYTES_MAX, Status, TEXT_BYTES_MAX, TransactionHeader,
};
use crate::plan::{Plan, PlannedBody, PlannedRecord};

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

    /// Compares every base with what is current. Called with the commit lock held.
    fn check_bases(&self) -> Result<(), CommitError> {
        for &(oid, base) in &self.checked {
            let (committed, exists) = self.current(oid)?.ok_or(StorageError::NotFound { oid })?;
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
            if let Some((committed, _)) = self.current(oid)?
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

    /// The transaction that last changed the object, and whether it exists since.
    fn current(&self, oid: Oid) -> Result<Option<(Tid, bool)>, StorageError> {
        let (log, at, end) = match self.storage.locate(oid) {
            Ok(place) => place,
            Err(StorageError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let page = log.page(at, oid, end)?;
        Ok(Some((page.header.tid, !page.is_removal())))
    }

    /// The records it writes behind `end`. Called with the commit lock held.
    fn plan(&self, end: Offset) -> Result<(Vec<PlannedRecord>, Vec<Oid>), CommitError> {
        let mut plan = Plan::new(&self.storage, end);
        for change in &self.changes {
            match change {
                Change::Store { oid, record, .. } => plan.store(*oid, record.clone()),
                Change::Undo(tid) => plan.undo(*tid)?,
            }
        }
        Ok(plan.finish())
    }

    /// The header of the transaction, with the length of the whole.
    fn header(
        &self,
        tid: Tid,
        records: &[PlannedRecord],
    ) -> Result<TransactionHeader, StorageError> {
        let mut header = TransactionHeader {
            tid,
            length: 0,
            status: Status::UNFINISHED,
            user_length: text_length(USER, &self.meta.user)?,
            description_length: text_length(DESCRIPTION, &self.meta.description)?,
            extension_length: text_length(EXTENSION, &self.meta.extension)?,
        };
        let lengths = records.iter().map(PlannedRecord::length);
        header.length = header.records_start() + lengths.sum::<u64>();
        Ok(header)
    }

    /// The transaction as it will be in the file at `start`.
    fn encode(
        &self,
        tid: Tid,
        start: Offset,
        records: &[PlannedRecord],
    ) -> Result<Encoded, StorageError> {
        let header = self.header(tid, records)?;
        let length =
            usize::try_from(header.length + LENGTH_LEN).map_err(|_| StorageError::Limit {
                what: "the length of a transaction",
                found: header.length,
                max: usize::MAX as u64,
            })?;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&self.meta.user);
        bytes.extend_from_slice(&self.meta.description);
        bytes.extend_from_slice(&self.meta.extension);
        let mut places = Vec::with_capacity(records.len());
        let state = self.storage.state.read();
        for PlannedRecord { oid, body } in records {
            places.push((*oid, start + bytes.len() as u64));
            let (data_length, target);
            let body: &[u8] = match body {
                PlannedBody::Data(record) => {
                    data_length = record.len() as u64;
                    record
                }
                PlannedBody::BackPointer(offset) => {
                    assert!(*offset < start, "a back pointer leads back");
                    data_length = 0;
                    target = offset.number().to_be_bytes();
                    &target
                }
            };
            let record_header = DataHeader {
                oid: *oid,
                tid,
                previous: state.index.get(*oid).unwrap_or_default(),
                transaction: start,
                version_length: 0,
                data_length,
            };
            bytes.extend_from_slice(&record_header.encode());
            bytes.extend_from_slice(body);
        }
        bytes.extend_from_slice(&header.length.to_be_bytes());
        assert_eq!(
            bytes.len(),
            length,
            "the header's length is that of its bytes"
        );
        Ok(Encoded { bytes, places })
    }
}

/// A transaction on its way to the file.
struct Encoded {
    bytes: Vec<u8>,
    /// Where its records will be.
    places: Vec<(Oid, Offset)>,
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
        let guard = self.storage.commit_lock.acquire();
        self.storage.check_writable()?;
        self.check_bases()?;
        let (start, last_tid) = {
            let state = self.storage.state.read();
            (state.end, state.last_tid)
        };
        let tid = Tid::after(last_tid, (self.storage.clock)());
        assert!(tid > last_tid, "transaction ids rise");
        let (records, undone) = self.plan(start)?;
        let Encoded { bytes, places } = self.encode(tid, start, &records)?;
        self.storage.append(start, &bytes)?;
        Ok(Box::new(FileVoted {
            start,
            end: start + bytes.len() as u64,
            tid,
            places,
            undone,
            finish_begun: false,
            storage: self.storage,
            _guard: guard,
        }))
    }
}

/// A transaction that is on the disk with the status `c`.
struct FileVoted {
    storage: Arc<FileStorage>,
    start: Offset,
    end: Offset,
    tid: Tid,
    places: Vec<(Oid, Offset)>,
    undone: Vec<Oid>,
    finish_begun: bool,
    _guard: CommitGuard,
}

impl Voted for FileVoted {
    fn resolved(&self) -> &[Oid] {
        &self.undone
    }

    fn finish(mut self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        self.storage.check_writable()?;
        self.finish_begun = true;
        if let Err(error) = self.storage.complete(self.start) {
            tracing::error!(%error, tid = %self.tid, "whether the transaction counts is unknown");
            return Err(CommitError::Unknown);
        }
        {
            let mut state = self.storage.state.write();
            assert_eq!(
                state.end, self.start,
                "the commit lock keeps the end in place"
            );
            for &(oid, at) in &self.places {
                assert!(
                    self.start < at && at < self.end,
                    "records lie in their transaction"
                );
                state.index.insert(oid, at);
            }
            state.end = self.end;
            state.last_tid = self.tid;
        }
        publish(self.tid);
        Ok(self.tid)
    }
}

impl Drop for FileVoted {
    fn drop(&mut self) {
        if !self.finish_begun {
            self.storage.cut(self.start);
        }
    }
}

impl FileStorage {
    /// Puts an unfinished transaction durably behind the end.
    fn append(&self, start: Offset, bytes: &[u8]) -> Result<(), StorageError> {
        let log = self.log();
        let written = log.file.write_at(bytes, start.number());
        match written {
            Ok(()) => self.sync(),
            // The system took no more, and said so before anything was synced: what the file held
            // is untouched, and without the part that was written it is what it was.
            Err(error) if is_full(&error) && self.cut(start) => Err(log.io("write", error)),
            Err(error) => {
                let error = self.poison_with("write", error);
                self.cut(start);
                Err(error)
            }
        }
    }

    /// Writes the byte that makes the transaction at that offset count, durably.
    fn complete(&self, start: Offset) -> Result<(), StorageError> {
        let status = [Status::COMPLETE.byte()];
        let at = start + TransactionHeader::STATUS_OFFSET;
        self.log()
            .file
            .write_at(&status, at.number())
            .map_err(|error| self.poison_with("write", error))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.log()
            .file
            .sync_data()
            .map_err(|error| self.poison_with("sync", error))
    }

    /// Takes an unfinished transaction away again. That need not be durable: whoever opens the file
    /// cuts it off, and the next vote writes over it. False, and poisoned, where that fails.
    fn cut(&self, start: Offset) -> bool {
        let cut = self.log().file.set_len(start.number());
        if let Err(error) = cut {
            let error = self.poison_with("cut", error);
            tracing::error!(%error, "an aborted transaction stays at the end of the file");
            return false;
        }
        true
    }

    /// After a failed write nobody knows what is on the disk, and after a failed sync a second one
    /// proves nothing: so the first failure is the last write.
    pub(crate) fn poison_with(&self, operation: &'static str, error: io::Error) -> StorageError {
        let error = StorageError::io(self.path.as_path(), operation, error);
        tracing::error!(%error, "nothing is written any more until the storage is reopened");
        // Only the first cause is kept.
        if self.poison.set(error.to_string()).is_ok() {
            (self.on_poison)();
        }
        error
    }
}

/// Whether there was no room for a write, on the disk or in a quota.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
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
