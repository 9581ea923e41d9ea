//! Listeners, threads, connections.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use edge::{Accepted, BindError, HEAD_BYTES_MIN, Listener, Stopped};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use crate::options::Options;
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
        let (listeners, address) = edge::bind_shared(address, options.threads)?;
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
        let shared = self.shared;
        let work =
            move |number, listener, stopped| run_thread(number, listener, shared.clone(), stopped);
        edge::run_threads("balance", self.listeners, shutdown, work).await;
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

/// One core's work: a listener, its connections, and its own connections to the backends.
async fn run_thread(
    number: usize,
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stopped: Stopped,
) -> io::Result<()> {
    let options = &shared.options;
    let connections_max = options
        .connections_max
        .div_ceil(options.threads.get())
        .max(1);
    let listener = Listener::new(listener, connections_max, options.write_wait)?;
    let mut checks = JoinSet::new();
    if number == 0 {
        checks.spawn(health::run(shared.clone()));
    }
    let upstream = Upstream::new(options.connect_wait, options.upstream_idle_wait);
    let service = Arc::new(Service {
        shared: shared.clone(),
        upstream,
    });
    let serve_one = |accepted| serve(accepted, service.clone());
    let connections = listener.accept(stopped.wait(), serve_one).await;
    connections.end(options.shutdown_wait).await;
    Ok(())
}

async fn serve(accepted: Accepted, service: Arc<Service>) {
    let Accepted {
        stream,
        peer,
        local,
        stopping,
    } = accepted;
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
    stopping.drive(connection).await;
}
