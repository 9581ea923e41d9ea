//! A transaction that was checked and only waits to be written.

use std::sync::Arc;
use std::time::Duration;

use storage::{Oid, StorageError, Tid, TransactionMeta};

use crate::blobs::StagedBlobs;
use crate::commit::Texts;
use crate::format::{LENGTH_LEN, Offset, Status, TransactionHeader};
use crate::generation::Generation;
use crate::object_locks::ObjectGuard;
use crate::plan::{PlannedBody, PlannedRecord};
use crate::room::Reservation;
use crate::spill::Stored;
use crate::votes::VoteEntry;

/// What is to be written of a transaction that was checked. Holds its objects.
pub(crate) struct Ready {
    meta: TransactionMeta,
    /// As it will be, but for the id and the status.
    header: TransactionHeader,
    records: Vec<PlannedRecord>,
    /// The files of blobs, if it stores any.
    pub(crate) blobs: Option<StagedBlobs>,
    /// The id that it brings, where it is the copy of a transaction.
    brought: Option<Tid>,
    /// Where back pointers lead, if there are any.
    generation: Option<Arc<Generation>>,
    /// None for a moment in the vote.
    reservation: Option<Reservation>,
    _entry: VoteEntry,
    _locks: ObjectGuard,
}

impl Ready {
    pub(crate) fn new(
        texts: Texts,
        brought: Option<(Tid, Status)>,
        records: Vec<PlannedRecord>,
        generation: &Arc<Generation>,
        entry: VoteEntry,
        locks: ObjectGuard,
    ) -> Self {
        let has_pointers = records.iter().any(PlannedRecord::is_pointer);
        let mut ready = Self {
            header: TransactionHeader {
                tid: Tid::ZERO,
                length: 0,
                status: brought.map_or(Status::COMPLETE, |(_, status)| status),
                user_length: texts.user_length,
                description_length: texts.description_length,
                extension_length: texts.extension_length,
            },
            meta: texts.meta,
            records,
            blobs: None,
            brought: brought.map(|(tid, _)| tid),
            generation: has_pointers.then(|| Arc::clone(generation)),
            reservation: None,
            _entry: entry,
            _locks: locks,
        };
        ready.measure();
        ready
    }

    /// The same with files of blobs.
    pub(crate) fn with_blobs(self, blobs: Option<StagedBlobs>) -> Self {
        Self { blobs, ..self }
    }

    /// Holds the room that it needs in the file.
    pub(crate) fn with_room(mut self, reservation: Reservation) -> Self {
        self.reservation = Some(reservation);
        self
    }

    fn measure(&mut self) {
        let lengths = self.records.iter().map(PlannedRecord::length);
        self.header.length = self.header.records_start() + lengths.sum::<u64>();
    }

    /// Whether it comes with an id of its own.
    pub(crate) fn brings_tid(&self) -> bool {
        self.brought.is_some()
    }

    /// The id that it gets behind that one.
    ///
    /// # Errors
    /// [`StorageError::NotLater`] where it brings an earlier one: another transaction has come in
    /// between since the vote.
    pub(crate) fn tid_after(&self, last: Tid, now: Duration) -> Result<Tid, StorageError> {
        match self.brought {
            Some(tid) if tid <= last => Err(StorageError::NotLater { tid, last }),
            Some(tid) => Ok(tid),
            None => Ok(Tid::after(last, now)),
        }
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
                    Some(data) => PlannedBody::Data(Stored::Held(data)),
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
