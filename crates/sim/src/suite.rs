//! What every storage promises, one function each.
//!
//! Each function takes a [`World`] with an empty storage and panics where a promise is broken. The
//! macros [`crate::storage_suite!`], [`crate::local_storage_suite!`] and [`crate::capabilities!`] make
//! tests of them.

#![allow(
    clippy::unwrap_used,
    reason = "the suite is test code: a panic is its answer"
)]

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use storage::{CommitError, Oid, Record, Revision, Storage, StorageError, Tid, TransactionMeta};

mod actions;
mod commits;
mod concurrency;
mod copying;
mod deleting;
mod histories;
mod iteration;
mod packing;
mod reads;
mod undoing;

pub use actions::*;
pub use commits::*;
pub use concurrency::*;
pub use copying::*;
pub use deleting::*;
pub use histories::*;
pub use iteration::*;
pub use packing::*;
pub use reads::*;
pub use undoing::*;

/// An empty storage, and whatever has to live as long as it does: a folder, a server.
pub struct World {
    /// The storage under test.
    pub storage: Arc<dyn Storage>,
    _kept: Box<dyn Any>,
}

impl World {
    /// A storage that needs nothing else.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self::with(storage, ())
    }

    /// A storage, and what is dropped after it.
    pub fn with(storage: Arc<dyn Storage>, kept: impl Any) -> Self {
        Self {
            storage,
            _kept: Box::new(kept),
        }
    }

    /// Commits these changes: object, base, new record.
    pub(crate) fn commit(&self, changes: &[(Oid, Tid, &[u8])]) -> Result<Tid, CommitError> {
        commit(&self.storage, changes)
    }

    /// Commits a change of one object, made from its current revision.
    pub(crate) fn change(&self, oid: Oid, record: &[u8]) -> Tid {
        let base = self.current(oid).map_or(Tid::ZERO, |current| current.tid);
        self.commit(&[(oid, base, record)])
            .expect("nobody else commits")
    }

    /// The current revision, if the object exists.
    pub(crate) fn current(&self, oid: Oid) -> Option<Revision> {
        match self.storage.load_before(oid, Tid::MAX) {
            Ok(revision) => revision,
            Err(StorageError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The bytes that a snapshot taken just before `before` sees.
    pub(crate) fn seen(&self, oid: Oid, before: Tid) -> Option<Vec<u8>> {
        let revision = self.storage.load_before(oid, before).expect("it exists");
        revision.map(|revision| revision.record.to_vec())
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({})", self.storage.name())
    }
}

pub(crate) fn commit(
    storage: &Arc<dyn Storage>,
    changes: &[(Oid, Tid, &[u8])],
) -> Result<Tid, CommitError> {
    let mut commit = Arc::clone(storage).begin(TransactionMeta::default())?;
    for &(oid, base, record) in changes {
        commit.store(oid, base, Record::from(record))?;
    }
    commit.vote()?.finish(Box::new(|_| {}))
}

pub(crate) fn meta(user: &str, description: &str) -> TransactionMeta {
    TransactionMeta {
        user: user.into(),
        description: description.into(),
        extension: Vec::new(),
    }
}

/// Whether a storage, or the server it is in, has refused what it cannot do.
pub(crate) fn is_unsupported(error: &CommitError) -> bool {
    match error {
        CommitError::Storage(StorageError::Unsupported { .. }) => true,
        CommitError::Storage(StorageError::Remote { class, .. }) => {
            class == "builtins.NotImplementedError"
        }
        _ => false,
    }
}
