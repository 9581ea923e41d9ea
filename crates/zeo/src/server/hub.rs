//! The hub: the storages of a server and the connections to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use storage::{Storage, StorageError};

use super::connection::Connection;
use super::outbox::Outbox;
use super::served::Served;
use super::status::{status, write_json};
use super::transaction::TransactionKey;
use crate::{Encoding, FRAME_BYTES_MAX, Value};

/// How a hub behaves.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The encoding offered to clients; those that choose the other one get it.
    pub encoding: Encoding,
    /// Whether every client is kept from writing.
    pub read_only: bool,
    /// How many transactions are kept for returning clients.
    pub invalidations_max: usize,
    /// The largest frame that is taken.
    pub frame_bytes_max: usize,
    /// How much may wait for a client that does not read, before it is dropped.
    pub output_bytes_max: usize,
    /// How large one transaction may be: it is kept in memory until its vote.
    pub transaction_bytes_max: usize,
    /// When the server started, since 1970: shown in its status.
    pub started: Duration,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            encoding: Encoding::Pickle,
            read_only: false,
            invalidations_max: 10_000,
            frame_bytes_max: FRAME_BYTES_MAX,
            output_bytes_max: 64 << 20,
            transaction_bytes_max: 1 << 30,
            started: Duration::ZERO,
        }
    }
}

/// What all connections of a server share.
pub struct Hub {
    storages: Vec<Arc<Served>>,
    options: HubOptions,
    next_connection: AtomicU64,
    next_transaction: AtomicU64,
}

impl Hub {
    /// A hub that serves storages under names.
    ///
    /// # Errors
    /// When a storage cannot tell of its recent transactions.
    pub fn new(
        storages: Vec<(String, Arc<dyn Storage>)>,
        options: HubOptions,
    ) -> Result<Arc<Self>, StorageError> {
        let storages = storages.into_iter().map(|(name, storage)| {
            Served::new(name, storage, options.invalidations_max).map(Arc::new)
        });
        Ok(Arc::new(Self {
            storages: storages.collect::<Result<_, _>>()?,
            options,
            next_connection: AtomicU64::new(1),
            next_transaction: AtomicU64::new(1),
        }))
    }

    /// Takes a new client on. `wake` is called, from any thread, when there is something in the
    /// connection's outbox or it has to be closed.
    pub fn connect(
        self: &Arc<Self>,
        peer: String,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Connection {
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::new(self.options.output_bytes_max, Box::new(wake)));
        Connection::new(self.clone(), id, peer, outbox)
    }

    /// How it was told to behave.
    pub fn options(&self) -> &HubOptions {
        &self.options
    }

    pub(super) fn storage(&self, name: &str) -> Option<&Arc<Served>> {
        self.storages.iter().find(|served| served.name == name)
    }

    pub(super) fn new_transaction(&self) -> TransactionKey {
        TransactionKey(self.next_transaction.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn status(&self, served: &Served) -> Value<'static> {
        status(served, self.options.started)
    }

    /// The answer to `ruok`.
    pub(super) fn status_json(&self) -> String {
        let all = self
            .storages
            .iter()
            .map(|served| (Value::Text(served.name.clone().into()), self.status(served)));
        let mut out = String::new();
        write_json(&Value::Map(all.collect()), &mut out);
        out
    }
}
