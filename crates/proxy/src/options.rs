//! Members, limits and times.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use balance::{Member, Method};
use health::{Check, Rules};

use crate::key::KeySource;
use crate::mirrors::Mirrors;
use crate::session::Sessions;

/// How a [`Server`](crate::Server) behaves. [`Options::default`] is documented field by field.
#[derive(Clone, Debug)]
pub struct Options {
    /// The backends to begin with. Default none.
    pub members: Vec<Member>,
    /// How one of them is chosen. Default [`Method::LeastLoaded`].
    pub method: Method,
    /// What requests have in common that go to the same one, for methods that look at that. Default
    /// [`KeySource::Site`].
    pub key: KeySource,
    /// How long a backend that comes (back) while others are up has less than its part. Default 10 s.
    pub slow_start: Duration,
    /// How a session stays with the backend that answered it first. Default not at all.
    pub sessions: Option<Sessions>,
    /// How users are told of the backends, or sent to them. Default not at all.
    pub mirrors: Mirrors,
    /// Threads, each with its own listener and runtime. Default: one per core.
    pub threads: NonZeroUsize,
    /// Requests at a time to a backend that does not announce its workers. Default 4.
    pub slots: u32,
    /// Requests that may wait for a slot; the next one gets 503. Default 1024.
    pub waiting_max: usize,
    /// How long a request may wait for a slot; then 503. Default 30 s.
    pub queue_wait: Duration,

    /// Peers (balancers before this one) whose `x-forwarded-*` is kept. Default none.
    pub trusted_peers: Vec<IpAddr>,
    /// The most client connections at a time; beyond it new ones wait in the system's backlog.
    /// Default 16384.
    pub connections_max: usize,
    /// The largest request head; beyond it 431. Default 64 KiB.
    pub head_bytes_max: usize,
    /// The most header lines; beyond it 431. Default 100.
    pub headers_max: usize,
    /// The largest request body; beyond it 413. Default 64 MiB.
    pub body_bytes_max: u64,
    /// How long a client connection may be idle between requests. Default 75 s.
    pub idle_wait: Duration,
    /// How long a request head may take from its first byte; then 408. Default 10 s.
    pub head_wait: Duration,
    /// How long a request body may pause; then 408. Default 30 s.
    pub body_wait: Duration,
    /// How long a request body may keep us waiting in all, all its pauses together; then 408. A
    /// large body occupies a worker while it comes: this bounds what a client that drips can hold,
    /// and lets 64 MiB come over a line of 1 Mbit/s. Default 10 min.
    pub body_total_wait: Duration,
    /// How long a client may take nothing of its answer; then it is cut off. Default 60 s.
    pub write_wait: Duration,

    /// How long a backend may take to accept a connection. Default 2 s.
    pub connect_wait: Duration,
    /// How long a backend may compute before its answer begins, or take nothing of a large request
    /// body; then 504. Longer than publishers wait for their storage (30 s). Default 60 s.
    pub response_wait: Duration,
    /// How long an answer of a backend may pause. Default 60 s.
    pub response_idle_wait: Duration,
    /// How much of an answer is held back so that a backend that dies over it can be replaced
    /// unseen. Default 64 KiB.
    pub hold_bytes_max: usize,
    /// How long an incomplete answer is held back. Default 1 s.
    pub hold_wait: Duration,
    /// How long an idle connection to a backend is kept for the next request. Must be shorter than
    /// the backend keeps it. Default 30 s.
    pub upstream_idle_wait: Duration,

    /// How backends are checked. Default [`Check::Zodiac`].
    pub check: Check,
    /// How often. Default 500 ms.
    pub check_every: Duration,
    /// How long an answer to a check may take. Default 2 s.
    pub check_wait: Duration,
    /// Good checks in a row that bring a fallen backend back. Default 2.
    pub rise: u32,
    /// Failures in a row that take a backend out (one refused connection does at once). Default 3.
    pub fall: u32,

    /// How long running requests may take when the server stops. Default 10 s.
    pub shutdown_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let one = NonZeroUsize::MIN;
        Self {
            members: Vec::new(),
            method: Method::default(),
            key: KeySource::default(),
            slow_start: Duration::from_secs(10),
            sessions: None,
            mirrors: Mirrors::default(),
            threads: std::thread::available_parallelism().unwrap_or(one),
            slots: 4,
            waiting_max: 1024,
            queue_wait: Duration::from_secs(30),
            trusted_peers: Vec::new(),
            connections_max: 16_384,
            head_bytes_max: 64 << 10,
            headers_max: 100,
            body_bytes_max: 64 << 20,
            idle_wait: Duration::from_secs(75),
            head_wait: Duration::from_secs(10),
            body_wait: Duration::from_secs(30),
            body_total_wait: Duration::from_secs(600),
            write_wait: Duration::from_secs(60),
            connect_wait: Duration::from_secs(2),
            response_wait: Duration::from_secs(60),
            response_idle_wait: Duration::from_secs(60),
            hold_bytes_max: 64 << 10,
            hold_wait: Duration::from_secs(1),
            upstream_idle_wait: Duration::from_secs(30),
            check: Check::Zodiac,
            check_every: Duration::from_millis(500),
            check_wait: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            shutdown_wait: Duration::from_secs(10),
        }
    }
}

impl Options {
    pub(crate) fn check_rules(&self) -> Rules {
        Rules {
            check: self.check.clone(),
            every: self.check_every,
            wait: self.check_wait,
        }
    }

    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_peers.contains(&peer.to_canonical())
    }
}

/// How much of a request body is read before a backend is chosen. A body that ends within it can
/// be sent again, and a slow client does not occupy a worker while it sends.
pub(crate) const BODY_HELD_BYTES_MAX: usize = 64 << 10;

/// Idle connections to one backend, per thread.
pub(crate) const UPSTREAM_IDLE_MAX: usize = 64;
