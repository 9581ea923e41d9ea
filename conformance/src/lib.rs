//! Zodiac judged by the genuine Python programs.
//!
//! The library is the harness: it starts the real `zodiac` binary as child processes
//! ([`Process`], [`Cluster`]), speaks HTTP to it ([`http`]), and runs the judge, which is genuine
//! ZODB, ZEO and Zope in a virtual environment of its own ([`judge`], [`Zope`], [`Site`]). The
//! tests are in `tests/it/`; the judge's programs are in `judge/`.
//!
//! ```no_run
//! use conformance::{Cluster, Site, http};
//!
//! # fn main() -> anyhow::Result<()> {
//! let site = Site::sound()?;
//! let cluster = Cluster::start(site.data(), 3)?;
//! let answer = http::get(cluster.balancer(), "/readme")?;
//! assert_eq!(answer.status, 200);
//! # Ok(())
//! # }
//! ```

mod binary;
mod clock;
mod cluster;
pub mod http;
pub mod judge;
pub mod memory;
pub mod paths;
mod process;
mod site;
mod zope;

pub use binary::zodiac_binary;
pub use clock::{Deadline, PATIENCE, Stopwatch, pause, poll};
pub use cluster::{Cluster, Member};
pub use process::{Process, kill, terminate};
pub use site::Site;
pub use zope::{Database, Zope};

/// The guide for Rust programs: its examples are run as the tests of this.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/rust-api.md")]
struct RustApi;
