//! The listener and its connections.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{convert::Infallible, io, pin::pin, time::Duration};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use crate::options::{HEAD_BYTES_MIN, Options};
use crate::queue::Queue;
use crate::service::Service;
use crate::socket::Socket;
use crate::{BindError, Publish, worker};

/// A listener with its workers to come.
#[derive(Debug)]
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    options: Options,
}

impl Server {
    /// Listens. Port 0 means any free one; [`Server::local_addr`] tells which. Connections wait in
    /// the backlog until [`Server::run`].
    pub fn bind(address: SocketAddr, options: Options) -> Result<Self, BindError> {
        let listener = listen(address).map_err(|source| BindError { address, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| BindError { address, source })?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then lets running requests end within
    /// [`Options::shutdown_wait`]. Connections run on the caller's tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn run<P: Publish + ?Sized + 'static>(
        self,
        publish: Arc<P>,
        shutdown: impl Future<Output = ()>,
    ) {
        let Self {
            listener,
            address,
            options,
        } = self;
        let queue = Arc::new(Queue::new(options.waiting_max));
        let started = worker::start(options.workers.get(), &queue, &publish)
            .and_then(|workers| Ok((workers, TcpListener::from_std(listener)?)));
        let (mut workers, listener) = match started {
            Ok(started) => started,
            Err(error) => {
                error!(%address, %error, "cannot start serving");
                queue.close();
                return;
            }
        };
        let shutdown_wait = options.shutdown_wait;
        let stopping = AtomicBool::new(false);
        let service = Arc::new(Service {
            options,
            queue: queue.clone(),
            publish,
            stopping,
        });
        let mut connections = JoinSet::new();
        let (stop, stopped) = watch::channel(false);

        accept(&listener, &service, &mut connections, stopped, shutdown).await;

        drop(listener);
        service.stopping.store(true, Ordering::Relaxed);
        stop.send_replace(true);
        let all_end = async { while connections.join_next().await.is_some() {} };
        if timeout(shutdown_wait, all_end).await.is_err() {
            warn!(%address, left = connections.len(), "cutting requests that take too long to end");
            connections.shutdown().await;
        }
        queue.close();
        if timeout(WORKERS_WAIT, workers.recv()).await.is_err() {
            warn!(%address, "a worker is still computing; leaving it behind");
        }
    }
}

/// Takes connections until told to stop.
async fn accept<P: Publish + ?Sized + 'static>(
    listener: &TcpListener,
    service: &Arc<Service<P>>,
    connections: &mut JoinSet<()>,
    stopped: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let connections_max = service.options.connections_max;
    loop {
        tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < connections_max => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve(stream, peer, service.clone(), stopped.clone()));
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

async fn serve<P: Publish + ?Sized + 'static>(
    stream: TcpStream,
    peer: SocketAddr,
    service: Arc<Service<P>>,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let options = &service.options;
    let io = TokioIo::new(Socket::new(stream, options.write_wait));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_wait)
        .max_headers(options.headers_max)
        .max_buf_size(options.head_bytes_max.max(HEAD_BYTES_MIN))
        .serve_connection(
            io,
            service_fn(|request| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.handle(request, peer, local).await) }
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

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = RawSocket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restarted publisher takes its port back at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

const BACKLOG: i32 = 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Workers have nothing to do any more when this begins, unless a page hangs.
const WORKERS_WAIT: Duration = Duration::from_secs(1);
