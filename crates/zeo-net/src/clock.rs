//! The one place that reads the clock.

use std::time::{Duration, Instant, SystemTime};

/// Now, for deadlines.
#[allow(clippy::disallowed_methods, reason = "sockets wait in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Now, since 1970.
#[allow(
    clippy::disallowed_methods,
    reason = "a server tells since when it runs"
)]
pub(crate) fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}
