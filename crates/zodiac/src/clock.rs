//! The one place where the binary reads the clock and waits.

use std::time::{Duration, SystemTime};

/// The time since 1970, UTC.
#[allow(
    clippy::disallowed_methods,
    reason = "the clock that the rest gets as a parameter"
)]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Waits on the calling thread.
#[allow(
    clippy::disallowed_methods,
    reason = "a worker pauses before it repeats a request"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
