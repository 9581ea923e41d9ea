//! Where a server listens: TCP ports and sockets in the file system, several at once.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// How many connections the system keeps for us before they are accepted.
const BACKLOG: i32 = 1024;

/// A peer that vanished without a word is noticed after about a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port.
    Inet(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A bound address, before there is a runtime.
pub(super) enum Bound {
    Inet(StdTcpListener),
    Unix(StdUnixListener, SocketFile),
}

/// A socket's file, which goes with its listener.
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "cannot remove the socket");
        }
    }
}

impl Bound {
    /// `alone`: whether no other address is bound beside it. An IPv6 socket then takes IPv4 as
    /// the system is set, else it leaves IPv4 to its neighbours.
    pub(super) fn bind(address: &ListenAddress, alone: bool) -> io::Result<Self> {
        match address {
            ListenAddress::Inet(address) => bind_inet(*address, alone).map(Self::Inet),
            ListenAddress::Unix(path) => {
                clear(path)?;
                let listener = StdUnixListener::bind(path)?;
                let file = SocketFile(path.clone());
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    pub(super) fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Inet(listener) => listener.local_addr().map(ListenAddress::Inet),
            Self::Unix(_, file) => Ok(ListenAddress::Unix(file.0.clone())),
        }
    }
}

fn bind_inet(address: SocketAddr, alone: bool) -> io::Result<StdTcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() && !alone {
        socket.set_only_v6(true)?;
    }
    // A restarted server takes its port back although old connections linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Takes away the socket of a server that is gone. Nothing else is removed.
fn clear(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        let message = format!("{} is there already, and no socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    if StdUnixStream::connect(path).is_ok() {
        let message = "another server answers there";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    std::fs::remove_file(path)
}

/// All addresses of a server, in a runtime.
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// Asked first next time, so that none is always last.
    first: usize,
}

enum Listener {
    Inet(TcpListener),
    Unix(
        UnixListener,
        #[allow(dead_code, reason = "removes the file")] SocketFile,
    ),
}

impl Listeners {
    pub(super) fn new(bound: Vec<Bound>) -> io::Result<Self> {
        let listeners = bound.into_iter().map(|bound| match bound {
            Bound::Inet(listener) => TcpListener::from_std(listener).map(Listener::Inet),
            Bound::Unix(listener, file) => {
                Ok(Listener::Unix(UnixListener::from_std(listener)?, file))
            }
        });
        Ok(Self {
            listeners: listeners.collect::<io::Result<_>>()?,
            first: 0,
        })
    }

    /// The next connection, and who it is.
    pub(super) async fn accept(&mut self) -> io::Result<(Stream, String)> {
        poll_fn(|context| {
            let count = self.listeners.len();
            for turn in 0..count {
                let index = (self.first + turn) % count;
                if let Poll::Ready(accepted) = self.listeners[index].poll_accept(context) {
                    self.first = (index + 1) % count;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Listener {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, String)>> {
        match self {
            Self::Inet(listener) => listener.poll_accept(context).map_ok(|(stream, peer)| {
                if let Err(error) = configure(&stream) {
                    tracing::debug!(%peer, %error, "cannot configure a connection");
                }
                (Stream::Inet(stream), peer.to_string())
            }),
            Self::Unix(listener, _) => listener.poll_accept(context).map_ok(|(stream, _)| {
                let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
                let peer = process.map_or_else(
                    || "local process".to_owned(),
                    |process| format!("process {process}"),
                );
                (Stream::Unix(stream), peer)
            }),
        }
    }
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// A connection of either kind.
pub(super) enum Stream {
    Inet(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Inet(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Inet(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Inet(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Inet(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
