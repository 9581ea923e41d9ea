//! How often what was called, and how long it took: counted so that hundreds of thousands of loads a
//! second do not meet at one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use storage::{Histogram, Spans};

use super::caller::Caller;
use super::served::count;

/// The calls that are counted each by its name, in order.
const METHODS: [&str; 34] = [
    "checkCurrentSerialInTransaction",
    "deleteObject",
    "getInvalidations",
    "getTid",
    "get_info",
    "history",
    "iterator_gc",
    "iterator_next",
    "iterator_record_next",
    "iterator_record_start",
    "iterator_start",
    "lastTransaction",
    "loadBefore",
    "loadSerial",
    "new_oids",
    "pack",
    "ping",
    "record_iternext",
    "register",
    "restorea",
    "sendBlob",
    "server_status",
    "set_client_label",
    "storeBlobChunk",
    "storeBlobEnd",
    "storeBlobShared",
    "storeBlobStart",
    "storea",
    "tpc_abort",
    "tpc_begin",
    "tpc_finish",
    "undoLog",
    "undoa",
    "vote",
];
/// What all others are counted as.
const OTHER: &str = "other";

/// A method, as a place in the lists of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method(usize);

impl Method {
    pub(super) fn named(name: &str) -> Self {
        let name = if name == "undoInfo" { "undoLog" } else { name };
        Self(METHODS.binary_search(&name).unwrap_or(METHODS.len()))
    }

    /// What is called most.
    pub(super) const LOAD: Self = Self(12);

    fn name(self) -> &'static str {
        METHODS.get(self.0).copied().unwrap_or(OTHER)
    }

    fn all() -> impl Iterator<Item = Self> {
        (0..=METHODS.len()).map(Self)
    }
}

/// Over how many places the counts of a storage are spread: threads that count at once hardly ever
/// meet. Each connection has its place.
const SHARDS: usize = 16;

/// The calls to one storage.
pub(super) struct Calls {
    shards: Vec<Shard>,
}

/// Far enough from the next one that processors do not take it from each other.
#[repr(align(128))]
struct Shard {
    spans: [Histogram; METHODS.len() + 1],
    refused: [AtomicU64; METHODS.len() + 1],
}

impl Default for Calls {
    fn default() -> Self {
        let shard = || Shard {
            spans: std::array::from_fn(|_| Histogram::default()),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }
}

/// One method's calls so far.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MethodFigures {
    /// Its name; `other` for what has none here.
    pub method: &'static str,
    /// How long its calls took, from when they were read to when their answers were ready to be sent.
    pub spans: Spans,
    /// How many were answered with an error.
    pub refused: u64,
}

impl Calls {
    fn shard(&self, caller: u64) -> &Shard {
        let shards = self.shards.len() as u64;
        let index = usize::try_from(caller % shards).unwrap_or_default();
        &self.shards[index]
    }

    /// The methods that were called.
    pub(super) fn figures(&self) -> Vec<MethodFigures> {
        let figures = Method::all().map(|method| {
            let mut spans = Spans::default();
            let mut refused = 0;
            for shard in &self.shards {
                spans.add(&shard.spans[method.0].spans());
                refused += shard.refused[method.0].load(Ordering::Relaxed);
            }
            MethodFigures {
                method: method.name(),
                spans,
                refused,
            }
        });
        figures
            .filter(|figures| figures.spans.count() > 0)
            .collect()
    }
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Others who want the same objects.
    Lock,
    /// A thread.
    Queue,
    /// The storage.
    Storage,
    /// The disk, that a transaction is on it.
    Sync,
}

/// One call, timed.
#[derive(Clone)]
pub(super) struct Watch {
    caller: Arc<Caller>,
    method: Method,
    began: Option<Instant>,
    /// Up to where the time is accounted for.
    mark: Option<Instant>,
    parts: [Duration; 4],
    /// How long the call was.
    bytes: usize,
}

impl Watch {
    /// A call that was read just now, and had so many bytes.
    pub(super) fn begin(caller: Arc<Caller>, method: Method, bytes: usize) -> Self {
        let began = caller.now();
        Self {
            caller,
            method,
            began,
            mark: began,
            parts: [Duration::ZERO; 4],
            bytes,
        }
    }

    /// What has passed since the last mark was that part. How long it was.
    pub(super) fn mark(&mut self, part: Part) -> Duration {
        let (Some(mark), Some(now)) = (self.mark, self.caller.now()) else {
            return Duration::ZERO;
        };
        self.mark = Some(now);
        let passed = now.saturating_duration_since(mark);
        self.parts[part as usize] += passed;
        passed
    }

    /// How much of the call that part was.
    pub(super) fn part(&self, part: Part) -> Duration {
        self.parts[part as usize]
    }

    /// The call is answered, with so many bytes; what has passed since the last mark was that part.
    pub(super) fn end(&self, rest: Part, bytes: usize) {
        self.ended(rest, 1, bytes, false);
    }

    /// Calls that came together are answered, so many of them.
    pub(super) fn end_many(&self, calls: u64, bytes: usize) {
        if calls > 0 {
            self.ended(Part::Storage, calls, bytes, false);
        }
    }

    /// The call is answered with an error.
    pub(super) fn refuse(&self, bytes: usize) {
        self.ended(Part::Storage, 1, bytes, true);
    }

    fn ended(&self, rest: Part, calls: u64, bytes: usize, is_refused: bool) {
        let now = self.caller.now();
        let total = match (self.began, now) {
            (Some(began), Some(now)) => now.saturating_duration_since(began),
            _ => Duration::ZERO,
        };
        self.caller.count_calls(calls);
        let Some(served) = self.caller.served() else {
            return; // A stranger, whom nobody knew.
        };
        let shard = served.calls.shard(self.caller.id);
        shard.spans[self.method.0].record_many(total, calls);
        if is_refused {
            count(&shard.refused[self.method.0]);
        }
        // The end of a pack has a line of its own.
        if self.caller.slow.is_slow(total) && self.method.name() != "pack" {
            self.tell(total, rest, bytes, now);
        }
    }

    fn tell(&self, total: Duration, rest: Part, bytes: usize, now: Option<Instant>) {
        let Some(unsaid) = now.and_then(|now| self.caller.slow.may_tell(now)) else {
            return;
        };
        let known: Duration = self.parts.iter().sum();
        let part = |part: Part| {
            let rest = if part == rest {
                total.saturating_sub(known)
            } else {
                Duration::ZERO
            };
            self.part(part) + rest
        };
        tracing::warn!(
            target: "zeo::slow",
            method = self.method.name(),
            client = self.caller.name(),
            storage = self.caller.served().map(|served| served.name.as_str()),
            transaction = self.caller.transaction(),
            took = ?total,
            lock = ?part(Part::Lock),
            queue = ?part(Part::Queue),
            in_storage = ?part(Part::Storage),
            sync = ?part(Part::Sync),
            call_bytes = self.bytes,
            answer_bytes = bytes,
            not_logged = unsaid,
            "slow request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_names() {
        assert!(METHODS.is_sorted());
        for name in METHODS {
            assert_eq!(Method::named(name).name(), name);
        }
        assert_eq!(Method::named("loadBefore"), Method::LOAD);
        assert_eq!(Method::named("undoInfo").name(), "undoLog");
        assert_eq!(Method::named("format_disk").name(), OTHER);
    }
}
