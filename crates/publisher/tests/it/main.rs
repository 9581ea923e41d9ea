//! Publishing with a toy class: traversal, acquisition, and failing closed.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod acquisition;
mod refusals;
mod toy;
mod traversal;
