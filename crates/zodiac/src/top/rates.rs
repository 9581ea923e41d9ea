//! Two reports, and what went on in between.

use serde::Serialize;

use crate::watching::report::{self, Report, Spans};

/// What is shown, and printed as JSON. Rates are per second, times in seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct View {
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) time: f64,
    /// How long the time was that rates are of.
    pub(super) seconds: f64,
    pub(super) uptime: f64,
    pub(super) ready: bool,
    pub(super) state: String,
    /// Processors in use.
    pub(super) cpu: f64,
    pub(super) resident_bytes: u64,
    pub(super) connections: usize,
    pub(super) refused_per_second: f64,
    pub(super) received_per_second: f64,
    pub(super) sent_per_second: f64,
    pub(super) pending_bytes: u64,
    /// In how many seconds the server's certificate expires.
    pub(super) certificate_expires_in: Option<f64>,
    pub(super) storages: Vec<StorageView>,
    /// Those with the most traffic first.
    pub(super) clients: Vec<ClientView>,
}

/// One storage.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct StorageView {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) objects: u64,
    pub(super) clients: u64,
    pub(super) last_tid: String,
    pub(super) last_commit_ago: f64,
    pub(super) commits_per_second: f64,
    pub(super) aborts_per_second: f64,
    pub(super) timeouts: u64,
    pub(super) active: u64,
    pub(super) waiting: u64,
    pub(super) held: Option<f64>,
    pub(super) conflicts_per_second: f64,
    pub(super) merged_per_second: f64,
    /// Classes with conflicts since the start, the worst first.
    pub(super) conflict_classes: Vec<(String, u64)>,
    pub(super) invalidations_per_second: f64,
    pub(super) lock_wait: Quantiles,
    pub(super) turn: Quantiles,
    pub(super) syncs_per_second: f64,
    pub(super) sync: Quantiles,
    pub(super) transactions_per_sync: Option<f64>,
    pub(super) pack: PackView,
    /// Those with the most calls first.
    pub(super) methods: Vec<MethodView>,
}

/// A pack.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct PackView {
    pub(super) running: Option<f64>,
    pub(super) stage: Option<String>,
    pub(super) progress: Option<f64>,
    pub(super) last_seconds: Option<f64>,
    pub(super) ended_ago: Option<f64>,
    pub(super) failed: u64,
}

/// One method.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct MethodView {
    pub(super) method: String,
    pub(super) calls_per_second: f64,
    pub(super) refused_per_second: f64,
    pub(super) latency: Quantiles,
    /// Calls since the start.
    pub(super) calls: u64,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: Option<f64>,
    pub(super) p90: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// One client.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ClientView {
    pub(super) name: String,
    pub(super) storage: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) age: f64,
    pub(super) calls_per_second: f64,
    pub(super) received_per_second: f64,
    pub(super) sent_per_second: f64,
    pub(super) pending_bytes: u64,
}

/// A span of time by which counts become rates.
#[derive(Clone, Copy)]
struct Per(f64);

impl Per {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    fn rate(self, now: u64, then: u64) -> f64 {
        if self.0 > 0.0 {
            now.saturating_sub(then) as f64 / self.0
        } else {
            0.0
        }
    }
}

impl Quantiles {
    fn of(spans: &Spans) -> Self {
        Self {
            p50: spans.quantile(0.5),
            p90: spans.quantile(0.9),
            p99: spans.quantile(0.99),
        }
    }
}

impl View {
    /// What went on from one report to the next; from the start where the first one is empty.
    pub(super) fn new(then: &Report, now: &Report) -> Self {
        let seconds = if then.version.is_empty() {
            now.uptime
        } else {
            now.time - then.time
        };
        let per = Per(seconds);
        let cpu = (now.process.cpu_seconds - then.process.cpu_seconds) / seconds.max(f64::EPSILON);
        let mut view = Self {
            version: now.version.clone(),
            pid: now.process.pid,
            time: now.time,
            seconds,
            uptime: now.uptime,
            ready: now.ready,
            state: now.state.clone(),
            cpu,
            resident_bytes: now.process.resident_bytes,
            ..Self::default()
        };
        let empty = report::Server::default();
        if let Some(server) = &now.server {
            view.add_server(then.server.as_ref().unwrap_or(&empty), server, per);
        }
        view
    }

    fn add_server(&mut self, then: &report::Server, now: &report::Server, per: Per) {
        let refused = |server: &report::Server| server.refused_for_room + server.refused_by_tls;
        self.connections = now.clients.len();
        self.refused_per_second = per.rate(refused(now), refused(then));
        self.received_per_second = per.rate(now.received, then.received);
        self.sent_per_second = per.rate(now.sent, then.sent);
        self.pending_bytes = now.clients.iter().map(|client| client.pending).sum();
        self.certificate_expires_in = now.certificate_expires.map(|at| at - self.time);
        let no_storage = report::Storage::default();
        self.storages = now
            .storages
            .iter()
            .map(|storage| {
                let then = then.storages.iter().find(|it| it.name == storage.name);
                StorageView::new(then.unwrap_or(&no_storage), storage, per, self.time)
            })
            .collect();
        let no_client = report::Client::default();
        self.clients = now
            .clients
            .iter()
            .map(|client| {
                let then = then.clients.iter().find(|it| it.id == client.id);
                ClientView::new(then.unwrap_or(&no_client), client, per)
            })
            .collect();
        let traffic = |client: &ClientView| client.received_per_second + client.sent_per_second;
        self.clients.sort_by(|one, other| {
            let order = traffic(other).total_cmp(&traffic(one));
            order.then_with(|| one.name.cmp(&other.name))
        });
    }
}

impl StorageView {
    fn new(then: &report::Storage, now: &report::Storage, per: Per, time: f64) -> Self {
        let no_file = report::File::default();
        let (file, file_then) = (now.file.as_ref(), then.file.as_ref().unwrap_or(&no_file));
        let syncs = file
            .map(|file| file.syncs.since(&file_then.syncs))
            .unwrap_or_default();
        let written = file.map_or(0, |file| {
            file.transactions - file_then.transactions.min(file.transactions)
        });
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        let shared = (syncs.count() > 0).then(|| written as f64 / syncs.count() as f64);
        let mut classes: Vec<_> = now
            .classes
            .iter()
            .map(|class| {
                (
                    class.class.clone(),
                    class.merged + class.refused + class.left,
                )
            })
            .collect();
        classes.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        Self {
            name: now.name.clone(),
            bytes: now.bytes,
            objects: now.objects,
            clients: now.connections,
            last_tid: now.last_tid.clone(),
            last_commit_ago: (time - now.last_commit).max(0.0),
            commits_per_second: per.rate(now.commits, then.commits),
            aborts_per_second: per.rate(now.aborts, then.aborts),
            timeouts: now.timeouts,
            active: now.active,
            waiting: now.waiting,
            held: now.held,
            conflicts_per_second: per.rate(now.conflicts, then.conflicts),
            merged_per_second: per.rate(now.merged, then.merged),
            conflict_classes: classes,
            invalidations_per_second: per.rate(now.invalidations, then.invalidations),
            lock_wait: Quantiles::of(&now.lock_waits.since(&then.lock_waits)),
            turn: Quantiles::of(&now.turns.since(&then.turns)),
            syncs_per_second: per.rate(syncs.count(), 0),
            sync: Quantiles::of(&syncs),
            transactions_per_sync: shared,
            pack: PackView {
                running: now.pack.running,
                stage: now.pack.stage.clone(),
                progress: now.pack.progress,
                last_seconds: now.pack.last,
                ended_ago: now.pack.ended.map(|ended| (time - ended).max(0.0)),
                failed: now.pack.failed,
            },
            methods: methods(then, now, per),
        }
    }
}

fn methods(then: &report::Storage, now: &report::Storage, per: Per) -> Vec<MethodView> {
    let none = report::Method::default();
    let views = now.methods.iter().map(|calls| {
        let then = then.methods.iter().find(|it| it.method == calls.method);
        let then = then.unwrap_or(&none);
        let spans = calls.spans.since(&then.spans);
        MethodView {
            method: calls.method.clone(),
            calls_per_second: per.rate(spans.count(), 0),
            refused_per_second: per.rate(calls.refused, then.refused),
            latency: Quantiles::of(&spans),
            calls: calls.spans.count(),
        }
    });
    let mut views: Vec<_> = views.collect();
    views.sort_by(|one, other| {
        let order = other.calls_per_second.total_cmp(&one.calls_per_second);
        order.then_with(|| other.calls.cmp(&one.calls))
    });
    views
}

impl ClientView {
    fn new(then: &report::Client, now: &report::Client, per: Per) -> Self {
        let name = match &now.label {
            Some(label) => format!("{label} {}", now.address),
            None => now.address.clone(),
        };
        Self {
            name,
            storage: now.storage.clone(),
            encoding: now.encoding.clone(),
            age: now.age,
            calls_per_second: per.rate(now.calls, then.calls),
            received_per_second: per.rate(now.received, then.received),
            sent_per_second: per.rate(now.sent, then.sent),
            pending_bytes: now.pending,
        }
    }
}
