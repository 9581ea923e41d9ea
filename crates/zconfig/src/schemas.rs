//! Schemas that are known here.

mod databases;
mod logging;
mod runner;
mod storages;
mod zeo;

pub use databases::{DATABASES, databases};
pub use zeo::ZEO_SERVER;

/// What the sections of storages implement.
pub const STORAGE: &str = "zodb.storage";

/// What the sections in `<eventlog>` implement: places that log lines go to.
pub const LOG_HANDLER: &str = "zconfig.logger.handler";
