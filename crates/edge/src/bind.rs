//! Ports.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;

use socket2::{Domain, Socket, Type};

/// The server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; is another server there, or the address not ours?")]
pub struct BindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Listens, without blocking. Port 0 means any free one; the address returned tells which.
/// Connections wait in the backlog until somebody accepts them.
///
/// # Errors
/// When the port is in use or the address is not ours.
pub fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    listen_alone(address).map_err(|source| BindError { address, source })
}

/// `count` listeners on one port, among which the kernel shares connections out.
///
/// # Errors
/// As [`bind`]. A port that another server uses is an error, too, and not silently shared with it.
pub fn bind_shared(
    address: SocketAddr,
    count: NonZeroUsize,
) -> Result<(Vec<TcpListener>, SocketAddr), BindError> {
    listen_shared(address, count.get()).map_err(|source| BindError { address, source })
}

/// `count` sockets for UDP on one port, among which the kernel shares packets out by who sent them.
///
/// # Errors
/// As [`bind_shared`].
pub fn bind_datagrams(
    address: SocketAddr,
    count: NonZeroUsize,
) -> Result<(Vec<UdpSocket>, SocketAddr), BindError> {
    let bound = share_port(address, count.get(), Type::DGRAM);
    let (sockets, address) = bound.map_err(|source| BindError { address, source })?;
    Ok((sockets.into_iter().map(Into::into).collect(), address))
}

fn listen_alone(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = socket(address, Type::STREAM)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener: TcpListener = socket.into();
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn listen_shared(address: SocketAddr, count: usize) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    let (sockets, address) = share_port(address, count, Type::STREAM)?;
    // Only now: a socket joins the kernel's sharing when it begins to listen.
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok((sockets.into_iter().map(Into::into).collect(), address))
}

/// The first one is bound without `SO_REUSEPORT`: that is what finds another server there.
fn share_port(
    address: SocketAddr,
    count: usize,
    kind: Type,
) -> io::Result<(Vec<Socket>, SocketAddr)> {
    let first = socket(address, kind)?;
    first.bind(&address.into())?;
    let address = first
        .local_addr()?
        .as_socket()
        .ok_or(io::ErrorKind::Unsupported)?;
    let mut sockets = vec![first];
    if count > 1 {
        sockets[0].set_reuse_port(true)?;
    }
    for _ in 1..count {
        let next = socket(address, kind)?;
        next.set_reuse_port(true)?;
        next.bind(&address.into())?;
        sockets.push(next);
    }
    Ok((sockets, address))
}

fn socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if kind == Type::STREAM {
        // A restarted server takes its port back at once.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    #[test]
    fn a_port_in_use_is_an_error_however_it_is_used() {
        let (_alone, first) = bind(ANY.parse().unwrap()).unwrap();
        let two = NonZeroUsize::new(2).unwrap();
        let (shared, second) = bind_shared(ANY.parse().unwrap(), two).unwrap();
        assert_eq!(shared.len(), 2);
        for taken in [first, second] {
            assert_eq!(bind(taken).unwrap_err().address, taken);
            assert_eq!(bind_shared(taken, two).unwrap_err().address, taken);
        }
    }

    #[test]
    fn datagrams_share_a_port_among_themselves_alone() {
        let two = NonZeroUsize::new(2).unwrap();
        let (sockets, address) = bind_datagrams(ANY.parse().unwrap(), two).unwrap();
        assert_eq!(sockets.len(), 2);
        assert_eq!(bind_datagrams(address, two).unwrap_err().address, address);
        let packets = 64;
        for _ in 0..packets {
            let client = UdpSocket::bind(ANY).unwrap();
            client.send_to(b"?", address).unwrap();
        }
        let counts = sockets.iter().map(|socket| {
            let received = || socket.recv_from(&mut [0; 8]).ok();
            std::iter::from_fn(received).count()
        });
        let counts: Vec<usize> = counts.collect();
        assert_eq!(counts.iter().sum::<usize>(), packets);
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }
}
