//! One request on the I/O side: read it whole, hand it to a worker, pass the answer on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Publish;
use crate::options::Options;
use crate::queue::{Job, Queue};
use crate::request;
use crate::response::{ResponseBody, closing, plain, response, with_type};

/// What all connections of a server share.
pub(crate) struct Service<P: ?Sized> {
    pub(crate) options: Options,
    pub(crate) queue: Arc<Queue>,
    pub(crate) publish: Arc<P>,
    pub(crate) stopping: AtomicBool,
}

/// Paths below this are between balancer and publisher. Zope never publishes a name that begins
/// with an underscore, so no site can have one.
const INTERNAL: &str = "/_zodiac/";
const HEALTH: &str = "/_zodiac/health";

impl<P: Publish + ?Sized + 'static> Service<P> {
    pub(crate) async fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Response<ResponseBody> {
        let (parts, body) = request.into_parts();
        let mut request = match request::from_head(&parts, peer, local, &self.options) {
            Ok(request) => request,
            Err(refusal) => return closing(refusal.status, refusal.message),
        };
        if request.path == HEALTH && matches!(parts.method, Method::GET | Method::HEAD) {
            return self.health();
        }
        if request.path.starts_with(INTERNAL) {
            return plain(StatusCode::NOT_FOUND, "nothing here");
        }
        request.body = match self.read(body).await {
            Ok(body) => body,
            Err(status) => return closing(status, self.explain(status)),
        };
        let (reply, answer) = oneshot::channel();
        if !self.queue.push(Job { request, reply }) {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "all workers are busy, try again",
            );
        }
        match answer.await {
            Ok(answer) => response(answer, parts.method == Method::HEAD),
            Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"),
        }
    }

    /// Answered here, so that it is true also when no worker is free.
    fn health(&self) -> Response<ResponseBody> {
        let load = self.queue.load();
        let ready = !self.stopping.load(Ordering::Relaxed) && self.publish.is_ready();
        let json = format!(
            "{{\"ready\":{ready},\"workers\":{},\"busy\":{},\"waiting\":{}}}\n",
            self.options.workers, load.busy, load.waiting
        );
        with_type(StatusCode::OK, "application/json", json)
    }

    async fn read(&self, mut body: Incoming) -> Result<Vec<u8>, StatusCode> {
        let max = self.options.body_bytes_max;
        if body.size_hint().lower() > max as u64 {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let mut bytes = Vec::new();
        loop {
            let frame = timeout(self.options.body_wait, body.frame())
                .await
                .map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
            let Some(frame) = frame else { return Ok(bytes) };
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            // Trailers say nothing that a page could ask for.
            let Some(data) = frame.data_ref() else {
                continue;
            };
            if data.len() > max - bytes.len() {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            bytes.extend_from_slice(data);
        }
    }

    fn explain(&self, status: StatusCode) -> &'static str {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => "the request body is over the limit of this server",
            StatusCode::REQUEST_TIMEOUT => "the request body did not arrive in time",
            _ => "the request body is malformed",
        }
    }
}
