//! What a client tells of its connection.

use storage::Tid;

/// How a client stands with its servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// The server that it is connected to.
    pub server: Option<String>,
    /// Whether that one takes no commits of this client.
    pub is_read_only: bool,
    /// How many connections there have been.
    pub connections: u64,
    /// How often the cache outlived a change of the connection.
    pub verified: u64,
    /// How often it was dropped because no server could tell what had changed: it was away for too
    /// long.
    pub too_old: u64,
    /// How often it was dropped because the server lacked what this client had seen.
    pub went_back: u64,
    /// The last time that this happened.
    pub last_loss: Option<Loss>,
    /// Why the last attempt to connect failed, or the last connection ended.
    pub last_failure: Option<String>,
}

/// A server lacked transactions that a client had seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The server.
    pub server: String,
    /// The last transaction that the client had seen.
    pub seen: Tid,
    /// The last one of the server.
    pub found: Tid,
}
