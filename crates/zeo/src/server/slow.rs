//! Which calls are told of because they took long, and how many of them.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Decides what is logged.
pub(super) struct SlowLog {
    /// Calls that take that long are slow.
    threshold: Option<Duration>,
    window: Mutex<Option<Window>>,
}

/// Lines of one span of time.
struct Window {
    began: Instant,
    lines: u32,
    unsaid: u64,
}

impl SlowLog {
    pub(super) fn new(threshold: Option<Duration>) -> Self {
        Self {
            threshold,
            window: Mutex::default(),
        }
    }

    pub(super) fn is_slow(&self, span: Duration) -> bool {
        self.threshold.is_some_and(|threshold| span >= threshold)
    }

    /// Whether one more line may be written, and how many were not since the last one.
    pub(super) fn may_tell(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock();
        let fresh = || Window {
            began: now,
            lines: 0,
            unsaid: 0,
        };
        let window = window.get_or_insert_with(fresh);
        if now.saturating_duration_since(window.began) >= WINDOW {
            (window.began, window.lines) = (now, 0);
        }
        if window.lines >= LINES_MAX {
            window.unsaid += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.unsaid))
    }
}

/// In so much time
const WINDOW: Duration = Duration::from_secs(10);
/// there are so many lines at most.
const LINES_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn a_flood_is_cut_and_told_of() {
        let log = SlowLog::new(Some(Duration::from_secs(1)));
        assert!(!log.is_slow(Duration::from_millis(999)));
        assert!(log.is_slow(Duration::from_secs(1)));
        assert!(!SlowLog::new(None).is_slow(Duration::MAX));
        let now = Instant::now();
        for _ in 0..LINES_MAX {
            assert_eq!(log.may_tell(now), Some(0));
        }
        assert_eq!([log.may_tell(now), log.may_tell(now)], [None, None]);
        assert_eq!(log.may_tell(now + WINDOW), Some(2));
        assert_eq!(log.may_tell(now + WINDOW), Some(0));
    }
}
