//! Databases over the storage in memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod cache;
mod currency;
mod distant;
mod records;
mod references;
mod snapshots;
mod transactions;
mod world;
