//! How long things took, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts spans of time in fixed buckets. Any number of threads may count; whoever reads meanwhile
/// finds each span counted or not.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; Spans::BUCKETS],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Counts one span.
    pub fn record(&self, span: Duration) {
        self.record_many(span, 1);
    }

    /// Counts that many spans of the same length.
    pub fn record_many(&self, span: Duration, count: u64) {
        let bucket = Spans::BOUNDS.partition_point(|bound| *bound < span);
        self.counts[bucket].fetch_add(count, Ordering::Relaxed);
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let nanoseconds = nanoseconds.saturating_mul(count);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn spans(&self) -> Spans {
        Spans {
            counts: self
                .counts
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed)),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

/// Spans of time as a [`Histogram`] has counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// How many were in each bucket: not longer than its bound, and longer than the one before. The last
    /// bucket has no bound.
    pub counts: [u64; Self::BUCKETS],
    /// How long they were together.
    pub nanoseconds: u64,
}

impl Spans {
    /// How many buckets there are.
    pub const BUCKETS: usize = Self::BOUNDS.len() + 1;

    /// The bounds of the buckets: from what a load takes that finds its page in memory to what nobody
    /// waits for.
    pub const BOUNDS: [Duration; 22] = [
        Duration::from_nanos(1_000),
        Duration::from_nanos(2_500),
        Duration::from_nanos(5_000),
        Duration::from_micros(10),
        Duration::from_micros(25),
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_micros(1_000),
        Duration::from_micros(2_500),
        Duration::from_micros(5_000),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_millis(1_000),
        Duration::from_millis(2_500),
        Duration::from_millis(5_000),
        Duration::from_secs(10),
    ];

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(other.nanoseconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_in_the_first_bucket_that_is_not_below_it() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::from_micros(1));
        histogram.record(Duration::from_nanos(1_001));
        histogram.record_many(Duration::from_secs(10), 3);
        histogram.record(Duration::from_secs(11));
        let spans = histogram.spans();
        assert_eq!(spans.counts[..3], [2, 1, 0]);
        assert_eq!(spans.counts[21..], [3, 1]);
        assert_eq!(spans.count(), 7);
        assert_eq!(spans.nanoseconds, 41_000_002_001);
        let mut twice = spans;
        twice.add(&spans);
        assert_eq!((twice.count(), twice.counts[21]), (14, 6));
    }

    #[test]
    fn the_bounds_rise() {
        assert!(Spans::BOUNDS.is_sorted_by(|one, other| one < other));
    }
}
