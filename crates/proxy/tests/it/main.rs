//! The balancer over real sockets, before backends that record what reaches them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod access;
mod backends;
mod forwarding;
mod limits;
mod mirrors;
mod probes;
mod queueing;
mod sessions;
mod support;
mod uploads;
