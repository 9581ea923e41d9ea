//! A pool of backends that serve the same site: who gets which request, and who waits.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use crate::backend::{Backend, BackendId, Health, Slots};
use crate::budget::RetryBudget;
use crate::queue::{Demand, Queue, Refusal, Ticket};

/// The rules of a pool.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Slots of a backend that has not announced its number of workers.
    pub slots: Slots,
    /// How many requests may wait; the next one is refused.
    pub waiting_max: usize,
    /// Good checks in a row that bring a fallen backend back.
    pub rise: u32,
    /// Failures in a row that take a backend out.
    pub fall: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots: Slots::new(4),
            waiting_max: 1024,
            rise: 2,
            fall: 3,
        }
    }
}

/// The right to send one request to one backend. It is a slot: give it back with
/// [`Pool::release`], whatever happened.
#[must_use = "a grant that is not released is a slot lost"]
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    backend: BackendId,
    address: SocketAddr,
}

impl Grant {
    /// The backend.
    pub fn backend(&self) -> BackendId {
        self.backend
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What a request is told when it asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Go ahead.
    Granted(Grant),
    /// Wait for [`Event::Granted`] or [`Event::Refused`] with this ticket.
    Queued(Ticket),
    /// No.
    Refused(Refusal),
}

/// How a grant was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered.
    Completed,
    /// It did not accept a connection: it is down until checks pass.
    ConnectFailed,
    /// The connection broke before the answer was complete: counts like a failed check.
    Broken,
    /// Nothing is known: the client left, or the backend took too long.
    Unknown,
}

/// What happened to somebody else because of the last call.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A waiter's turn.
    Granted(Ticket, Grant),
    /// A waiter waited in vain.
    Refused(Ticket, Refusal),
    /// A backend went up or down.
    HealthChanged(SocketAddr, Health),
}

/// Backends and the queue before them.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    backends: Vec<Backend>,
    queue: Queue,
    budget: RetryBudget,
    events: VecDeque<Event>,
    last_id: u64,
    /// Where the next search begins, so that equals take turns.
    cursor: usize,
}

enum Choice {
    Free(usize),
    Busy,
    Nobody(Refusal),
}

impl Pool {
    /// A pool without members.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            backends: Vec::new(),
            queue: Queue::default(),
            budget: RetryBudget::full(),
            events: VecDeque::new(),
            last_id: 0,
            cursor: 0,
        }
    }

    /// The members, those that drain included.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Makes `addresses` the members. New ones join and are tried after their first passed check
    /// (or when nobody better is there); the others drain and leave when their last request ends.
    pub fn set_members(&mut self, addresses: &[SocketAddr], now: Instant) {
        for backend in &mut self.backends {
            if !addresses.contains(&backend.address()) {
                backend.drain();
            }
        }
        self.remove_gone();
        for &address in addresses {
            let is_member = self
                .backends
                .iter()
                .any(|b| b.address() == address && !b.is_draining());
            if !is_member {
                self.last_id += 1;
                let id = BackendId(self.last_id);
                self.backends
                    .push(Backend::new(id, address, self.settings.slots));
            }
        }
        self.dispatch(now);
    }

    /// A request asks for a backend.
    pub fn admit(&mut self, demand: Demand, now: Instant) -> Admission {
        if demand.deadline <= now {
            return Admission::Refused(Refusal::DeadlinePassed);
        }
        if !demand.is_retry() {
            self.budget.deposit();
        } else if demand.was_sent && !self.budget.withdraw() {
            return Admission::Refused(Refusal::BudgetSpent);
        }
        match self.choose(&demand.tried) {
            Choice::Nobody(refusal) => Admission::Refused(refusal),
            // Whoever waits was first, also when the free slot is one that he may not use.
            Choice::Free(place) if self.queue.len() == 0 || demand.is_retry() => {
                Admission::Granted(self.grant(place))
            }
            Choice::Free(place) if self.nobody_waits_for(place) => {
                Admission::Granted(self.grant(place))
            }
            _ if self.queue.len() >= self.settings.waiting_max => {
                Admission::Refused(Refusal::QueueFull)
            }
            _ => Admission::Queued(self.queue.push(demand)),
        }
    }

    /// The waiter left. False if it does not wait (any more): then its grant or refusal is among
    /// the events, or was.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        self.queue.cancel(ticket)
    }

    /// A grant comes back.
    pub fn release(&mut self, grant: Grant, outcome: Outcome, now: Instant) {
        let Settings { rise, fall, .. } = self.settings;
        self.update(grant.backend, |backend| {
            backend.vacate();
            match outcome {
                Outcome::Completed => backend.answer(rise),
                Outcome::Unknown => {}
                Outcome::ConnectFailed => backend.eject(),
                Outcome::Broken => backend.fail(fall),
            }
        });
        self.remove_gone();
        self.dispatch(now);
    }

    /// A check passed; `workers` is what the backend said about itself.
    pub fn check_passed(&mut self, id: BackendId, workers: Option<u32>, now: Instant) {
        let rise = self.settings.rise;
        self.update(id, |backend| {
            backend.pass(rise);
            if let Some(workers) = workers {
                backend.set_slots(Slots::new(workers));
            }
        });
        self.dispatch(now);
    }

    /// A check failed.
    pub fn check_failed(&mut self, id: BackendId, now: Instant) {
        let fall = self.settings.fall;
        self.update(id, |backend| backend.fail(fall));
        self.dispatch(now);
    }

    /// Tells those whose time is over. Call when [`Pool::poll_timeout`] is reached.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.dispatch(now);
    }

    /// The earliest deadline of a waiter.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queue.next_deadline()
    }

    /// What else happened because of the calls so far. Drain it after each call.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn update(&mut self, id: BackendId, change: impl FnOnce(&mut Backend)) {
        let Some(backend) = self.backends.iter_mut().find(|b| b.id() == id) else {
            return;
        };
        let before = backend.health();
        change(backend);
        if backend.health() != before {
            self.events
                .push_back(Event::HealthChanged(backend.address(), backend.health()));
        }
    }

    fn remove_gone(&mut self) {
        self.backends.retain(|backend| !backend.is_gone());
    }

    fn grant(&mut self, place: usize) -> Grant {
        let backend = &mut self.backends[place];
        backend.occupy();
        self.cursor = place + 1;
        Grant {
            backend: backend.id(),
            address: backend.address(),
        }
    }

    /// The least loaded of the healthiest members that have not been tried. Members that are down
    /// are used when no better one is left, those that show signs of life first: if all seem to have failed at once, the fault is more
    /// likely in the checks, and refusing everybody helps nobody.
    fn choose(&self, tried: &[BackendId]) -> Choice {
        let eligible = |b: &&Backend| !b.is_draining() && !tried.contains(&b.id());
        let Some(best) = self
            .backends
            .iter()
            .filter(eligible)
            .map(Backend::health)
            .min()
        else {
            let refusal = if tried.is_empty() {
                Refusal::NoBackends
            } else {
                Refusal::Exhausted
            };
            return Choice::Nobody(refusal);
        };
        let count = self.backends.len();
        let mut chosen: Option<usize> = None;
        for place in (0..count).map(|step| (self.cursor + step) % count) {
            let backend = &self.backends[place];
            if !eligible(&backend) || backend.health() != best || !backend.has_free_slot() {
                continue;
            }
            if chosen.is_none_or(|c| backend.is_better_than(&self.backends[c])) {
                chosen = Some(place);
            }
        }
        chosen.map_or(Choice::Busy, Choice::Free)
    }

    /// Whether all waiters have tried this backend already: only then may one pass them.
    fn nobody_waits_for(&self, place: usize) -> bool {
        let id = self.backends[place].id();
        (0..self.queue.len())
            .filter_map(|waiter| self.queue.get(waiter))
            .all(|waiter| waiter.demand.tried.contains(&id))
    }

    /// Hands free slots to waiters, oldest first, and ends the waits that have no hope.
    fn dispatch(&mut self, now: Instant) {
        let mut place = 0;
        while let Some(waiter) = self.queue.get(place) {
            let choice = if waiter.demand.deadline <= now {
                Choice::Nobody(Refusal::DeadlinePassed)
            } else {
                self.choose(&waiter.demand.tried)
            };
            match choice {
                Choice::Free(backend) => {
                    let ticket = self.queue.take(place);
                    let grant = self.grant(backend);
                    self.events.push_back(Event::Granted(ticket, grant));
                }
                Choice::Nobody(refusal) => {
                    let ticket = self.queue.take(place);
                    self.events.push_back(Event::Refused(ticket, refusal));
                }
                Choice::Busy => place += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests;
