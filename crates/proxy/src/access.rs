//! One line for each request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tracing::info;

use crate::socket::Link;

/// What is known of a request; written when it is dropped, which is when its answer is sent, or
/// its client gone.
pub(crate) struct Record {
    link: Arc<Link>,
    begin: Instant,
    pub(crate) id: String,
    client: IpAddr,
    method: String,
    path: String,
    status: u16,
    bytes: u64,
    backend: Option<SocketAddr>,
    retries: u32,
}

/// The status of a request whose client did not wait for one.
const CLIENT_GONE: u16 = 499;

impl Record {
    pub(crate) fn begin(link: Arc<Link>, id: String, client: IpAddr) -> Self {
        link.busy.store(true, Ordering::Relaxed);
        Self {
            link,
            begin: Instant::now(),
            id,
            client,
            method: "-".to_owned(),
            path: "-".to_owned(),
            status: CLIENT_GONE,
            bytes: 0,
            backend: None,
            retries: 0,
        }
    }

    pub(crate) fn request(&mut self, method: &str, path: &str) {
        method.clone_into(&mut self.method);
        path.clone_into(&mut self.path);
    }

    pub(crate) fn attempt(&mut self, backend: SocketAddr) {
        if self.backend.replace(backend).is_some() {
            self.retries += 1;
        }
    }

    pub(crate) fn answer(&mut self, status: u16) {
        self.status = status;
    }

    pub(crate) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.link.busy.store(false, Ordering::Relaxed);
        let duration_ms = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let backend = self.backend.map(|address| address.to_string());
        info!(
            target: "access",
            request_id = self.id,
            client = %self.client,
            method = self.method,
            path = self.path,
            status = self.status,
            bytes = self.bytes,
            duration_ms,
            backend = backend.as_deref().unwrap_or("-"),
            retries = self.retries,
        );
    }
}
