//! One life of the file: from its opening, or from the pack that wrote it, to the next pack.
//!
//! Readers take the generation there is and keep it until they are done, without a lock: a pack puts
//! another file in the place of this one, and those who began to read the old one finish there.
//!
//! # The order in which a transaction is shown
//!
//! One thread writes: first where the log ends, so that every offset in the index leads to a record
//! that lies before the end; then the index; then the end that listings see; then the id of the last
//! transaction. Whoever has read that id finds all that the transaction changed.

use std::sync::atomic::{AtomicU64, Ordering};

use storage::{Oid, Record, StorageError, Tid};

use crate::checkpoint::Checkpointer;
use crate::format::Offset;
use crate::index::LazyIndex;
use crate::log::{Log, Page};

/// The log, and what is known about it.
pub(crate) struct Generation {
    pub(crate) log: Log,
    pub(crate) index: LazyIndex,
    pub(crate) checkpointer: Checkpointer,
    /// Nothing that the index names reaches beyond.
    limit: AtomicU64,
    /// Behind the last transaction that is wholly in the index.
    end: AtomicU64,
    last_tid: AtomicU64,
    /// Up to where the disk keeps room; all numbers where it cannot.
    pub(crate) taken_to: AtomicU64,
}

impl Generation {
    pub(crate) fn new(
        log: Log,
        index: LazyIndex,
        checkpointer: Checkpointer,
        end: Offset,
        last_tid: Tid,
    ) -> Self {
        Self {
            log,
            index,
            checkpointer,
            limit: AtomicU64::new(end.number()),
            end: AtomicU64::new(end.number()),
            last_tid: AtomicU64::new(last_tid.number()),
            taken_to: AtomicU64::new(end.number()),
        }
    }

    /// The last transaction that is shown.
    pub(crate) fn last_tid(&self) -> Tid {
        Tid::new(self.last_tid.load(Ordering::Acquire))
    }

    /// Behind the last transaction that listings show.
    pub(crate) fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }

    /// Where the current record of the object is, and an offset that this record and all before it
    /// end by.
    pub(crate) fn locate(&self, oid: Oid) -> Result<(Offset, Offset), StorageError> {
        let at = self.index.get(oid)?.ok_or(StorageError::NotFound { oid })?;
        // Read in this order, because they are written in the other.
        let limit = Offset::new(self.limit.load(Ordering::Acquire));
        Ok((at, limit))
    }

    /// The transaction that last changed the object, and whether it exists since.
    pub(crate) fn current(&self, oid: Oid) -> Result<Option<(Tid, bool)>, StorageError> {
        let (at, limit) = match self.locate(oid) {
            Ok(place) => place,
            Err(StorageError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let page = self.log.page(at, oid, limit)?;
        Ok(Some((page.header.tid, self.log.exists(&page)?)))
    }

    /// Where the record is that the object got in the transaction.
    pub(crate) fn locate_serial(&self, oid: Oid, tid: Tid) -> Result<(Offset, Page), StorageError> {
        let (mut at, limit) = self.locate(oid)?;
        loop {
            let page = self.log.page(at, oid, limit)?;
            if page.header.tid == tid {
                return Ok((at, page));
            }
            at = page
                .header
                .previous
                .some()
                .filter(|_| page.header.tid > tid)
                .ok_or(StorageError::NotFound { oid })?;
        }
    }

    /// The data that the object got in the transaction.
    pub(crate) fn load_serial(&self, oid: Oid, tid: Tid) -> Result<Record, StorageError> {
        let (_, page) = self.locate_serial(oid, tid)?;
        let data = self.log.data(&page)?;
        data.record.ok_or(StorageError::NotFound { oid })
    }

    /// Shows a transaction that is durable. Called by one thread at a time.
    pub(crate) fn show(&self, start: Offset, end: Offset, tid: Tid, places: &[(Oid, Offset)]) {
        assert_eq!(self.end(), start, "transactions are shown in order");
        assert!(self.last_tid() < tid, "transaction ids rise");
        self.limit.store(end.number(), Ordering::Release);
        for &(oid, at) in places {
            assert!(start < at && at < end, "records lie in their transaction");
            self.index
                .insert(oid, at)
                .expect("it was looked for when the record was written");
        }
        self.end.store(end.number(), Ordering::Release);
        self.last_tid.store(tid.number(), Ordering::Release);
    }
}
