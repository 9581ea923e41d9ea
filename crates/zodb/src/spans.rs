//! Which revision of an object a snapshot sees, remembered so that a warm load asks no storage.
//!
//! The cache of objects is keyed by revision. This table says, for an object, which revision was
//! the newest when somebody asked, and for which snapshots that answer holds. Entries are hints:
//! losing one costs a question to the storage, never a wrong answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use storage::{Changes, Oid, Revision, Tid};

/// The newest known revision of each object, and how long it lasts.
///
/// Taking in changes raises `announced`, then closes the entries that the changes touch, then
/// raises `applied`. An answer that was on its way meanwhile is compared with `announced` under the
/// shard's lock, so it is never noted as lasting; a snapshot is compared with `applied`, so it
/// never trusts an entry that is still to be closed.
pub(crate) struct Spans {
    shards: Box<[RwLock<HashMap<Oid, Span>>]>,
    announced: AtomicU64,
    applied: AtomicU64,
    shard_entries_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    tid: Tid,
    end: End,
}

/// Until when a revision is seen. Every snapshot is named by its `before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Snapshots up to this one see it; the transaction itself replaced it.
    Replaced(Tid),
    /// Current as far as the applied changes go, and kept so by [`Spans::apply`].
    Current,
    /// At least the snapshot before this one sees it; nothing is known of later ones.
    AtLeast(Tid),
}

impl Spans {
    pub(crate) fn new(applied: Tid, entries_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            announced: AtomicU64::new(applied.number()),
            applied: AtomicU64::new(applied.number()),
            shard_entries_max: (entries_max / SHARDS).max(1),
        }
    }

    /// The transaction up to which changes were taken in.
    pub(crate) fn applied(&self) -> Tid {
        Tid::new(self.applied.load(Ordering::Acquire))
    }

    /// The revision of `oid` that a snapshot sees, where it is known.
    pub(crate) fn find(&self, oid: Oid, before: Tid) -> Option<Tid> {
        let shard = self.shard(oid).read();
        let span = *shard.get(&oid)?;
        let last = match span.end {
            End::Replaced(next) => next,
            End::AtLeast(known) => known,
            End::Current => self.applied().next(),
        };
        (span.tid < before && before <= last).then_some(span.tid)
    }

    /// Remembers a storage's answer to `load_before(oid, before)`.
    pub(crate) fn note(&self, oid: Oid, before: Tid, revision: &Revision) {
        let mut shard = self.shard(oid).write();
        let announced = Tid::new(self.announced.load(Ordering::Acquire));
        if before > announced.next() {
            // The snapshot is of a time that the storage has lost.
            return;
        }
        let end = match revision.next {
            Some(next) => End::Replaced(next),
            // Changes after the snapshot may have been taken in while the answer was on its way.
            None if announced < before => End::Current,
            None => End::AtLeast(before),
        };
        let fresh = Span {
            tid: revision.tid,
            end,
        };
        if shard.len() >= self.shard_entries_max && !shard.contains_key(&oid) {
            shard.clear();
        }
        match shard.entry(oid) {
            Entry::Vacant(entry) => {
                entry.insert(fresh);
            }
            Entry::Occupied(mut entry) => {
                let known = *entry.get();
                if known.tid < fresh.tid || (known.tid == fresh.tid && fresh.says_more(known)) {
                    entry.insert(fresh);
                }
            }
        }
    }

    /// Takes in all transactions after `applied` up to `newest`, or forgets everything where they
    /// are not known. Callers take turns.
    pub(crate) fn apply(&self, newest: Tid, changes: Option<&[Changes]>) {
        self.announced.store(newest.number(), Ordering::Release);
        match changes {
            Some(changes) => self.close(changes),
            None => self.clear(),
        }
        self.applied.store(newest.number(), Ordering::Release);
    }

    /// Begins anew at `newest`, which lies before what was applied: the storage lost the rest.
    /// Callers take turns.
    pub(crate) fn restart(&self, newest: Tid) {
        // In this order, no thread sees an old entry behind the new `applied`, nor notes a late
        // answer as lasting.
        self.announced.store(newest.number(), Ordering::Release);
        self.clear();
        self.applied.store(newest.number(), Ordering::Release);
    }

    fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.write().clear());
    }

    /// A change may have happened at any time after what was applied before: a storage that was
    /// out of reach tells of all that it missed as if it were one transaction.
    fn close(&self, changes: &[Changes]) {
        let known = self.applied().next();
        for Changes { tid, oids } in changes {
            for &oid in oids {
                if let Some(span) = self.shard(oid).write().get_mut(&oid)
                    && span.tid < *tid
                    && span.end == End::Current
                {
                    span.end = End::AtLeast(known);
                }
            }
        }
    }

    fn shard(&self, oid: Oid) -> &RwLock<HashMap<Oid, Span>> {
        // Neighbouring ids are loaded together: spread them.
        let index = oid.number() % SHARDS as u64;
        &self.shards[usize::try_from(index).unwrap_or_default()]
    }
}

impl Span {
    /// Of two spans of one revision, whether this one serves more snapshots.
    fn says_more(self, known: Self) -> bool {
        match (known.end, self.end) {
            (End::Replaced(_), _) | (End::Current, End::AtLeast(_) | End::Current) => false,
            (End::AtLeast(old), End::AtLeast(new)) => old < new,
            (_, End::Replaced(_)) | (End::AtLeast(_), End::Current) => true,
        }
    }
}

const SHARDS: usize = 64;
