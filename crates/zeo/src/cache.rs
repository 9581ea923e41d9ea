//! The client's cache, and the one place where what the server says is applied to it.
//!
//! A revision never changes, so its bytes need no invalidation; what changes is only whether it is
//! still current. An entry is therefore `(oid, start) -> record` with an end that is unknown while
//! the revision is current *as of* [`ClientCache::last_tid`].
//!
//! Replies and invalidations of a connection are applied by one thread in the order in which they
//! arrived; any number of threads look up meanwhile.
//!
//! The second tier, on disk, holds bytes and a journal of what was applied (see `disk`). Which revision
//! is current is known here alone, for both tiers.

mod disk;
mod journal;
mod shard;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use storage::{Changes, Oid, Record, Revision, StorageError, Tid};
use vfs::Disk;

pub use self::disk::DiskCacheOptions;
use self::disk::DiskTier;
use self::journal::Event;
use self::shard::{Known, Shard};
use crate::queue::InvalidationQueue;

/// Revisions known to a client, bounded in bytes.
pub struct ClientCache {
    shards: Vec<RwLock<Shard>>,
    last_tid: AtomicU64,
    /// Loads under way, and the transactions that changed their objects meanwhile.
    loading: Mutex<HashMap<Oid, Loading>>,
    /// What was applied, for those who ask what changed.
    changes: Mutex<InvalidationQueue>,
    disk: Option<DiskTier>,
}

#[derive(Default)]
struct Loading {
    calls: usize,
    crossed_by: Vec<Tid>,
}

/// A load that was announced to the cache; give it back with [`ClientCache::finish_load`].
#[derive(Debug)]
#[must_use = "an announced load has to be finished"]
pub struct LoadTicket {
    oid: Oid,
}

const SHARDS: usize = 16;
/// How many transactions are remembered for those who ask what changed.
const CHANGES_MAX: usize = 10_000;

fn changes_from(tid: Tid) -> InvalidationQueue {
    InvalidationQueue::new(Vec::new(), tid, CHANGES_MAX)
}

impl ClientCache {
    /// A cache that holds `bytes_max` at most, what it needs for itself included.
    pub fn new(bytes_max: usize) -> Self {
        let shard = || RwLock::new(Shard::new(bytes_max / SHARDS));
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            last_tid: AtomicU64::new(Tid::ZERO.number()),
            loading: Mutex::default(),
            changes: Mutex::new(changes_from(Tid::ZERO)),
            disk: None,
        }
    }

    /// A cache that goes on where one with the same directory ended, in whatever way it did: what is in
    /// it is valid as of [`ClientCache::last_tid`].
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has the directory, [`StorageError::Io`] when it
    /// cannot be used. Whatever is damaged in it is but missing.
    pub fn open(
        bytes_max: usize,
        disk: Arc<dyn Disk>,
        options: &DiskCacheOptions,
    ) -> Result<Self, StorageError> {
        let (tier, events) = DiskTier::open(disk, options)?;
        let mut cache = Self::new(bytes_max);
        let mut last_tid = Tid::ZERO;
        for event in events {
            cache.replay(event, &mut last_tid, &tier);
        }
        cache.last_tid.store(last_tid.number(), Ordering::Release);
        *cache.changes.lock() = changes_from(last_tid);
        cache.disk = Some(tier);
        cache.compact();
        Ok(cache)
    }

    /// Brings what the disk is to know to the disk, as far as a crash of this process is concerned.
    pub fn flush(&self) {
        if let Some(disk) = &self.disk {
            disk.flush();
        }
    }

    fn replay(&self, event: Event, last_tid: &mut Tid, tier: &DiskTier) {
        match event {
            Event::Put {
                oid,
                start,
                end,
                place,
            } => {
                let place = Some(place).filter(|place| tier.has(*place));
                self.shard(oid).write().put(oid, start, end, None, place);
            }
            Event::Closed { tid, oids } => {
                for oid in oids {
                    self.shard(oid).write().close_current(oid, tid);
                }
            }
            Event::Dropped(oids) => {
                for oid in oids {
                    self.shard(oid).write().drop_current(oid);
                }
            }
            Event::Raised(tid) => *last_tid = tid.max(*last_tid),
            Event::Restarted(tid) => {
                for shard in &self.shards {
                    shard.write().clear();
                }
                *last_tid = tid;
            }
        }
    }

    /// Writes the journal anew, when it has grown too long. Only the thread that applies does that.
    fn compact(&self) {
        let Some(disk) = &self.disk else {
            return;
        };
        let mut events = vec![Event::Restarted(self.last_tid())];
        for shard in &self.shards {
            shard.read().describe(&mut events);
        }
        disk.rewrite(&events);
    }

    fn note(&self, event: impl FnOnce() -> Event) {
        let Some(disk) = &self.disk else {
            return;
        };
        if disk.note(&event()) {
            self.compact();
        }
    }

    /// The newest transaction whose invalidations are applied.
    pub fn last_tid(&self) -> Tid {
        Tid::new(self.last_tid.load(Ordering::Acquire))
    }

    /// The revision that a snapshot just before `before` sees, if it is known.
    pub fn lookup(&self, oid: Oid, before: Tid) -> Option<Revision> {
        let known = self.shard(oid).read().find(oid, before)?;
        self.complete(oid, known)
    }

    /// The revision with its bytes, wherever they are.
    fn complete(&self, oid: Oid, known: Known) -> Option<Revision> {
        let Known {
            start,
            end,
            record,
            place,
        } = known;
        let (disk, place) = match (record, &self.disk, place) {
            (Some(record), ..) => return Some(revision(start, end, record)),
            (None, Some(disk), Some(place)) => (disk, place),
            _ => return None,
        };
        let record = disk.read(oid, start, place);
        // Which end it has by now, the entry knows.
        let mut shard = self.shard(oid).write();
        match &record {
            Some(record) => shard.refill(oid, start, record),
            None => shard.misplace(oid, start, place),
        }
        Some(revision(start, end, record?))
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
        self.note(|| Event::Dropped(changed.clone()));
        self.raise(tid, changed);
    }

    /// Drops everything and starts anew at `tid`, which may lie before what was known.
    pub fn restart(&self, tid: Tid) {
        for shard in &self.shards {
            shard.write().clear();
        }
        if let Some(disk) = &self.disk {
            disk.clear();
        }
        self.note(|| Event::Restarted(tid));
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

    /// The revision that was written last, of all whose bytes are known.
    pub fn newest(&self) -> Option<(Oid, Revision)> {
        loop {
            let all = self.shards.iter().filter_map(|shard| shard.read().newest());
            let (oid, known) = all.max_by_key(|(oid, known)| (known.start, *oid))?;
            // One whose bytes are lost is out of the cache then.
            if let Some(revision) = self.complete(oid, known) {
                return Some((oid, revision));
            }
        }
    }

    /// How many bytes are in use.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().bytes).sum()
    }

    /// `last_tid` rises after everything it promises is applied.
    fn raise(&self, tid: Tid, oids: Vec<Oid>) {
        self.changes.lock().push(Changes { tid, oids });
        self.last_tid.fetch_max(tid.number(), Ordering::AcqRel);
        self.note(|| Event::Raised(tid));
    }

    fn close(&self, tid: Tid, oids: &[Oid]) {
        self.cross(tid, oids);
        for &oid in oids {
            self.shard(oid).write().close_current(oid, tid);
        }
        self.note(|| Event::Closed {
            tid,
            oids: oids.to_vec(),
        });
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
        let (start, end) = (revision.tid, revision.next);
        let known = self.shard(oid).read().place(oid, start);
        let place = match (&self.disk, known) {
            (Some(_), Some(place)) => Some(place),
            (Some(disk), None) => disk.write(oid, start, &revision.record),
            (None, _) => None,
        };
        let record = Some(revision.record.clone());
        let mut shard = self.shard(oid).write();
        let end = shard.put(oid, start, end, record, place);
        drop(shard);
        if let Some(place) = place {
            self.note(|| Event::Put {
                oid,
                start,
                end,
                place,
            });
        }
    }

    fn shard(&self, oid: Oid) -> &RwLock<Shard> {
        // Neighbours spread evenly: object ids are counted up.
        let index = usize::try_from(oid.number() % (SHARDS as u64)).unwrap_or_default();
        &self.shards[index]
    }
}

fn revision(tid: Tid, next: Option<Tid>, record: Record) -> Revision {
    Revision { tid, next, record }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod warm_tests;
