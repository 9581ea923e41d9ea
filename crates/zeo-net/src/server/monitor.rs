//! How a server is, for those who watch over it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use zeo::{Hub, HubFigures};

use crate::tls::TlsServer;

/// Tells how a server is, from any thread, while it is bound, runs and has ended.
#[derive(Clone)]
pub struct Monitor(Arc<Watched>);

struct Watched {
    hub: OnceLock<Arc<Hub>>,
    tls: Option<Arc<TlsServer>>,
    refused_for_room: AtomicU64,
    refused_by_tls: AtomicU64,
}

/// A server as it is now. Counts are since its start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerFigures {
    /// What its hub tells.
    pub hub: HubFigures,
    /// Connections that were refused because there were too many.
    pub refused_for_room: u64,
    /// Connections that were refused for their certificates, or for speaking no TLS.
    pub refused_by_tls: u64,
    /// When the server's certificate expires, since 1970, if it has one.
    pub certificate_expires: Option<Duration>,
}

impl Monitor {
    pub(super) fn new(tls: Option<Arc<TlsServer>>) -> Self {
        Self(Arc::new(Watched {
            hub: OnceLock::new(),
            tls,
            refused_for_room: AtomicU64::new(0),
            refused_by_tls: AtomicU64::new(0),
        }))
    }

    pub(super) fn begin(&self, hub: &Arc<Hub>) {
        self.0.hub.get_or_init(|| Arc::clone(hub));
    }

    pub(super) fn refused_for_room(&self) {
        self.0.refused_for_room.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused_by_tls(&self) {
        self.0.refused_by_tls.fetch_add(1, Ordering::Relaxed);
    }

    /// How the server is; nothing before it runs.
    pub fn figures(&self) -> Option<ServerFigures> {
        let watched = &self.0;
        Some(ServerFigures {
            hub: watched.hub.get()?.figures(),
            refused_for_room: watched.refused_for_room.load(Ordering::Relaxed),
            refused_by_tls: watched.refused_by_tls.load(Ordering::Relaxed),
            certificate_expires: watched.tls.as_ref().and_then(|tls| tls.expires()),
        })
    }
}
