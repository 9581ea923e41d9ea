//! Sockets and TLS for the ZEO protocol: a storage for clients, a listener for servers.
//!
//! [`Server`] serves storages to Python and Rust clients alike; [`ZeoStorage`] is a storage whose
//! revisions live in such a server (or in a genuine one). [`AsyncDatabase`] is for programs on tokio.
//!
//! ```
//! use std::sync::Arc;
//! use storage::{MemoryStorage, Oid, Record, Storage, Tid, TransactionMeta};
//! use zeo_net::{ClientOptions, Server, ServerOptions, ZeoStorage};
//!
//! let server = Server::bind("127.0.0.1:0".parse()?, ServerOptions::default())?;
//! let options = ClientOptions {
//!     servers: vec![server.local_addr()?.to_string()],
//!     ..ClientOptions::default()
//! };
//! let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! let storages = vec![("1".to_owned(), Arc::new(MemoryStorage::new()) as _)];
//! runtime.spawn(server.run(storages, std::future::pending()));
//!
//! let client = ZeoStorage::connect(options)?;
//! let mut commit = client.clone().begin(TransactionMeta::default())?;
//! commit.store(Oid::ROOT, Tid::ZERO, Record::from(&b"state"[..]))?;
//! let tid = commit.vote()?.finish(Box::new(|_tid| {}))?;
//! assert_eq!(client.last_tid(), tid);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod async_database;
mod client;
mod clock;
mod server;
mod tls;

pub use async_database::{AsyncDatabase, DatabaseStream};
pub use client::{
    BlobOptions, ClientOptions, ClientStatus, DiskCache, Loss, UriError, ZeoDatabase, ZeoStorage,
};
pub use server::{ListenAddress, Monitor, Server, ServerFigures, ServerOptions};
pub use tls::{
    Authority, CERTIFICATE_EXPIRES_SOON, COMMON_NAME_CHARS_MAX, Certified, ClientName,
    ClientRights, ClientRule, Fingerprint, Holder, KeyPassword, TlsClientOptions, TlsError,
    TlsServerOptions, TlsStream, is_host_name,
};
pub use zeo::{
    ClientFigures, Encoding, HubFigures, MethodFigures, PackFigures, Rights, StorageFigures,
    Traffic, Verifications,
};
