//! What can go wrong before the first request.

use std::io;
use std::net::SocketAddr;

/// The balancer cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; is another server there, or the address not ours?")]
pub struct BindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}
