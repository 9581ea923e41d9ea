//! What a server tells of itself to those who watch over it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use storage::{PackProgress, Spans, StorageStats, Tid};

use super::caller::{ClientFigures, Traffic};
use super::calls::MethodFigures;
use super::hub::Hub;
use super::served::Served;
use crate::Encoding;

/// A server as it is now. Counts are since its start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubFigures {
    /// Its storages, in the order they were given.
    pub storages: Vec<StorageFigures>,
    /// The connections there are.
    pub clients: Vec<ClientFigures>,
    /// Connections that were taken on, by encoding: those that have spoken.
    pub connections: [(Encoding, u64); 2],
    /// What went over all connections.
    pub traffic: Traffic,
}

/// One storage of a server. Counts are since the server's start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StorageFigures {
    /// The name that clients ask for.
    pub name: String,
    /// Calls by method.
    pub methods: Vec<MethodFigures>,
    /// How long votes waited for others who wanted the same objects.
    pub lock_waits: Spans,
    /// How long votes, and reads that may take long, waited for a thread.
    pub queue_waits: Spans,
    /// How long transactions had their objects, from the vote to the end.
    pub turns: Spans,
    /// Registered connections.
    pub connections: u64,
    /// Transactions that were begun and not ended.
    pub active: u64,
    /// Votes that wait for their turn.
    pub waiting: u64,
    /// How long the oldest transaction has had its turn that has one.
    pub held: Option<Duration>,
    /// Transactions that were finished.
    pub commits: u64,
    /// Transactions that their clients gave up, or that ended with the connection.
    pub aborts: u64,
    /// Transactions that took too long.
    pub timeouts: u64,
    /// Votes that were answered with conflicts, or refused because of one.
    pub conflicts: u64,
    /// Objects whose conflicts were merged here.
    pub resolved: u64,
    /// Invalidations that were sent: one to each client for each transaction of another.
    pub invalidations: u64,
    /// Objects in these transactions.
    pub invalidated: u64,
    /// How clients that returned were brought up to date.
    pub verifications: Verifications,
    /// Packs.
    pub packs: PackFigures,
    /// What the storage says of its size.
    pub size: StorageStats,
    /// The newest transaction.
    pub last_tid: Tid,
}

/// How clients that returned with a cache were brought up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verifications {
    /// From the transactions in memory.
    pub from_queue: u64,
    /// From the storage.
    pub from_storage: u64,
    /// Not at all: they had to drop their caches.
    pub dropped: u64,
}

/// The packs of a storage that clients asked for.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PackFigures {
    /// How long the one has taken that is under way.
    pub running: Option<Duration>,
    /// How far it is.
    pub progress: Option<PackProgress>,
    /// How many came to their end.
    pub done: u64,
    /// How many failed.
    pub failed: u64,
    /// How long the last one took.
    pub last: Option<Duration>,
    /// How long ago it ended.
    pub ended: Option<Duration>,
}

impl Hub {
    /// What it is doing, and has done.
    pub fn figures(&self) -> HubFigures {
        let (callers, traffic) = self.callers();
        HubFigures {
            storages: self
                .storages()
                .iter()
                .map(|served| served.figures())
                .collect(),
            clients: callers.iter().map(|caller| caller.figures()).collect(),
            connections: self.connection_counts(),
            traffic,
        }
    }
}

impl Served {
    fn figures(&self) -> StorageFigures {
        let counters = &self.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let now = self.now();
        let (waiting, held, turns, lock_waits) = {
            let turns = self.turns();
            let held = turns.oldest().zip(now);
            let held = held.map(|(since, now)| now.saturating_duration_since(since));
            let waits = turns.lock_waits();
            (turns.waiting() as u64, held, turns.held(), waits)
        };
        StorageFigures {
            name: self.name.clone(),
            methods: self.calls.figures(),
            lock_waits,
            queue_waits: self.queue_waits.spans(),
            turns,
            connections: self.connections() as u64,
            active: read(&counters.active_transactions),
            waiting,
            held,
            commits: read(&counters.commits),
            aborts: read(&counters.aborts),
            timeouts: read(&counters.timeouts),
            conflicts: read(&counters.conflicts),
            resolved: read(&counters.resolved),
            invalidations: read(&counters.invalidations),
            invalidated: read(&counters.invalidated),
            verifications: Verifications {
                from_queue: read(&counters.verified_from_queue),
                from_storage: read(&counters.verified_from_storage),
                dropped: read(&counters.not_verified),
            },
            packs: self.packs.figures(now),
            size: self.storage.stats(),
            last_tid: self.head(),
        }
    }
}
