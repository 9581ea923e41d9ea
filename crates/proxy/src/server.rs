//! Listeners, threads, connections.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use crate::check;
use crate::error::BindError;
use crate::options::{HEAD_BYTES_MIN, Options};
use crate::service::{Client, Service};
use crate::shared::{Handle, Shared};
use crate::socket::{Link, Socket};
use crate::upstream::Upstream;

/// A balancer with its listeners.
pub struct Server {
    /// One for each thread, all on the same port; the kernel shares connections out among them.
    listeners: Vec<std::net::TcpListener>,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens. Port 0 means any free one; [`Server::local_addr`] tells which. Connections wait in
    /// the backlog until [`Server::run`].
    pub fn bind(address: SocketAddr, options: Options) -> Result<Self, BindError> {
        let count = options.threads.get();
        let (listeners, address) =
            listen(address, count).map_err(|source| BindError { address, source })?;
        Ok(Self {
            listeners,
            address,
            shared: Shared::new(options),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// For changes of a running balancer.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shared.clone())
    }

    /// Serves until `shutdown` is ready, then lets running requests end within
    /// [`Options::shutdown_wait`]. Starts its own threads; the caller's only waits.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        for (number, listener) in self.listeners.into_iter().enumerate() {
            let (shared, stopped, alive) = (self.shared.clone(), stopped.clone(), alive.clone());
            let started = thread::Builder::new()
                .name(format!("balance-{number}"))
                .spawn(move || {
                    if let Err(error) = run_thread(number, listener, shared, stopped) {
                        error!(%error, "a thread of the balancer cannot run");
                    }
                    drop(alive);
                });
            if let Err(error) = started {
                error!(%error, "cannot start a thread of the balancer");
            }
        }
        drop((alive, stopped));
        tokio::select! {
            () = shutdown => {}
            // Nobody is left to serve: do not pretend.
            _ = all_gone.recv() => return,
        }
        stop.send_replace(true);
        all_gone.recv().await;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("threads", &self.listeners.len())
            .finish_non_exhaustive()
    }
}

/// `count` listeners on one port. The first one is bound without `SO_REUSEPORT`, so that a port
/// which another balancer uses is an error and not silently shared with it.
fn listen(
    address: SocketAddr,
    count: usize,
) -> io::Result<(Vec<std::net::TcpListener>, SocketAddr)> {
    let first = socket(address)?;
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
        let next = socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&address.into())?;
        sockets.push(next);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok((sockets.into_iter().map(Into::into).collect(), address))
}

fn socket(address: SocketAddr) -> io::Result<RawSocket> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restarted balancer takes its port back at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One core's work: a listener, its connections, and its own connections to the backends.
fn run_thread(
    number: usize,
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let mut checks = JoinSet::new();
        if number == 0 {
            checks.spawn(check::run(shared.clone()));
        }
        let options = &shared.options;
        let upstream = Upstream::new(options.connect_wait, options.upstream_idle_wait);
        let service = Arc::new(Service {
            shared: shared.clone(),
            upstream,
        });
        let mut connections = JoinSet::new();
        accept(&listener, &service, &mut connections, stopped).await;
        drop(listener);
        let all_end = async { while connections.join_next().await.is_some() {} };
        if timeout(options.shutdown_wait, all_end).await.is_err() {
            warn!(
                left = connections.len(),
                "cutting requests that take too long to end"
            );
            connections.shutdown().await;
        }
        Ok(())
    })
}

/// Takes connections until told to stop.
async fn accept(
    listener: &TcpListener,
    service: &Arc<Service>,
    connections: &mut JoinSet<()>,
    mut stopped: watch::Receiver<bool>,
) {
    let options = &service.shared.options;
    let connections_max = options
        .connections_max
        .div_ceil(options.threads.get())
        .max(1);
    let connection_stopped = stopped.clone();
    let mut stop = pin!(stop_asked(&mut stopped));
    loop {
        tokio::select! {
            () = &mut stop => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < connections_max => match accepted {
                Ok((stream, peer)) => {
                    let stopped = connection_stopped.clone();
                    connections.spawn(serve(stream, peer, service.clone(), stopped));
                }
                Err(error) => {
                    // Out of descriptors, most likely: others must end first.
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<Service>,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let options = &service.shared.options;
    let link = Arc::new(Link::default());
    let socket = Socket::new(stream, link.clone(), options);
    let client = Client { peer, local, link };
    // The gate times heads and idleness. Headers were counted there, too: hyper's own answers to
    // what it refuses are bare, so its limits must not be the narrower ones.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(options.headers_max)
        .max_buf_size(2 * options.head_bytes_max.max(HEAD_BYTES_MIN))
        .serve_connection(
            TokioIo::new(socket),
            service_fn(|request| {
                let (service, client) = (service.clone(), client.clone());
                async move { Ok::<_, Infallible>(service.handle(request, client).await) }
            }),
        );
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop_asked(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection ended badly");
    }
}

async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is as good a reason.
    let _ = stopped.wait_for(|&stopped| stopped).await;
}

const BACKLOG: i32 = 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
