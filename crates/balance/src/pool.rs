//! A pool of backends that serve the same site: who gets which request, and who waits.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::backend::{Backend, BackendId, Health, Slots};
use crate::budget::RetryBudget;
use crate::member::{Member, Report};
use crate::members::{Choice, Members};
use crate::method::Method;
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
    /// How to choose among members that are equally well.
    pub method: Method,
    /// How long a backend that came (back) while others were up has less than its part.
    pub slow_start: Duration,
    /// Where fewer of a hundred members are up, those that at least accept connections count as up: if so many seem
    /// to have failed at once, the fault is more likely in the checks, and the others could not
    /// carry the load.
    pub panic_percent: u32,
    /// How long a backend that went down gets no request; then one is tried. Doubles each time that fails,
    /// up to a minute.
    pub probe_pause: Duration,
    /// What random choices begin with. Balancers beside each other should not have the same.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots: Slots::new(4),
            waiting_max: 1024,
            rise: 2,
            fall: 3,
            method: Method::default(),
            slow_start: Duration::from_secs(10),
            panic_percent: 50,
            probe_pause: Duration::from_secs(1),
            seed: 0,
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
    members: Members,
    queue: Queue,
    budget: RetryBudget,
    events: VecDeque<Event>,
    last_id: u64,
}

impl Pool {
    /// A pool without members.
    pub fn new(settings: Settings) -> Self {
        Self {
            members: Members::new(&settings),
            settings,
            queue: Queue::default(),
            budget: RetryBudget::full(),
            events: VecDeque::new(),
            last_id: 0,
        }
    }

    /// The members, those that drain included.
    pub fn backends(&self) -> &[Backend] {
        &self.members.list
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Makes `members` the members. New ones join and are tried after their first passed check
    /// (or when nobody better is there); the others drain and leave when their last request ends.
    /// One that is named again while it drains stays, with its requests and what is known of it.
    pub fn set_members(&mut self, members: &[Member], now: Instant) {
        for backend in &mut self.members.list {
            let member = members.iter().find(|m| m.address == backend.address());
            match member {
                Some(member) => backend.adopt(member),
                None => backend.drain(),
            }
        }
        self.remove_gone();
        for member in members {
            if !self
                .members
                .list
                .iter()
                .any(|b| b.address() == member.address)
            {
                self.last_id += 1;
                let id = BackendId(self.last_id);
                let backend = Backend::new(id, member, self.settings.slots);
                self.members.list.push(backend);
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
        // Whoever waits was first, also for what only time has made free.
        self.serve(now);
        match self.members.choose(&demand, now) {
            Choice::Nobody(refusal) => Admission::Refused(refusal),
            Choice::Free(place) => Admission::Granted(self.grant(place)),
            Choice::Busy if self.queue.len() >= self.settings.waiting_max => {
                Admission::Refused(Refusal::QueueFull)
            }
            Choice::Busy => Admission::Queued(self.queue.push(demand)),
        }
    }

    /// Where a user is to be sent whose request does not pass through here. The backend has that request
    /// too, until it [says](Report::busy) how many it has; none waits for a slot.
    pub fn recommend(&mut self, demand: &Demand, now: Instant) -> Option<SocketAddr> {
        let Choice::Free(place) = self.members.choose(demand, now) else {
            return None;
        };
        let backend = &mut self.members.list[place];
        backend.recommend();
        Some(backend.address())
    }

    /// Those among `which` members that new users may be given to, where what they have to do is not known: in the DNS, or
    /// in the kernel. All that are up in the first tier that has any; where none is up, all that there are.
    pub fn best(&self, which: impl Fn(&Backend) -> bool) -> Vec<&Backend> {
        self.members.best(which)
    }

    /// The waiter left. False if it does not wait (any more): then its grant or refusal is among
    /// the events, or was.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        self.queue.cancel(ticket)
    }

    /// A grant comes back.
    pub fn release(&mut self, grant: Grant, outcome: Outcome, now: Instant) {
        let Settings { rise, fall, .. } = self.settings;
        let pause = self.settings.probe_pause;
        self.update(grant.backend, now, |backend| {
            backend.vacate();
            match outcome {
                Outcome::Completed => backend.answer(rise),
                Outcome::Unknown => {}
                Outcome::ConnectFailed => backend.eject(pause, now),
                Outcome::Broken => backend.fail(fall, pause, now),
            }
        });
    }

    /// A check passed; `report` is what the backend said about itself.
    pub fn check_passed(&mut self, id: BackendId, report: &Report, now: Instant) {
        let rise = self.settings.rise;
        self.update(id, now, |backend| {
            backend.hear(report);
            backend.pass(rise);
        });
    }

    /// A check failed: the backend is not well, or did not answer in time.
    pub fn check_failed(&mut self, id: BackendId, now: Instant) {
        let Settings {
            fall, probe_pause, ..
        } = self.settings;
        self.update(id, now, |backend| backend.fail(fall, probe_pause, now));
    }

    /// A check failed that did not even get a connection.
    pub fn check_refused(&mut self, id: BackendId, now: Instant) {
        let Settings {
            fall, probe_pause, ..
        } = self.settings;
        self.update(id, now, |backend| {
            backend.refuse();
            backend.fail(fall, probe_pause, now);
        });
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

    fn update(&mut self, id: BackendId, now: Instant, change: impl FnOnce(&mut Backend)) {
        let Some(place) = self.members.list.iter().position(|b| b.id() == id) else {
            return;
        };
        let slow_start = self.settings.slow_start;
        let mut others = self.members.list.iter().filter(|b| b.id() != id);
        let others_carry = others.any(|b| b.is_up_for(slow_start, now));
        let backend = &mut self.members.list[place];
        let before = backend.health();
        change(backend);
        let health = backend.health();
        if health != before {
            if health == Health::Up {
                backend.begin(others_carry, now);
            }
            let event = Event::HealthChanged(backend.address(), health);
            self.events.push_back(event);
        }
        self.remove_gone();
        if health == before {
            self.serve(now);
        } else {
            self.dispatch(now);
        }
    }

    fn remove_gone(&mut self) {
        self.members.list.retain(|backend| !backend.is_gone());
    }

    fn grant(&mut self, place: usize) -> Grant {
        let backend = &mut self.members.list[place];
        backend.occupy();
        Grant {
            backend: backend.id(),
            address: backend.address(),
        }
    }

    /// Hands free slots to waiters, oldest first, as long as there are free ones.
    fn serve(&mut self, now: Instant) {
        let mut place = 0;
        while place < self.queue.len() && self.members.list.iter().any(Backend::has_free_slot) {
            place += usize::from(!self.serve_one(place, now));
        }
    }

    /// The same, and ends all waits that have no hope.
    fn dispatch(&mut self, now: Instant) {
        let mut place = 0;
        while place < self.queue.len() {
            place += usize::from(!self.serve_one(place, now));
        }
    }

    /// False if the waiter goes on waiting.
    fn serve_one(&mut self, place: usize, now: Instant) -> bool {
        let Some(waiter) = self.queue.get(place) else {
            return false;
        };
        let choice = match waiter.demand.deadline <= now {
            true => Choice::Nobody(Refusal::DeadlinePassed),
            false => self.members.choose(&waiter.demand, now),
        };
        let event = match choice {
            Choice::Busy => return false,
            Choice::Free(backend) => Event::Granted(self.queue.take(place), self.grant(backend)),
            Choice::Nobody(refusal) => Event::Refused(self.queue.take(place), refusal),
        };
        self.events.push_back(event);
        true
    }
}

#[cfg(test)]
mod tests;
