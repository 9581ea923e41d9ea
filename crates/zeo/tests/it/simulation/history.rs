//! What really happened: a storage that writes down every transaction as it is published, and lets
//! others publish theirs in the middle of a load.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use storage::{
    Changes, Commit, CommitError, Iterate, Oid, Pack, Publish, Record, Revision, Settled, Storage,
    StorageError, StorageStats, Tid, TransactionMeta, Undo, Voted, Work,
};
use zeo::Job;

/// All revisions that were ever published. Nothing where the object ceased to exist.
#[derive(Default)]
pub(super) struct History {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    objects: BTreeMap<Oid, BTreeMap<Tid, Option<Record>>>,
    transactions: BTreeMap<Tid, Contents>,
    /// Those that a server lacked that took over.
    lost: BTreeSet<Tid>,
    faults: Vec<String>,
}

/// What one transaction stored.
pub(super) type Contents = BTreeMap<Oid, Option<Record>>;

impl History {
    /// Notes that a promise was broken.
    pub(super) fn fault(&self, what: String) {
        self.known.lock().unwrap().faults.push(what);
    }

    pub(super) fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fault(what());
        }
    }

    pub(super) fn first_fault(&self) -> Option<String> {
        self.known.lock().unwrap().faults.first().cloned()
    }

    pub(super) fn last(&self) -> Tid {
        let known = self.known.lock().unwrap();
        let last = known.transactions.last_key_value();
        last.map_or(Tid::ZERO, |(tid, _)| *tid)
    }

    /// Some transaction, counted from the newest.
    pub(super) fn recent(&self, back: usize) -> Tid {
        let known = self.known.lock().unwrap();
        let tid = known.transactions.keys().rev().nth(back);
        tid.copied().unwrap_or(Tid::ZERO)
    }

    /// The revision that a snapshot sees, and the end of it.
    pub(super) fn before(
        &self,
        oid: Oid,
        before: Tid,
    ) -> Option<(Tid, Option<Record>, Option<Tid>)> {
        let known = self.known.lock().unwrap();
        let revisions = known.objects.get(&oid)?;
        let (tid, record) = revisions.range(..before).next_back()?;
        let next = revisions.range(before..).next().map(|(next, _)| *next);
        Some((*tid, record.clone(), next))
    }

    /// What was changed after one transaction, up to another one, and still exists.
    pub(super) fn changed(&self, since: Tid, until: Tid) -> BTreeSet<Oid> {
        let known = self.known.lock().unwrap();
        let exists = |oid: &Oid| known.objects[oid].values().next_back().unwrap().is_some();
        let transactions = known.transactions.range(since.next()..until.next());
        let all = transactions.flat_map(|(_, contents)| contents.keys().copied());
        all.filter(exists).collect()
    }

    /// The transactions between these two, both left out.
    pub(super) fn between(&self, first: Tid, last: Tid) -> Vec<Tid> {
        let known = self.known.lock().unwrap();
        let found = known.transactions.keys().copied();
        found.filter(|tid| *tid > first && *tid < last).collect()
    }

    pub(super) fn contents(&self, tid: Tid) -> Option<Contents> {
        self.known.lock().unwrap().transactions.get(&tid).cloned()
    }

    pub(super) fn enter(&self, tid: Tid, contents: Contents) {
        let mut known = self.known.lock().unwrap();
        for (oid, record) in &contents {
            let revisions = known.objects.entry(*oid).or_default();
            revisions.insert(tid, record.clone());
        }
        known.transactions.insert(tid, contents);
    }

    /// A server takes over that has no more than this.
    pub(super) fn forget_after(&self, kept: Tid) {
        let mut known = self.known.lock().unwrap();
        for revisions in known.objects.values_mut() {
            revisions.retain(|tid, _| *tid <= kept);
        }
        let lost = known.transactions.split_off(&kept.next());
        known.lost.extend(lost.into_keys());
    }

    pub(super) fn has_losses(&self) -> bool {
        !self.known.lock().unwrap().lost.is_empty()
    }

    pub(super) fn is_lost(&self, tid: Tid) -> bool {
        self.known.lock().unwrap().lost.contains(&tid)
    }

    /// A storage that was opened again: what is new there was not acknowledged, and what was
    /// published must be there.
    pub(super) fn reopen(&self, storage: &dyn Storage) {
        let last = self.last();
        self.check(storage.last_tid() >= last, || {
            format!("{last} was published and is lost: {}", storage.last_tid())
        });
        let changes = storage.changes_since(last, usize::MAX).unwrap();
        for Changes { tid, oids } in changes.unwrap() {
            let content = |oid| (oid, current(storage, oid, tid.next()));
            self.enter(tid, oids.into_iter().map(content).collect());
        }
    }
}

fn current(storage: &dyn Storage, oid: Oid, before: Tid) -> Option<Record> {
    match storage.load_before(oid, before) {
        Ok(found) => found.map(|revision| revision.record),
        Err(StorageError::NotFound { .. }) => None,
        Err(error) => panic!("{oid}: {error}"),
    }
}

/// Orders to finish that nobody has carried out yet, and when one comes in between.
pub(super) struct Finishes {
    pub(super) waiting: Mutex<VecDeque<Job>>,
    random: Mutex<fastrand::Rng>,
}

impl Finishes {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            waiting: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    pub(super) fn run_one(&self) -> bool {
        let job = self.waiting.lock().unwrap().pop_front();
        let was_there = job.is_some();
        job.into_iter().for_each(Job::run);
        was_there
    }

    fn maybe_run_one(&self) {
        if self.random.lock().unwrap().u8(..4) == 0 {
            self.run_one();
        }
    }
}

/// A storage whose transactions are written down.
pub(super) struct Witnessed {
    pub(super) inner: Arc<dyn Storage>,
    pub(super) history: Arc<History>,
    pub(super) finishes: Arc<Finishes>,
}

impl Storage for Witnessed {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn last_tid(&self) -> Tid {
        self.inner.last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        self.finishes.maybe_run_one();
        let found = self.inner.load_before(oid, before);
        self.finishes.maybe_run_one();
        found
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        self.inner.new_oids(count)
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        let inner = self.inner.clone().begin(meta)?;
        Ok(Box::new(Witness {
            inner,
            storage: self,
            stores: Vec::new(),
            relies: Vec::new(),
        }))
    }

    fn votes_side_by_side(&self) -> bool {
        self.inner.votes_side_by_side()
    }

    fn stats(&self) -> StorageStats {
        self.inner.stats()
    }

    fn changes_since(&self, tid: Tid, max: usize) -> Result<Option<Vec<Changes>>, StorageError> {
        self.finishes.maybe_run_one();
        self.inner.changes_since(tid, max)
    }

    fn recent_changes(&self, max: usize) -> Result<Vec<Changes>, StorageError> {
        self.inner.recent_changes(max)
    }

    fn iterate(&self) -> Option<&dyn Iterate> {
        self.inner.iterate()
    }

    fn undo(&self) -> Option<&dyn Undo> {
        self.inner.undo()
    }

    fn packer(&self) -> Option<&dyn Pack> {
        self.inner.packer()
    }
}

struct Witness {
    inner: Box<dyn Commit>,
    storage: Arc<Witnessed>,
    stores: Vec<(Oid, Tid, Record)>,
    relies: Vec<(Oid, Tid)>,
}

impl Commit for Witness {
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError> {
        self.stores.push((oid, base, record.clone()));
        self.inner.store(oid, base, record)
    }

    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError> {
        self.relies.push((oid, base));
        self.inner.check_current(oid, base)
    }

    fn undo(&mut self, tid: Tid) -> Result<(), StorageError> {
        self.inner.undo(tid)
    }

    fn vote(self: Box<Self>) -> Result<Box<dyn Voted>, CommitError> {
        let inner = self.inner.vote()?;
        let sight = Sight {
            oids: inner.resolved().to_vec(),
            storage: self.storage,
            stores: self.stores,
            relies: self.relies,
        };
        Ok(Box::new(WitnessVoted { inner, sight }))
    }
}

struct WitnessVoted {
    inner: Box<dyn Voted>,
    sight: Sight,
}

/// What is compared with the history when the transaction is published.
struct Sight {
    storage: Arc<Witnessed>,
    stores: Vec<(Oid, Tid, Record)>,
    relies: Vec<(Oid, Tid)>,
    /// What the storage found out by itself.
    oids: Vec<Oid>,
}

impl Sight {
    fn publishing(self, publish: Publish) -> Publish {
        Box::new(move |tid| {
            self.enter(tid);
            publish(tid);
        })
    }

    fn enter(self, tid: Tid) {
        let history = &self.storage.history;
        let last = history.last();
        history.check(tid > last, || format!("{tid} is published after {last}"));
        let bases = self.stores.iter().map(|(oid, base, _)| (*oid, *base));
        for (oid, base) in bases.chain(self.relies) {
            let found = history.before(oid, Tid::MAX);
            let is_gone = found.as_ref().is_none_or(|(_, record, _)| record.is_none());
            let current = found.map_or(Tid::ZERO, |(tid, ..)| tid);
            // An object that is gone may be made anew; one that a pack took away, from any base, as
            // with the original.
            history.check(is_gone || base == current, || {
                format!("{tid} is made of {oid} as of {base}, which {current} has changed")
            });
        }
        let inner = &*self.storage.inner;
        let resolved = self.oids.into_iter();
        let mut contents: Contents = resolved
            .map(|oid| (oid, current(inner, oid, Tid::MAX)))
            .collect();
        for (oid, _, record) in self.stores {
            contents.insert(oid, Some(record));
        }
        history.enter(tid, contents);
    }
}

impl Voted for WitnessVoted {
    fn resolved(&self) -> &[Oid] {
        self.inner.resolved()
    }

    fn finish(self: Box<Self>, publish: Publish) -> Result<Tid, CommitError> {
        self.inner.finish(self.sight.publishing(publish))
    }

    fn submit(self: Box<Self>, publish: Publish, settled: Settled) -> Option<Work> {
        self.inner.submit(self.sight.publishing(publish), settled)
    }
}
