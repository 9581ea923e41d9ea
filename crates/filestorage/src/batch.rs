//! Batches: transactions that reach the disk together.
//!
//! One round of the [writer](crate::writer) does, in this order:
//!
//! 1. gives the files of blobs in batch n their names, durably, and writes the batch behind the end of the log, each transaction with the status `c`,
//! 2. writes the status bytes of batch n-1, whose data the last round has synced,
//! 3. syncs once: the data of batch n are durable, and batch n-1 counts,
//! 4. shows, publishes and acknowledges the transactions of batch n-1, in the order of their ids.
//!
//! So a status byte that makes a transaction count never reaches the disk before its data, and what a
//! crash leaves is cut by whoever opens the file: everything from the first status `c` on. Nothing
//! behind it was acknowledged. Where nobody else commits, a transaction takes two rounds with a
//! sync each; where many do, each sync serves two batches.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::{CommitError, Oid, Publish, StorageError, Tid};

use crate::blobs::StagedBlobs;
use crate::file_storage::FileStorage;
use crate::format::{DataHeader, Offset, Status, TransactionHeader};
use crate::generation::Generation;
use crate::log::Log;
use crate::open::Durability;
use crate::out::{Out, OutError};
use crate::plan::PlannedBody;
use crate::ready::Ready;
use crate::writer::{Queued, Seat};

/// Transactions with their places in the file. There is at least one.
pub(crate) struct Batch {
    generation: Arc<Generation>,
    transactions: Vec<Placed>,
}

/// A transaction that knows its place.
struct Placed {
    ready: Ready,
    tid: Tid,
    start: Offset,
    end: Offset,
    /// Where its records will be.
    places: Vec<(Oid, Offset)>,
    publish: Publish,
    seat: Arc<Seat>,
}

impl Batch {
    /// Gives ids and places to what is queued, behind the batch in flight. The clock is read once:
    /// the ids of a batch follow each other, by which the next one who opens the file knows it.
    fn place(storage: &FileStorage, in_flight: Option<&Self>, queued: Vec<Queued>) -> Option<Self> {
        let generation = storage.generation();
        let mut last = in_flight.map_or_else(|| generation.last_tid(), Self::last_tid);
        let mut start = in_flight.map_or_else(|| generation.end(), Self::end);
        let now = (storage.clock)();
        let mut transactions = Vec::with_capacity(queued.len());
        for Queued {
            mut ready,
            publish,
            seat,
        } in queued
        {
            let placed = ready
                .tid_after(last, now)
                .and_then(|tid| ready.move_to(&generation).map(|()| tid));
            let tid = match placed {
                Ok(tid) => tid,
                Err(error) => {
                    seat.settle(Err(error.into()));
                    continue;
                }
            };
            assert!(tid > last, "transaction ids rise");
            let end = start + ready.length();
            let places = ready.places(start);
            transactions.push(Placed {
                ready,
                tid,
                start,
                end,
                places,
                publish,
                seat,
            });
            (last, start) = (tid, end);
        }
        (!transactions.is_empty()).then_some(Self {
            generation,
            transactions,
        })
    }

    pub(crate) fn seats(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.transactions.iter().map(|placed| &placed.seat)
    }

    fn log(&self) -> &Log {
        &self.generation.log
    }

    fn start(&self) -> Offset {
        self.transactions[0].start
    }

    fn end(&self) -> Offset {
        self.last().end
    }

    fn last_tid(&self) -> Tid {
        self.last().tid
    }

    fn last(&self) -> &Placed {
        self.transactions.last().expect("a batch is never empty")
    }

    fn settle(self, outcome: &CommitError) {
        for Placed { ready, seat, .. } in self.transactions {
            drop(ready);
            seat.settle(Err(outcome.clone()));
        }
    }

    fn blobs(&mut self) -> impl Iterator<Item = (Tid, &mut StagedBlobs)> {
        self.transactions
            .iter_mut()
            .filter_map(|placed| Some((placed.tid, placed.ready.blobs.as_mut()?)))
    }

    /// Writes all of it. `None`: with the status that says that it does not count yet.
    fn write(&self, status: Option<Status>) -> Result<(), OutError> {
        let mut out = Out::new(self.log(), self.start(), self.end());
        for placed in &self.transactions {
            let status = status.unwrap_or_else(|| placed.ready.status());
            placed.encode(status, &self.generation, &mut out)?;
            assert_eq!(out.position(), placed.end, "the length was known before");
        }
        out.flush()
    }

    /// Writes the bytes that make its transactions count. After an error, how many of them may.
    fn complete(&self) -> Result<(), (usize, io::Error)> {
        for (number, placed) in self.transactions.iter().enumerate() {
            let status = [placed.ready.status().byte()];
            let at = placed.start + TransactionHeader::STATUS_OFFSET;
            let written = self.log().file.write_at(&status, at.number());
            written.map_err(|error| (number + 1, error))?;
        }
        Ok(())
    }
}

impl Placed {
    /// Writes the transaction as it is in the file.
    fn encode(
        &self,
        status: Status,
        generation: &Generation,
        out: &mut Out<'_>,
    ) -> Result<(), OutError> {
        let header = self.ready.header(self.tid, status);
        let meta = self.ready.meta();
        out.write(&header.encode())?;
        out.write(&meta.user)?;
        out.write(&meta.description)?;
        out.write(&meta.extension)?;
        for record in self.ready.records() {
            let data_length = match &record.body {
                PlannedBody::Data(data) => data.len(),
                PlannedBody::BackPointer(_) => 0,
            };
            let previous = generation.index.get(record.oid);
            let previous = previous.map_err(|error| OutError::Read(io::Error::other(error)))?;
            let record_header = DataHeader {
                oid: record.oid,
                tid: self.tid,
                // Nobody changes it: the batch in flight has no object of this transaction.
                previous: previous.unwrap_or_default(),
                transaction: self.start,
                version_length: 0,
                data_length,
            };
            out.write(&record_header.encode())?;
            match &record.body {
                PlannedBody::Data(data) => out.write_stored(data)?,
                PlannedBody::BackPointer(target) => {
                    assert!(*target < self.start, "a back pointer leads back");
                    out.write(&target.number().to_be_bytes())?;
                }
            }
        }
        out.write(&header.length.to_be_bytes())
    }

    /// Shows the transaction, tells whoever wants to know, and frees its objects. Who waits for it is
    /// still to be told.
    fn publish(self, generation: &Generation) -> Published {
        generation.show(self.start, self.end, self.tid, &self.places);
        let (tid, publish) = (self.tid, self.publish);
        let published = catch_unwind(AssertUnwindSafe(|| publish(tid)));
        if let Some(blobs) = &self.ready.blobs {
            blobs.complete();
        }
        drop(self.ready);
        let (tid, seat) = (self.tid, self.seat);
        Published {
            tid,
            seat,
            published,
        }
    }
}

/// A transaction that is shown.
struct Published {
    tid: Tid,
    seat: Arc<Seat>,
    published: std::thread::Result<()>,
}

impl Published {
    /// Tells who waits for it.
    fn settle(self) {
        let tid = self.tid;
        match self.published {
            Ok(()) => self.seat.settle(Ok(tid)),
            Err(payload) => {
                tracing::error!(%tid, "a panic while the transaction was published; it is finished");
                self.seat.panicked(tid, payload);
            }
        }
    }
}

impl FileStorage {
    /// Lands the batch in flight and launches the next one, which is returned.
    pub(crate) fn round(&self, in_flight: Option<Batch>, queued: Vec<Queued>) -> Option<Batch> {
        if let Err(error) = self.check_poison() {
            let error = CommitError::from(error);
            for queued in queued {
                queued.seat.settle(Err(error.clone()));
            }
            in_flight.into_iter().for_each(|batch| batch.settle(&error));
            return None;
        }
        let batch = Batch::place(self, in_flight.as_ref(), queued);
        let in_flight = match self.durability {
            Durability::Strict => self.strict_round(in_flight, batch),
            Durability::Compat | Durability::Async { .. } => {
                batch.into_iter().for_each(|batch| self.quick_round(batch));
                None
            }
        };
        if !matches!(self.durability, Durability::Async { .. }) {
            // Nothing is shown that was not synced before.
            self.checkpoint_if_due(self.moment());
        }
        in_flight
    }

    fn strict_round(&self, in_flight: Option<Batch>, batch: Option<Batch>) -> Option<Batch> {
        let batch = match batch.map(|batch| self.launch(batch)) {
            None | Some(Ok(None)) => None,
            Some(Ok(Some(batch))) => Some(batch),
            Some(Err(error)) => {
                // It was synced with the status that does not count, and gets no other.
                in_flight.into_iter().for_each(|batch| batch.settle(&error));
                return None;
            }
        };
        if in_flight.is_none() && batch.is_none() {
            return None;
        }
        if let Some(landing) = &in_flight
            && let Err((doubtful, error)) = landing.complete()
        {
            let error = CommitError::from(self.poison_with("write", error));
            let landing = in_flight.into_iter().flat_map(|batch| batch.transactions);
            for (number, placed) in landing.enumerate() {
                let outcome = if number < doubtful {
                    unknown(placed.tid)
                } else {
                    error.clone()
                };
                placed.seat.settle(Err(outcome));
            }
            batch.into_iter().for_each(|batch| batch.settle(&error));
            return None;
        }
        let log = in_flight.as_ref().or(batch.as_ref())?.log();
        if let Err(error) = self.counters.sync(log) {
            let error = CommitError::from(self.poison_with("sync", error));
            let landing = in_flight.into_iter().flat_map(|batch| batch.transactions);
            landing.for_each(|placed| placed.seat.settle(Err(unknown(placed.tid))));
            batch.into_iter().for_each(|batch| batch.settle(&error));
            return None;
        }
        in_flight.into_iter().for_each(|batch| self.publish(batch));
        batch
    }

    /// Gives the files of blobs their names, durably. Nothing where that fails, which costs the
    /// batch and nothing else as long as it is known to be undone.
    fn place_blobs(&self, mut batch: Batch) -> Result<Option<Batch>, CommitError> {
        let mut touched = BTreeSet::new();
        let placed = batch
            .blobs()
            .try_for_each(|(tid, blobs)| blobs.place(tid, &mut touched));
        if let Err(error) = placed {
            self.take_back_blobs(&mut batch);
            batch.settle(&error.into());
            return Ok(None);
        }
        if let Some(blobs) = &self.blobs
            && let Err(error) = blobs.sync_directories(&touched)
        {
            self.poison(&error.to_string());
            let error = CommitError::from(error);
            batch.settle(&error);
            return Err(error);
        }
        Ok(Some(batch))
    }

    /// Removes the files of a batch that does not count, and never will.
    fn take_back_blobs(&self, batch: &mut Batch) {
        for (tid, blobs) in batch.blobs() {
            if let Err(error) = blobs.take_back() {
                tracing::warn!(%error, %tid, "blobs of a refused transaction stay until the next open");
            }
        }
    }

    /// Writes a batch that does not count yet. Nothing where the disk was full, which costs the
    /// batch and nothing else.
    fn launch(&self, batch: Batch) -> Result<Option<Batch>, CommitError> {
        let Some(mut batch) = self.place_blobs(batch)? else {
            return Ok(None);
        };
        match batch.write(Some(Status::UNFINISHED)) {
            Ok(()) => {
                let written = batch.transactions.iter_mut();
                written.for_each(|placed| placed.ready.forget_records());
                Ok(Some(batch))
            }
            // The system took no more, and said so before anything was synced: what the file held
            // is untouched, and without the part that was written it is what it was.
            Err(error) if error.is_harmless() && self.cut(&batch) => {
                self.take_back_blobs(&mut batch);
                let error = CommitError::from(error.into_storage_error(batch.log()));
                batch.settle(&error);
                Ok(None)
            }
            Err(OutError::Read(error) | OutError::Write(error)) => {
                let error = CommitError::from(self.poison_with("write", error));
                self.cut(&batch);
                batch.settle(&error);
                Err(error)
            }
        }
    }

    /// Writes a batch that counts at once, with one sync or none.
    fn quick_round(&self, batch: Batch) {
        let Ok(Some(mut batch)) = self.place_blobs(batch) else {
            return;
        };
        if let Err(error) = batch.write(None) {
            // Statuses that count were written: they must be known to be gone.
            if error.is_harmless() && self.cut(&batch) && self.sync(batch.log()).is_ok() {
                self.take_back_blobs(&mut batch);
                let error = CommitError::from(error.into_storage_error(batch.log()));
                return batch.settle(&error);
            }
            let (OutError::Read(error) | OutError::Write(error)) = error;
            self.poison_with("write", error);
            return batch.settle(&CommitError::Unknown);
        }
        if self.durability == Durability::Compat && self.sync(batch.log()).is_err() {
            return batch.settle(&CommitError::Unknown);
        }
        if self.durability != Durability::Compat {
            let blobs = batch.transactions.iter_mut();
            let blobs = blobs.filter_map(|placed| placed.ready.blobs.take());
            self.unsynced_blobs.lock().extend(blobs);
        }
        self.unsynced.store(true, Ordering::Release);
        self.publish(batch);
    }

    /// Shows the transactions of a batch that counts. Only then are those told who wait for them: they
    /// are many, and all that they are told of goes to each of them in one piece.
    fn publish(&self, batch: Batch) {
        self.counters.count_transactions(batch.transactions.len());
        let (generation, transactions) = (batch.generation, batch.transactions);
        let published = transactions
            .into_iter()
            .map(|placed| placed.publish(&generation));
        let published: Vec<_> = published.collect();
        published.into_iter().for_each(Published::settle);
    }

    fn sync(&self, log: &Log) -> Result<(), StorageError> {
        self.counters
            .sync(log)
            .map_err(|error| self.poison_with("sync", error))
    }

    /// Makes durable what was finished without a sync, if there is something.
    pub(crate) fn sync_if_due(&self) -> Result<(), StorageError> {
        if !matches!(self.durability, Durability::Async { .. }) {
            return Ok(());
        }
        // Who finds another one syncing waits: what that one took on is not durable before.
        let _one_at_a_time = self.syncing.lock();
        self.check_poison()?;
        if self.unsynced.swap(false, Ordering::AcqRel) {
            let moment = self.moment();
            let blobs = std::mem::take(&mut *self.unsynced_blobs.lock());
            // A pack that comes in between has synced the file that it puts in the place.
            self.sync(&self.generation().log)?;
            blobs.iter().for_each(StagedBlobs::complete);
            self.checkpoint_if_due(moment);
        }
        Ok(())
    }

    /// Takes a batch away again that does not count. That need not be durable: whoever opens the
    /// file cuts it off, and the next batch is written over it. False, and poisoned, where that
    /// fails.
    fn cut(&self, batch: &Batch) -> bool {
        let cut = batch.log().file.set_len(batch.start().number());
        batch.generation.forget_room(batch.start());
        if let Err(error) = cut {
            let error = self.poison_with("cut", error);
            tracing::error!(%error, "an unfinished transaction stays at the end of the file");
            return false;
        }
        true
    }
}

fn unknown(tid: Tid) -> CommitError {
    tracing::error!(%tid, "whether the transaction counts is unknown");
    CommitError::Unknown
}
