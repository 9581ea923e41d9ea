//! Asks the members of a pool how they are, and tells the pool.
//!
//! [`run`] asks all members of a [`Subject`] side by side, as its [`Rules`] say. A [`Watched`] is the subject for who
//! has nothing of his own to keep beside the pool:
//!
//! ```no_run
//! # async fn example() {
//! let address: std::net::SocketAddr = "10.0.0.2:80".parse().expect("a literal");
//! let members = [address.into()];
//! let watched = health::Watched::new(balance::Settings::default(), &members, health::Rules::default());
//! tokio::spawn(health::run(watched.clone()));
//! let mut changes = watched.changes();
//! while changes.changed().await.is_ok() {
//!     let up = watched.look(|pool| pool.best(|_| true).len());
//!     println!("{up} can be used");
//! }
//! # }
//! ```

mod check;
mod rules;
mod watched;

pub use check::{CheckFailure, Subject, run};
pub use rules::{Check, Rules, UnknownCheck};
pub use watched::{Watched, members_to_check, note};
