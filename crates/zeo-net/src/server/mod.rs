//! The listener: one task for each connection, commits on threads of their own.

mod connection;
mod listen;
mod monitor;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use storage::Storage;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zeo::{Encoding, FRAME_BYTES_MAX, Hub, HubOptions};

use crate::clock;
use crate::tls::{TlsServer, TlsServerOptions};

use listen::{Bound, Listeners, Stream};

pub use listen::ListenAddress;
pub use monitor::{Monitor, ServerFigures};

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
    /// How long ago a returning client that missed more than these may have been here; counted back
    /// from the newest transaction. `None` for however long, but for 100,000 transactions at most.
    pub invalidation_age: Option<Duration>,
    /// The largest frame that is taken.
    pub frame_bytes_max: usize,
    /// How much may wait for a client that does not read, before it is dropped.
    pub output_bytes_max: usize,
    /// How large one transaction may be: it is kept in memory until its vote.
    pub transaction_bytes_max: usize,
    /// How large the files of one transaction's blobs may be together.
    pub blob_bytes_max: u64,
    /// How long a client may take from its turn to commit to the end of its transaction, before it
    /// is dropped; `None` for ever, which is the original's default. Who wants to change the same
    /// objects waits as long.
    pub transaction_timeout: Option<Duration>,
    /// How long connections may take to end when the server stops; then they are cut off.
    pub drain: Duration,
    /// Calls that take that long are told of in the log, with what they waited for.
    pub slow_request: Option<Duration>,
    /// Certificates, for a server that speaks TLS, and nothing else then.
    pub tls: Option<TlsServerOptions>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let hub = HubOptions::default();
        Self {
            encoding: Encoding::Pickle,
            read_only: false,
            connections_max: 10_000,
            invalidations_max: hub.invalidations_max,
            invalidation_age: None,
            frame_bytes_max: FRAME_BYTES_MAX,
            output_bytes_max: hub.output_bytes_max,
            transaction_bytes_max: hub.transaction_bytes_max,
            blob_bytes_max: hub.blob_bytes_max,
            transaction_timeout: hub.transaction_timeout,
            drain: Duration::from_secs(5),
            slow_request: None,
            tls: None,
        }
    }
}

/// A bound ZEO server.
pub struct Server {
    bound: Vec<Bound>,
    options: ServerOptions,
    tls: Option<Arc<TlsServer>>,
    monitor: Monitor,
}

impl Server {
    /// Binds the address; port 0 means any free port. Clients may connect from now on, and are
    /// served when the server [`run`](Self::run)s.
    ///
    /// # Errors
    /// What the system says, or what is wrong with the certificates ([`TlsError`](crate::TlsError)).
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        Self::bind_all(&[address.into()], options)
    }

    /// Binds all of these addresses. A socket in the file system takes the place of one that nobody
    /// answers at, and is removed when the server ends.
    ///
    /// # Errors
    /// What the system says of the first address that cannot be bound, or what is wrong with the
    /// certificates ([`TlsError`](crate::TlsError)).
    pub fn bind_all(addresses: &[ListenAddress], options: ServerOptions) -> io::Result<Self> {
        let tls = options.tls.clone().map(TlsServer::open);
        let tls = tls.transpose().map_err(io::Error::other)?;
        let alone = addresses.len() == 1;
        let bound = addresses.iter().map(|address| Bound::bind(address, alone));
        Ok(Self {
            bound: bound.collect::<io::Result<_>>()?,
            options,
            monitor: Monitor::new(tls.clone()),
            tls,
        })
    }

    /// The first port it listens at.
    ///
    /// # Errors
    /// What the system says, and where it listens at no port.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addresses = self.addresses()?;
        let mut ports = addresses.into_iter().filter_map(|address| match address {
            ListenAddress::Inet(address) => Some(address),
            ListenAddress::Unix(_) => None,
        });
        ports
            .next()
            .ok_or_else(|| io::Error::other("the server listens at no port"))
    }

    /// Everywhere it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn addresses(&self) -> io::Result<Vec<ListenAddress>> {
        self.bound.iter().map(Bound::address).collect()
    }

    /// What tells how the server is, from anywhere.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
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
            invalidation_age: options.invalidation_age,
            frame_bytes_max: options.frame_bytes_max,
            output_bytes_max: options.output_bytes_max,
            transaction_bytes_max: options.transaction_bytes_max,
            blob_bytes_max: options.blob_bytes_max,
            transaction_timeout: options.transaction_timeout,
            started: clock::since_1970(),
            clock: Some(clock::now),
            slow_request: options.slow_request,
        };
        let hub = Hub::new(storages, hub_options).map_err(io::Error::other)?;
        self.monitor.begin(&hub);
        for bound in &self.bound {
            tracing::info!(address = %bound.address()?, "listening");
        }
        let mut listeners = Listeners::new(self.bound)?;
        let (stop, stopping) = watch::channel(false);
        let certificates = self.tls.clone();
        let mut acceptor = Acceptor {
            hub: hub.clone(),
            tls: self.tls,
            monitor: self.monitor,
            connections: JoinSet::new(),
            connections_max: options.connections_max,
            stopping,
        };
        tokio::select! {
            () = acceptor.accept_all(&mut listeners) => {}
            () = watch_the_time(&hub) => {}
            () = watch_the_certificates(certificates) => {}
            () = shutdown => {}
        }
        drop(listeners);
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

/// Has connections end whose certificates count no more.
async fn watch_the_certificates(tls: Option<Arc<TlsServer>>) {
    match tls {
        Some(tls) => tls.watch().await,
        None => std::future::pending().await,
    }
}

/// How long the listener rests when the system has no room for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct Acceptor {
    hub: Arc<Hub>,
    tls: Option<Arc<TlsServer>>,
    monitor: Monitor,
    connections: JoinSet<()>,
    connections_max: usize,
    stopping: watch::Receiver<bool>,
}

impl Acceptor {
    async fn accept_all(&mut self, listeners: &mut Listeners) {
        loop {
            match listeners.accept().await {
                Ok((stream, peer)) => self.accept(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accept(&mut self, stream: Stream, peer: String) {
        while self.connections.try_join_next().is_some() {}
        if self.connections.len() >= self.connections_max {
            let max = self.connections_max;
            tracing::warn!(%peer, max, "too many connections, refused one");
            self.monitor.refused_for_room();
            return;
        }
        let (hub, stopping) = (self.hub.clone(), self.stopping.clone());
        let Some(tls) = self.tls.clone() else {
            let served = connection::serve(hub, stream, peer, None, stopping);
            self.connections.spawn(served);
            return;
        };
        let monitor = self.monitor.clone();
        self.connections.spawn(async move {
            let mut stopped = stopping.clone();
            let stream = tokio::select! {
                shaken = tls.accept(stream) => shaken,
                () = connection::stopped(&mut stopped) => return,
            };
            match stream {
                Ok((stream, guest)) => {
                    connection::serve(hub, stream, peer, Some(guest), stopping).await;
                }
                Err(Some(reason)) => {
                    monitor.refused_by_tls();
                    tracing::warn!(%peer, reason, "refused a connection");
                }
                Err(None) => tracing::debug!(%peer, "came and went"),
            }
        });
    }

    /// Waits for the connections to end, which were told to, and cuts those off that do not: what
    /// has voted keeps room and files in the storage, which is to be closed.
    async fn end(mut self, drain: Duration) {
        let all_gone = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, all_gone).await.is_err() {
            let connections = self.connections.len();
            tracing::warn!(connections, "cut off connections that did not end in time");
            self.connections.shutdown().await;
        }
    }
}
