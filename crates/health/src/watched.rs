//! A pool that is looked at, and changed by its checks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use balance::{BackendId, Event, Member, Pool, Report, Settings};
use tokio::sync::{Notify, watch};
use tracing::info;

use crate::check::{CheckFailure, Subject};
use crate::rules::Rules;

/// A pool for who lets nobody wait in it.
#[derive(Debug)]
pub struct Watched {
    pool: Mutex<Pool>,
    rules: Rules,
    members_changed: Notify,
    changes: watch::Sender<()>,
}

impl Watched {
    /// A pool of these members, none of which has been checked. Whoever has it spawns [`run`](crate::run).
    pub fn new(settings: Settings, members: &[Member], rules: Rules) -> Arc<Self> {
        let mut pool = Pool::new(settings);
        pool.set_members(members, now());
        Arc::new(Self {
            pool: Mutex::new(pool),
            rules,
            members_changed: Notify::new(),
            changes: watch::Sender::new(()),
        })
    }

    /// Makes these the members.
    pub fn set_members(&self, members: &[Member]) {
        self.change(|pool, now| pool.set_members(members, now));
        self.changes.send_replace(());
        self.members_changed.notify_one();
    }

    /// Looks at the pool. Nobody else gets it meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&Pool) -> T) -> T {
        look(&self.lock())
    }

    /// Does something with the pool, at the time that `change` is told. Nobody else gets it meanwhile.
    pub fn change<T>(&self, change: impl FnOnce(&mut Pool, Instant) -> T) -> T {
        let mut pool = self.lock();
        let result = change(&mut pool, now());
        let mut is_news = false;
        while let Some(event) = pool.poll_event() {
            if let Event::HealthChanged(backend, health) = event {
                info!(%backend, %health, "a backend's health changed");
                is_news = true;
            }
        }
        drop(pool);
        if is_news {
            self.changes.send_replace(());
        }
        result
    }

    /// Tells of each change of a member's health, and of the members.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subject for Watched {
    fn rules(&self) -> &Rules {
        &self.rules
    }

    fn members(&self) -> Vec<(BackendId, SocketAddr)> {
        self.look(members_to_check)
    }

    fn check_done(self: &Arc<Self>, id: BackendId, result: Result<Report, CheckFailure>) {
        self.change(|pool, now| note(pool, id, result, now));
    }

    async fn members_changed(&self) {
        self.members_changed.notified().await;
    }
}

/// Whom to ask: all that are to stay.
pub fn members_to_check(pool: &Pool) -> Vec<(BackendId, SocketAddr)> {
    let members = pool
        .backends()
        .iter()
        .filter(|member| !member.is_draining());
    members
        .map(|member| (member.id(), member.address()))
        .collect()
}

/// Tells the pool what came of a check.
pub fn note(pool: &mut Pool, id: BackendId, result: Result<Report, CheckFailure>, now: Instant) {
    match result {
        Ok(report) => pool.check_passed(id, &report, now),
        Err(CheckFailure::Refused) => pool.check_refused(id, now),
        Err(CheckFailure::Unwell) => pool.check_failed(id, now),
    }
}

/// The clock of this crate: the runtime's, which tests may hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
