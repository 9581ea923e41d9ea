//! The listener: one task for each connection, commits on threads of their own.

mod connection;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use storage::Storage;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use zeo::{Encoding, FRAME_BYTES_MAX, Hub, HubOptions};

use crate::clock;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The encoding offered to clients.
    pub encoding: Encoding,
    /// Whether every client is kept from writing.
    pub read_only: bool,
    /// How many connections are open at most; further ones are closed at once.
    pub connections_max: usize,
    /// How many transactions are kept for returning clients.
    pub invalidations_max: usize,
    /// The largest frame that is taken.
    pub frame_bytes_max: usize,
    /// How much may wait for a client that does not read, before it is dropped.
    pub output_bytes_max: usize,
    /// How large one transaction may be: it is kept in memory until its vote.
    pub transaction_bytes_max: usize,
    /// How long a client may take from getting the commit lock to the end of its transaction,
    /// before it is dropped; `None` for ever, which is the original's default. Ours is a minute:
    /// all other writers wait as long.
    pub transaction_timeout: Option<Duration>,
    /// How long connections may take to end when the server stops; then they are cut off.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let hub = HubOptions::default();
        Self {
            encoding: Encoding::Pickle,
            read_only: false,
            connections_max: 10_000,
            invalidations_max: hub.invalidations_max,
            frame_bytes_max: FRAME_BYTES_MAX,
            output_bytes_max: hub.output_bytes_max,
            transaction_bytes_max: hub.transaction_bytes_max,
            transaction_timeout: hub.transaction_timeout,
            drain: Duration::from_secs(5),
        }
    }
}

/// A bound ZEO server.
pub struct Server {
    listener: std::net::TcpListener,
    options: ServerOptions,
}

impl Server {
    /// Binds the address; port 0 means any free port. Clients may connect from now on, and are
    /// served when the server [`run`](Self::run)s.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restarted server takes its port back although old connections linger.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            listener: socket.into(),
            options,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves these storages until `shutdown` is done. Then no more connections and calls are
    /// taken, transactions that are voted may finish, and the connections close.
    ///
    /// Must be called in a tokio runtime with time and net enabled; a multi-threaded one serves
    /// loads in parallel.
    ///
    /// # Errors
    /// When the listener cannot be used, or a storage cannot tell of its recent transactions.
    pub async fn run(
        self,
        storages: Vec<(String, Arc<dyn Storage>)>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let options = self.options;
        let hub_options = HubOptions {
            encoding: options.encoding,
            read_only: options.read_only,
            invalidations_max: options.invalidations_max,
            frame_bytes_max: options.frame_bytes_max,
            output_bytes_max: options.output_bytes_max,
            transaction_bytes_max: options.transaction_bytes_max,
            transaction_timeout: options.transaction_timeout,
            started: clock::since_1970(),
        };
        let hub = Hub::new(storages, hub_options).map_err(io::Error::other)?;
        let listener = TcpListener::from_std(self.listener)?;
        tracing::info!(address = %listener.local_addr()?, "listening");
        let (stop, stopping) = watch::channel(false);
        let mut acceptor = Acceptor {
            hub: hub.clone(),
            connections: JoinSet::new(),
            connections_max: options.connections_max,
            stopping,
        };
        tokio::select! {
            () = acceptor.accept_all(&listener) => {}
            () = watch_the_time(&hub) => {}
            () = shutdown => {}
        }
        drop(listener);
        let _nobody_may_listen = stop.send(true);
        hub.stop_packs();
        acceptor.end(options.drain).await;
        Ok(())
    }
}

/// Ends the transactions that take too long.
async fn watch_the_time(hub: &Hub) {
    while let Some(next) = hub.handle_timeout(clock::now()) {
        tokio::time::sleep_until(next.into()).await;
    }
    std::future::pending().await
}

/// How many connections the system keeps for us before they are accepted.
const BACKLOG: i32 = 1024;
/// How long the listener rests when the system has no room for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer that vanished without a word is noticed after about a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

struct Acceptor {
    hub: Arc<Hub>,
    connections: JoinSet<()>,
    connections_max: usize,
    stopping: watch::Receiver<bool>,
}

impl Acceptor {
    async fn accept_all(&mut self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.accept(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accept(&mut self, stream: TcpStream, peer: SocketAddr) {
        while self.connections.try_join_next().is_some() {}
        if self.connections.len() >= self.connections_max {
            let max = self.connections_max;
            tracing::warn!(%peer, max, "too many connections, refused one");
            return;
        }
        if let Err(error) = configure(&stream) {
            tracing::debug!(%peer, %error, "cannot configure a connection");
        }
        let (hub, stopping) = (self.hub.clone(), self.stopping.clone());
        self.connections.spawn(async move {
            connection::serve(&hub, stream, peer, stopping).await;
        });
    }

    /// Waits for the connections to end, which were told to, and cuts those off that do not: who
    /// has voted holds the storage's commit lock, without which the storage cannot be closed.
    async fn end(mut self, drain: Duration) {
        let all_gone = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, all_gone).await.is_err() {
            let connections = self.connections.len();
            tracing::warn!(connections, "cut off connections that did not end in time");
            self.connections.shutdown().await;
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
