//! Backends, health, selection, queueing, draining: policy over values.
//!
//! A [`Pool`] is a state machine without sockets, threads or a clock of its own. Whoever owns the
//! sockets tells it what happens (a request arrives, an answer is complete, a check failed, a
//! client hung up) and obeys what it says: use this backend, wait, or refuse. After each call,
//! [`Pool::poll_event`] is drained, because a freed slot may be somebody else's turn.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use balance::{Admission, Demand, Outcome, Pool, Settings};
//!
//! # fn at(now: Instant) {
//! let mut pool = Pool::new(Settings::default());
//! let address: std::net::SocketAddr = "127.0.0.1:8101".parse().unwrap();
//! pool.set_members(&[address.into()], now);
//!
//! let Admission::Granted(grant) = pool.admit(Demand::first(now + Duration::from_secs(30)), now)
//! else {
//!     panic!("a free backend is granted at once");
//! };
//! assert_eq!(grant.address().port(), 8101);
//! pool.release(grant, Outcome::Completed, now);
//! # }
//! ```

mod backend;
mod budget;
mod member;
mod members;
mod method;
mod pool;
mod queue;
mod retry;
mod rotation;

pub use backend::{Backend, BackendId, Health, Slots};
pub use member::{Member, Report, Weight};
pub use method::{Method, UnknownMethod, key_of};
pub use pool::{Admission, Event, Grant, Outcome, Pool, Settings};
pub use queue::{Demand, Refusal, Ticket};
pub use retry::{Progress, is_safe, may_retry};
pub use rotation::Rotation;
