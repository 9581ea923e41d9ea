//! Those who wait for a slot: by classes, first in, first out, each with a deadline.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use crate::BackendId;

/// What a request asks of the pool.
#[derive(Clone, Debug)]
pub struct Demand {
    /// When waiting has no more use.
    pub deadline: Instant,
    /// Where the request has failed already. A request that comes back from a failure has waited
    /// its turn once, so it goes to the front.
    pub tried: Vec<BackendId>,
    /// Whether an earlier attempt may have made a backend work. Only then does the next one cost
    /// the retry budget: asking on after a refused connection loads nobody.
    pub was_sent: bool,
    /// Who waits in a lower class goes first.
    pub class: u8,
    /// What requests have in common that shall go to the same member, for [`Method::Hash`] and
    /// [`Method::Affinity`](crate::Method::Affinity): see [`key_of`](crate::key_of).
    ///
    /// [`Method::Hash`]: crate::Method::Hash
    pub key: Option<u64>,
    /// The member that has the session of this request. Where that is down or gone another one gets it.
    pub session: Option<SocketAddr>,
    /// The transaction whose changes have to be seen: only a member that has
    /// [reached](crate::Report::reached) it gets the request. 0: none.
    pub needs: u64,
    /// Whether a failure does no harm, so that it may be tried at a member that may be well again.
    pub may_probe: bool,
}

impl Demand {
    /// A request that has not been tried anywhere yet.
    pub fn first(deadline: Instant) -> Self {
        Self {
            deadline,
            tried: Vec::new(),
            was_sent: false,
            class: Self::USUAL_CLASS,
            key: None,
            session: None,
            needs: 0,
            may_probe: false,
        }
    }

    /// The class of a request of which nothing else is said.
    pub const USUAL_CLASS: u8 = 100;

    pub(crate) fn is_retry(&self) -> bool {
        !self.tried.is_empty()
    }
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

/// Why a request gets no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The pool has no members.
    #[error("the pool has no members")]
    NoBackends,
    /// It failed at every member that there is.
    #[error("every member has been tried")]
    Exhausted,
    /// Too many retries for the number of requests.
    #[error("the retry budget is spent")]
    BudgetSpent,
    /// Too many wait already.
    #[error("the queue is full")]
    QueueFull,
    /// No slot became free in time.
    #[error("no slot became free before the deadline")]
    DeadlinePassed,
}

pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    pub(crate) demand: Demand,
}

/// The queue of a pool. Places are few (bounded by `waiting_max`), so finding one is a scan.
#[derive(Default)]
pub(crate) struct Queue {
    waiters: VecDeque<Waiter>,
    last_ticket: u64,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn push(&mut self, demand: Demand) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        // Who comes back from a failure has waited its turn once.
        let class = demand.class;
        let place = match demand.is_retry() {
            true => self.waiters.partition_point(|w| w.demand.class < class),
            false => self.waiters.partition_point(|w| w.demand.class <= class),
        };
        self.waiters.insert(place, Waiter { ticket, demand });
        ticket
    }

    pub(crate) fn get(&self, place: usize) -> Option<&Waiter> {
        self.waiters.get(place)
    }

    pub(crate) fn take(&mut self, place: usize) -> Ticket {
        let waiter = self
            .waiters
            .remove(place)
            .expect("the place was just looked at");
        waiter.ticket
    }

    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let Some(place) = self
            .waiters
            .iter()
            .position(|waiter| waiter.ticket == ticket)
        else {
            return false;
        };
        self.waiters.remove(place);
        true
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiters
            .iter()
            .map(|waiter| waiter.demand.deadline)
            .min()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({} waiting)", self.waiters.len())
    }
}
