//! A database: a storage, and what all its connections share.

use std::sync::Arc;

use parking_lot::Mutex;
use storage::{CommitError, Oid, Severity, Storage, StorageError, Tid, TransactionMeta, UndoEntry};

use crate::cache::ObjectCache;
use crate::spans::Spans;
use crate::{Connection, Object, TransactError, ZodbError};

/// A storage and one cache of decoded objects for all threads. Shared by [`Arc`].
pub struct Database {
    storage: Arc<dyn Storage>,
    cache: ObjectCache,
    spans: Spans,
    refresh: Mutex<()>,
    changes_max: usize,
}

/// Limits of a [`Database`].
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// How many bytes of decoded objects are kept, at most.
    pub cache_bytes: u64,
    /// How many decoded objects are kept, at most. Where it is this bound that is met, rather than
    /// that of bytes, an object counts for more bytes than it has.
    pub cache_objects: u64,
    /// For how many objects it is remembered which revision is current. Each takes about 48 bytes.
    pub objects_max: usize,
    /// When more transactions than this passed since the last look, everything remembered about
    /// currency is dropped instead of being brought up to date.
    pub changes_max: usize,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            cache_objects: 1 << 20,
            objects_max: 1 << 18,
            changes_max: 10_000,
        }
    }
}

impl Database {
    /// A database on this storage.
    pub fn new(storage: Arc<dyn Storage>, options: DatabaseOptions) -> Arc<Self> {
        let spans = Spans::new(storage.last_tid(), options.objects_max);
        Arc::new(Self {
            storage,
            cache: ObjectCache::new(options.cache_bytes, options.cache_objects),
            spans,
            refresh: Mutex::new(()),
            changes_max: options.changes_max,
        })
    }

    /// The storage below.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// How many bytes of decoded objects are cached, at most.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// How many decoded objects are cached.
    pub fn cached_objects(&self) -> usize {
        self.cache.objects()
    }

    /// A connection that sees everything committed so far and nothing later.
    ///
    /// Where the storage is one far away and [`syncs_first`](Storage::syncs_first), that is what was
    /// committed anywhere before this call, which costs a question to the server. Should it not be
    /// answered, the connection neither reads nor commits: every call says why.
    pub fn connect(self: &Arc<Self>) -> Connection {
        let synced = if self.storage.syncs_first() {
            self.storage.sync()
        } else {
            Ok(())
        };
        let before = self.refreshed_tid().next();
        match synced {
            Ok(()) => Connection::new(self.clone(), before),
            Err(error) => Connection::unsynced(self.clone(), before, error),
        }
    }

    /// A connection that sees the database as it was just before `before`, for a transaction that
    /// goes on from there: what it changes may turn out a conflict. A snapshot does not lie in the
    /// future: `before` is cut to the present.
    pub fn snapshot_before(self: &Arc<Self>, before: Tid) -> Connection {
        let last = self.refreshed_tid();
        Connection::new(self.clone(), before.min(last.next()))
    }

    /// A connection that reads the database as the transaction `tid` left it. It changes nothing.
    ///
    /// # Errors
    /// [`ZodbError::Future`] where nothing that late was committed yet.
    pub fn at(self: &Arc<Self>, tid: Tid) -> Result<Connection, ZodbError> {
        let last = self.refreshed_tid();
        if tid > last {
            return Err(ZodbError::Future { tid, last });
        }
        Ok(Connection::historical(self.clone(), tid.next()))
    }

    /// A connection that reads the database as it was just before the transaction `before`. It
    /// changes nothing.
    ///
    /// # Errors
    /// [`ZodbError::Future`] where that would show more than was committed by now.
    pub fn before(self: &Arc<Self>, before: Tid) -> Result<Connection, ZodbError> {
        let last = self.refreshed_tid();
        if before > last.next() {
            return Err(ZodbError::Future { tid: before, last });
        }
        Ok(Connection::historical(self.clone(), before))
    }

    /// Takes transactions back, the first first, all in one new transaction, and gives its id.
    ///
    /// # Errors
    /// [`CommitError::NotUndoable`] and [`CommitError::Undo`] say why not: nothing was written.
    pub fn undo(&self, tids: &[Tid], meta: TransactionMeta) -> Result<Tid, CommitError> {
        let mut commit = self.storage.clone().begin(meta)?;
        for tid in tids {
            commit.undo(*tid)?;
        }
        commit.vote()?.finish(Box::new(|_tid| {}))
    }

    /// The newest `count` transactions that may be undone, newest first.
    ///
    /// # Errors
    /// [`StorageError::Unsupported`] where the storage undoes nothing.
    pub fn undo_log(&self, count: usize) -> Result<Vec<UndoEntry>, StorageError> {
        let undo = self
            .storage
            .undo()
            .ok_or(StorageError::Unsupported { operation: "undo" })?;
        undo.undo_log(0, count, &mut |_entry| true)
    }

    /// Runs `work` in a transaction and commits it; on a conflict does so again on a fresh
    /// snapshot, at most `retries_max` times. Before the n-th repetition (from 1) `pause(n)` is
    /// called: waiting is up to the caller.
    ///
    /// # Errors
    /// [`TransactError::Work`] with whatever `work` failed with: it is not repeated.
    /// [`TransactError::Commit`] where the commit failed for good, or once too often.
    pub fn transact<T, E>(
        self: &Arc<Self>,
        retries_max: u32,
        mut pause: impl FnMut(u32),
        mut work: impl FnMut(&mut Connection) -> Result<(T, TransactionMeta), E>,
    ) -> Result<T, TransactError<E>> {
        let mut retries = 0;
        loop {
            let mut connection = self.connect();
            let attempt = match connection.check_synced() {
                Ok(()) => {
                    let (value, meta) = work(&mut connection).map_err(TransactError::Work)?;
                    connection.commit(meta).map(|_tid| value)
                }
                Err(error) => Err(error.into()),
            };
            match attempt {
                Ok(value) => return Ok(value),
                Err(error) if error.severity() == Severity::Retry && retries < retries_max => {
                    retries += 1;
                    tracing::debug!(%error, retries, "transaction is repeated");
                    pause(retries);
                }
                Err(error) => return Err(TransactError::Commit(error)),
            }
        }
    }

    /// The newest transaction, after its changes were taken in.
    fn refreshed_tid(&self) -> Tid {
        let last = self.storage.last_tid();
        if self.spans.applied() == last {
            return last;
        }
        // One thread asks the storage, the others wait for its answer.
        let _turn = self.refresh.lock();
        // What was applied was the storage's newest once: an older one now means that it went back.
        let last = self.storage.last_tid();
        let applied = self.spans.applied();
        if last < applied {
            tracing::error!(%last, %applied, storage = self.storage.name(),
                "the storage has lost transactions that were seen here; nothing is remembered of them");
            self.spans.restart(last);
            self.cache.clear();
        } else if applied < last {
            self.take_in_changes(applied, last);
        }
        last
    }

    fn take_in_changes(&self, applied: Tid, last: Tid) {
        match self.storage.changes_since(applied, self.changes_max) {
            Ok(Some(mut changes)) => {
                // The list may reach beyond `last` already; the next look finds the rest.
                changes.retain(|change| change.tid <= last);
                self.spans.apply(last, Some(&changes));
            }
            Ok(None) => self.spans.apply(last, None),
            Err(error) => {
                tracing::debug!(%error, "changes are unknown: asking for every object anew");
                self.spans.apply(last, None);
            }
        }
    }

    /// The committed revision of `oid` that a snapshot sees.
    pub(crate) fn load(&self, oid: Oid, before: Tid) -> Result<Arc<Object>, ZodbError> {
        if let Some(tid) = self.spans.find(oid, before)
            && let Some(object) = self.cache.get(oid, tid)
        {
            return Ok(object);
        }
        let revision = self
            .storage
            .load_before(oid, before)?
            .ok_or(StorageError::NotFound { oid })?;
        self.spans.note(oid, before, &revision);
        let tid = revision.tid;
        self.cache
            .get_or_decode(oid, tid, &revision.record)
            .map_err(|source| ZodbError::Undecodable { oid, tid, source })
    }

    /// Whether the revision of `oid` that a snapshot sees is at hand.
    pub(crate) fn has(&self, oid: Oid, before: Tid) -> bool {
        let tid = self.spans.find(oid, before);
        tid.is_some_and(|tid| self.cache.get(oid, tid).is_some())
    }

    /// The transaction that wrote the revision of `oid` that a snapshot sees, without decoding it.
    pub(crate) fn tid_of(&self, oid: Oid, before: Tid) -> Result<Tid, StorageError> {
        if let Some(tid) = self.spans.find(oid, before) {
            return Ok(tid);
        }
        let revision = self
            .storage
            .load_before(oid, before)?
            .ok_or(StorageError::NotFound { oid })?;
        self.spans.note(oid, before, &revision);
        Ok(revision.tid)
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("storage", &self.storage.name())
            .field("applied", &self.spans.applied())
            .field("cached_bytes", &self.cached_bytes())
            .finish_non_exhaustive()
    }
}
