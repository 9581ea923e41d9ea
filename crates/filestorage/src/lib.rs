//! Data.fs and blobs: format, index, iteration, undo, pack, recovery.
//!
//! [`FileStorage`] keeps all revisions in the one file that ZODB's `FileStorage` keeps them in. Both
//! programs read what the other wrote, exclude each other by the same lock file, and start quickly
//! from the same `.index`.
//!
//! ```
//! use filestorage::{FileStorage, Options};
//! use storage::{Oid, Record, Storage, Tid, TransactionMeta};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("Data.fs");
//! let storage = FileStorage::open(&path, Options::default())?;
//! let mut commit = storage.clone().begin(TransactionMeta::default())?;
//! commit.store(Oid::ROOT, Tid::ZERO, Record::from(&b"state"[..]))?;
//! let tid = commit.vote()?.finish(Box::new(|_tid| {}))?;
//! storage.close()?;
//!
//! let reopened = FileStorage::open(&path, Options::default())?;
//! assert_eq!(reopened.last_tid(), tid);
//! assert_eq!(&*reopened.load_serial(Oid::ROOT, tid)?, b"state");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a transaction reaches the disk
//!
//! Nothing is written before the finish. Transactions that finish at the same time are written
//! together, behind the end of the file, with the status `c`, and synced; then their status bytes,
//! which the next sync makes durable. So the byte that makes a transaction count never reaches the disk
//! before its data, and a file that ends with transactions of status `c`, or with a part of one, is cut
//! there when it is opened. (The original syncs once, after both writes: a power loss may keep the
//! byte and lose the data.) [`Durability`] offers less for less.
//!
//! Transactions that touch the same object come one after the other; others do not wait for each
//! other.

mod batch;
mod blobs;
#[allow(dead_code, reason = "the commits that will call it are being written")]
mod checkpoint;
mod commit;
mod compress;
mod displaced;
mod evidence;
mod figures;
mod file_storage;
mod format;
mod generation;
mod housekeeping;
mod index;
mod index_file;
mod iterate;
mod kept_index;
mod log;
mod object_locks;
mod open;
mod out;
mod pack;
mod plan;
mod ready;
mod rebuild;
mod references;
mod room;
mod saved_index;
mod scan;
mod spill;
mod survey;
mod transactions;
mod undo;
mod votes;
mod writer;

pub use blobs::{BlobDirectory, BlobLayout};
pub use compress::Compression;
pub use evidence::Longer;
pub use figures::Figures;
pub use file_storage::FileStorage;
pub use format::Status;
pub use open::{Alarm, Background, Clock, Durability, Options, lock_failed};
pub use rebuild::Rebuild;
pub use references::References;
pub use storage::{DataRecord, PackError, PackOptions, PackProgress, PackReport, Stage};
pub use survey::{
    Damage, Positions, RawRecord, RawTransaction, Step, Survey, SurveyedData, SurveyedRecord,
    SurveyedTransaction, UnfinishedTail, Walk,
};
pub use transactions::{DataRecords, TransactionRecord, Transactions, TransactionsBackwards};
