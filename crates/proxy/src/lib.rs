//! Sockets for the balancer: the HTTP reverse proxy.
//!
//! Every byte from outside passes a strict judge before anything interprets it, is forwarded to
//! the backend that [`balance::Pool`] names, and streams back. A backend that dies costs a
//! reader nothing: as long as the client has seen no byte of the answer, another one is asked.
//!
//! One thread per core, each with its own listener on the same port, its own runtime and its own
//! connections to the backends; only the pool is shared.
//!
//! ```no_run
//! # async fn example() -> Result<(), proxy::BindError> {
//! let address: std::net::SocketAddr = "127.0.0.1:8101".parse().expect("a literal");
//! let members = vec![address.into()];
//! let options = proxy::Options { members, ..proxy::Options::default() };
//! let server = proxy::Server::bind("127.0.0.1:8080".parse().expect("a literal"), options)?;
//! let handle = server.handle();
//! // Later, from anywhere: handle.set_members(&[...]);
//! # drop(handle);
//! server.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod access;
mod exchange;
mod forward;
mod gate;
mod incoming;
mod key;
mod mirrors;
mod options;
mod outgoing;
mod pages;
mod sanitize;
mod server;
mod service;
mod session;
mod shared;
mod socket;
mod upstream;

pub use balance::{Member as Joining, Method, Slots, UnknownMethod, Weight};
pub use edge::BindError;
pub use health::Check;
pub use key::{KeySource, UnknownKeySource};
pub use mirrors::{MirrorUrl, Mirrors, NoMirrorUrl, Redirect};
pub use options::Options;
pub use server::Server;
pub use session::{NoCookieName, Sessions};
pub use shared::{Handle, Member};
