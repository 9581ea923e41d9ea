//! Connections to backends: each thread has its own, and keeps them for the next request.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::incoming::RequestBody;
use crate::options::UPSTREAM_IDLE_MAX;

/// A connection to a backend. Dropped, it is closed at once, whatever is under way: a backend that
/// takes nothing would otherwise keep it open, and the client's that sends the body.
pub(crate) struct Sender {
    requests: SendRequest<RequestBody>,
    task: AbortHandle,
}

impl Sender {
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<> {
        self.requests.send_request(request)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) struct Upstream {
    /// Never contended: a thread's connections stay with it. The lock keeps its tasks `Send`.
    idle: Mutex<BTreeMap<SocketAddr, Vec<Idle>>>,
    idle_wait: Duration,
    connect_wait: Duration,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

impl Upstream {
    pub(crate) fn new(connect_wait: Duration, idle_wait: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            idle_wait,
            connect_wait,
        })
    }

    /// An idle connection that still looks open. The youngest: the others may then age and go.
    pub(crate) fn check_out(&self, address: SocketAddr) -> Option<Sender> {
        let mut idle = self.lock();
        let connections = idle.get_mut(&address)?;
        while let Some(Idle { sender, since }) = connections.pop() {
            if sender.requests.is_ready() && since.elapsed() < self.idle_wait {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(crate) fn check_in(self: &Arc<Self>, address: SocketAddr, mut sender: Sender) {
        if sender.requests.is_ready() {
            self.keep(address, sender);
        } else if !sender.requests.is_closed() {
            let upstream = self.clone();
            tokio::spawn(async move {
                if sender.requests.ready().await.is_ok() {
                    upstream.keep(address, sender);
                }
            });
        }
    }

    fn keep(&self, address: SocketAddr, sender: Sender) {
        let mut idle = self.lock();
        // Backends come and go: what nobody will ask for again goes with the rest.
        idle.retain(|_, connections| {
            connections.retain(|connection| {
                !connection.sender.requests.is_closed()
                    && connection.since.elapsed() < self.idle_wait
            });
            !connections.is_empty()
        });
        let connections = idle.entry(address).or_default();
        if connections.len() < UPSTREAM_IDLE_MAX {
            connections.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Sender> {
        let stream = timeout(self.connect_wait, TcpStream::connect(address))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer to a connect"))??;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(backend = %address, %error, "a connection to a backend ended badly");
            }
        });
        let task = task.abort_handle();
        Ok(Sender { requests, task })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
