//! From a client to a connected member.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use balance::{Admission, Demand, Grant, Outcome, Refusal, key_of};
use health::Watched;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

/// A connection to the member that a client of that address gets. Members that cannot be reached are passed over.
pub(crate) async fn connect(
    pool: &Arc<Watched>,
    client: SocketAddr,
    connect_wait: Duration,
) -> Result<(TcpStream, Lease), Refusal> {
    let mut tried = Vec::new();
    loop {
        let key = key_of(client.ip().to_canonical().to_string().as_bytes());
        let admission = pool.change(|pool, now| {
            let demand = Demand {
                tried: tried.clone(),
                key: Some(key),
                // Nothing was sent yet: trying does no harm.
                may_probe: true,
                ..Demand::first(now + DEADLINE)
            };
            pool.admit(demand, now)
        });
        let grant = match admission {
            Admission::Granted(grant) => grant,
            Admission::Refused(refusal) => return Err(refusal),
            Admission::Queued(ticket) => {
                pool.change(|pool, _| pool.cancel(ticket));
                return Err(Refusal::QueueFull);
            }
        };
        let (member, address) = (grant.backend(), grant.address());
        let mut lease = Lease::new(pool, grant);
        match timeout(connect_wait, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                lease.outcome = Outcome::Completed;
                return Ok((stream, lease));
            }
            Ok(Err(error)) => debug!(backend = %address, %error, "a member refuses a connection"),
            Err(_) => debug!(backend = %address, "a member does not accept a connection in time"),
        }
        lease.outcome = Outcome::ConnectFailed;
        tried.push(member);
    }
}

/// A member's slot, given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Watched>,
    grant: Option<Grant>,
    outcome: Outcome,
}

impl Lease {
    fn new(pool: &Arc<Watched>, grant: Grant) -> Self {
        Self {
            pool: pool.clone(),
            grant: Some(grant),
            outcome: Outcome::Unknown,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            let outcome = self.outcome;
            self.pool
                .change(|pool, now| pool.release(grant, outcome, now));
        }
    }
}

/// Nobody waits, so it is never reached.
const DEADLINE: Duration = Duration::from_secs(60);
