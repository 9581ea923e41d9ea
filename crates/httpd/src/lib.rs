//! HTTP to worker threads that call the publisher.
//!
//! Connections live on the caller's tokio runtime; pages are computed on plain threads that may
//! block, one request each. A [`Server`] reads a request whole, hands it to a worker over a bounded
//! queue, and sends what comes back. It knows nothing of sites, only of a [`Publish`].
//!
//! ```no_run
//! # async fn example() -> Result<(), httpd::BindError> {
//! use std::sync::Arc;
//!
//! use publisher::{Body, Request, Response};
//!
//! let address = "127.0.0.1:0".parse().expect("a literal");
//! let server = httpd::Server::bind(address, httpd::Options::default())?;
//! println!("listening on {}", server.local_addr());
//! let hello = |request: &Request| Response {
//!     status: 200,
//!     headers: vec![("content-type".into(), "text/plain".into())],
//!     body: Body::Bytes(format!("you asked for {}", request.path).into_bytes()),
//! };
//! server.run(Arc::new(hello), std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod options;
mod queue;
mod request;
mod response;
mod server;
mod service;
mod worker;

pub use edge::BindError;
pub use options::Options;
pub use server::Server;

use publisher::{Request, Response};

/// What answers requests. Called on worker threads, several at a time; it may block.
///
/// A closure `Fn(&Request) -> Response` is one.
pub trait Publish: Send + Sync {
    /// Answers one request. A panic costs this request alone: it is answered with 500.
    fn publish(&self, request: &Request) -> Response;

    /// Whether the balancer should send requests here. Asked for each health check, on the I/O
    /// side: it must not block.
    fn is_ready(&self) -> bool {
        true
    }
}

impl<F> Publish for F
where
    F: Fn(&Request) -> Response + Send + Sync,
{
    fn publish(&self, request: &Request) -> Response {
        self(request)
    }
}
