//! What the publisher answers.

use std::fmt;

use storage::StorageError;

/// One HTTP response, still free of sockets. A `HEAD` response keeps the length of its body in
/// `content-length`; the listener sends no body.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers in order, names in lower case. `content-length` is added by the listener from the
    /// body unless it is here already.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

impl Response {
    /// The value of the first header of this (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The body of a response.
pub enum Body {
    /// In memory.
    Bytes(Vec<u8>),
    /// Too large for that: read from the snapshot piece by piece while it is sent.
    Stream {
        /// How many bytes the pieces have in all.
        length: u64,
        /// The pieces. An error cuts the response short.
        chunks: Box<dyn Iterator<Item = Result<Vec<u8>, StorageError>> + Send>,
    },
}

impl Body {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream { length, .. } => *length,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.len())
    }
}
