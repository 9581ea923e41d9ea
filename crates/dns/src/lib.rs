//! An authoritative name server whose answers are the members that are well.
//!
//! Users find a site by the DNS, so the DNS can share them out: each answer names the addresses of members that pass
//! their checks, in turn and by their weights, with a short life. [`Options`] say which names of which zones; a
//! [`Server`] answers over UDP and TCP.
//!
//! What is asked is read, and what is answered is written, by `hickory-proto`. Catalog, answers and rate limits are
//! plain values without sockets; each thread has sockets of its own on the same port, and all share one catalog, which is
//! replaced when a member's health changes.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let address: std::net::SocketAddr = "192.0.2.1:80".parse()?;
//! let options = dns::Options {
//!     zones: vec!["example.org".parse()?],
//!     name_servers: vec![dns::NameServer {
//!         name: "ns1.example.org".parse()?,
//!         addresses: vec!["192.0.2.53".parse()?],
//!     }],
//!     sites: vec![dns::Site::new("www.example.org".parse()?, vec![address.into()])],
//!     ..dns::Options::default()
//! };
//! let server = dns::Server::bind(&["192.0.2.53:53".parse()?], options)?;
//! server.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod catalog;
mod limit;
mod options;
mod server;
mod sockets;

pub use edge::BindError;
pub use options::{Contact, DomainName, NameServer, NoName, Options, Site, Unanswerable};
pub use server::{Handle, Server, StartError};
