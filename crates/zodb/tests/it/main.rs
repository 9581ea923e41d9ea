//! Databases over the storage in memory.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod blobs;
mod cache;
mod currency;
mod distant;
mod history;
mod model;
mod records;
mod references;
mod savepoints;
mod snapshots;
mod syncing;
mod together;
mod transactions;
mod transfer;
mod views;
mod world;
