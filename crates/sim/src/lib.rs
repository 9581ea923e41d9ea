//! A simulated world and the suites that every storage passes.
//!
//! [`SimDisk`] is a disk in memory that loses power and fails on command; a [`Trace`] of it tells all
//! that power losses may leave. [`suite`] holds one
//! function for each thing that a storage promises; [`storage_suite!`] makes a test of each:
//!
//! ```
//! # mod tests {
//! fn make() -> sim::World {
//!     sim::World::new(std::sync::Arc::new(storage::MemoryStorage::new()))
//! }
//! sim::storage_suite!(make);
//! # }
//! ```

mod disk;
mod macros;
mod medium;
pub mod suite;
mod trace;

pub use disk::{Fault, SimDisk};
pub use medium::Image;
pub use suite::World;
pub use trace::{Crash, CrashCount, Loss, Trace};
