//! One connection, from its client to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use health::Watched;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tracing::debug;

use crate::connect::connect;
use crate::flow::{Activity, flow};
use crate::options::Options;
use crate::stock::Stock;

/// Carries a client's connection. Where that cannot be done, or not to its end, the connection is reset: a plain end
/// would say that all has come.
pub(crate) async fn carry(
    mut client: TcpStream,
    peer: SocketAddr,
    pool: &Arc<Watched>,
    options: &Options,
    stock: &Stock,
) {
    let (mut member, lease) = match connect(pool, peer, options.connect_wait).await {
        Ok(connected) => connected,
        Err(refusal) => {
            debug!(client = %peer, %refusal, "a connection cannot be carried");
            reset(&client);
            return;
        }
    };
    prepare(&client);
    prepare(&member);
    let _ = member.set_nodelay(true);
    let ended = both_ways(&mut client, &mut member, stock, options.idle_wait).await;
    if let Err(error) = ended {
        debug!(client = %peer, %error, "a connection ended badly");
        reset(&client);
        reset(&member);
    }
    drop(lease);
}

async fn both_ways(
    client: &mut TcpStream,
    member: &mut TcpStream,
    stock: &Stock,
    idle_wait: Option<Duration>,
) -> io::Result<()> {
    let activity = Activity::new();
    let (from_client, to_client) = client.split();
    let (from_member, to_member) = member.split();
    let both = async {
        tokio::try_join!(
            flow(from_client, to_member, stock, &activity),
            flow(from_member, to_client, stock, &activity),
        )
    };
    tokio::select! {
        ended = both => ended.map(|_| ()),
        () = activity.rest(idle_wait) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it rested for too long",
        )),
    }
}

/// A peer that vanishes without a word is noticed, whatever the idle limit.
fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&keepalive) {
        debug!(%error, "a connection has no keepalive");
    }
}

/// Makes closing a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
