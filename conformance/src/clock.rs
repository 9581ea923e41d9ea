//! The one place of this crate that reads the clock and waits for time to pass.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a test waits for something that must happen, before it calls it missing. Generous: it
/// is only ever spent by a failure, or by a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often [`poll`] looks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A moment after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `patience` from now.
    pub fn after(patience: Duration) -> Self {
        Self(now() + patience)
    }

    /// The time left, zero when it is over.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    /// Whether no time is left.
    pub fn is_over(self) -> bool {
        self.remaining().is_zero()
    }
}

/// Measures how long something took.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(now())
    }

    /// The time since the start.
    pub fn elapsed(self) -> Duration {
        now() - self.0
    }
}

/// Asks `look` until it has an answer.
///
/// # Errors
/// When `patience` has passed without one; the message names `what` was missing.
pub fn poll<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Deadline::after(patience);
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if deadline.is_over() {
            bail!("waited {patience:?} in vain for: {what}");
        }
        pause(POLL_INTERVAL);
    }
}

/// Lets time pass: between two looks at another process, or to place a blow at a random moment.
#[allow(
    clippy::disallowed_methods,
    reason = "other processes cannot be awaited in any other way"
)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[allow(
    clippy::disallowed_methods,
    reason = "an edge crate: the tests run in real time"
)]
fn now() -> Instant {
    Instant::now()
}
