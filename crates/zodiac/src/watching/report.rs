//! Everything that a storage server tells of itself, as one value: `/status` sends it as JSON, `/metrics`
//! writes it as Prometheus reads it, and `zodiac top` shows two of them as rates.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeo_net::{ClientFigures, Encoding, PackFigures, StorageFigures};

use super::conflicts::ClassConflicts;
use super::process::Process;

/// A storage server. Counts are since its start, times are in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: String,
    /// When this was told, since 1970.
    pub(crate) time: f64,
    /// Since when the process runs.
    pub(crate) uptime: f64,
    pub(crate) ready: bool,
    /// `ready`, or why it is not.
    pub(crate) state: String,
    pub(crate) process: Process,
    /// Nothing while it opens its storages.
    pub(crate) server: Option<Server>,
}

/// The server that clients see.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Connections that were taken on, and have spoken.
    pub(crate) connected: ByEncoding,
    pub(crate) refused_for_room: u64,
    pub(crate) refused_by_tls: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Since 1970.
    pub(crate) certificate_expires: Option<f64>,
    pub(crate) storages: Vec<Storage>,
    pub(crate) clients: Vec<Client>,
}

/// A number for each encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ByEncoding {
    pub(crate) pickle: u64,
    pub(crate) msgpack: u64,
}

/// A storage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Storage {
    pub(crate) name: String,
    pub(crate) methods: Vec<Method>,
    pub(crate) lock_waits: Spans,
    pub(crate) queue_waits: Spans,
    pub(crate) turns: Spans,
    pub(crate) connections: u64,
    pub(crate) active: u64,
    pub(crate) waiting: u64,
    /// How long the oldest turn lasts.
    pub(crate) held: Option<f64>,
    pub(crate) commits: u64,
    pub(crate) aborts: u64,
    pub(crate) timeouts: u64,
    pub(crate) conflicts: u64,
    pub(crate) merged: u64,
    pub(crate) classes: Vec<ClassConflicts>,
    pub(crate) invalidations: u64,
    pub(crate) invalidated: u64,
    pub(crate) verified_from_memory: u64,
    pub(crate) verified_from_storage: u64,
    pub(crate) not_verified: u64,
    pub(crate) pack: Pack,
    pub(crate) bytes: u64,
    pub(crate) objects: u64,
    /// The last transaction, in hexadecimal digits.
    pub(crate) last_tid: String,
    /// Its time since 1970.
    pub(crate) last_commit: f64,
    /// What the file of it tells; nothing for a storage without one.
    pub(crate) file: Option<File>,
}

/// A Data.fs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) syncs: Spans,
    /// How long the sync has taken that is under way.
    pub(crate) syncing: Option<f64>,
    pub(crate) transactions: u64,
}

/// The calls of one method.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Method {
    pub(crate) method: String,
    pub(crate) refused: u64,
    pub(crate) spans: Spans,
}

/// Spans of time in the buckets of [`storage::Spans`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spans {
    pub(crate) counts: Vec<u64>,
    /// All of them together.
    pub(crate) seconds: f64,
}

/// The packs of a storage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pack {
    pub(crate) running: Option<f64>,
    pub(crate) stage: Option<String>,
    /// How much of the stage is done, from 0 to 1.
    pub(crate) progress: Option<f64>,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) last: Option<f64>,
    /// When the last one ended, since 1970.
    pub(crate) ended: Option<f64>,
}

/// A connection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) label: Option<String>,
    pub(crate) encoding: Option<String>,
    pub(crate) storage: Option<String>,
    pub(crate) age: f64,
    pub(crate) calls: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) pending: u64,
}

impl Spans {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those that came since an earlier report.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let earlier_counts = earlier.counts.iter().chain(std::iter::repeat(&0));
        let counts = self.counts.iter().zip(earlier_counts);
        Self {
            counts: counts
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
            seconds: (self.seconds - earlier.seconds).max(0.0),
        }
    }

    /// The span below which that part of them is, in seconds; somewhere within its bucket, as Prometheus
    /// computes it.
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = part * count as f64;
        let bounds = storage::Spans::BOUNDS.map(|bound| bound.as_secs_f64());
        let (mut below, mut lower) = (0.0, 0.0);
        for (number, bound) in self.counts.iter().zip(bounds) {
            let number = *number as f64;
            if number > 0.0 && below + number >= wanted {
                return Some(lower + (bound - lower) * (wanted - below) / number);
            }
            below += number;
            lower = bound;
        }
        Some(lower)
    }
}

impl From<&storage::Spans> for Spans {
    fn from(spans: &storage::Spans) -> Self {
        Self {
            counts: spans.counts.to_vec(),
            seconds: Duration::from_nanos(spans.nanoseconds).as_secs_f64(),
        }
    }
}

impl Storage {
    /// What the server tells of a storage, at a time since 1970.
    pub(super) fn new(figures: &StorageFigures, now: Duration) -> Self {
        let methods = figures.methods.iter().map(|calls| Method {
            method: calls.method.to_owned(),
            refused: calls.refused,
            spans: (&calls.spans).into(),
        });
        Self {
            name: figures.name.clone(),
            methods: methods.collect(),
            lock_waits: (&figures.lock_waits).into(),
            queue_waits: (&figures.queue_waits).into(),
            turns: (&figures.turns).into(),
            connections: figures.connections,
            active: figures.active,
            waiting: figures.waiting,
            held: figures.held.map(|held| held.as_secs_f64()),
            commits: figures.commits,
            aborts: figures.aborts,
            timeouts: figures.timeouts,
            conflicts: figures.conflicts,
            merged: figures.resolved,
            classes: Vec::new(),
            invalidations: figures.invalidations,
            invalidated: figures.invalidated,
            verified_from_memory: figures.verifications.from_queue,
            verified_from_storage: figures.verifications.from_storage,
            not_verified: figures.verifications.dropped,
            pack: Pack::new(&figures.packs, now),
            bytes: figures.size.bytes,
            objects: figures.size.objects,
            last_tid: format!("{:016x}", figures.last_tid.number()),
            last_commit: figures.last_tid.to_unix_time().as_secs_f64(),
            file: None,
        }
    }
}

impl Pack {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    fn new(packs: &PackFigures, now: Duration) -> Self {
        let progress = packs.progress;
        let ended = packs.ended.map(|ago| now.saturating_sub(ago).as_secs_f64());
        Self {
            running: packs.running.map(|running| running.as_secs_f64()),
            stage: progress.map(|progress| format!("{:?}", progress.stage).to_lowercase()),
            progress: progress.map(|at| (at.done as f64 / at.total.max(1) as f64).min(1.0)),
            done: packs.done,
            failed: packs.failed,
            last: packs.last.map(|last| last.as_secs_f64()),
            ended,
        }
    }
}

impl From<&ClientFigures> for Client {
    fn from(client: &ClientFigures) -> Self {
        Self {
            id: client.id,
            address: client.address.clone(),
            label: client.label.clone(),
            encoding: client
                .encoding
                .map(|encoding| encoding_name(encoding).to_owned()),
            storage: client.storage.clone(),
            age: client.age.as_secs_f64(),
            calls: client.calls,
            received: client.received,
            sent: client.sent,
            pending: client.pending,
        }
    }
}

impl ByEncoding {
    pub(super) fn new(counts: impl IntoIterator<Item = (Encoding, u64)>) -> Self {
        let mut all = Self::default();
        for (encoding, count) in counts {
            match encoding {
                Encoding::Pickle => all.pickle += count,
                Encoding::Msgpack => all.msgpack += count,
            }
        }
        all
    }
}

fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Pickle => "pickle",
        Encoding::Msgpack => "msgpack",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_their_buckets() {
        let mut counts = vec![0; storage::Spans::BUCKETS];
        (counts[3], counts[12]) = (90, 10); // up to 10 µs, up to 10 ms
        let spans = Spans {
            counts,
            seconds: 0.1,
        };
        let at = |part| spans.quantile(part).unwrap();
        assert!((at(0.5) - 7.777e-6).abs() < 1e-8, "{}", at(0.5));
        assert!((at(0.9) - 10e-6).abs() < 1e-9);
        assert!((at(0.95) - 7.5e-3).abs() < 1e-9);
        assert_eq!(Spans::default().quantile(0.5), None);
        assert_eq!(spans.since(&spans).count(), 0);
        assert_eq!(spans.since(&Spans::default()), spans);
    }
}
