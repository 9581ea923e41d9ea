//! Who calls: what is counted of one connection, and who it is for people.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::outbox::Outbox;
use super::served::Served;
use super::slow::SlowLog;
use crate::Encoding;

/// A connection, as those see it who watch the server.
pub(super) struct Caller {
    pub(super) id: u64,
    pub(super) outbox: Arc<Outbox>,
    pub(super) slow: Arc<SlowLog>,
    address: String,
    label: Mutex<Option<String>>,
    encoding: OnceLock<Encoding>,
    served: OnceLock<Arc<Served>>,
    /// What its transaction says of itself.
    transaction: Mutex<Option<String>>,
    clock: Option<fn() -> Instant>,
    since: Option<Instant>,
    received: AtomicU64,
    sent: AtomicU64,
    calls: AtomicU64,
}

/// One connection, as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientFigures {
    /// Its number among all of the server.
    pub id: u64,
    /// From where it came.
    pub address: String,
    /// What it calls itself.
    pub label: Option<String>,
    /// The encoding, once it is agreed on.
    pub encoding: Option<Encoding>,
    /// The name of the storage, once it is registered.
    pub storage: Option<String>,
    /// How long it has been there.
    pub age: Duration,
    /// Its calls that were answered.
    pub calls: u64,
    /// Bytes that came from it.
    pub received: u64,
    /// Bytes that were sent to it.
    pub sent: u64,
    /// Bytes that wait to be sent.
    pub pending: u64,
}

/// Sums over connections, those that have gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that came.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
}

impl Caller {
    pub(super) fn new(
        id: u64,
        address: String,
        outbox: Arc<Outbox>,
        clock: Option<fn() -> Instant>,
        slow: Arc<SlowLog>,
    ) -> Self {
        Self {
            id,
            outbox,
            slow,
            address,
            label: Mutex::default(),
            encoding: OnceLock::new(),
            served: OnceLock::new(),
            transaction: Mutex::default(),
            clock,
            since: clock.map(|clock| clock()),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }
    }

    /// For log lines.
    pub(super) fn name(&self) -> String {
        match &*self.label.lock() {
            Some(label) => format!("{label} {}", self.address),
            None => self.address.clone(),
        }
    }

    pub(super) fn set_label(&self, label: &str) {
        *self.label.lock() = Some(label.chars().take(LABEL_CHARS_MAX).collect());
    }

    pub(super) fn set_encoding(&self, encoding: Encoding) {
        self.encoding.get_or_init(|| encoding);
    }

    pub(super) fn set_served(&self, served: &Arc<Served>) {
        self.served.get_or_init(|| Arc::clone(served));
    }

    pub(super) fn served(&self) -> Option<&Arc<Served>> {
        self.served.get()
    }

    /// Notes whose transaction begins, and what it does.
    pub(super) fn set_transaction(&self, user: &[u8], description: &[u8]) {
        let text = [user, description].map(String::from_utf8_lossy).join(" ");
        let text = text.trim().chars().take(TRANSACTION_CHARS_MAX).collect();
        *self.transaction.lock() = Some(text);
    }

    pub(super) fn transaction(&self) -> Option<String> {
        self.transaction.lock().clone()
    }

    pub(super) fn now(&self) -> Option<Instant> {
        self.clock.map(|clock| clock())
    }

    pub(super) fn count_calls(&self, count: u64) {
        self.calls.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    pub(super) fn figures(&self) -> ClientFigures {
        let Traffic { received, sent } = self.traffic();
        let age = self.since.zip(self.now());
        ClientFigures {
            id: self.id,
            address: self.address.clone(),
            label: self.label.lock().clone(),
            encoding: self.encoding.get().copied(),
            storage: self.served().map(|served| served.name.clone()),
            age: age.map_or(Duration::ZERO, |(since, now)| now - since),
            calls: self.calls.load(Ordering::Relaxed),
            received,
            sent,
            pending: self.outbox.pending() as u64,
        }
    }
}

/// How much of a client's label goes into the log.
const LABEL_CHARS_MAX: usize = 100;
/// How much of what a transaction says of itself does.
const TRANSACTION_CHARS_MAX: usize = 200;
