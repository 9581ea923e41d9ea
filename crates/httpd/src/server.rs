//! The listener and its connections.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edge::{Accepted, HEAD_BYTES_MIN, Listener};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::timeout;
use tracing::{error, warn};

use crate::options::Options;
use crate::queue::Queue;
use crate::service::Service;
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
        let (listener, address) = edge::bind(address)?;
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
            .and_then(|workers| Ok((workers, listen(listener, &options)?)));
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
        let serve_one = |accepted| serve(accepted, service.clone());
        let connections = listener.accept(shutdown, serve_one).await;
        service.stopping.store(true, Ordering::Relaxed);
        connections.end(shutdown_wait).await;
        queue.close();
        if timeout(WORKERS_WAIT, workers.recv()).await.is_err() {
            warn!(%address, "a worker is still computing; leaving it behind");
        }
    }
}

fn listen(listener: std::net::TcpListener, options: &Options) -> io::Result<Listener> {
    Listener::new(listener, options.connections_max, options.write_wait)
}

async fn serve<P: Publish + ?Sized + 'static>(accepted: Accepted, service: Arc<Service<P>>) {
    let Accepted {
        stream,
        peer,
        local,
        stopping,
    } = accepted;
    let options = &service.options;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_wait)
        .max_headers(options.headers_max)
        .max_buf_size(options.head_bytes_max.max(HEAD_BYTES_MIN))
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.handle(request, peer, local).await) }
            }),
        );
    stopping.drive(connection).await;
}

/// Workers have nothing to do any more when this begins, unless a page hangs.
const WORKERS_WAIT: Duration = Duration::from_secs(1);
