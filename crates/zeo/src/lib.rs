//! The ZEO protocol as state machines: frames, messages, client session, server hub, client cache.

mod cache;
mod error;
mod frame;
mod message;
mod queue;
mod refusal;
mod request;
mod server;
mod session;
mod wire;

pub use cache::{ClientCache, LoadTicket};
pub use error::ProtocolError;
pub use frame::{FRAME_BYTES_MAX, FrameReader, write_frame};
pub use refusal::Refusal;
pub use request::{Request, extension_travels};
pub use server::{Connection, Done, Hub, HubOptions, Job, Outbox};
pub use session::{CallId, Event, Reply, Session};
pub use wire::{Encoding, Value, WIRE_DEPTH_MAX, WIRE_VALUES_MAX};
