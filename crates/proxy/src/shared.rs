//! What all threads share: the pool, and those who wait for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use balance::{
    Admission, Backend, BackendId, Demand, Event, Grant, Health, Outcome, Pool, Refusal, Report,
    Settings, Slots, Ticket, Weight,
};
use health::{CheckFailure, Rules, Subject, members_to_check, note};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout_at;
use tracing::info;

use crate::options::Options;

pub(crate) struct Shared {
    pub(crate) options: Options,
    state: Mutex<State>,
    check_rules: Rules,
    /// Wakes the checks when members changed.
    members_changed: Notify,
}

struct State {
    pool: Pool,
    waiters: BTreeMap<Ticket, oneshot::Sender<Turn>>,
}

type Turn = Result<Lease, Refusal>;

impl Shared {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        let mut pool = Pool::new(Settings {
            slots: Slots::new(options.slots),
            waiting_max: options.waiting_max,
            rise: options.rise,
            fall: options.fall,
            method: options.method,
            slow_start: options.slow_start,
            seed: fastrand::u64(..),
            ..Settings::default()
        });
        pool.set_members(&options.members, now());
        let state = Mutex::new(State {
            pool,
            waiters: BTreeMap::new(),
        });
        Arc::new(Self {
            check_rules: options.check_rules(),
            options,
            state,
            members_changed: Notify::new(),
        })
    }

    /// Waits for a slot. Dropping the future leaves the queue.
    pub(crate) async fn admit(self: &Arc<Self>, demand: Demand) -> Turn {
        let deadline = demand.deadline;
        let (place, turn) = {
            let mut state = self.lock();
            match state.pool.admit(demand, now()) {
                Admission::Granted(grant) => return Ok(Lease::new(self, grant)),
                Admission::Refused(refusal) => return Err(refusal),
                Admission::Queued(ticket) => {
                    let (sender, turn) = oneshot::channel();
                    state.waiters.insert(ticket, sender);
                    (
                        Place {
                            shared: self,
                            ticket,
                        },
                        turn,
                    )
                }
            }
        };
        let turn = timeout_at(deadline.into(), turn).await;
        drop(place);
        match turn {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => Err(Refusal::DeadlinePassed),
        }
    }

    /// The backend that a user is to be sent to.
    pub(crate) fn recommend(&self, demand: &Demand) -> Option<SocketAddr> {
        self.lock().pool.recommend(demand, now())
    }

    /// The backends, those that drain included.
    pub(crate) fn view(&self) -> Vec<Member> {
        let member = |backend: &Backend| Member {
            address: backend.address(),
            health: backend.health(),
            slots: backend.slots(),
            in_flight: backend.in_flight(),
            load: backend.load(),
            weight: backend.weight(),
            tier: backend.tier(),
            draining: backend.is_draining(),
        };
        self.lock().pool.backends().iter().map(member).collect()
    }

    /// Changes the pool, then tells everybody whom that concerns.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Pool)) {
        let mut turns = Vec::new();
        {
            let mut state = self.lock();
            change(&mut state.pool);
            while let Some(event) = state.pool.poll_event() {
                let (ticket, turn) = match event {
                    Event::Granted(ticket, grant) => (ticket, Ok(Lease::new(self, grant))),
                    Event::Refused(ticket, refusal) => (ticket, Err(refusal)),
                    Event::HealthChanged(backend, health) => {
                        info!(%backend, %health, "a backend's health changed");
                        continue;
                    }
                };
                turns.push((state.waiters.remove(&ticket), turn));
            }
        }
        // Outside the lock: a lease that nobody takes gives its slot back when it is dropped.
        for (waiter, turn) in turns {
            if let Some(waiter) = waiter {
                let _ = waiter.send(turn);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subject for Shared {
    fn rules(&self) -> &Rules {
        &self.check_rules
    }

    fn members(&self) -> Vec<(BackendId, SocketAddr)> {
        members_to_check(&self.lock().pool)
    }

    fn check_done(self: &Arc<Self>, id: BackendId, mut result: Result<Report, CheckFailure>) {
        if let Ok(report) = &mut result {
            // What passes through here is known better than that.
            let is_elsewhere = self.options.mirrors.redirect.is_some();
            report.busy = report.busy.filter(|_| is_elsewhere);
        }
        self.change(|pool| note(pool, id, result, now()));
    }

    async fn members_changed(&self) {
        self.members_changed.notified().await;
    }
}

/// A place in the queue, left when dropped.
struct Place<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.pool.cancel(self.ticket);
        state.waiters.remove(&self.ticket);
    }
}

/// A slot of a backend, given back when settled or dropped.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    grant: Option<Grant>,
    backend: BackendId,
    address: SocketAddr,
}

impl Lease {
    fn new(shared: &Arc<Shared>, grant: Grant) -> Self {
        let (backend, address) = (grant.backend(), grant.address());
        Self {
            shared: shared.clone(),
            grant: Some(grant),
            backend,
            address,
        }
    }

    pub(crate) fn backend(&self) -> BackendId {
        self.backend
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.release(outcome);
    }

    fn release(&mut self, outcome: Outcome) {
        if let Some(grant) = self.grant.take() {
            self.shared
                .change(|pool| pool.release(grant, outcome, now()));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release(Outcome::Unknown);
    }
}

/// Changes a running balancer and looks at it. From any thread.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// A backend as the balancer sees it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its checks say.
    pub health: Health,
    /// How many requests it may have.
    pub slots: Slots,
    /// How many it has.
    pub in_flight: u32,
    /// The same with those that came to it by other ways, as far as that is known.
    pub load: u32,
    /// Its part of the requests.
    pub weight: Weight,
    /// Which choice it is: 0 is the first.
    pub tier: u8,
    /// Whether it leaves when those have ended.
    pub draining: bool,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes these the backends. Those that are no longer named end their requests and leave; new
    /// ones are checked at once and used from their first passed check.
    pub fn set_members(&self, members: &[balance::Member]) {
        self.shared.change(|pool| pool.set_members(members, now()));
        self.shared.members_changed.notify_one();
    }

    /// The backends now.
    pub fn members(&self) -> Vec<Member> {
        self.shared.view()
    }

    /// How many requests wait for a slot.
    pub fn waiting(&self) -> usize {
        self.shared.lock().pool.waiting()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("members", &self.members())
            .finish_non_exhaustive()
    }
}

/// The clock of this crate: the runtime's, which tests may hold.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
