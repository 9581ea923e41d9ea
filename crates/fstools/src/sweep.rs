//! Looking at the records of a whole file, while another thread reads ahead.
//!
//! The file is read in one go. Records are gathered in batches, which a second thread takes; where
//! that falls behind, the reader helps. Most records are found to be in order, and nothing more is to
//! be said of them. The others come back in the order of the file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use filestorage::{References, SurveyedRecord};
use storage::Oid;

/// What a first quick look at a record tells.
pub(crate) type Glance<'a> = Result<(&'a [Oid], usize), String>;

/// The reader's side.
pub(crate) struct Sweep<'s> {
    is_odd: &'s (dyn Fn(&SurveyedRecord, Glance<'_>) -> bool + Sync),
    filling: Batch,
    batches: SyncSender<(u64, Batch)>,
    looked_at: Receiver<(u64, Batch)>,
    /// Batches that were handed out, and those whose result was taken.
    sent: u64,
    taken: u64,
    /// Results that came before an earlier one.
    early: BTreeMap<u64, Vec<SurveyedRecord>>,
    /// Batches to fill again.
    spare: Vec<Batch>,
    references: References,
}

/// Records, one after the other. Once they were looked at, only the odd ones are left.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    records: Vec<(SurveyedRecord, Range<usize>)>,
}

impl Batch {
    fn look(
        &mut self,
        references: &mut References,
        is_odd: &dyn Fn(&SurveyedRecord, Glance<'_>) -> bool,
    ) {
        let Self { bytes, records } = self;
        records.retain(|(record, place)| is_odd(record, references.read(&bytes[place.clone()])));
    }
}

/// Runs `read`, which shows records to a [`Sweep`]. Those for which `is_odd` is true come back.
pub(crate) fn sweep<T>(
    is_odd: &(dyn Fn(&SurveyedRecord, Glance<'_>) -> bool + Sync),
    read: impl FnOnce(&mut Sweep<'_>) -> T,
) -> T {
    let (batches, waiting) = sync_channel::<(u64, Batch)>(BATCHES_WAITING_MAX);
    let (done, looked_at) = sync_channel(BATCHES_LOOKED_AT_MAX);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut references = References::default();
            for (number, mut batch) in waiting {
                batch.look(&mut references, is_odd);
                if done.send((number, batch)).is_err() {
                    return;
                }
            }
        });
        // It is dropped when `read` is over: then the thread ends, and the scope waits for that.
        read(&mut Sweep {
            is_odd,
            filling: Batch::default(),
            batches,
            looked_at,
            sent: 0,
            taken: 0,
            early: BTreeMap::new(),
            spare: Vec::new(),
            references: References::default(),
        })
    })
}

impl Sweep<'_> {
    /// Takes a record and its data, which is empty where it has none of its own: no record is made of
    /// nothing, so that one comes back. Gives back the odd ones known so far.
    pub(crate) fn show(&mut self, record: SurveyedRecord, data: &[u8]) -> Vec<SurveyedRecord> {
        let start = self.filling.bytes.len();
        self.filling.bytes.extend_from_slice(data);
        let place = start..self.filling.bytes.len();
        self.filling.records.push((record, place));
        let is_full =
            self.filling.bytes.len() >= BATCH_BYTES || self.filling.records.len() >= BATCH_RECORDS;
        if is_full {
            self.hand_out();
            return self.collect();
        }
        Vec::new()
    }

    /// All odd records that were shown and did not come back yet.
    pub(crate) fn rest(&mut self) -> Vec<SurveyedRecord> {
        self.hand_out();
        let mut odd = self.collect();
        while self.taken < self.sent {
            let (number, batch) = self
                .looked_at
                .recv()
                .expect("the thread ends after its last batch");
            self.enter(number, batch);
            odd.extend(self.collect());
        }
        odd
    }

    fn hand_out(&mut self) {
        if self.filling.records.is_empty() {
            return;
        }
        let next = self.spare.pop().unwrap_or_default();
        let batch = std::mem::replace(&mut self.filling, next);
        let number = self.sent;
        self.sent += 1;
        // Results are taken before anything is handed out, so the other thread never waits for us
        // while we look at a batch ourselves for longer than that takes.
        match self.batches.try_send((number, batch)) {
            Ok(()) => {}
            Err(
                TrySendError::Full((number, mut batch))
                | TrySendError::Disconnected((number, mut batch)),
            ) => {
                batch.look(&mut self.references, self.is_odd);
                self.enter(number, batch);
            }
        }
    }

    /// The odd records of all batches that are next in order.
    fn collect(&mut self) -> Vec<SurveyedRecord> {
        while let Ok((number, batch)) = self.looked_at.try_recv() {
            self.enter(number, batch);
        }
        let mut odd = Vec::new();
        while let Some(records) = self.early.remove(&self.taken) {
            self.taken += 1;
            odd.extend(records);
        }
        odd
    }

    fn enter(&mut self, number: u64, mut batch: Batch) {
        let odd = batch.records.drain(..).map(|(record, _)| record).collect();
        self.early.insert(number, odd);
        batch.bytes.clear();
        // One long record must not keep its memory.
        batch.bytes.shrink_to(BATCH_BYTES * 2);
        if self.spare.len() < BATCHES_SPARE_MAX {
            self.spare.push(batch);
        }
    }
}

const BATCH_BYTES: usize = 256 << 10;
const BATCH_RECORDS: usize = 4096;
const BATCHES_WAITING_MAX: usize = 4;
const BATCHES_LOOKED_AT_MAX: usize = 64;
const BATCHES_SPARE_MAX: usize = 8;
