//! Random histories against a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::{Changes, CommitError, Oid, Record, StorageError, Tid};

use super::{World, meta};

/// Many random transactions, some of them stale, some aborted; after them the storage shows at
/// every transaction id exactly what a plain list of revisions shows.
pub fn random_histories_agree_with_a_model(world: &World) {
    let model = Model::run(world, 20);
    let transactions = model.transactions.len();
    assert!(
        transactions > TRANSACTIONS / 4,
        "most of the history was committed"
    );
    assert!(model.conflicts > 0, "some changes are stale");
    model.compare(world);
}

/// The revisions of each object, oldest first, and the transactions.
#[derive(Clone, Debug, Default)]
pub struct Model {
    revisions: BTreeMap<Oid, Vec<(Tid, Vec<u8>)>>,
    transactions: Vec<Changes>,
    conflicts: usize,
}

fn step(world: &World, model: &mut Model, rng: &mut fastrand::Rng) {
    let mut changes: BTreeMap<Oid, (Tid, Vec<u8>)> = BTreeMap::new();
    let mut stale = false;
    for _ in 0..rng.usize(1..4) {
        let oid = Oid::new(rng.u64(..OBJECTS));
        let mut base = model.current(oid);
        if base > Tid::ZERO && rng.u8(..8) == 0 {
            base = Tid::new(base.number() - 1);
        }
        let mut record: Vec<u8> = (0..rng.usize(1..600)).map(|_| rng.u8(..)).collect();
        if record.starts_with(COMPRESSED) {
            record[0] = b'-';
        }
        changes.insert(oid, (base, record));
    }
    for (oid, (base, _)) in &changes {
        stale |= *base != model.current(*oid);
    }
    let mut commit = Arc::clone(&world.storage)
        .begin(meta("model", "step"))
        .unwrap();
    for (oid, (base, record)) in &changes {
        commit
            .store(*oid, *base, Record::from(&record[..]))
            .unwrap();
    }
    match commit.vote() {
        Err(CommitError::Conflict(_)) => {
            assert!(stale, "a conflict without a stale base");
            model.conflicts += 1;
        }
        Err(error) => panic!("{error}"),
        Ok(voted) => {
            assert!(!stale, "a stale base was accepted");
            if rng.u8(..6) > 0 {
                let tid = voted.finish(Box::new(|_| {})).unwrap();
                model.take(tid, changes);
            }
        }
    }
}

impl Model {
    /// Makes the history of that seed in an empty storage.
    pub fn run(world: &World, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model = Self::default();
        for _ in 0..TRANSACTIONS {
            step(world, &mut model, &mut rng);
        }
        model
    }

    fn current(&self, oid: Oid) -> Tid {
        let last = self
            .revisions
            .get(&oid)
            .and_then(|revisions| revisions.last());
        last.map_or(Tid::ZERO, |revision| revision.0)
    }

    fn take(&mut self, tid: Tid, changes: BTreeMap<Oid, (Tid, Vec<u8>)>) {
        let oids = changes.keys().copied().collect();
        self.transactions.push(Changes { tid, oids });
        for (oid, (_, record)) in changes {
            self.revisions.entry(oid).or_default().push((tid, record));
        }
    }

    /// Asks the storage for every object at every transaction, and for the transactions; it may
    /// have been closed and opened since.
    pub fn compare(&self, world: &World) {
        let storage = &world.storage;
        let tids = self.transactions.iter().map(|changes| changes.tid);
        let snapshots: Vec<Tid> = tids
            .flat_map(|tid| [tid, tid.next()])
            .chain([Tid::ZERO, Tid::MAX])
            .collect();
        for oid in (0..OBJECTS).map(Oid::new) {
            for &before in &snapshots {
                let seen = match storage.load_before(oid, before) {
                    Err(StorageError::NotFound { .. }) => {
                        assert!(!self.revisions.contains_key(&oid), "{oid} is lost");
                        continue;
                    }
                    seen => seen.unwrap(),
                };
                let revisions = &self.revisions[&oid];
                let after = revisions.partition_point(|(tid, _)| *tid < before);
                let next = revisions.get(after).map(|(tid, _)| *tid);
                let expected = after.checked_sub(1).map(|at| &revisions[at]);
                let expected = expected.map(|(tid, record)| (*tid, next, &record[..]));
                let seen = seen
                    .as_ref()
                    .map(|seen| (seen.tid, seen.next, &*seen.record));
                assert_eq!(seen, expected, "{oid} before {before}");
            }
        }
        let count = self.transactions.len();
        assert_eq!(storage.recent_changes(count).unwrap(), self.transactions);
        assert_eq!(storage.stats().objects, self.revisions.len() as u64);
    }
}

/// What compressed records begin with. A storage may take it for that whoever wrote it, and pickles do
/// not begin so.
const COMPRESSED: &[u8] = b".z";
const TRANSACTIONS: usize = 120;
const OBJECTS: u64 = 12;
