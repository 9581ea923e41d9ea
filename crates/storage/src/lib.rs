//! What a storage is.
//!
//! A storage keeps *revisions*: for an object id ([`Oid`]) and a transaction id ([`Tid`]) the bytes
//! ([`Record`]) that the object had from that transaction on. The bytes are two Python pickles and
//! stay opaque here. This crate holds the ids, the [`Storage`], [`Commit`] and [`Voted`] traits
//! that every storage implements (a Data.fs, a ZEO server far away, a map in memory), the traits of
//! what only some can do ([`Iterate`], [`Undo`], [`Pack`], [`Blobs`]), their errors, and two
//! storages that need no disk: [`MemoryStorage`], and [`OverlayStorage`] for changes over a base that stays as it is.
//!
//! ```
//! use std::sync::Arc;
//! use storage::{MemoryStorage, Oid, Record, Storage, Tid, TransactionMeta};
//!
//! let storage = Arc::new(MemoryStorage::new());
//! let mut commit = storage.clone().begin(TransactionMeta::default())?;
//! commit.store(Oid::ROOT, Tid::ZERO, Record::from(&b"state"[..]))?;
//! let tid = commit.vote()?.finish(Box::new(|_tid| {}))?;
//!
//! let seen = storage.load_before(Oid::ROOT, tid.next())?.expect("just committed");
//! assert_eq!(seen.tid, tid);
//! assert_eq!(&*seen.record, b"state");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blob;
mod claims;
mod draft;
mod error;
mod histogram;
mod ids;
mod iterate;
mod memory;
mod overlay;
mod pack;
mod pack_error;
mod resolve;
mod revision;
mod traits;
mod undo;

pub use blob::{Blobs, is_blob_record};
pub use error::{CommitError, Conflict, Severity, StorageError};
pub use histogram::{Histogram, Spans};
pub use ids::{Oid, Tid};
pub use iterate::{
    CurrentRecord, DataRecord, HistoryEntry, Iterate, RecordStream, TransactionEntry,
    TransactionStream,
};
pub use memory::{Clock, MemoryOptions, MemoryStorage, References};
pub use overlay::{OverlayOptions, OverlayStorage};
pub use pack::{Pack, PackOptions, PackProgress, PackReport, Stage};
pub use pack_error::PackError;
pub use resolve::{ConflictingStates, Resolution, Resolver};
pub use revision::{Record, Revision, TransactionMeta};
pub use traits::{Changes, Commit, Publish, Settled, Storage, StorageStats, Voted, Work};
pub use undo::{Undo, UndoEntry, UndoObstacle, UndoReason, UndoRefusal};
