//! Who writes, and when: group commit without a thread of its own.
//!
//! A transaction that is to be finished joins a queue. Where nobody leads, its thread does: it takes
//! what is queued as a batch and writes it, round after round (see [`crate::batch`]), until its own
//! transaction is settled. Then it hands the lead to a thread that still waits, so that nobody works
//! for others as long as one of them could; with nothing left to do there is no lead.
//!
//! Behind a transaction there need not be a thread: who [submits](FileStorage::submit) one is called
//! when it is settled, and only where nobody leads a thread is asked for, which leads until nothing
//! is left.
//!
//! A [pause](Writer::pause) lets the batch on its way come to its end and keeps the next one from
//! beginning: whoever leads rests. Votes go on meanwhile.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};
use storage::{CommitError, Publish, Settled, Tid, Work};

use crate::batch::Batch;
use crate::file_storage::{FileStorage, closed};
use crate::ready::Ready;

/// The queue of those who want to be written, and the lead.
#[derive(Default)]
pub(crate) struct Writer {
    state: Mutex<State>,
    /// Told when nobody leads, when the leader rests, and when a pause ends.
    idle: Condvar,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    /// The batch that is on the disk, and does not count yet, between two rounds of who leads.
    in_flight: Option<Batch>,
    leading: bool,
    /// Who leads waits for the end of a pause.
    resting: bool,
    paused: bool,
}

/// A transaction in the queue.
pub(crate) struct Queued {
    pub(crate) ready: Ready,
    pub(crate) publish: Publish,
    pub(crate) seat: Arc<Seat>,
}

/// Where the outcome of a transaction is waited for.
pub(crate) enum Seat {
    /// By a thread, which may be told to lead.
    Thread(Letterbox),
    /// By somebody who is called.
    Called(Mutex<Option<Settled>>),
}

/// What the thread that finishes a transaction waits for.
#[derive(Default)]
pub(crate) struct Letterbox {
    mail: Mutex<Option<Mail>>,
    has_mail: Condvar,
}

enum Mail {
    /// Its turn to lead.
    Lead,
    /// Its transaction is settled.
    Settled(Result<Tid, CommitError>),
    /// Its transaction is finished, and to publish it made a panic, which is its own business.
    Panicked(Box<dyn Any + Send>),
}

impl Seat {
    /// Tells the owner what became of the transaction. The first word counts.
    pub(crate) fn settle(&self, outcome: Result<Tid, CommitError>) {
        match self {
            Self::Thread(letterbox) => letterbox.send(Mail::Settled(outcome)),
            Self::Called(settled) => {
                let Some(settled) = settled.lock().take() else {
                    return;
                };
                if catch_unwind(AssertUnwindSafe(|| settled(outcome))).is_err() {
                    tracing::error!("a panic in telling the outcome of a transaction");
                }
            }
        }
    }

    /// The transaction is finished, but to publish it made a panic.
    pub(crate) fn panicked(&self, tid: Tid, payload: Box<dyn Any + Send>) {
        match self {
            Self::Thread(letterbox) => letterbox.send(Mail::Panicked(payload)),
            Self::Called(_) => self.settle(Ok(tid)),
        }
    }

    /// Has its thread lead, if it has one.
    fn lead(&self) -> bool {
        let Self::Thread(letterbox) = self else {
            return false;
        };
        letterbox.send(Mail::Lead);
        true
    }
}

impl Letterbox {
    fn send(&self, sent: Mail) {
        self.mail.lock().get_or_insert(sent);
        self.has_mail.notify_one();
    }

    fn has_mail(&self) -> bool {
        self.mail.lock().is_some()
    }

    fn wait(&self) -> Mail {
        let mut mail = self.mail.lock();
        loop {
            match mail.take() {
                Some(received) => return received,
                None => self.has_mail.wait(&mut mail),
            }
        }
    }
}

impl Writer {
    /// Refuses what is not queued yet, and waits until the rest is settled. Whether it was closed
    /// before.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state.lock();
        let closed_before = self.closed.swap(true, Ordering::Relaxed);
        while state.leading || state.paused || !state.queue.is_empty() {
            self.idle.wait(&mut state);
        }
        closed_before
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Keeps everybody from writing into the file until the pause is dropped. Waits for the batch
    /// on its way, and for other pauses.
    pub(crate) fn pause(&self) -> Pause<'_> {
        let mut state = self.state.lock();
        while state.paused {
            self.idle.wait(&mut state);
        }
        state.paused = true;
        while state.leading && !state.resting {
            self.idle.wait(&mut state);
        }
        assert!(state.in_flight.is_none(), "who leads lands the batch");
        Pause { writer: self }
    }

    /// How many transactions wait to be written.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.state.lock().queue.len()
    }
}

/// As long as this lives, nothing is written into the file by commits.
pub(crate) struct Pause<'a> {
    writer: &'a Writer,
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        let mut state = self.writer.state.lock();
        assert!(state.in_flight.is_none(), "nobody writes during a pause");
        state.paused = false;
        self.writer.idle.notify_all();
    }
}

impl State {
    /// Whether the lead is taken over by a thread whose transaction is not settled.
    fn pass_lead_on(&self) -> bool {
        let in_flight = self.in_flight.iter().flat_map(Batch::seats);
        let queued = self.queue.iter().map(|queued| &queued.seat);
        in_flight.chain(queued).any(|seat| seat.lead())
    }

    /// The next batch: as many of the queue as go together, at least one if there is one. Whoever
    /// brings an id of its own goes alone, so that the ids of a batch follow each other.
    fn take_batch(&mut self) -> Vec<Queued> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.queue.front().filter(|_| !self.paused) {
            let alone = next.ready.brings_tid();
            bytes += next.ready.length();
            let fits = batch.len() < BATCH_TRANSACTIONS_MAX && bytes <= BATCH_BYTES_MAX && !alone;
            if !fits && !batch.is_empty() {
                break;
            }
            batch.extend(self.queue.pop_front());
            if alone {
                break;
            }
        }
        batch
    }
}

impl FileStorage {
    /// Writes a transaction that has voted, together with others, and waits until it is settled.
    pub(crate) fn finish(&self, ready: Ready, publish: Publish) -> Result<Tid, CommitError> {
        let seat = Arc::new(Seat::Thread(Letterbox::default()));
        let Seat::Thread(letterbox) = &*seat else {
            unreachable!("it was just made");
        };
        if self.queue(ready, publish, &seat)? {
            self.lead(Some(letterbox));
        }
        loop {
            match letterbox.wait() {
                Mail::Lead => self.lead(Some(letterbox)),
                Mail::Settled(outcome) => return outcome,
                Mail::Panicked(payload) => resume_unwind(payload),
            }
        }
    }

    /// Has a transaction written that has voted. Where nobody leads, to lead is the work that comes back.
    pub(crate) fn submit(
        self: &Arc<Self>,
        ready: Ready,
        publish: Publish,
        settled: Settled,
    ) -> Option<Work> {
        let seat = Arc::new(Seat::Called(Mutex::new(Some(settled))));
        match self.queue(ready, publish, &seat) {
            Ok(false) => None,
            Ok(true) => {
                let storage = Arc::clone(self);
                Some(Work::new(move || storage.lead(None)))
            }
            Err(error) => {
                seat.settle(Err(error));
                None
            }
        }
    }

    /// Whether the caller leads from now on.
    fn queue(&self, ready: Ready, publish: Publish, seat: &Arc<Seat>) -> Result<bool, CommitError> {
        let mut state = self.writer.state.lock();
        if self.writer.is_closed() {
            return Err(closed().into());
        }
        state.queue.push_back(Queued {
            ready,
            publish,
            seat: Arc::clone(seat),
        });
        Ok(!std::mem::replace(&mut state.leading, true))
    }

    /// Writes batches until the own transaction is settled and another thread leads, or nothing is
    /// left to be done.
    fn lead(&self, own: Option<&Letterbox>) {
        let writer = &self.writer;
        let mut landing = None;
        loop {
            let queued = {
                let mut state = writer.state.lock();
                if let Some(batch) = landing.take() {
                    state.in_flight = Some(batch);
                }
                if own.is_some_and(Letterbox::has_mail) && state.pass_lead_on() {
                    return;
                }
                while state.paused && state.in_flight.is_none() && !state.queue.is_empty() {
                    state.resting = true;
                    writer.idle.notify_all();
                    writer.idle.wait(&mut state);
                }
                state.resting = false;
                landing = state.in_flight.take();
                let queued = state.take_batch();
                if landing.is_none() && queued.is_empty() {
                    state.leading = false;
                    writer.idle.notify_all();
                    return;
                }
                queued
            };
            landing = self.guarded_round(landing, queued);
        }
    }

    /// A round whose panic leaves nobody waiting for ever.
    fn guarded_round(&self, in_flight: Option<Batch>, queued: Vec<Queued>) -> Option<Batch> {
        let mut seats: Vec<_> = queued
            .iter()
            .map(|queued| Arc::clone(&queued.seat))
            .collect();
        seats.extend(in_flight.iter().flat_map(Batch::seats).cloned());
        let round = AssertUnwindSafe(|| self.round(in_flight, queued));
        match catch_unwind(round) {
            Ok(in_flight) => in_flight,
            Err(_) => {
                // The panic itself was reported by the hook. What it left half done is unknown.
                self.poison("a panic while a batch was written");
                for seat in seats {
                    seat.settle(Err(CommitError::Unknown));
                }
                None
            }
        }
    }
}

/// How many bytes a batch has at most, unless it is a single transaction.
pub(crate) const BATCH_BYTES_MAX: u64 = 16 << 20;
/// How many transactions a batch has at most.
const BATCH_TRANSACTIONS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
