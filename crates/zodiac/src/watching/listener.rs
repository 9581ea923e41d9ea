//! The listener for those who watch. It has a thread of its own, so that it answers while the server is busy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use edge::{Accepted, HEAD_BYTES_MIN, Listener};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::health::Watched;
use super::prometheus;
use super::report::Report;

/// A listener that answers until it is dropped.
pub(crate) struct MetricsListener {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsListener {
    /// Answers from now on.
    ///
    /// # Errors
    /// The address cannot be bound, or there can be no thread.
    pub(crate) fn start(address: SocketAddr, watched: Arc<Watched>) -> Result<Self> {
        let (socket, address) = edge::bind(address).context("zeo.metrics")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_MAX)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                let listener = match Listener::new(socket, CONNECTIONS_MAX, WRITE_WAIT) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!(%error, "no metrics are served"),
                };
                let stopped = async { drop(stopped.await) };
                let connections = listener
                    .accept(stopped, |accepted| serve(accepted, Arc::clone(&watched)))
                    .await;
                connections.end(GOODBYE).await;
            });
            // Somebody who waits for a lock must not hold up the end.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("metrics".to_owned());
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread.spawn(serve)?),
        })
    }
}

impl Drop for MetricsListener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _a_panic_was_told_of = thread.join();
        }
    }
}

async fn serve(accepted: Accepted, watched: Arc<Watched>) {
    let Accepted {
        stream, stopping, ..
    } = accepted;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MIN)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| {
                let watched = Arc::clone(&watched);
                async move { Ok::<_, Infallible>(answer(&request, watched).await) }
            }),
        );
    stopping.drive(connection).await;
}

async fn answer(request: &Request<Incoming>, watched: Arc<Watched>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "there is only something to read here",
        );
    }
    match request.uri().path() {
        "/livez" => verdict(watched.check_alive(), "alive"),
        "/readyz" => match aside(move || watched.check_ready()).await {
            Some(ready) => verdict(ready, "ready"),
            None => unanswered(),
        },
        "/metrics" => {
            let text = |report: &Report| prometheus::text(report);
            told(watched, prometheus::CONTENT_TYPE, text).await
        }
        "/status" => {
            let json = |report: &Report| serde_json::to_string(report).unwrap_or_default();
            told(watched, "application/json", json).await
        }
        "/" => plain(StatusCode::OK, "/metrics\n/livez\n/readyz\n/status"),
        _ => plain(
            StatusCode::NOT_FOUND,
            "there is /metrics, /livez, /readyz and /status",
        ),
    }
}

async fn told(
    watched: Arc<Watched>,
    content_type: &'static str,
    write: impl FnOnce(&Report) -> String + Send + 'static,
) -> Response<Full<Bytes>> {
    match aside(move || write(&watched.report())).await {
        Some(text) => with_type(StatusCode::OK, content_type, text),
        None => unanswered(),
    }
}

/// Does what may wait for a lock on another thread; nothing where it waits for too long.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(ANSWER_WAIT, spawn_blocking(work)).await.ok()?.ok()
}

fn verdict(check: Result<(), String>, well: &str) -> Response<Full<Bytes>> {
    match check {
        Ok(()) => plain(StatusCode::OK, well),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

fn unanswered() -> Response<Full<Bytes>> {
    let seconds = ANSWER_WAIT.as_secs();
    let reason = format!("the server has not told how it is within {seconds} seconds");
    plain(StatusCode::SERVICE_UNAVAILABLE, &reason)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn with_type(
    status: StatusCode,
    content_type: &'static str,
    text: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    let never = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, never);
    response
}

/// Who watches is few.
const CONNECTIONS_MAX: usize = 64;
/// How many answers are waited for at once, each on a thread.
const BLOCKING_MAX: usize = 4;
/// How long an answer may take to be found,
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// a request to come,
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// a peer to take nothing of its answer,
const WRITE_WAIT: Duration = Duration::from_secs(10);
/// and answers to end when the process does.
const GOODBYE: Duration = Duration::from_secs(1);
