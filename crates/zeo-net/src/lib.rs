//! Sockets for the ZEO protocol: a storage for clients, a listener for servers.
//!
//! [`Server`] serves storages to Python and Rust clients alike; [`ZeoStorage`] is a storage whose
//! revisions live in such a server (or in a genuine one).

mod client;
mod clock;
mod server;

pub use client::{ClientOptions, ZeoStorage};
pub use server::{Server, ServerOptions};
pub use zeo::Encoding;
