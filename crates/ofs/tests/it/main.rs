//! The stock classes through the publisher: judged by answers of Zope, and by what is stored.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

mod chains;
mod corpus;
mod depth;
mod sample;
mod support;
mod writes;
