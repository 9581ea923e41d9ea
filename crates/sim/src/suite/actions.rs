//! Random histories with everything that a transaction can do, in two storages side by side.

use std::sync::Arc;

use storage::{
    CommitError, MemoryStorage, Oid, OverlayOptions, OverlayStorage, Record, Storage, StorageError,
    Tid,
};

use super::iteration::iterated;
use super::{World, meta};

/// Stores, deletions, undos, stale ones among them, alone and several in one transaction: what the
/// storage in memory refuses is refused, what it does is done.
pub fn random_actions_have_the_effect_that_they_have_in_memory(world: &World) {
    let mut ours = Actor::new(Arc::clone(&world.storage));
    let mut model = Actor::new(Arc::new(MemoryStorage::new()));
    let mut refused = 0;
    for step in 0..STEPS {
        let [mut one, mut other] = [0, 1].map(|_| fastrand::Rng::with_seed(step));
        let wanted = model.act(&mut one);
        let found = ours.act(&mut other);
        assert_eq!(found, wanted, "step {step}");
        refused += u64::from(found.is_err());
    }
    assert!((STEPS / 10..STEPS * 2 / 3).contains(&refused), "{refused}");
    ours.agrees_with(&model);
}

/// What is committed over a base shows as if it had been committed to the base, wherever a history is
/// cut in two. The base and the changes are empty storages.
pub fn an_overlay_shows_base_and_changes_as_one(base: &World, changes: &World) {
    let mut below = Actor::new(Arc::clone(&base.storage));
    let mut model = Actor::new(Arc::new(MemoryStorage::new()));
    let random = |step| [0, 1].map(|_| fastrand::Rng::with_seed(step));
    for step in 0..STEPS / 2 {
        let [mut one, mut other] = random(step);
        assert_eq!(below.act(&mut one), model.act(&mut other), "step {step}");
    }
    let before = below.shown();
    let over = |changes: &World| {
        let (base, changes) = (Arc::clone(&base.storage), Arc::clone(&changes.storage));
        OverlayStorage::new(base, changes, OverlayOptions::default()).unwrap()
    };
    let mut above = Actor::new(over(changes));
    above.tids.clone_from(&below.tids);
    // What is in the base cannot be undone.
    let fixed = below.tids.len();
    (above.fixed, model.fixed) = (fixed, fixed);
    for step in STEPS / 2..STEPS {
        let [mut one, mut other] = random(step);
        assert_eq!(above.act(&mut one), model.act(&mut other), "step {step}");
    }
    assert_eq!(above.storage.last_tid(), *above.tids.last().unwrap());
    above.agrees_with(&model);
    assert_eq!(above.storage.stats().objects, model.storage.stats().objects);
    assert!(below.shown() == before, "the base is as it was");
    // Another one over the same base finds the same changes.
    above.storage = over(changes);
    above.agrees_with(&model);
    assert_eq!(above.storage.stats().objects, model.storage.stats().objects);
}

/// Does what a generator of random numbers says. Transactions are spoken of by their places, as
/// storages give them different ids.
pub(crate) struct Actor {
    pub(crate) storage: Arc<dyn Storage>,
    tids: Vec<Tid>,
    /// So many transactions, the first ones, are not undone.
    fixed: usize,
}

impl Actor {
    pub(crate) const OBJECTS: u64 = 5;

    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            tids: Vec::new(),
            fixed: 0,
        }
    }

    /// Tries one transaction, and says what became of it.
    pub(crate) fn act(&mut self, rng: &mut fastrand::Rng) -> Result<(), String> {
        let tid = self.attempt(rng).map_err(|error| self.kind(&error))?;
        self.tids.push(tid);
        Ok(())
    }

    fn attempt(&self, rng: &mut fastrand::Rng) -> Result<Tid, CommitError> {
        let storage = Arc::clone(&self.storage);
        let mut commit = storage.begin(meta("actor", &self.tids.len().to_string()))?;
        for _ in 0..[1, 1, 1, 2, 3][rng.usize(..5)] {
            let oid = Oid::new(rng.u64(..Self::OBJECTS));
            let base = self.base(oid, rng.u8(..8) == 0);
            match rng.u8(..10) {
                0..5 => {
                    // Few texts: many states come back by chance.
                    let text = vec![b'a' + rng.u8(..2); [1, 400][rng.usize(..2)]];
                    commit.store(oid, base, Record::from(text))?;
                }
                5 => commit.delete(oid, base)?,
                6 => commit.check_current(oid, base)?,
                _ => {
                    let back = rng.usize(..4);
                    let tid = self.tids[self.fixed..].iter().rev().nth(back);
                    commit.undo(tid.copied().unwrap_or(Tid::ZERO))?;
                }
            }
        }
        commit.vote()?.finish(Box::new(|_| {}))
    }

    /// The last transaction that touched the object, or, stale, the one before that in the storage.
    fn base(&self, oid: Oid, is_stale: bool) -> Tid {
        let history = self.storage.iterate().unwrap().history(oid, 1);
        let current = match history {
            Ok(history) => history[0].tid,
            Err(StorageError::NotFound { .. }) => return Tid::ZERO,
            Err(error) => panic!("{error}"),
        };
        let place = self.place(current);
        match place.checked_sub(usize::from(is_stale)) {
            Some(place) => self.tids[place],
            None => Tid::ZERO,
        }
    }

    fn place(&self, tid: Tid) -> usize {
        self.tids.binary_search(&tid).unwrap_or(usize::MAX)
    }

    fn kind(&self, error: &CommitError) -> String {
        match error {
            CommitError::Conflict(conflicts) => {
                // A storage far away is told of the first one only.
                let first = conflicts[0];
                format!(
                    "conflict of {} with {}",
                    first.oid,
                    self.place(first.committed)
                )
            }
            CommitError::ReadConflict(conflict) => format!("read conflict of {}", conflict.oid),
            CommitError::NotUndoable { .. } => "not undoable".to_owned(),
            CommitError::Undo(_) => "obstacles".to_owned(),
            CommitError::Storage(StorageError::NotFound { oid }) => format!("{oid} is missing"),
            error => panic!("{error}"),
        }
    }

    fn agrees_with(&self, model: &Self) {
        let (shown, wanted) = (self.shown(), model.shown());
        for (shown, wanted) in shown.iter().zip(&wanted) {
            assert_eq!(shown, wanted);
        }
        assert_eq!(shown.len(), wanted.len());
    }

    /// All transactions with their records, and what is current.
    fn shown(&self) -> Vec<String> {
        let iterate = self.storage.iterate().unwrap();
        let transactions = iterated(iterate, Tid::ZERO, Tid::MAX);
        let mut shown = Vec::new();
        for (tid, is_packed, meta, mut records) in transactions {
            // A storage far away is told of the last store of an object in the place of the first.
            records.sort_by_key(|record| record.oid);
            let meta = String::from_utf8_lossy(&meta.description).into_owned();
            shown.push(format!("{} {meta} {is_packed}", self.place(tid)));
            for (place, record) in records.iter().enumerate() {
                if records[place + 1..]
                    .iter()
                    .any(|later| later.oid == record.oid)
                {
                    continue;
                }
                // An overlay cannot refer to the data of its base.
                let from = record.data_tid.map(|tid| self.place(tid));
                let from = from.filter(|place| *place >= self.fixed);
                let text = record.data.as_ref().map(|data| (data[0], data.len()));
                shown.push(format!("{} {text:?} {from:?}", record.oid));
            }
        }
        for oid in (0..Self::OBJECTS).map(Oid::new) {
            for before in self.tids.iter().copied().chain([Tid::MAX]) {
                let found = match self.storage.load_before(oid, before) {
                    Err(StorageError::NotFound { .. }) => "missing".to_owned(),
                    found => format!(
                        "{:?}",
                        found.unwrap().map(|found| (
                            self.place(found.tid),
                            found.next.map(|next| self.place(next)),
                            found.record[0],
                            found.record.len()
                        ))
                    ),
                };
                shown.push(format!("{oid} before {}: {found}", self.place(before)));
            }
        }
        shown
    }
}

const STEPS: u64 = 300;
