//! Carries TCP connections to the members of a pool, whatever is spoken over them: a switch of layer 4 in user space.
//!
//! A connection gets a member when it comes, and keeps it. A member that refuses it is not its last chance: the next
//! one is tried, in the same group first. From then on bytes are carried both ways, each for itself, so that one side may
//! end while the other goes on; nothing is read that the other side does not take. Streams that prove to be
//! long are moved by the kernel (`splice(2)`, on Linux), all others are copied.
//!
//! One thread per core, each with its own listener on the same port; only the pool is shared.
//!
//! ```no_run
//! # async fn example() -> Result<(), relay::BindError> {
//! let address: std::net::SocketAddr = "10.0.0.2:8100".parse().expect("a literal");
//! let options = relay::Options { members: vec![address.into()], ..relay::Options::default() };
//! let server = relay::Server::bind("0.0.0.0:8100".parse().expect("a literal"), options)?;
//! server.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod carry;
mod connect;
mod flow;
mod options;
mod server;
mod stock;

pub use edge::BindError;
pub use options::Options;
pub use server::{Handle, Server};
