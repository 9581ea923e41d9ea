//! A report as Prometheus reads it: the text format, version 0.0.4.
//!
//! Written by hand: the names are known, the figures are there already, and a library would want to keep
//! them itself, with a lock or a shared counter in the way of each load.

use std::fmt::{Display, Write};

use super::report::{File, Report, Server, Spans, Storage};

/// The content type of [`text`].
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics.
pub(super) fn text(report: &Report) -> String {
    let mut text = Text(String::new());
    about_process(report, &mut text);
    if let Some(server) = &report.server {
        about_server(server, &mut text);
        about_transactions(&server.storages, &mut text);
        about_conflicts(&server.storages, &mut text);
        about_calls(&server.storages, &mut text);
        about_disk(&server.storages, &mut text);
        about_packs(&server.storages, &mut text);
    }
    text.0
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric: what it is, its name, its meaning.
type Figure = (Kind, &'static str, &'static str);
/// What it is of a storage,
type Of<T> = fn(&Storage) -> T;
type SpansOf = fn(&Storage) -> &Spans;
/// or of a file.
type OfFile = fn(&File) -> f64;

struct Text(String);

/// A metric whose lines are being written.
struct Metric<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Text {
    fn metric<'a>(&'a mut self, kind: Kind, name: &'a str, help: &str) -> Metric<'a> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        write(
            &mut self.0,
            format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
        );
        Metric {
            text: &mut self.0,
            name,
        }
    }

    fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.metric(kind, name, help).line(&[], value);
    }

    /// One line for each storage.
    fn each<T: Display>(
        &mut self,
        (kind, name, help): (Kind, &str, &str),
        storages: &[Storage],
        value: impl Fn(&Storage) -> T,
    ) {
        let mut metric = self.metric(kind, name, help);
        for storage in storages {
            metric.line(&[("storage", &storage.name)], value(storage));
        }
    }
}

impl Metric<'_> {
    fn line(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line_of("", labels, value);
    }

    fn line_of(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        write(self.text, format_args!("{}{suffix}", self.name));
        for (index, (name, label)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write(
                self.text,
                format_args!("{before}{name}=\"{}\"", escaped(label)),
            );
        }
        let end = if labels.is_empty() { "" } else { "}" };
        write(self.text, format_args!("{end} {value}\n"));
    }

    fn histogram(&mut self, labels: &[(&str, &str)], spans: &Spans) {
        let mut below = 0;
        let bounds = storage::Spans::BOUNDS.map(|bound| bound.as_secs_f64().to_string());
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        for (count, bound) in spans.counts.iter().zip(bounds) {
            below += count;
            let labels = [labels, &[("le", bound)]].concat();
            self.line_of("_bucket", &labels, below);
        }
        self.line_of("_sum", labels, spans.seconds);
        self.line_of("_count", labels, below);
    }
}

fn write(text: &mut String, piece: std::fmt::Arguments<'_>) {
    text.write_fmt(piece).expect("a String takes everything");
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn about_process(report: &Report, text: &mut Text) {
    use Kind::{Counter, Gauge};
    text.metric(Gauge, "zodiac_zeo_info", "The version, as a label.")
        .line(&[("version", &report.version)], 1);
    let help = "Whether clients are served, as /readyz says.";
    text.one(Gauge, "zodiac_zeo_ready", help, u8::from(report.ready));
    let process = &report.process;
    let help = "Processor time used.";
    text.one(
        Counter,
        "process_cpu_seconds_total",
        help,
        process.cpu_seconds,
    );
    let help = "When the process started, since 1970.";
    let started = report.time - report.uptime;
    text.one(Gauge, "process_start_time_seconds", help, started);
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Memory in use.",
            process.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Address space in use.",
            process.virtual_bytes,
        ),
        (
            "process_open_fds",
            "Open files and sockets.",
            process.open_files,
        ),
        (
            "process_max_fds",
            "How many there may be.",
            process.open_files_max,
        ),
        ("process_threads", "Threads.", process.threads),
    ] {
        text.one(Gauge, name, help, value);
    }
}

fn about_server(server: &Server, text: &mut Text) {
    use Kind::{Counter, Gauge};
    let now = |name: &str| {
        let has = |client: &&super::report::Client| client.encoding.as_deref() == Some(name);
        server.clients.iter().filter(has).count() as u64
    };
    let by_encoding = |metric: &mut Metric<'_>, pickle: u64, msgpack: u64| {
        metric.line(&[("encoding", "pickle")], pickle);
        metric.line(&[("encoding", "msgpack")], msgpack);
    };
    let name = "zodiac_zeo_connections";
    let mut metric = text.metric(Gauge, name, "Open connections that have spoken.");
    by_encoding(&mut metric, now("pickle"), now("msgpack"));
    let name = "zodiac_zeo_connections_opened_total";
    let mut metric = text.metric(Counter, name, "Connections that were taken on and spoke.");
    by_encoding(
        &mut metric,
        server.connected.pickle,
        server.connected.msgpack,
    );
    let name = "zodiac_zeo_connections_refused_total";
    let mut metric = text.metric(Counter, name, "Connections that were refused.");
    metric.line(&[("reason", "too_many")], server.refused_for_room);
    metric.line(&[("reason", "tls")], server.refused_by_tls);
    let help = "Bytes that came from clients.";
    text.one(
        Counter,
        "zodiac_zeo_received_bytes_total",
        help,
        server.received,
    );
    let help = "Bytes that were sent to clients.";
    text.one(Counter, "zodiac_zeo_sent_bytes_total", help, server.sent);
    let pending = server.clients.iter().map(|client| client.pending);
    let help = "Bytes that wait for clients to read them.";
    let all: u64 = pending.clone().sum();
    text.one(Gauge, "zodiac_zeo_pending_output_bytes", help, all);
    let name = "zodiac_zeo_pending_output_largest_bytes";
    let help = "Those of the client that lags most; see pending-bytes-max.";
    text.one(Gauge, name, help, pending.max().unwrap_or_default());
    if let Some(expires) = server.certificate_expires {
        let name = "zodiac_zeo_certificate_expiry_timestamp_seconds";
        let help = "When the server's certificate expires, since 1970.";
        text.one(Gauge, name, help, expires);
    }
}

fn about_transactions(storages: &[Storage], text: &mut Text) {
    use Kind::{Counter, Gauge};
    for (figure, value) in FIGURES {
        text.each(figure, storages, value);
    }
    let name = "zodiac_zeo_last_transaction_timestamp_seconds";
    let help = "The time of the last transaction, since 1970.";
    text.each((Gauge, name, help), storages, |it| it.last_commit);
    let name = "zodiac_zeo_turn_held_seconds";
    let help =
        "How long the oldest transaction has been between vote and end; 0 where there is none.";
    text.each((Gauge, name, help), storages, |it| {
        it.held.unwrap_or_default()
    });
    let name = "zodiac_zeo_cache_verifications_total";
    let help =
        "How clients that returned brought their caches up to date; dropped: they could not.";
    let mut metric = text.metric(Counter, name, help);
    for storage in storages {
        for (source, count) in [
            ("memory", storage.verified_from_memory),
            ("storage", storage.verified_from_storage),
            ("dropped", storage.not_verified),
        ] {
            metric.line(&[("storage", &storage.name), ("source", source)], count);
        }
    }
}

fn about_conflicts(storages: &[Storage], text: &mut Text) {
    let name = "zodiac_zeo_conflicts_total";
    let help = "Conflicts of objects, by class and by what became of them.";
    let mut metric = text.metric(Kind::Counter, name, help);
    for storage in storages {
        for class in &storage.classes {
            for (outcome, count) in [
                ("merged", class.merged),
                ("refused", class.refused),
                ("left_to_client", class.left),
            ] {
                let labels = [
                    ("storage", storage.name.as_str()),
                    ("class", &class.class),
                    ("outcome", outcome),
                ];
                metric.line(&labels, count);
            }
        }
    }
}

fn about_calls(storages: &[Storage], text: &mut Text) {
    let name = "zodiac_zeo_call_duration_seconds";
    let help = "Calls, from when they were read to when their answers were ready.";
    let mut metric = text.metric(Kind::Histogram, name, help);
    for storage in storages {
        for calls in &storage.methods {
            let labels = [
                ("storage", storage.name.as_str()),
                ("method", &calls.method),
            ];
            metric.histogram(&labels, &calls.spans);
        }
    }
    let name = "zodiac_zeo_calls_refused_total";
    let mut metric = text.metric(
        Kind::Counter,
        name,
        "Calls that were answered with an error.",
    );
    for storage in storages {
        for calls in &storage.methods {
            let labels = [
                ("storage", storage.name.as_str()),
                ("method", &calls.method),
            ];
            metric.line(&labels, calls.refused);
        }
    }
    let waits: [(&str, &str, SpansOf); 3] = [
        (
            "zodiac_zeo_vote_lock_wait_seconds",
            "How long votes waited for transactions that touch the same objects.",
            |it| &it.lock_waits,
        ),
        (
            "zodiac_zeo_thread_wait_seconds",
            "How long votes and long reads waited for a thread.",
            |it| &it.queue_waits,
        ),
        (
            "zodiac_zeo_turn_duration_seconds",
            "How long transactions kept their objects, from vote to end.",
            |it| &it.turns,
        ),
    ];
    for (name, help, spans) in waits {
        let mut metric = text.metric(Kind::Histogram, name, help);
        for storage in storages {
            metric.histogram(&[("storage", &storage.name)], spans(storage));
        }
    }
}

fn about_disk(storages: &[Storage], text: &mut Text) {
    let files = || {
        let files = storages.iter();
        files.filter_map(|it| it.file.as_ref().map(|file| (it.name.as_str(), file)))
    };
    let name = "zodiac_zeo_sync_duration_seconds";
    let mut metric = text.metric(Kind::Histogram, name, "Syncs of the Data.fs (fdatasync).");
    for (storage, file) in files() {
        metric.histogram(&[("storage", storage)], &file.syncs);
    }
    let figures: [(Figure, OfFile); 2] = [
        (
            (
                Kind::Gauge,
                "zodiac_zeo_sync_running_seconds",
                "How long the sync has taken that is under way.",
            ),
            |file| file.syncing.unwrap_or_default(),
        ),
        (
            (
                Kind::Counter,
                "zodiac_zeo_written_transactions_total",
                "Transactions in the file; by the number of syncs it tells how many share one.",
            ),
            #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            |file| file.transactions as f64,
        ),
    ];
    for ((kind, name, help), value) in figures {
        let mut metric = text.metric(kind, name, help);
        for (storage, file) in files() {
            metric.line(&[("storage", storage)], value(file));
        }
    }
}

fn about_packs(storages: &[Storage], text: &mut Text) {
    use Kind::{Counter, Gauge};
    let name = "zodiac_zeo_pack_running";
    let help = "Whether a client's pack is under way.";
    text.each((Gauge, name, help), storages, |it| {
        u8::from(it.pack.running.is_some())
    });
    let name = "zodiac_zeo_pack_progress_ratio";
    let help = "How far the pack is in its stage, from 0 to 1; 0 where there is none.";
    text.each((Gauge, name, help), storages, |it| {
        it.pack.progress.unwrap_or_default()
    });
    let name = "zodiac_zeo_packs_total";
    let mut metric = text.metric(Counter, name, "Packs that ended.");
    for storage in storages {
        let name = storage.name.as_str();
        metric.line(&[("storage", name), ("outcome", "done")], storage.pack.done);
        metric.line(
            &[("storage", name), ("outcome", "failed")],
            storage.pack.failed,
        );
    }
    let lasts: [(&str, &str, Of<Option<f64>>); 2] = [
        (
            "zodiac_zeo_pack_last_duration_seconds",
            "How long the last pack took.",
            |it| it.pack.last,
        ),
        (
            "zodiac_zeo_pack_last_end_timestamp_seconds",
            "When it ended, since 1970.",
            |it| it.pack.ended,
        ),
    ];
    for (name, help, value) in lasts {
        let mut metric = text.metric(Gauge, name, help);
        for storage in storages {
            if let Some(value) = value(storage) {
                metric.line(&[("storage", &storage.name)], value);
            }
        }
    }
}

/// What is one number of each storage.
const FIGURES: [(Figure, Of<u64>); 11] = [
    (
        (Kind::Gauge, "zodiac_zeo_clients", "Registered connections."),
        |it| it.connections,
    ),
    (
        (
            Kind::Gauge,
            "zodiac_zeo_transactions_active",
            "Transactions begun and not ended.",
        ),
        |it| it.active,
    ),
    (
        (
            Kind::Gauge,
            "zodiac_zeo_votes_waiting",
            "Votes that wait for others.",
        ),
        |it| it.waiting,
    ),
    (
        (
            Kind::Counter,
            "zodiac_zeo_transactions_committed_total",
            "Transactions finished.",
        ),
        |it| it.commits,
    ),
    (
        (
            Kind::Counter,
            "zodiac_zeo_transactions_aborted_total",
            "Transactions given up by their clients, or ended with the connection.",
        ),
        |it| it.aborts,
    ),
    (
        (
            Kind::Counter,
            "zodiac_zeo_transactions_timed_out_total",
            "Transactions that took longer than transaction-timeout; aborted ones, too.",
        ),
        |it| it.timeouts,
    ),
    (
        (
            Kind::Counter,
            "zodiac_zeo_invalidations_sent_total",
            "Invalidations: one to each other client for each transaction.",
        ),
        |it| it.invalidations,
    ),
    (
        (
            Kind::Counter,
            "zodiac_zeo_invalidated_objects_total",
            "Objects that transactions changed.",
        ),
        |it| it.invalidated,
    ),
    (
        (
            Kind::Gauge,
            "zodiac_zeo_storage_bytes",
            "The size of the storage.",
        ),
        |it| it.bytes,
    ),
    (
        (
            Kind::Gauge,
            "zodiac_zeo_storage_objects",
            "Objects with a current record.",
        ),
        |it| it.objects,
    ),
    (
        (
            Kind::Counter,
            "zodiac_zeo_vote_conflicts_total",
            "Votes answered with conflicts, or refused for one.",
        ),
        |it| it.conflicts,
    ),
];
