//! Templates against what genuine DocumentTemplate made of them.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod corpus;
mod templates;
