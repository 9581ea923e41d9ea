//! What can go wrong between two peers of the protocol.

/// The peer broke the protocol: the connection is closed, nothing else is harmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame announces more bytes than the limit.
    #[error(
        "a frame of {found} bytes is over the limit of {max}; raise the limit if the peer is trusted"
    )]
    FrameTooLarge {
        /// The announced length.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The first frame is no handshake this side understands.
    #[error("bad handshake {found:?}: expected Z5 or M5")]
    Handshake {
        /// The first bytes of the frame.
        found: String,
    },
    /// A payload is not what its encoding allows.
    #[error("undecodable message at byte {offset}: {what}")]
    Undecodable {
        /// Where in the payload.
        offset: usize,
        /// What was wrong.
        what: String,
    },
    /// A message is well encoded but not of the protocol.
    #[error("unexpected message: {what}")]
    Unexpected {
        /// What was found.
        what: String,
    },
    /// A method that the protocol does not have, or not before `register`.
    #[error("invalid method {name:?}")]
    Method {
        /// Its name.
        name: String,
    },
    /// A one-way call failed; there is no way to report it but to close.
    #[error("one-way call {name} failed: {reason}")]
    OneWay {
        /// The method.
        name: String,
        /// Why.
        reason: String,
    },
    /// A client took too long from its turn to commit to the end of its transaction.
    #[error("Transaction timeout after {seconds} seconds")]
    TransactionTimeout {
        /// The time that was allowed, in whole seconds.
        seconds: u64,
    },
    /// The file of a blob could not be read on while it was sent.
    #[error("a blob could not be read while it was sent: {reason}")]
    Blob {
        /// What the system says.
        reason: String,
    },
    /// The server does not want this client any more.
    #[error("{reason}")]
    Dismissed {
        /// Why.
        reason: String,
    },
    /// The peer does not read what is sent to it.
    #[error("the peer does not read: {pending} bytes wait to be sent (limit {max})")]
    Stalled {
        /// How much waits.
        pending: usize,
        /// The limit.
        max: usize,
    },
}

impl ProtocolError {
    pub(crate) fn undecodable(offset: usize, what: impl Into<String>) -> Self {
        Self::Undecodable {
            offset,
            what: what.into(),
        }
    }

    pub(crate) fn unexpected(what: impl Into<String>) -> Self {
        Self::Unexpected { what: what.into() }
    }
}
