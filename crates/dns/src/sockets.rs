//! Bytes in, bytes out.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use edge::{Accepted, BindError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::server::Desk;

/// What a thread listens at.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) datagrams: Vec<UdpSocket>,
    pub(crate) listeners: Vec<TcpListener>,
}

/// Gives each thread a socket for UDP at `address`, and the first one a listener for TCP at the same port.
pub(crate) fn bind(address: SocketAddr, threads: &mut [Sockets]) -> Result<SocketAddr, BindError> {
    let count = NonZeroUsize::new(threads.len()).unwrap_or(NonZeroUsize::MIN);
    for attempt in 1.. {
        let (datagrams, bound) = edge::bind_datagrams(address, count)?;
        let listener = match edge::bind(bound) {
            Ok((listener, _)) => listener,
            // The system chose a port that is free for UDP alone.
            Err(_) if address.port() == 0 && attempt < PORT_ATTEMPTS_MAX => continue,
            Err(error) => return Err(error),
        };
        for (thread, socket) in threads.iter_mut().zip(datagrams) {
            thread.datagrams.push(socket);
        }
        threads[0].listeners.push(listener);
        return Ok(bound);
    }
    unreachable!("the last attempt returns");
}

/// Answers for ever. What cannot be sent at once is lost, as UDP is.
pub(crate) async fn answer_datagrams(socket: tokio::net::UdpSocket, desk: Arc<Desk>) {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    let mut bytes = Vec::new();
    loop {
        if let Err(error) = answer_some(&socket, &desk, &mut packet, &mut bytes).await {
            debug!(%error, "a socket of the name server fails");
            sleep(ERROR_PAUSE).await;
        }
        yield_now().await;
    }
}

async fn answer_some(
    socket: &tokio::net::UdpSocket,
    desk: &Desk,
    packet: &mut [u8],
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    socket.readable().await?;
    for _ in 0..PACKETS_IN_A_ROW {
        let (length, peer) = match socket.try_recv_from(packet) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
        // Nobody can be at port 0.
        if peer.port() == 0 || !desk.answer_datagram(&packet[..length], peer.ip(), bytes) {
            continue;
        }
        if let Err(error) = socket.try_send_to(bytes, peer) {
            debug!(%peer, %error, "an answer could not be sent");
        }
    }
    Ok(())
}

/// Answers the questions of a connection, one after the other, until it rests for too long.
pub(crate) async fn answer_connection(accepted: Accepted, desk: Arc<Desk>) {
    let Accepted {
        mut stream, peer, ..
    } = accepted;
    let mut bytes = Vec::new();
    loop {
        let question = async {
            let length = stream.read_u16().await?;
            let mut packet = vec![0; usize::from(length)];
            stream.read_exact(&mut packet).await?;
            Ok::<_, io::Error>(packet)
        };
        let Ok(Ok(packet)) = timeout(desk.options.idle_wait, question).await else {
            return;
        };
        bytes.clear();
        if !desk.answer_message(&packet, &mut bytes) {
            return;
        }
        if let Err(error) = stream.write_all(&bytes).await {
            debug!(%peer, %error, "a connection to the name server ended badly");
            return;
        }
    }
}

/// How long connections may go on when the server stops.
pub(crate) const STOP_WAIT: Duration = Duration::from_millis(500);
/// The largest packet that is read; no question is as large.
const PACKET_BYTES_MAX: usize = 4096;
/// Packets after which others of the thread get their turn.
const PACKETS_IN_A_ROW: usize = 64;
const PORT_ATTEMPTS_MAX: u32 = 16;
const ERROR_PAUSE: Duration = Duration::from_millis(10);
