//! Judges request heads before anything else interprets them.
//!
//! Two servers that read one message differently can be made to disagree where it ends; what one
//! takes for a body is the next request for the other. So whatever can be read in two ways is
//! refused here, before hyper or a backend see it, even where the RFC lets a server be lenient.
//! Pure functions of bytes.

mod chunks;
mod head;

pub(crate) use chunks::{Chunks, Scan};
pub(crate) use head::judge;

/// Where the message ends that begins with this head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It has no body.
    Empty,
    /// This many bytes follow.
    Length(u64),
    /// Chunks follow.
    Chunked,
}

/// Why a message is refused, with the status that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

/// A refusal with 400: the message is malformed, or has more than one meaning.
pub(crate) const fn bad(reason: &'static str) -> Refusal {
    Refusal {
        status: 400,
        reason,
    }
}
