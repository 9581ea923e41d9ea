//! The records of a transaction that is about to be written. What an undo writes depends on what is
//! current when its objects are locked, and on what the same transaction has done before.

use std::collections::HashMap;
use std::sync::Arc;

use storage::{
    CommitError, ConflictingStates, Oid, Record, Resolver, StorageError, Tid, UndoObstacle,
    UndoReason, UndoRefusal, is_blob_record,
};

use crate::blobs::{BlobDirectory, StagedFile};
use crate::compress::Compression;
use crate::file_storage::FileStorage;
use crate::format::{DataHeader, LENGTH_LEN, LOG_START, Offset, Status, TransactionHeader};
use crate::generation::Generation;
use crate::log::Log;
use crate::spill::Stored;
use crate::transactions::Headers;

/// A transaction's records, in the order they will have in the file.
pub(crate) struct Plan<'a> {
    /// The file that its back pointers lead into.
    generation: &'a Arc<Generation>,
    /// Where the log ended when the objects were locked: what is later has nothing of them.
    end: Offset,
    resolver: Option<&'a dyn Resolver>,
    compression: Compression,
    records: Vec<PlannedRecord>,
    /// The last record of each object.
    newest: HashMap<Oid, usize>,
    /// Objects that get what the maker of the transaction has not seen.
    resolved: Vec<Oid>,
    blobs: Option<&'a Arc<BlobDirectory>>,
    /// The files of blobs, in order.
    files: Vec<(Oid, StagedFile)>,
}

/// What a transaction consists of.
pub(crate) struct Planned {
    pub(crate) records: Vec<PlannedRecord>,
    /// Objects that get what the maker of the transaction has not seen.
    pub(crate) resolved: Vec<Oid>,
    pub(crate) files: Vec<(Oid, StagedFile)>,
}

/// What takes back a record.
struct UndoingRecord {
    oid: Oid,
    body: PlannedBody,
    file: Option<StagedFile>,
}

/// A record that has no place yet.
#[derive(Clone)]
pub(crate) struct PlannedRecord {
    pub(crate) oid: Oid,
    pub(crate) body: PlannedBody,
}

/// What a record will consist of behind its header.
#[derive(Clone)]
pub(crate) enum PlannedBody {
    Data(Stored),
    /// The data of an older record; [`Offset::NONE`] says that the object does not exist any more.
    BackPointer(Offset),
}

impl PlannedRecord {
    /// The length of the whole record.
    pub(crate) fn length(&self) -> u64 {
        let body = match &self.body {
            PlannedBody::Data(record) => record.len(),
            PlannedBody::BackPointer(_) => LENGTH_LEN,
        };
        DataHeader::LEN as u64 + body
    }

    /// Whether it refers to an older record.
    pub(crate) fn is_pointer(&self) -> bool {
        matches!(self.body, PlannedBody::BackPointer(target) if target != Offset::NONE)
    }
}

/// What has become of an object since the transaction that is to be taken back.
enum Since {
    /// It has the same data.
    Nothing,
    /// Something that stands in the way.
    Obstacle(UndoReason),
    /// Other changes, which stay where this one goes.
    Merged(Record),
}

/// A transaction that is to be taken back.
pub(crate) struct Undoing {
    tid: Tid,
    /// The file that it was found in.
    generation: Arc<Generation>,
    start: Offset,
    header: TransactionHeader,
}

impl Undoing {
    /// Looks for the transaction. Ids rise along the file, so the search ends at the first one that
    /// is older.
    pub(crate) fn find(generation: &Arc<Generation>, tid: Tid) -> Result<Self, CommitError> {
        let refused = |reason| CommitError::NotUndoable { tid, reason };
        let mut after = generation.end();
        while after > LOG_START {
            let (start, header) = generation.log.transaction_before(after)?;
            if header.tid == tid {
                return match header.status {
                    Status::COMPLETE => Ok(Self {
                        tid,
                        generation: Arc::clone(generation),
                        start,
                        header,
                    }),
                    Status::PACKED => Err(refused(UndoRefusal::Packed)),
                    _ => Err(refused(UndoRefusal::Undone)),
                };
            }
            if header.tid < tid {
                break;
            }
            after = start;
        }
        Err(refused(UndoRefusal::Unknown))
    }

    /// The objects that it changed.
    pub(crate) fn oids(&self) -> Result<Vec<Oid>, StorageError> {
        let mut records = Headers::of(self.start, &self.header);
        let mut oids = Vec::new();
        while let Some((_, record)) = records.next(&self.generation.log)? {
            oids.push(record.oid);
        }
        Ok(oids)
    }
}

impl<'a> Plan<'a> {
    /// Called with the objects locked.
    pub(crate) fn new(generation: &'a Arc<Generation>, storage: &'a FileStorage) -> Self {
        Self {
            generation,
            end: generation.end(),
            resolver: storage.resolver.as_deref(),
            compression: storage.compression,
            records: Vec::new(),
            newest: HashMap::new(),
            resolved: Vec::new(),
            blobs: storage.blobs.as_ref(),
            files: Vec::new(),
        }
    }

    pub(crate) fn store(&mut self, oid: Oid, record: Stored) {
        self.push(oid, PlannedBody::Data(record));
    }

    /// Adds the file of a blob whose record was added before.
    pub(crate) fn add_file(&mut self, oid: Oid, file: StagedFile) {
        self.files.push((oid, file));
    }

    /// A record with the changes of two transactions.
    pub(crate) fn store_merged(&mut self, oid: Oid, record: Record) {
        let record = Stored::Held(self.compression.pack(record));
        self.store(oid, record);
        self.resolved.push(oid);
    }

    pub(crate) fn delete(&mut self, oid: Oid) {
        self.push(oid, PlannedBody::BackPointer(Offset::NONE));
    }

    /// Adds a record of another storage, which refers to an older one where that is here and has
    /// the same data.
    pub(crate) fn restore(
        &mut self,
        oid: Oid,
        data: Option<Stored>,
        data_tid: Option<Tid>,
    ) -> Result<(), StorageError> {
        let referred = self.same_data(oid, data.as_ref(), data_tid)?;
        let body = match (referred, data) {
            (Some(target), _) => PlannedBody::BackPointer(target),
            (None, Some(data)) => PlannedBody::Data(data),
            (None, None) => PlannedBody::BackPointer(Offset::NONE),
        };
        self.push(oid, body);
        Ok(())
    }

    fn same_data(
        &self,
        oid: Oid,
        data: Option<&Stored>,
        tid: Option<Tid>,
    ) -> Result<Option<Offset>, StorageError> {
        let Some(tid) = tid else {
            return Ok(None);
        };
        let (at, page) = match self.generation.locate_serial(oid, tid) {
            Err(StorageError::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        let data = data.map(|data| self.load(data)).transpose()?;
        let is_same = self.log().data(&page)?.record == data;
        Ok(is_same.then_some(at))
    }

    /// Adds the records that take the transaction back, or says what stands in the way.
    pub(crate) fn undo(&mut self, mut undoing: Undoing) -> Result<(), CommitError> {
        if !Arc::ptr_eq(&undoing.generation, self.generation) {
            undoing = Undoing::find(self.generation, undoing.tid)?;
        }
        let mut records = Headers::of(undoing.start, &undoing.header);
        let mut undoing = Vec::new();
        let mut obstacles: Vec<UndoObstacle> = Vec::new();
        while let Some((at, DataHeader { oid, previous, .. })) = records.next(self.log())? {
            // Of several records of one object, the last decides.
            obstacles.retain(|obstacle| obstacle.oid != oid);
            match self.undo_record(oid, at, previous)? {
                Ok(record) => undoing.push(record),
                Err(reason) => obstacles.push(UndoObstacle { oid, reason }),
            }
        }
        if !obstacles.is_empty() {
            return Err(CommitError::Undo(obstacles));
        }
        for UndoingRecord { oid, body, file } in undoing {
            self.push(oid, body);
            self.files.extend(file.map(|file| (oid, file)));
            self.resolved.push(oid);
        }
        Ok(())
    }

    /// The records as they will be written, and what belongs to them.
    pub(crate) fn finish(mut self) -> Planned {
        self.resolved.sort_unstable();
        self.resolved.dedup();
        Planned {
            records: self.records,
            resolved: self.resolved,
            files: self.files,
        }
    }

    fn push(&mut self, oid: Oid, body: PlannedBody) {
        self.newest.insert(oid, self.records.len());
        self.records.push(PlannedRecord { oid, body });
    }

    fn load(&self, stored: &Stored) -> Result<Record, StorageError> {
        let loaded = stored.load();
        loaded.map_err(|error| self.log().io("read the spilled records of", error))
    }

    fn log(&self) -> &Log {
        &self.generation.log
    }

    /// What takes back the record at `at`, whose object had the record at `previous` before.
    fn undo_record(
        &self,
        oid: Oid,
        at: Offset,
        previous: Offset,
    ) -> Result<Result<UndoingRecord, UndoReason>, StorageError> {
        let planned = self
            .newest
            .get(&oid)
            .map(|index| &self.records[*index].body);
        let committed = self.generation.index.get(oid)?;
        if planned.is_some() || committed != Some(at) {
            let current = match (planned, committed) {
                (Some(body), _) => body.clone(),
                (None, Some(current)) => self.source(oid, current)?,
                (None, None) => PlannedBody::BackPointer(Offset::NONE),
            };
            match self.changed_since(oid, at, previous, current)? {
                Since::Nothing => {}
                Since::Obstacle(reason) => return Ok(Err(reason)),
                Since::Merged(record) => {
                    let record = Stored::Held(self.compression.pack(record));
                    let (body, file) = (PlannedBody::Data(record), None);
                    return Ok(Ok(UndoingRecord { oid, body, file }));
                }
            }
        }
        let restored = self.data_at(oid, previous)?;
        let mut file = None;
        if restored.is_some_and(|data| is_blob_record(&data)) {
            file = self.older_file(oid, previous)?;
            if file.is_none() {
                return Ok(Err(UndoReason::BlobFileMissing));
            }
        }
        let body = PlannedBody::BackPointer(previous);
        Ok(Ok(UndoingRecord { oid, body, file }))
    }

    /// A copy of the file that belongs to the blob's record at `at`. The file is named after the
    /// transaction: without a copy under the new name the record would refer to nothing.
    fn older_file(&self, oid: Oid, at: Offset) -> Result<Option<StagedFile>, StorageError> {
        let Some(blobs) = self.blobs else {
            return Ok(None);
        };
        let mut next = Some(at);
        while let Some(at) = next {
            let page = self.log().page(at, oid, self.end)?;
            match blobs.take_revision(oid, page.header.tid) {
                Err(StorageError::NotFound { .. }) => {}
                file => return file.map(Some),
            }
            // An undo has a file of its own, which is a copy of the one that it refers to.
            let target = self.log().back_pointer(&page)?.and_then(Offset::some);
            next = target.filter(|target| *target < at);
        }
        Ok(None)
    }

    /// Looks at an object whose current record is not the one at `at`. Nothing has changed where the
    /// current one refers to that, or has the same bytes.
    fn changed_since(
        &self,
        oid: Oid,
        at: Offset,
        previous: Offset,
        current: PlannedBody,
    ) -> Result<Since, StorageError> {
        let (current, origin) = match current {
            PlannedBody::BackPointer(target) if target == at => return Ok(Since::Nothing),
            PlannedBody::BackPointer(target) => {
                (self.data_at(oid, target)?, self.origin(oid, target)?)
            }
            PlannedBody::Data(record) => (Some(self.load(&record)?), None),
        };
        let (Some(undone), Some(current)) = (self.data_at(oid, at)?, current) else {
            return Ok(Since::Obstacle(UndoReason::Removed));
        };
        // All blobs have the same bytes: theirs are the same only where they are one record's.
        let is_blob = is_blob_record(&undone);
        if undone == current && (!is_blob || origin == self.origin(oid, at)?) {
            return Ok(Since::Nothing);
        }
        if previous == Offset::NONE {
            return Ok(Since::Obstacle(UndoReason::CreatedAndChangedLater));
        }
        let Some(before) = self.data_at(oid, previous)? else {
            return Ok(Since::Obstacle(UndoReason::Removed));
        };
        let Some(resolver) = self.resolver.filter(|_| !is_blob) else {
            return Ok(Since::Obstacle(UndoReason::ChangedLater));
        };
        // The change back is merged with what came later, as if both began at what is undone. That
        // ZODB finds by the transaction: where it stored the object twice, by the last record.
        let tid = self.log().page(at, oid, self.end)?.header.tid;
        let old = match self.generation.load_serial(oid, tid) {
            Ok(old) => old,
            Err(StorageError::NotFound { .. }) => {
                return Ok(Since::Obstacle(UndoReason::ChangedLater));
            }
            Err(error) => return Err(error),
        };
        let merged = resolver.resolve(&ConflictingStates {
            oid,
            old: &old,
            committed: &current,
            new: &before,
        });
        Ok(match merged.merged().filter(|merged| !merged.is_empty()) {
            Some(merged) => Since::Merged(merged),
            None => Since::Obstacle(UndoReason::ChangedLater),
        })
    }

    /// The record with the data that the record at that offset stands for.
    fn origin(&self, oid: Oid, at: Offset) -> Result<Option<Offset>, StorageError> {
        let mut origin = at.some();
        while let Some(at) = origin {
            let page = self.log().page(at, oid, self.end)?;
            match self.log().back_pointer(&page)? {
                Some(target) => origin = target.some().filter(|target| *target < at),
                None => break,
            }
        }
        Ok(origin)
    }

    /// The body of a record: where it refers to, or else the place of its own data.
    fn source(&self, oid: Oid, at: Offset) -> Result<PlannedBody, StorageError> {
        let page = self.log().page(at, oid, self.end)?;
        let target = self.log().back_pointer(&page)?;
        Ok(PlannedBody::BackPointer(target.unwrap_or(at)))
    }

    /// The data that the record at that offset stands for; nothing where the object does not exist.
    fn data_at(&self, oid: Oid, at: Offset) -> Result<Option<Record>, StorageError> {
        let Some(at) = at.some() else {
            return Ok(None);
        };
        if at < LOG_START || at >= self.end {
            let what = format!(
                "a pointer leads out of the log that ends at {}",
                self.end.number()
            );
            return Err(self.log().corrupt(at, what));
        }
        let page = self.log().page(at, oid, self.end)?;
        Ok(self.log().data(&page)?.record)
    }
}
