//! The one place where the binary reads the clock and waits.

use std::time::{Duration, Instant, SystemTime};

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

/// That time as a time since 1970.
pub(crate) fn since_1970_of(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// A moment to measure from.
#[allow(
    clippy::disallowed_methods,
    reason = "the clock that the rest gets as a parameter"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// By how many seconds the local time is ahead of UTC, now.
pub(crate) fn local_offset_seconds() -> i64 {
    chrono::Local::now().offset().local_minus_utc().into()
}

/// Waits on the calling thread.
#[allow(
    clippy::disallowed_methods,
    reason = "a worker pauses before it repeats a request"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
