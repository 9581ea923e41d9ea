//! What every listener of ours that users reach does to its sockets: accept, patience, lingering close.
//!
//! [`bind`] takes the port, a [`Listener`] takes the connections and hands each to a task of its
//! own as an [`Accepted`], whose [`Patient`] stream has the manners that hyper leaves to us. When
//! the listener is told to stop, the [`Connections`] that it leaves end in good order. What is
//! spoken over them is the business of the caller.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! let (socket, address) = edge::bind("127.0.0.1:0".parse()?)?;
//! println!("listening on {address}");
//! let listener = edge::Listener::new(socket, 1000, Duration::from_secs(60))?;
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let stopped = async { drop(stopped.await) };
//! let connections = listener
//!     .accept(stopped, |accepted| async move {
//!         // Give `accepted.stream` to hyper, and the connection to `accepted.stopping`.
//!         drop(accepted);
//!     })
//!     .await;
//! connections.end(Duration::from_secs(10)).await;
//! # drop(stop);
//! # Ok(())
//! # }
//! ```

mod accept;
mod bind;
mod patient;
mod threads;

pub use accept::{Accepted, Connections, Listener, Stopping};
pub use bind::{BindError, bind, bind_datagrams, bind_shared};
pub use patient::Patient;
pub use threads::{Stopped, run_threads};

/// hyper's floor for the buffer that bounds a request head.
pub const HEAD_BYTES_MIN: usize = 8 << 10;
