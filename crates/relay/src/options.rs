//! Members, limits and times.

use std::num::NonZeroUsize;
use std::time::Duration;

use balance::{Member, Method, Settings, Slots};
use health::Rules;

/// How a [`Server`](crate::Server) behaves. [`Options::default`] is documented field by field.
#[derive(Clone, Debug)]
pub struct Options {
    /// The members to begin with. Those of a tier are a group: the next one is for when nobody in the lower ones can be
    /// reached. A member's slots are the connections that it may have. Default none.
    pub members: Vec<Member>,
    /// How one of them is chosen; by [`Method::Hash`] the same one for the same address of a user. Default
    /// [`Method::LeastConnections`].
    pub method: Method,
    /// How members are checked. Default: they must accept connections.
    pub check: Rules,
    /// Threads, each with its own listener and runtime. Default: one per core.
    pub threads: NonZeroUsize,
    /// The most connections at a time; beyond it new ones wait in the system's backlog. Default 16384.
    pub connections_max: usize,
    /// How long a member may take to accept a connection. Default 2 s.
    pub connect_wait: Duration,
    /// How long a connection may rest, both ways; `None` for ever. Default 1 h.
    pub idle_wait: Option<Duration>,
    /// How long running connections may go on when the server stops. Default 10 s.
    pub shutdown_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let one = NonZeroUsize::MIN;
        Self {
            members: Vec::new(),
            method: Method::LeastConnections,
            check: Rules::default(),
            threads: std::thread::available_parallelism().unwrap_or(one),
            connections_max: 16_384,
            connect_wait: Duration::from_secs(2),
            idle_wait: Some(Duration::from_secs(3600)),
            shutdown_wait: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Nobody waits for a slot: who is not carried at once is told so.
    pub(crate) fn pool_settings(&self) -> Settings {
        Settings {
            slots: Slots::new(Slots::MAX),
            waiting_max: 0,
            method: self.method,
            ..Settings::default()
        }
    }
}
