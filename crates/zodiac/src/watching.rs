//! Watching over a storage server: what it tells of itself on a listener of its own, for Prometheus, for
//! supervisors and for `zodiac top`.

mod conflicts;
mod gather;
mod health;
mod listener;
mod process;
mod prometheus;
pub(crate) mod report;

pub(crate) use conflicts::{ConflictCounts, CountingMerger};
pub(crate) use health::{Watched, WatchedServer, WatchedStorage};
pub(crate) use listener::MetricsListener;
