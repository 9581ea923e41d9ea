//! The client's cache, and the one place where what the server says is applied to it.
//!
//! A revision never changes, so its bytes need no invalidation; what changes is only whether it is
//! still current. An entry is therefore `(oid, start) -> record` with an end that is unknown while
//! the revision is current *as of* [`ClientCache::last_tid`].
//!
//! Replies and invalidations of a connection are applied by one thread in the order in which they
//! arrived; any number of threads look up meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use storage::{Changes, Oid, Record, Revision, Tid};

use crate::queue::InvalidationQueue;

/// Revisions known to a client, bounded in bytes.
pub struct ClientCache {
    shards: Vec<RwLock<Shard>>,
    last_tid: AtomicU64,
    /// Loads under way, and the transactions that changed their objects meanwhile.
    loading: Mutex<HashMap<Oid, Loading>>,
    /// What was applied, for those who ask what changed.
    changes: Mutex<InvalidationQueue>,
}

#[derive(Default)]
struct Loading {
    calls: usize,
    crossed_by: Vec<Tid>,
}

struct Shard {
    objects: HashMap<Oid, Vec<Entry>>,
    /// All entries in the order in which they came, for the clock that evicts.
    clock: VecDeque<(Oid, Tid)>,
    bytes: usize,
    bytes_max: usize,
}

struct Entry {
    start: Tid,
    end: Option<Tid>,
    record: Record,
    /// Whether it was looked up since the clock last came by.
    used: AtomicBool,
}

/// A load that was announced to the cache; give it back with [`ClientCache::finish_load`].
#[derive(Debug)]
#[must_use = "an announced load has to be finished"]
pub struct LoadTicket {
    oid: Oid,
}

/// What an entry takes beside its record: keys, end, counters, and room in the tables.
const ENTRY_BYTES: usize = 128;
const SHARDS: usize = 16;
/// How many transactions are remembered for those who ask what changed.
const CHANGES_MAX: usize = 10_000;

fn changes_from(tid: Tid) -> InvalidationQueue {
    InvalidationQueue::new(Vec::new(), tid, CHANGES_MAX)
}

impl ClientCache {
    /// A cache that holds `bytes_max` at most, what it needs for itself included.
    pub fn new(bytes_max: usize) -> Self {
        let shard = || {
            RwLock::new(Shard {
                objects: HashMap::new(),
                clock: VecDeque::new(),
                bytes: 0,
                bytes_max: bytes_max / SHARDS,
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            last_tid: AtomicU64::new(Tid::ZERO.number()),
            loading: Mutex::default(),
            changes: Mutex::new(changes_from(Tid::ZERO)),
        }
    }

    /// The newest transaction whose invalidations are applied.
    pub fn last_tid(&self) -> Tid {
        Tid::new(self.last_tid.load(Ordering::Acquire))
    }

    /// The revision that a snapshot just before `before` sees, if it is known.
    pub fn lookup(&self, oid: Oid, before: Tid) -> Option<Revision> {
        let shard = self.shard(oid).read();
        let entries = shard.objects.get(&oid)?;
        let entry = entries
            .iter()
            .find(|entry| entry.start < before && entry.end.is_none_or(|end| before <= end))?;
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(entry.revision())
    }

    /// Announces a load, before it is asked of the server: an invalidation that crosses it will be
    /// remembered.
    pub fn begin_load(&self, oid: Oid) -> LoadTicket {
        self.loading.lock().entry(oid).or_default().calls += 1;
        LoadTicket { oid }
    }

    /// Applies the reply to a load and returns it as it may be believed: one that calls a revision
    /// current although an invalidation has arrived since it was asked for is closed.
    pub fn finish_load(&self, ticket: LoadTicket, revision: Option<Revision>) -> Option<Revision> {
        let oid = ticket.oid;
        let crossed_by = self.retire(ticket);
        let mut revision = revision?;
        if revision.next.is_none() {
            let ended_by = crossed_by.into_iter().filter(|tid| *tid > revision.tid);
            revision.next = ended_by.min();
        }
        self.insert(oid, &revision);
        Some(revision)
    }

    /// Forgets an announced load that failed.
    pub fn abandon_load(&self, ticket: LoadTicket) {
        self.retire(ticket);
    }

    fn retire(&self, ticket: LoadTicket) -> Vec<Tid> {
        let mut loading = self.loading.lock();
        let Some(entry) = loading.get_mut(&ticket.oid) else {
            return Vec::new();
        };
        entry.calls -= 1;
        if entry.calls > 0 {
            return entry.crossed_by.clone();
        }
        loading
            .remove(&ticket.oid)
            .map_or_else(Vec::new, |entry| entry.crossed_by)
    }

    /// Applies a transaction of somebody else.
    pub fn invalidate(&self, tid: Tid, oids: Vec<Oid>) {
        self.close(tid, &oids);
        self.raise(tid, oids);
    }

    /// Applies a transaction of our own: what it stored is known without a load. `None` for an
    /// object that the server stored differently.
    pub fn committed(&self, tid: Tid, stored: Vec<(Oid, Option<Record>)>) {
        let oids = stored.iter().map(|(oid, _)| *oid).collect();
        for (oid, record) in stored {
            self.close(tid, &[oid]);
            if let Some(record) = record {
                let revision = Revision {
                    tid,
                    next: None,
                    record,
                };
                self.insert(oid, &revision);
            }
        }
        self.raise(tid, oids);
    }

    /// Brings the cache up to what the server says after a reconnect: these objects changed at
    /// some time up to `tid`.
    pub fn verify(&self, tid: Tid, changed: Vec<Oid>) {
        self.cross(tid, &changed);
        for &oid in &changed {
            self.shard(oid).write().drop_current(oid);
        }
        self.raise(tid, changed);
    }

    /// Drops everything and starts anew at `tid`, which may lie before what was known.
    pub fn restart(&self, tid: Tid) {
        for shard in &self.shards {
            shard.write().clear();
        }
        let mut changes = self.changes.lock();
        // Going back, the server lost what lies between: whoever has seen a transaction up to the
        // newest of those cannot be told what came after it in the history that is valid now. That
        // stays so however often the server changes, until ids lie above all that was lost.
        let last = self.last_tid();
        let lost = if tid < last { last.next() } else { tid };
        *changes = changes_from(lost.max(changes.complete_from()));
        drop(changes);
        self.last_tid.store(tid.number(), Ordering::Release);
    }

    /// The transactions applied after `tid`; `None` where that is too long ago. What was missed
    /// during a disconnection counts as one transaction.
    pub fn changes_since(&self, tid: Tid) -> Option<Vec<Changes>> {
        self.changes.lock().since(tid)
    }

    /// The transactions applied last, oldest first.
    pub fn recent_changes(&self, transactions_max: usize) -> Vec<Changes> {
        self.changes.lock().newest(transactions_max)
    }

    /// The revision that was written last, of all that are known.
    pub fn newest(&self) -> Option<(Oid, Revision)> {
        let newest = |shard: &RwLock<Shard>| shard.read().newest();
        let all = self.shards.iter().filter_map(newest);
        all.max_by_key(|(oid, revision)| (revision.tid, *oid))
    }

    /// How many bytes are in use.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().bytes).sum()
    }

    /// `last_tid` rises after everything it promises is applied.
    fn raise(&self, tid: Tid, oids: Vec<Oid>) {
        self.changes.lock().push(Changes { tid, oids });
        self.last_tid.fetch_max(tid.number(), Ordering::AcqRel);
    }

    fn close(&self, tid: Tid, oids: &[Oid]) {
        self.cross(tid, oids);
        for &oid in oids {
            self.shard(oid).write().close_current(oid, tid);
        }
    }

    fn cross(&self, tid: Tid, oids: &[Oid]) {
        let mut loading = self.loading.lock();
        if loading.is_empty() {
            return;
        }
        for oid in oids {
            if let Some(entry) = loading.get_mut(oid) {
                entry.crossed_by.push(tid);
            }
        }
    }

    fn insert(&self, oid: Oid, revision: &Revision) {
        self.shard(oid).write().insert(oid, revision);
    }

    fn shard(&self, oid: Oid) -> &RwLock<Shard> {
        // Neighbours spread evenly: object ids are counted up.
        let index = usize::try_from(oid.number() % (SHARDS as u64)).unwrap_or_default();
        &self.shards[index]
    }
}

impl Entry {
    fn revision(&self) -> Revision {
        Revision {
            tid: self.start,
            next: self.end,
            record: self.record.clone(),
        }
    }
}

impl Shard {
    fn insert(&mut self, oid: Oid, revision: &Revision) {
        let cost = cost(&revision.record);
        if cost > self.bytes_max {
            return;
        }
        let entries = self.objects.get_mut(&oid);
        let known = entries.and_then(|all| all.iter_mut().find(|at| at.start == revision.tid));
        if let Some(known) = known {
            // A revision ends once: an end that is known is never taken back.
            known.end = known.end.or(revision.next);
            return;
        }
        if revision.next.is_none() {
            // The server calls this one current, so any other has ended. When is not known: there
            // may have been one in between.
            let stale = |entry: &Entry| entry.end.is_none() && entry.start < revision.tid;
            if self.remove(oid, stale) {
                self.forget_removed();
            }
        }
        self.objects.entry(oid).or_default().push(Entry {
            start: revision.tid,
            end: revision.next,
            record: revision.record.clone(),
            used: AtomicBool::new(false),
        });
        self.clock.push_back((oid, revision.tid));
        self.bytes += cost;
        self.evict();
    }

    /// Second chance: the oldest entry goes, unless it was used since it was last considered.
    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((oid, start)) = self.clock.pop_front() else {
                break;
            };
            let entries = self.objects.get(&oid);
            let entry = entries.and_then(|all| all.iter().find(|entry| entry.start == start));
            match entry {
                Some(entry) if entry.used.swap(false, Ordering::Relaxed) => {
                    self.clock.push_back((oid, start));
                }
                _ => {
                    self.remove(oid, |entry| entry.start == start);
                }
            }
        }
    }

    /// Whether there was anything to remove.
    fn remove(&mut self, oid: Oid, which: impl Fn(&Entry) -> bool) -> bool {
        let Some(entries) = self.objects.get_mut(&oid) else {
            return false;
        };
        let mut freed = 0;
        entries.retain(|entry| {
            let goes = which(entry);
            freed += if goes { cost(&entry.record) } else { 0 };
            !goes
        });
        if entries.is_empty() {
            self.objects.remove(&oid);
        }
        self.bytes -= freed;
        freed > 0
    }

    fn newest(&self) -> Option<(Oid, Revision)> {
        let entries = |(oid, entries): (&Oid, &Vec<Entry>)| {
            let newest = entries.iter().max_by_key(|entry| entry.start)?;
            Some((*oid, newest.revision()))
        };
        let all = self.objects.iter().filter_map(entries);
        all.max_by_key(|(oid, revision)| (revision.tid, *oid))
    }

    fn close_current(&mut self, oid: Oid, tid: Tid) {
        let Some(entries) = self.objects.get_mut(&oid) else {
            return;
        };
        for entry in entries.iter_mut() {
            if entry.end.is_none() && entry.start < tid {
                entry.end = Some(tid);
            }
        }
    }

    fn drop_current(&mut self, oid: Oid) {
        if self.remove(oid, |entry| entry.end.is_none()) {
            self.forget_removed();
        }
    }

    /// Removed entries leave their place in the clock; it is swept before they outnumber the rest.
    fn forget_removed(&mut self) {
        if self.clock.len() < 64 || self.clock.len() / 2 < self.objects.len() {
            return;
        }
        let objects = &self.objects;
        self.clock.retain(|(oid, start)| {
            let entries = objects.get(oid);
            entries.is_some_and(|all| all.iter().any(|entry| entry.start == *start))
        });
    }

    fn clear(&mut self) {
        self.objects.clear();
        self.clock.clear();
        self.bytes = 0;
    }
}

fn cost(record: &Record) -> usize {
    record.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests;
