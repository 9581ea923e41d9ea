//! A storage whose revisions live in a ZEO server.
//!
//! Worker threads call and block. One thread of its own holds the connection: it dials, verifies
//! the cache, then reads; replies and invalidations are applied there, in the order in which they
//! came, before anybody who waits for them is woken. So a load costs one change of threads.
//!
//! # Nobody waits for ever
//!
//! A caller takes a deadline before it waits for the first time, `wait` from then, and every wait
//! on its way has that deadline: for its turn to commit, for a connection, for the socket, for the
//! answer. When a vote or a finish goes unanswered, or bytes will not go out, the connection is
//! given up, as what the server makes of it is not known any more; an unanswered question that
//! changes nothing costs only its caller. Locks without a deadline are held for moments, and never
//! across a wait. The reading thread waits for the server alone, and `close` ends that.

mod barrier;
mod blobs;
mod commit;
mod config;
mod dial;
mod link;
mod look;
mod oids;
mod options;
mod outcome;
mod pack;
mod race;
mod reader;
mod status;
mod stream;
mod upgrade;
mod upload;
mod warm;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use storage::{
    Blobs, Changes, Commit, Iterate, Oid, Pack, Revision, Storage, StorageError, StorageStats, Tid,
    TransactionMeta, Undo,
};
use zeo::{ClientCache, Copied, Reply, Request};

use self::barrier::Barrier;
use self::blobs::BlobFiles;
use self::commit::ZeoCommit;
pub use self::config::{UriError, ZeoDatabase};
use self::dial::Registered;
use self::link::{Answer, Generation, Link};
use self::oids::OidPool;
pub use self::options::{BlobOptions, ClientOptions, DiskCache};
pub use self::status::{ClientStatus, Loss};
use crate::clock;

/// A storage in a ZEO server, seen through a cache. Closes its connection when dropped.
pub struct ZeoStorage {
    shared: Arc<Shared>,
}

/// What the storage, its commits and the reading thread share.
pub(crate) struct Shared {
    options: Arc<ClientOptions>,
    cache: ClientCache,
    state: Mutex<State>,
    /// Told of every change of `state`.
    changed: Condvar,
    /// Held for moments only: the reading thread takes it before it publishes a connection, so
    /// who waits for a connection must not have it.
    oids: Mutex<OidPool>,
    /// The server takes one transaction per connection at a time.
    commit_turn: Arc<Mutex<()>>,
    barrier: Barrier,
    is_packing: AtomicBool,
    blobs: Option<BlobFiles>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    closed: bool,
    stats: StorageStats,
    can: Capabilities,
    status: ClientStatus,
    /// A connection to a better server, to be used when that of `link` has ended.
    upgrade: Option<Registered>,
    /// That no server has the storage, where none ever had. It ends the attempts.
    refused: Option<StorageError>,
}

/// What the storage in the server can do beside loads and commits.
#[derive(Clone, Copy, Debug, Default)]
struct Capabilities {
    undoes: bool,
    iterates: bool,
}

/// How many object ids are fetched at once.
const OIDS_BATCH: usize = 100;

impl ZeoStorage {
    /// Connects, waiting for a server up to `options.wait`, unless `options.wait_at_start` is off.
    ///
    /// # Errors
    /// [`StorageError::Disconnected`] when no server could be reached in time,
    /// [`StorageError::Remote`] at once when every server says that it has no such storage, an I/O
    /// error at once when a certificate, a key or a directory cannot be used.
    pub fn connect(options: ClientOptions) -> Result<Arc<Self>, StorageError> {
        if let Some(tls) = &options.tls {
            tls.check().map_err(|error| {
                let error = io::Error::other(error);
                StorageError::io(&tls.certificate, "connect with this certificate", error)
            })?;
        }
        let blobs = options.blobs.as_ref().map(BlobFiles::open).transpose()?;
        let shared = Arc::new(Shared {
            cache: warm::open(&options)?,
            options: Arc::new(options),
            state: Mutex::default(),
            changed: Condvar::new(),
            oids: Mutex::default(),
            commit_turn: Arc::default(),
            barrier: Barrier::default(),
            is_packing: AtomicBool::new(false),
            blobs,
        });
        let reader = shared.clone();
        std::thread::Builder::new()
            .name("zeo-client".to_owned())
            .spawn(move || reader::run(&reader))
            .map_err(|error| StorageError::io("zeo-client", "start the thread", error))?;
        let storage = Arc::new(Self { shared });
        if storage.shared.options.wait_at_start {
            storage.shared.link_until(storage.shared.deadline())?;
        }
        Ok(storage)
    }

    /// Closes the connection; every call fails from now on.
    pub fn close(&self) {
        let link = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            state.upgrade = None;
            state.link.take()
        };
        if let Some(link) = link {
            link.kill();
        }
        self.shared.changed.notify_all();
        self.shared.cache.flush();
    }

    /// How it stands with its servers.
    pub fn status(&self) -> ClientStatus {
        self.shared.state.lock().status.clone()
    }

    /// Its options.
    pub fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// Waits until a server has answered, over a new connection if need be; what was committed
    /// before is applied then.
    ///
    /// # Errors
    /// [`StorageError::Disconnected`] when no server could be reached in time.
    pub fn ping(&self) -> Result<(), StorageError> {
        let deadline = self.shared.deadline();
        self.shared.ask(&Request::Ping, deadline).map(drop)
    }
}

impl ZeoStorage {
    fn check_writable(&self, meta: &TransactionMeta) -> Result<(), StorageError> {
        if self.is_read_only() {
            return Err(StorageError::ReadOnly);
        }
        if !zeo::extension_travels(meta) {
            return Err(StorageError::Unsupported {
                operation: "a transaction extension that is not a dict of plain values",
            });
        }
        Ok(())
    }

    fn can(&self) -> Capabilities {
        self.shared.state.lock().can
    }
}

impl Drop for ZeoStorage {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn deadline(&self) -> Instant {
        clock::now() + self.options.wait
    }

    fn disconnected(&self) -> StorageError {
        StorageError::Disconnected {
            waited: self.options.wait,
        }
    }

    /// The connection, as soon as there is one.
    fn link_until(&self, deadline: Instant) -> Result<Arc<Link>, StorageError> {
        let mut state = self.state.lock();
        loop {
            if let Some(link) = &state.link {
                return Ok(link.clone());
            }
            if let Some(refused) = &state.refused {
                return Err(refused.clone());
            }
            if state.closed || self.changed.wait_until(&mut state, deadline).timed_out() {
                if let Some(failure) = &state.status.last_failure {
                    tracing::warn!(failure, "gave up waiting for the storage server");
                }
                return Err(self.disconnected());
            }
        }
    }

    /// Asks until there is an answer, on a new connection if need be: only for calls that change
    /// nothing. Tells which connection the answer came over.
    fn ask(
        &self,
        request: &Request,
        deadline: Instant,
    ) -> Result<(Reply, Generation), StorageError> {
        loop {
            let link = self.link_until(deadline)?;
            match link.call(request, deadline).wait_until(deadline) {
                Some(Answer::Said(Ok(reply))) => return Ok((reply, link.generation())),
                Some(Answer::Said(Err(refusal))) => return Err(refusal.to_storage_error(None)),
                Some(Answer::Lost) => self.forget(&link),
                None => return Err(self.disconnected()),
            }
        }
    }

    /// One ping over the connection there is, and whether it was answered.
    fn ping(&self, deadline: Instant) -> bool {
        let link = self.state.lock().link.clone();
        link.is_some_and(|link| {
            let answer = link.call(&Request::Ping, deadline).wait_until(deadline);
            matches!(answer, Some(Answer::Said(Ok(_))))
        })
    }

    /// Ends a connection. Whoever comes next waits for a new one.
    fn abandon(&self, link: &Link) {
        self.forget(link);
        link.kill();
    }

    /// Takes a dead connection out, if nobody has yet.
    fn forget(&self, dead: &Link) {
        let mut state = self.state.lock();
        if state.is_current(dead) {
            state.link = None;
        }
    }

    fn is_current(&self, link: &Link) -> bool {
        self.state.lock().is_current(link)
    }

    fn load(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        let deadline = self.deadline();
        loop {
            let link = self.link_until(deadline)?;
            let slot = link.load(&self.cache, oid, before, deadline);
            match slot.wait_until(deadline) {
                Some(Answer::Said(found)) => return found,
                Some(Answer::Lost) => self.forget(&link),
                None => return Err(self.disconnected()),
            }
        }
    }
}

impl State {
    fn is_current(&self, link: &Link) -> bool {
        let current = self.link.as_ref();
        current.is_some_and(|current| std::ptr::eq(Arc::as_ptr(current), link))
    }
}

fn unexpected(reply: &Reply) -> StorageError {
    StorageError::Remote {
        class: "unexpected reply".to_owned(),
        detail: format!("{reply:?}"),
    }
}

impl Storage for ZeoStorage {
    fn name(&self) -> String {
        let options = &self.shared.options;
        format!("zeo://{}/{}", options.servers.join(","), options.storage)
    }

    fn last_tid(&self) -> Tid {
        self.shared.cache.last_tid()
    }

    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        match self.shared.cache.lookup(oid, before) {
            Some(revision) => Ok(Some(revision)),
            None => self.shared.load(oid, before),
        }
    }

    fn prefetch(&self, oids: &[Oid], before: Tid) {
        let link = self.shared.state.lock().link.clone();
        if let Some(link) = link {
            link.prefetch(&self.shared.cache, oids, before, self.shared.deadline());
        }
    }

    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError> {
        let deadline = self.shared.deadline();
        loop {
            if let Some(oids) = self.shared.oids.lock().take(count) {
                return Ok(oids);
            }
            match self.shared.ask(&Request::NewOids(OIDS_BATCH), deadline)? {
                (Reply::Oids(fresh), generation) if !fresh.is_empty() => {
                    self.shared.oids.lock().put(generation, fresh);
                }
                (other, _) => return Err(unexpected(&other)),
            }
        }
    }

    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError> {
        self.check_writable(&meta)?;
        Ok(Box::new(ZeoCommit::new(self, meta, None)))
    }

    fn begin_restore(
        self: Arc<Self>,
        meta: TransactionMeta,
        tid: Tid,
        is_packed: bool,
    ) -> Result<Box<dyn Commit>, StorageError> {
        self.check_writable(&meta)?;
        let tid = Some(tid);
        let copied = Some(Copied { tid, is_packed });
        Ok(Box::new(ZeoCommit::new(self, meta, copied)))
    }

    /// While a server is used that takes no commits (`read_only_fallback`), it is.
    fn is_read_only(&self) -> bool {
        self.shared.options.read_only || self.shared.state.lock().status.is_read_only
    }

    fn sync(&self) -> Result<(), StorageError> {
        let deadline = self.shared.deadline();
        let passed = self
            .shared
            .barrier
            .pass(deadline, || self.shared.ping(deadline));
        passed.map_err(|_unanswered| StorageError::Disconnected {
            waited: Duration::ZERO,
        })
    }

    fn syncs_first(&self) -> bool {
        self.shared.options.server_sync
    }

    fn stats(&self) -> StorageStats {
        self.shared.state.lock().stats
    }

    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError> {
        let changes = self.shared.cache.changes_since(since);
        Ok(changes.filter(|changes| changes.len() <= transactions_max))
    }

    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError> {
        Ok(self.shared.cache.recent_changes(transactions_max))
    }

    fn iterate(&self) -> Option<&dyn Iterate> {
        self.can().iterates.then_some(self)
    }

    fn undo(&self) -> Option<&dyn Undo> {
        self.can().undoes.then_some(self)
    }

    fn packer(&self) -> Option<&dyn Pack> {
        Some(self)
    }

    fn blobs(&self) -> Option<&dyn Blobs> {
        self.shared.blobs.is_some().then_some(self)
    }
}
