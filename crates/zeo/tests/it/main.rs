//! Client sessions and a hub in one thread, without sockets: every interleaving is chosen.

#![allow(clippy::unwrap_used, reason = "a test panics where something is wrong")]

mod blobs;
mod commits;
mod figures;
mod golden;
mod loads;
mod pack;
mod pair;
mod refusals;
mod rights;
mod simulation;
mod timeouts;
mod undo;
