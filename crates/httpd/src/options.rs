//! Limits and times.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

/// How a [`Server`](crate::Server) behaves. [`Options::default`] is documented field by field.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads: requests computed at a time. Default 4.
    pub workers: NonZeroUsize,
    /// Requests that may wait for a worker; the next one gets 503. Default 64.
    pub waiting_max: usize,
    /// The largest request body. Default 64 MiB.
    pub body_bytes_max: usize,
    /// The largest request head, at least 8 KiB. Default 64 KiB.
    pub head_bytes_max: usize,
    /// The most header lines. Default 100.
    pub headers_max: usize,
    /// The most connections at a time; beyond it new ones wait in the system's backlog.
    /// Default 4096.
    pub connections_max: usize,
    /// Peers (balancers) whose `x-forwarded-*` and `x-request-id` are believed. Default loopback.
    pub trusted_peers: Vec<IpAddr>,
    /// How long a connection may be silent before or within a request head. Longer than the
    /// balancer keeps idle connections, so that it never sends into a closing one. Default 75 s.
    pub head_wait: Duration,
    /// How long a request body may pause. Default 30 s.
    pub body_wait: Duration,
    /// How long a client may take nothing of its answer. Default 60 s.
    pub write_wait: Duration,
    /// How long running requests may take when the server stops. Default 10 s.
    pub shutdown_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: NonZeroUsize::new(4).expect("four is not zero"),
            waiting_max: 64,
            body_bytes_max: 64 << 20,
            head_bytes_max: 64 << 10,
            headers_max: 100,
            connections_max: 4096,
            trusted_peers: vec![
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ],
            head_wait: Duration::from_secs(75),
            body_wait: Duration::from_secs(30),
            write_wait: Duration::from_secs(60),
            shutdown_wait: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Whether this peer's word about the client is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_peers.contains(&peer.to_canonical())
    }
}

/// Pieces of a streamed body that may wait for the client.
pub(crate) const STREAM_PIECES_MAX: usize = 4;
