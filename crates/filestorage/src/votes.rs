//! Transactions between their vote and their end, for a pack to see.
//!
//! They are not in the file, and may stay so while a pack puts another file in its place. What they
//! refer to must be there when they are finished.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use storage::{Oid, StorageError};

use crate::format::Offset;
use crate::generation::Generation;
use crate::plan::{PlannedBody, PlannedRecord};

/// Who has voted.
#[derive(Default)]
pub(crate) struct Votes {
    /// Held for reading from the moment when a vote takes the generation until it is entered here. So
    /// whoever holds it for writing knows of every vote that was made over the generation there is.
    gate: RwLock<()>,
    entered: Mutex<Entered>,
}

#[derive(Default)]
struct Entered {
    last: u64,
    votes: BTreeMap<u64, Arc<Vote>>,
}

/// What a transaction will write.
pub(crate) struct Vote {
    /// Where its back pointers lead, if there are any.
    generation: Option<Arc<Generation>>,
    records: Vec<PlannedRecord>,
}

/// As long as this lives, the vote is there to be seen.
pub(crate) struct VoteEntry {
    votes: Arc<Votes>,
    number: u64,
}

impl Votes {
    /// For a vote: nothing takes the place of the file before it is entered.
    pub(crate) fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read()
    }

    /// For the switch of a pack: nobody votes meanwhile. Waits for those who are about to.
    pub(crate) fn halt(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write()
    }

    /// Enters a vote. The caller has passed the gate.
    pub(crate) fn enter(
        self: &Arc<Self>,
        generation: &Arc<Generation>,
        records: &[PlannedRecord],
    ) -> VoteEntry {
        let has_pointers = records.iter().any(PlannedRecord::is_pointer);
        let vote = Vote {
            generation: has_pointers.then(|| Arc::clone(generation)),
            records: records.to_vec(),
        };
        let mut entered = self.entered();
        entered.last += 1;
        let number = entered.last;
        entered.votes.insert(number, Arc::new(vote));
        VoteEntry {
            votes: Arc::clone(self),
            number,
        }
    }

    /// All that are entered now.
    pub(crate) fn all(&self) -> Vec<Arc<Vote>> {
        self.entered().votes.values().cloned().collect()
    }

    fn entered(&self) -> MutexGuard<'_, Entered> {
        self.entered.lock()
    }
}

impl Vote {
    /// Shows the data of each record, wherever they are. The path is that of the storage.
    ///
    /// # Errors
    /// Those of `visit`, and of reading what a back pointer leads to.
    pub(crate) fn each_record<E: From<StorageError>>(
        &self,
        path: &Path,
        mut visit: impl FnMut(Oid, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut data = Vec::new();
        for PlannedRecord { oid, body } in &self.records {
            match (body, &self.generation) {
                (PlannedBody::Data(record), _) => {
                    let record = record.load();
                    let failed =
                        |error| StorageError::io(path, "read the spilled records of", error);
                    visit(*oid, &record.map_err(failed)?)?;
                }
                (PlannedBody::BackPointer(target), Some(generation)) if *target != Offset::NONE => {
                    let log = &generation.log;
                    let (_, exists) = log.data_into(*target, *oid, generation.end(), &mut data)?;
                    if exists {
                        visit(*oid, &data)?;
                    }
                }
                (PlannedBody::BackPointer(_), _) => {}
            }
        }
        Ok(())
    }
}

impl Drop for VoteEntry {
    fn drop(&mut self) {
        self.votes.entered().votes.remove(&self.number);
    }
}
