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
//! | go back within a transaction | [`Connection::savepoint`], [`Connection::abort`] |
//! | look into the past, take something back | [`Database::at`], [`Database::undo`] |
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

mod cache;
mod class_name;
mod connection;
mod containers;
mod data;
mod database;
mod error;
mod object;
mod reference;
mod savepoint;
mod spans;
mod together;
mod view;
mod walk;

pub use class_name::ClassName;
pub use connection::Connection;
pub use containers::{PersistentList, PersistentMapping};
pub use data::{Data, FromData, Opaque};
pub use database::{Database, DatabaseOptions};
pub use error::{RecordError, TogetherError, TransactError, ViewError, ZodbError};
pub use object::Object;
pub use reference::Reference;
pub use savepoint::Savepoint;
pub use together::{Databases, Session, SessionSavepoint};
pub use view::{Attributes, AttributesMut, Persistent};
