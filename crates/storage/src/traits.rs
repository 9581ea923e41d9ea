//! The storage traits. The stage of a commit is its type: [`Commit`], then [`Voted`].

use std::path::PathBuf;
use std::sync::Arc;

use crate::{
    Blobs, CommitError, Iterate, Oid, Pack, Record, Revision, StorageError, Tid, TransactionMeta,
    Undo,
};

/// Where revisions live. Reads run in parallel; commits that touch the same
/// object pass from `vote` to their end one at a time.
pub trait Storage: Send + Sync {
    /// A name for messages: a file path, a server address.
    fn name(&self) -> String;

    /// The newest transaction whose invalidations have all been applied; [`Tid::ZERO`] when empty.
    ///
    /// It rises, with one exception: a storage far away goes back when a server that lacks the last
    /// transactions takes over. What was seen of the lost ones must be forgotten then.
    fn last_tid(&self) -> Tid;

    /// The revision of `oid` that a snapshot taken just before `before` sees; `None` where the
    /// object only has later ones.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when the object is unknown or its creation was undone.
    fn load_before(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError>;

    /// Says that these objects will be loaded soon, as that snapshot sees them, so that a storage far
    /// away may fetch them together. Waits for nothing and fails silently: it is but a hint.
    fn prefetch(&self, _oids: &[Oid], _before: Tid) {}

    /// Fresh object ids that no other caller gets.
    fn new_oids(&self, count: usize) -> Result<Vec<Oid>, StorageError>;

    /// Opens a commit; dropping it at any stage aborts.
    fn begin(self: Arc<Self>, meta: TransactionMeta) -> Result<Box<dyn Commit>, StorageError>;

    /// Opens a commit that copies a transaction of another storage: with its id, and with the mark of
    /// a pack where a pack wrote it (`is_packed`). It is filled by [`Commit::restore`].
    ///
    /// # Errors
    /// [`StorageError::NotLater`], here or at the vote, where the id is not behind the last one:
    /// ids rise.
    fn begin_restore(
        self: Arc<Self>,
        _meta: TransactionMeta,
        _tid: Tid,
        _is_packed: bool,
    ) -> Result<Box<dyn Commit>, StorageError> {
        Err(StorageError::Unsupported {
            operation: "restoring transactions of another storage",
        })
    }

    /// The transaction that wrote the current revision of the object (`getTid`).
    ///
    /// # Errors
    /// [`StorageError::NotFound`] when the object is unknown or its creation was undone.
    fn current_tid(&self, oid: Oid) -> Result<Tid, StorageError> {
        let revision = self.load_before(oid, Tid::MAX)?;
        Ok(revision.ok_or(StorageError::NotFound { oid })?.tid)
    }

    /// Whether transactions that touch different objects may be between their votes and their ends
    /// side by side. Else a vote waits until no other transaction is there.
    ///
    /// Who serves many and must not wait lets only those vote that need not. An undo, whose objects
    /// the storage finds out by itself, counts as touching everything, and so does a copy with an id
    /// of its own ([`Storage::begin_restore`]), which no other transaction may overtake.
    fn votes_side_by_side(&self) -> bool {
        false
    }

    /// Whether a vote over so many bytes waits for nothing now, as far as can be known before: not for
    /// others, and not for a disk. Then it need not have a thread of its own.
    fn votes_quickly(&self, _bytes: u64) -> bool {
        false
    }

    /// Whether every commit is refused with [`StorageError::ReadOnly`].
    fn is_read_only(&self) -> bool {
        false
    }

    /// Waits until everything that was committed anywhere before this call is applied here, so that
    /// a snapshot taken next shows it (ZEO's `server-sync`). Where all commits pass through this
    /// storage there is nothing to wait for.
    ///
    /// # Errors
    /// [`StorageError::Disconnected`] at once while the storage is out of reach: what is known so
    /// far can still be read.
    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Whether who begins a transaction must call [`Storage::sync`] first, and go no further where
    /// that fails.
    fn syncs_first(&self) -> bool {
        false
    }

    /// Size figures for people and for ZEO's `get_info`.
    fn stats(&self) -> StorageStats;

    /// The transactions after `since`, oldest first, with the objects each changed; `None` when
    /// the storage cannot tell, or there are more than `transactions_max`. It cannot tell, either,
    /// what came after a transaction that it has lost.
    ///
    /// Several transactions may come as one, which has the id of the last: an object in it was
    /// changed at some time up to then.
    fn changes_since(
        &self,
        since: Tid,
        transactions_max: usize,
    ) -> Result<Option<Vec<Changes>>, StorageError>;

    /// The newest `transactions_max` transactions at most, oldest first.
    fn recent_changes(&self, transactions_max: usize) -> Result<Vec<Changes>, StorageError>;

    /// Walking through all that is stored, where the storage can.
    fn iterate(&self) -> Option<&dyn Iterate> {
        None
    }

    /// Listing what may be undone, where the storage can undo.
    fn undo(&self) -> Option<&dyn Undo> {
        None
    }

    /// Taking out what is no longer needed, where the storage can.
    fn packer(&self) -> Option<&dyn Pack> {
        None
    }

    /// The files of blobs, where the storage keeps blobs.
    fn blobs(&self) -> Option<&dyn Blobs> {
        None
    }
}

/// The objects that one transaction changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The transaction.
    pub tid: Tid,
    /// Its objects, in the order they were stored.
    pub oids: Vec<Oid>,
}

/// Size figures of a storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageStats {
    /// How many objects have a current revision.
    pub objects: u64,
    /// Bytes on disk or in memory.
    pub bytes: u64,
}

/// A transaction being filled. Nothing is checked or locked before the vote.
pub trait Commit: Send {
    /// Stores a new revision of `oid`, made from the revision of `base` ([`Tid::ZERO`] for a new
    /// object).
    fn store(&mut self, oid: Oid, base: Tid, record: Record) -> Result<(), StorageError>;

    /// Makes the commit depend on `base` still being current for `oid`, without changing it
    /// (`checkCurrentSerialInTransaction`).
    fn check_current(&mut self, oid: Oid, base: Tid) -> Result<(), StorageError>;

    /// Stores a new revision of a blob: the record, and the file with its data, which from now on
    /// belongs to the storage and is moved to its place, or removed where the commit is aborted.
    ///
    /// # Errors
    /// [`StorageError::Unsupported`] where [`Storage::blobs`] is nothing.
    fn store_blob(
        &mut self,
        _oid: Oid,
        _base: Tid,
        _record: Record,
        _file: PathBuf,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unsupported {
            operation: "storing blobs",
        })
    }

    /// Removes an object that nothing refers to (`deleteObject`): who loads it from here on is told
    /// that it does not exist.
    fn delete(&mut self, _oid: Oid, _base: Tid) -> Result<(), StorageError> {
        Err(StorageError::Unsupported {
            operation: "deleting objects",
        })
    }

    /// Stores a record of another storage as it is, without a look at what is current. No data: the
    /// object ceased to exist. `data_tid` names the transaction of this object in which the same data
    /// were stored; where that is here, the record refers to it instead of repeating them.
    ///
    /// # Errors
    /// [`StorageError::Unsupported`] except after [`Storage::begin_restore`].
    fn restore(
        &mut self,
        _oid: Oid,
        _data: Option<Record>,
        _data_tid: Option<Tid>,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unsupported {
            operation: "restoring transactions of another storage",
        })
    }

    /// As [`Commit::restore`], with the file of a blob, which from now on belongs to the storage.
    fn restore_blob(
        &mut self,
        _oid: Oid,
        _data: Record,
        _data_tid: Option<Tid>,
        _file: PathBuf,
    ) -> Result<(), StorageError> {
        Err(StorageError::Unsupported {
            operation: "storing blobs",
        })
    }

    /// Takes back what the transaction `tid` changed. Whether that is possible the vote finds out;
    /// stores and other undos that come before count.
    ///
    /// # Errors
    /// [`StorageError::Unsupported`] where [`Storage::undo`] is nothing.
    fn undo(&mut self, _tid: Tid) -> Result<(), StorageError> {
        Err(StorageError::Unsupported { operation: "undo" })
    }

    /// Waits until no other transaction between its vote and its end touches an object of this one,
    /// checks every base, and makes sure that nothing but a failing disk can prevent the finish.
    ///
    /// # Errors
    /// [`CommitError::Conflict`], [`CommitError::ReadConflict`], [`CommitError::NotUndoable`] or
    /// [`CommitError::Undo`]: the transaction is gone and holds nobody up.
    fn vote(self: Box<Self>) -> Result<Box<dyn Voted>, CommitError>;
}

/// A transaction that is checked and only waits for its final word. Others that touch an object of
/// it wait.
pub trait Voted: Send + 'static {
    /// Objects that the transaction changes in a way its maker has not seen: a conflict was resolved,
    /// or an undo brought an older state back.
    fn resolved(&self) -> &[Oid];

    /// Makes the transaction durable and visible. `publish` is called with its id after
    /// [`Storage::load_before`] shows it and before the next transaction is shown, on any thread:
    /// invalidations go out there. It must not commit to the storage.
    fn finish(self: Box<Self>, publish: Publish) -> Result<Tid, CommitError>;

    /// The same for those who do not wait: `settled` is called with the outcome, after `publish`, on
    /// any thread; others that are finished together with it may be published in between. It must not
    /// wait, nor call the storage.
    ///
    /// Work that comes back is to be done soon, by a thread that may wait: without it neither this
    /// transaction is settled nor, maybe, those of others. To drop it does it, too.
    fn submit(self: Box<Self>, publish: Publish, settled: Settled) -> Option<Work> {
        Some(Work::new(move || settled(self.finish(publish))))
    }
}

/// Told the id of a transaction that was finished; see [`Voted::finish`].
pub type Publish = Box<dyn FnOnce(Tid) + Send>;

/// Told what became of a transaction that was handed over; see [`Voted::submit`].
pub type Settled = Box<dyn FnOnce(Result<Tid, CommitError>) + Send>;

/// Work that is done once, at the latest when it is dropped; see [`Voted::submit`].
#[must_use = "somebody waits for it"]
pub struct Work(Option<Box<dyn FnOnce() + Send>>);

impl Work {
    /// The work that this does.
    pub fn new(work: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(work)))
    }

    /// Does it.
    pub fn run(mut self) {
        self.0.take().into_iter().for_each(|work| work());
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|work| work());
    }
}
