//! The publisher's listener over real sockets.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod requests;
mod support;
mod trouble;
