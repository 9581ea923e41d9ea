//! The server's side: a hub, the connections to it, and the jobs they give to the driver.
//!
//! A driver feeds the bytes of a socket to a [`Connection`], runs the [`Job`]s it yields on
//! whatever thread it likes, and writes out what gathers in the connection's [`Outbox`]. Nothing
//! here waits for the disk or for a peer.

mod blob_file;
mod blob_stream;
mod caller;
mod calls;
mod claims;
mod connection;
mod desk;
mod facts;
mod figures;
mod finish;
mod hub;
mod iterators;
mod job;
mod loads;
mod outbox;
mod pack;
mod rights;
mod served;
mod slow;
mod status;
mod transaction;

pub use blob_stream::BlobStream;
pub use caller::{ClientFigures, Traffic};
pub use calls::MethodFigures;
pub use connection::Connection;
pub use figures::{HubFigures, PackFigures, StorageFigures, Verifications};
pub use hub::{Hub, HubOptions};
pub use job::{Done, Job};
pub use outbox::{Notice, Outbox};
pub use rights::Rights;
