//! Snapshots, the shared cache of decoded objects, transactions.
//!
//! A [`Database`] stands on a [`storage::Storage`] and keeps one cache of decoded objects for all
//! threads. A [`Connection`] sees the database as it was when it was opened: objects that other
//! transactions write later stay invisible. Its own changes are private until
//! [`Connection::commit`]. Nothing of a class is ever executed: an [`Object`] is a class name and
//! inert state.
//!
//! | to | look at |
//! |---|---|
//! | read and change objects as Rust types | [`persistent!`], [`Connection::get`], [`Connection::put`], [`Connection::add`] |
//! | read and change any object | [`Connection::load`], [`Object::state`], [`Connection::store`] |
//! | do work again after a conflict | [`Database::transact`] |
//! | keep files in the database | [`Connection::add_blob`], [`Connection::put_blob`], [`Connection::open_blob`] |
//! | go back within a transaction | [`Connection::savepoint`], [`Connection::abort`] |
//! | look into the past, take something back | [`Database::at`], [`Database::undo`] |
//! | carry objects to other databases (`.zexp`) | [`Connection::export`], [`Connection::import`] |
//! | change several databases at a time | [`Databases`] |
//!
//! ```
//! use std::sync::Arc;
//! use pickle::Pickles;
//! use storage::{MemoryStorage, Oid, TransactionMeta};
//! use zodb::{Database, DatabaseOptions};
//!
//! let database = Database::new(Arc::new(MemoryStorage::new()), DatabaseOptions::default());
//!
//! let mut root = Pickles::new();
//! let class = root.global("persistent.mapping", "PersistentMapping");
//! let state = root.dict(Vec::new());
//! root.push_root(class);
//! root.push_root(state);
//! let mut connection = database.connect();
//! connection.store(Oid::ROOT, root)?;
//! connection.commit(TransactionMeta::default())?;
//!
//! let root = database.connect().root()?;
//! assert_eq!(root.class().to_string(), "persistent.mapping.PersistentMapping");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blob;
mod cache;
mod class_name;
mod connection;
mod containers;
mod data;
mod database;
mod error;
mod new_ids;
mod object;
mod reference;
mod renumber;
mod savepoint;
mod spans;
mod state;
mod together;
mod transfer;
mod view;
mod walk;
mod zexp;

pub use class_name::ClassName;
pub use connection::Connection;
pub use containers::{PersistentList, PersistentMapping};
pub use data::{Data, FromData, Opaque};
pub use database::{Database, DatabaseOptions};
pub use error::{RecordError, TogetherError, TransactError, ViewError, ZodbError};
pub use new_ids::NewIds;
pub use object::Object;
#[doc(no_inline)]
pub use pickle::{NodeId, Pickles};
pub use reference::Reference;
pub use renumber::{UnknownReference, renumber};
pub use savepoint::Savepoint;
pub use state::{StateParts, View};
pub use together::{Databases, Session, SessionSavepoint};
pub use transfer::{ExportError, Exported, ImportError, Imported};
pub use view::{Attributes, AttributesMut, Persistent};
pub use zexp::{ExportFileError, ExportReader, ExportWriter, ExportedBlob};
