//! A real server and real clients on loopback, port 0.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod async_database;
mod blobs;
mod client_blobs;
mod commits;
mod limits;
mod outcomes;
mod raw;
mod reconnect;
mod rules;
mod server;
mod servers;
mod suite;
mod syncing;
mod tls;
mod warm;
mod world;
mod writers;
