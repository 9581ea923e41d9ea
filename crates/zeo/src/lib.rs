//! The ZEO protocol (version 5, as ZEO 6 speaks it) as state machines: bytes in, events and jobs
//! out. No sockets, no clocks, no threads of its own.
//!
//! The layers, from the wire up:
//! - [`FrameReader`] and [`write_frame`]: lengths and payloads;
//! - [`Value`] and [`Encoding`]: what a payload holds, as pickle (`Z`) or msgpack (`M`);
//! - [`Request`], [`Reply`], [`Refusal`]: what the two sides say;
//! - [`Session`]: the client's end of a connection, and [`ClientCache`], to which what it hears is
//!   applied, and which a [`Verification`] brings up to date after a reconnect;
//! - [`Hub`], [`Connection`], [`Job`], [`Outbox`]: the server.
//!
//! A client and a server in one thread:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//! use storage::{MemoryStorage, Tid};
//! use zeo::{Event, FRAME_BYTES_MAX, Hub, HubOptions, Reply, Request, Session};
//!
//! let storages = vec![("1".to_owned(), Arc::new(MemoryStorage::new()) as _)];
//! let hub = Hub::new(storages, HubOptions::default())?;
//! let mut server = hub.connect("doc test".to_owned(), || {});
//! let mut client = Session::new(Instant::now(), FRAME_BYTES_MAX);
//!
//! let mut bytes = Vec::new();
//! server.outbox().take(&mut bytes)?;
//! client.receive(&bytes)?;
//! assert!(matches!(client.poll_event(), Some(Event::Connected(_))));
//!
//! let register = Request::Register { storage: "1".to_owned(), read_only: false };
//! let call = client.call(&register);
//! bytes.clear();
//! client.poll_transmit(&mut bytes);
//! server.receive(&bytes);
//! while let Some(job) = server.next_job()? {
//!     job.run();
//! }
//! bytes.clear();
//! server.outbox().take(&mut bytes)?;
//! client.receive(&bytes)?;
//! let outcome = Ok(Reply::Tid(Tid::ZERO));
//! assert_eq!(client.poll_event(), Some(Event::Replied { id: call, outcome }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The order of things
//!
//! What a client may believe depends on the order in which it hears it, so each connection has one
//! ordered [`Outbox`] for replies and pushes alike, and commits are published to all of them one
//! after the other, as the storage shows them. A load runs beside all that; see [`Job::perform`] and
//! [`Done::deliver`] for how its reply keeps its place.

mod cache;
mod error;
mod frame;
mod looking;
mod message;
mod queue;
mod refusal;
mod request;
mod server;
mod session;
mod verification;
mod wire;

pub use cache::{ClientCache, DiskCacheOptions, LoadTicket};
pub use error::ProtocolError;
pub use frame::{FRAME_BYTES_MAX, FrameReader, write_frame};
pub use looking::{UndoLog, WalkedTransaction};
pub use refusal::Refusal;
pub use request::{Copied, Request, extension_travels};
pub use server::{
    BlobStream, ClientFigures, Connection, Done, Hub, HubFigures, HubOptions, Job, MethodFigures,
    Notice, Outbox, PackFigures, Rights, StorageFigures, Traffic, Verifications,
};
pub use session::{BlobPart, CallId, Event, Reply, Session};
pub use verification::{Verification, VerificationStep, Verified};
pub use wire::{Encoding, Value, WIRE_DEPTH_MAX, WIRE_VALUES_MAX};
