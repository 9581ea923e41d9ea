//! The hub: the storages of a server and the connections to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::{Storage, StorageError, Tid};

use super::caller::{Caller, Traffic};
use super::connection::Connection;
use super::outbox::{Notice, Outbox};
use super::rights::Rights;
use super::served::{Served, count};
use super::slow::SlowLog;
use super::status::{status, write_json};
use super::transaction::TransactionKey;
use crate::{Encoding, FRAME_BYTES_MAX, ProtocolError, Value};

/// How a hub behaves.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The encoding offered to clients; those that choose the other one get it.
    pub encoding: Encoding,
    /// Whether every client is kept from writing.
    pub read_only: bool,
    /// How many transactions are kept for returning clients.
    pub invalidations_max: usize,
    /// How long ago a returning client may have been here for what it missed to be looked up in
    /// the storage, where it missed more than is kept; counted back from the newest transaction.
    /// `None` for however long, but for 100,000 transactions at most.
    pub invalidation_age: Option<Duration>,
    /// The largest frame that is taken.
    pub frame_bytes_max: usize,
    /// How much may wait for a client that does not read, before it is dropped.
    pub output_bytes_max: usize,
    /// How large one transaction may be: it is kept in memory until its vote.
    pub transaction_bytes_max: usize,
    /// How large the files of one transaction's blobs may be together.
    pub blob_bytes_max: u64,
    /// How long a client may take from its turn to commit to the end of its transaction, before it
    /// is dropped; `None` for ever. Who wants to change the same objects waits meanwhile, so unlike
    /// the original's default ours has an end.
    pub transaction_timeout: Option<Duration>,
    /// When the server started, since 1970: shown in its status.
    pub started: Duration,
    /// Tells how long things take; without it they take no time.
    pub clock: Option<fn() -> Instant>,
    /// Calls that take that long are told of in the log, with what they waited for.
    pub slow_request: Option<Duration>,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            encoding: Encoding::Pickle,
            read_only: false,
            invalidations_max: 10_000,
            invalidation_age: None,
            frame_bytes_max: FRAME_BYTES_MAX,
            output_bytes_max: 64 << 20,
            transaction_bytes_max: 1 << 30,
            blob_bytes_max: 1 << 40,
            transaction_timeout: Some(TRANSACTION_TIMEOUT),
            started: Duration::ZERO,
            clock: None,
            slow_request: None,
        }
    }
}

/// What a healthy client needs between vote and finish is one round trip. Shorter than our clients
/// wait (30 s), so that whoever waits behind a silent one still gets its turn.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the turns to commit are looked at, as a part of the timeout and at most.
const TIMEOUT_LOOKS: u32 = 8;
const TIMEOUT_LOOK_MAX: Duration = Duration::from_secs(1);
const TIMEOUT_LOOK_MIN: Duration = Duration::from_millis(1);

/// How many transactions a returning client may have missed before it has to drop its cache, where
/// nobody said how old these may be.
const LOOK_BACK_MAX: usize = 100_000;
/// The same, where somebody did.
const LOOK_BACK_WITHIN_AGE_MAX: usize = 10_000_000;

/// What all connections of a server share.
pub struct Hub {
    storages: Vec<Arc<Served>>,
    options: HubOptions,
    next_connection: AtomicU64,
    callers: Mutex<Callers>,
    by_encoding: [AtomicU64; 2],
    slow: Arc<SlowLog>,
    /// When it was made.
    epoch: Option<Instant>,
    next_transaction: AtomicU64,
}

/// Those who are connected, and what went over the connections that have ended.
#[derive(Default)]
struct Callers {
    here: BTreeMap<u64, Arc<Caller>>,
    gone: Traffic,
}

impl Hub {
    /// A hub that serves storages under names.
    ///
    /// # Errors
    /// When a storage cannot tell of its recent transactions.
    pub fn new(
        storages: Vec<(String, Arc<dyn Storage>)>,
        options: HubOptions,
    ) -> Result<Arc<Self>, StorageError> {
        let storages = storages.into_iter().map(|(name, storage)| {
            Served::new(name, storage, options.invalidations_max, options.clock).map(Arc::new)
        });
        Ok(Arc::new(Self {
            storages: storages.collect::<Result<_, _>>()?,
            epoch: options.clock.map(|clock| clock()),
            slow: Arc::new(SlowLog::new(options.slow_request)),
            options,
            next_connection: AtomicU64::new(1),
            callers: Mutex::default(),
            by_encoding: Default::default(),
            next_transaction: AtomicU64::new(1),
        }))
    }

    /// Gives up the packs that run, and every later one: for a server that stops.
    pub fn stop_packs(&self) {
        self.storages.iter().for_each(|served| served.stop_packs());
    }

    /// Takes a new client on. `wake` is called, from any thread, when there is something in the
    /// connection's outbox or it has to be closed.
    pub fn connect(
        self: &Arc<Self>,
        peer: String,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Connection {
        self.connect_with(peer, Rights::ALL, wake)
    }

    /// Takes a new client on that may do no more than this.
    pub fn connect_with(
        self: &Arc<Self>,
        peer: String,
        rights: Rights,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Connection {
        self.connect_noticing(peer, rights, move |notice| {
            if notice == Notice::Now {
                wake();
            }
        })
    }

    /// The same for a driver that wants to know as soon as there is anything.
    pub fn connect_noticing(
        self: &Arc<Self>,
        peer: String,
        rights: Rights,
        wake: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Connection {
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::new(self.options.output_bytes_max, Box::new(wake)));
        let (clock, slow) = (self.options.clock, Arc::clone(&self.slow));
        let caller = Arc::new(Caller::new(id, peer, outbox, clock, slow));
        self.callers.lock().here.insert(id, Arc::clone(&caller));
        Connection::new(self.clone(), caller, rights)
    }

    /// A connection has ended.
    pub(super) fn leave(&self, caller: &Caller) {
        let mut callers = self.callers.lock();
        if callers.here.remove(&caller.id).is_some() {
            let Traffic { received, sent } = caller.traffic();
            callers.gone.received += received;
            callers.gone.sent += sent;
        }
    }

    /// Those who are connected, and what went over all connections that there were.
    pub(super) fn callers(&self) -> (Vec<Arc<Caller>>, Traffic) {
        let callers = self.callers.lock();
        let mut all = callers.gone;
        for caller in callers.here.values() {
            let Traffic { received, sent } = caller.traffic();
            all.received += received;
            all.sent += sent;
        }
        (callers.here.values().cloned().collect(), all)
    }

    pub(super) fn count_encoding(&self, encoding: Encoding) {
        count(&self.by_encoding[encoding as usize]);
    }

    pub(super) fn connection_counts(&self) -> [(Encoding, u64); 2] {
        [Encoding::Pickle, Encoding::Msgpack].map(|encoding| {
            let counter = &self.by_encoding[encoding as usize];
            (encoding, counter.load(Ordering::Relaxed))
        })
    }

    /// Gives up the clients whose turn to commit takes too long: their connections fail, and end
    /// their transactions when the driver closes them. Returns when to call again, `None` if
    /// there is nothing to look for, ever.
    ///
    /// A client's time counts from the first call that finds it in its turn, so it may get one
    /// interval of these calls on top.
    pub fn handle_timeout(&self, now: Instant) -> Option<Instant> {
        let allowed = self.options.transaction_timeout?;
        for served in &self.storages {
            let overdue = served.turns().overdue(allowed, now);
            for client in overdue {
                count(&served.counters.timeouts);
                let error = ProtocolError::TransactionTimeout {
                    seconds: allowed.as_secs(),
                };
                tracing::error!(target: "ZEO.StorageServer", storage = served.name, "({}) {error}", client.name);
                client.outbox.fail(error);
            }
        }
        let interval = (allowed / TIMEOUT_LOOKS).min(TIMEOUT_LOOK_MAX);
        Some(now + interval.max(TIMEOUT_LOOK_MIN))
    }

    /// How it was told to behave.
    pub fn options(&self) -> &HubOptions {
        &self.options
    }

    /// How many transactions of the storage may be looked through for a client that has seen `seen`;
    /// where there are more it was away for too long.
    pub(super) fn look_back_max(&self, seen: Tid, head: Tid) -> usize {
        // As many as the queue remembers: it did not see those of before the start.
        let remembered = self.options.invalidations_max;
        let Some(age_max) = self.options.invalidation_age else {
            return remembered.max(LOOK_BACK_MAX);
        };
        let age = head.to_unix_time().saturating_sub(seen.to_unix_time());
        if age < age_max {
            remembered.max(LOOK_BACK_WITHIN_AGE_MAX)
        } else {
            remembered
        }
    }

    pub(super) fn storages(&self) -> &[Arc<Served>] {
        &self.storages
    }

    pub(super) fn storage(&self, name: &str) -> Option<&Arc<Served>> {
        self.storages.iter().find(|served| served.name == name)
    }

    pub(super) fn new_transaction(&self) -> TransactionKey {
        TransactionKey(self.next_transaction.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn status(&self, served: &Served) -> Value<'static> {
        status(served, &self.options, self.epoch)
    }

    /// The answer to `ruok`.
    pub(super) fn status_json(&self) -> String {
        let all = self
            .storages
            .iter()
            .map(|served| (Value::Text(served.name.clone().into()), self.status(served)));
        let mut out = String::new();
        write_json(&Value::Map(all.collect()), &mut out);
        out
    }
}
