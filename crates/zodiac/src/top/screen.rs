//! A view as text, as wide and as high as the terminal.

use zeo_net::CERTIFICATE_EXPIRES_SOON;

use super::rates::{ClientView, MethodView, PackView, Quantiles, StorageView, View};

/// What a view is drawn for.
pub(super) struct Screen {
    /// Which server it is.
    pub(super) source: String,
    pub(super) columns: usize,
    /// How many lines there may be; any number where it is not said.
    pub(super) rows: Option<usize>,
    pub(super) palette: Palette,
}

/// How things are set off.
pub(super) struct Palette {
    bold: &'static str,
    faint: &'static str,
    good: &'static str,
    bad: &'static str,
    head: &'static str,
    plain: &'static str,
}

impl Palette {
    /// Not at all.
    pub(super) fn plain() -> Self {
        Self {
            bold: "",
            faint: "",
            good: "",
            bad: "",
            head: "",
            plain: "",
        }
    }

    /// As every terminal can.
    pub(super) fn colourful() -> Self {
        Self {
            bold: "\x1b[1m",
            faint: "\x1b[2m",
            good: "\x1b[1;32m",
            bad: "\x1b[1;31m",
            head: "\x1b[7m",
            plain: "\x1b[0m",
        }
    }
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Faint,
    Good,
    Bad,
    Head,
}

/// One line, in pieces of one style each.
#[derive(Default)]
struct Line(Vec<(Style, String)>);

impl Line {
    fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    /// A name, and a figure that belongs to it.
    fn figure(self, name: &str, value: impl Into<String>) -> Self {
        let gap = if self.0.is_empty() { "" } else { "   " };
        self.with(Style::Faint, format!("{gap}{name} "))
            .with(Style::Bold, value)
    }
}

impl Screen {
    /// The view, line by line; each ends with a line feed.
    pub(super) fn draw(&self, view: &View) -> String {
        self.lines(view, None)
    }

    /// The last view there was, and why there is no newer one.
    pub(super) fn draw_trouble(&self, view: &View, trouble: &str) -> String {
        self.lines(view, Some(trouble))
    }

    fn lines(&self, view: &View, trouble: Option<&str>) -> String {
        let mut lines = vec![self.title(view, trouble), machine(view), Line::default()];
        for storage in &view.storages {
            lines.extend(about(storage));
        }
        // What is left is shared between methods and clients.
        let left = self.rows.map(|rows| rows.saturating_sub(lines.len()));
        let busy: Vec<_> = view.storages.iter().flat_map(busy_methods).collect();
        let clients = &view.clients;
        let method_rows = busy.len() + 2;
        let share = left.map_or(usize::MAX, |left| {
            left.saturating_sub((clients.len() + 1).min(left / 3))
                .min(method_rows)
        });
        lines.extend(self.methods(&busy, view.storages.len() > 1, share));
        let left = self
            .rows
            .map_or(CLIENTS_PRINTED, |rows| rows.saturating_sub(lines.len()));
        lines.extend(self.clients(clients, left));
        let rows = self.rows.unwrap_or(usize::MAX);
        lines
            .iter()
            .take(rows)
            .map(|line| self.render(line))
            .collect()
    }

    fn title(&self, view: &View, trouble: Option<&str>) -> Line {
        let line = Line::default().with(Style::Bold, format!("zodiac zeo {}  ", self.source));
        let line = match trouble {
            Some(trouble) => line.with(Style::Bad, format!("NO ANSWER: {trouble}")),
            None if view.ready => line.with(Style::Good, "READY"),
            None => line.with(Style::Bad, format!("NOT READY: {}", view.state)),
        };
        let line = match view.certificate_expires_in.filter(|left| is_soon(*left)) {
            Some(left) if left > 0.0 => {
                let text = format!("   certificate expires in {}", span(left));
                line.with(Style::Bad, text)
            }
            Some(_) => line.with(Style::Bad, "   certificate expired"),
            None => line,
        };
        line.figure("up", span(view.uptime))
            .figure("pid", view.pid.to_string())
            .figure("version", view.version.clone())
    }

    /// A table of the methods that are called.
    fn methods(&self, busy: &[(&str, &MethodView)], are_many: bool, rows: usize) -> Vec<Line> {
        let width = self.columns.clamp(60, 110);
        let name_width = width - 55;
        let head = format!(
            "{:name_width$} {:>10} {:>9} {:>9} {:>9} {:>10}",
            "METHOD", "calls/s", "p50", "p90", "p99", "refused/s"
        );
        let head = Line::default().with(Style::Head, format!("{head:width$}"));
        let lines = busy.iter().map(|(storage, calls)| {
            let name = if are_many {
                format!("{storage}:{}", calls.method)
            } else {
                calls.method.clone()
            };
            let Quantiles { p50, p90, p99 } = calls.latency;
            let text = format!(
                "{:name_width$} {:>10} {:>9} {:>9} {:>9} ",
                cut(&name, name_width),
                rate(calls.calls_per_second),
                short_or_dash(p50),
                short_or_dash(p90),
                short_or_dash(p99)
            );
            let style = if calls.calls_per_second > 0.0 {
                Style::Plain
            } else {
                Style::Faint
            };
            let refused = format!("{:>10}", rate(calls.refused_per_second));
            let is_quiet = calls.refused_per_second == 0.0;
            Line::default()
                .with(style, text)
                .with(if is_quiet { Style::Faint } else { Style::Bad }, refused)
        });
        let lines = std::iter::once(head)
            .chain(lines)
            .take(rows.saturating_sub(1));
        lines.chain([Line::default()]).take(rows).collect()
    }

    fn clients(&self, clients: &[ClientView], rows: usize) -> Vec<Line> {
        let width = self.columns.clamp(60, 110);
        let name_width = width - 55;
        let head = format!(
            "{:name_width$} {:>10} {:>12} {:>12} {:>9} {:>7}",
            "CLIENT", "calls/s", "in", "out", "pending", "age"
        );
        let head = Line::default().with(Style::Head, format!("{head:width$}"));
        let mut lines = vec![head];
        let shown = if clients.len() < rows {
            clients.len()
        } else {
            rows.saturating_sub(2)
        };
        for client in &clients[..shown] {
            let text = format!(
                "{:name_width$} {:>10} {:>12} {:>12} ",
                cut(&client.name, name_width),
                rate(client.calls_per_second),
                format!("{}/s", bytes(client.received_per_second)),
                format!("{}/s", bytes(client.sent_per_second)),
            );
            let pending = format!("{:>9}", bytes(as_float(client.pending_bytes)));
            let lags = client.pending_bytes > LAGGING_BYTES;
            lines.push(
                Line::default()
                    .with(Style::Plain, text)
                    .with(if lags { Style::Bad } else { Style::Plain }, pending)
                    .with(Style::Plain, format!(" {:>7}", age(client.age))),
            );
        }
        if shown < clients.len() {
            let rest = format!("and {} more", clients.len() - shown);
            lines.push(Line::default().with(Style::Faint, rest));
        }
        if clients.is_empty() {
            lines.push(Line::default().with(Style::Faint, "none"));
        }
        lines
    }

    /// The line, not wider than the terminal.
    fn render(&self, line: &Line) -> String {
        let mut text = String::new();
        let mut left = self.columns;
        for (style, piece) in &line.0 {
            let piece: String = piece
                .chars()
                .filter(|c| !c.is_control())
                .take(left)
                .collect();
            left -= piece.chars().count();
            let palette = &self.palette;
            let begin = match style {
                Style::Plain => "",
                Style::Bold => palette.bold,
                Style::Faint => palette.faint,
                Style::Good => palette.good,
                Style::Bad => palette.bad,
                Style::Head => palette.head,
            };
            let end = if begin.is_empty() { "" } else { palette.plain };
            text.extend([begin, &piece, end]);
        }
        if self.rows.is_none() {
            text.truncate(text.trim_end().len());
        }
        text.push('\n');
        text
    }
}

fn machine(view: &View) -> Line {
    let pending = bytes(as_float(view.pending_bytes));
    let line = Line::default()
        .figure("cpu", format!("{:.0}%", view.cpu * 100.0))
        .figure("memory", bytes(as_float(view.resident_bytes)))
        .figure("connections", view.connections.to_string())
        .figure("in", format!("{}/s", bytes(view.received_per_second)))
        .figure("out", format!("{}/s", bytes(view.sent_per_second)))
        .figure("pending", pending);
    let line = if view.refused_per_second > 0.0 {
        line.with(
            Style::Bad,
            format!("   refused {}/s", rate(view.refused_per_second)),
        )
    } else {
        line
    };
    match view.certificate_expires_in {
        Some(left) if !is_soon(left) => line.figure("certificate", span(left)),
        _ => line,
    }
}

/// Whether the server's certificate that counts for so many seconds should be replaced.
fn is_soon(left: f64) -> bool {
    left < CERTIFICATE_EXPIRES_SOON.as_secs_f64()
}

fn about(storage: &StorageView) -> Vec<Line> {
    let size = format!(
        "{}, {} objects, {} clients, last commit {} ago",
        bytes(as_float(storage.bytes)),
        grouped(storage.objects),
        storage.clients,
        span(storage.last_commit_ago)
    );
    let mut lines = vec![
        Line::default()
            .with(Style::Bold, format!("STORAGE {}  ", storage.name))
            .with(Style::Plain, size),
    ];
    let mut commits = Line::default()
        .figure(
            "  commits",
            format!("{}/s", rate(storage.commits_per_second)),
        )
        .figure("aborts", format!("{}/s", rate(storage.aborts_per_second)))
        .figure(
            "conflicts",
            format!("{}/s", rate(storage.conflicts_per_second)),
        )
        .figure("merged", format!("{}/s", rate(storage.merged_per_second)))
        .figure(
            "invalidations",
            format!("{}/s", rate(storage.invalidations_per_second)),
        );
    if storage.timeouts > 0 {
        commits = commits.with(Style::Bad, format!("   timed out {}", storage.timeouts));
    }
    lines.push(commits);
    let mut votes = Line::default()
        .figure("  open", storage.active.to_string())
        .figure("votes waiting", storage.waiting.to_string())
        .figure("waited", quantiles(storage.lock_wait))
        .figure("turns", quantiles(storage.turn));
    if let Some(held) = storage.held.filter(|held| *held > LONG_TURN) {
        votes = votes.with(Style::Bad, format!("   one turn lasts {}", span(held)));
    }
    lines.push(votes);
    if let Some(shared) = storage
        .transactions_per_sync
        .or_else(|| (storage.syncs_per_second > 0.0).then_some(0.0))
    {
        lines.push(
            Line::default()
                .figure("  syncs", format!("{}/s", rate(storage.syncs_per_second)))
                .figure("each", quantiles(storage.sync))
                .figure("transactions a sync", format!("{shared:.1}")),
        );
    }
    lines.extend(about_pack(&storage.pack));
    let worst = storage.conflict_classes.iter().take(CLASSES_SHOWN);
    let worst: Vec<_> = worst
        .map(|(class, count)| format!("{class} {}", grouped(*count)))
        .collect();
    if !worst.is_empty() {
        lines.push(Line::default().figure("  conflicts of", worst.join(", ")));
    }
    lines.push(Line::default());
    lines
}

fn about_pack(pack: &PackView) -> Option<Line> {
    if let Some(running) = pack.running {
        let progress = pack.progress.unwrap_or_default().clamp(0.0, 1.0);
        let stage = pack.stage.as_deref().unwrap_or("beginning");
        return Some(
            Line::default()
                .figure("  pack", format!("{stage} {:>3.0}% ", progress * 100.0))
                .with(Style::Good, bar(progress))
                .with(Style::Plain, format!(" {}", span(running))),
        );
    }
    let (took, ago) = (pack.last_seconds?, pack.ended_ago?);
    let text = format!("took {}, ended {} ago", span(took), span(ago));
    let line = Line::default().figure("  last pack", text);
    Some(if pack.failed > 0 {
        line.with(Style::Bad, format!("   {} failed", pack.failed))
    } else {
        line
    })
}

fn bar(part: f64) -> String {
    (0..BAR_CELLS)
        .map(|cell| {
            if f64::from(cell) < part * f64::from(BAR_CELLS) {
                '█'
            } else {
                '░'
            }
        })
        .collect()
}

fn busy_methods(storage: &StorageView) -> impl Iterator<Item = (&str, &MethodView)> {
    storage
        .methods
        .iter()
        .map(|calls| (storage.name.as_str(), calls))
}

fn quantiles(of: Quantiles) -> String {
    match (of.p50, of.p99) {
        (Some(p50), Some(p99)) => format!("{} (p99 {})", short(p50), short(p99)),
        _ => "-".to_owned(),
    }
}

fn short_or_dash(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), short)
}

/// A span of time in three digits.
fn short(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 0.000_999_5 => (s * 1e6, "µs"),
        s if s < 0.999_5 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = if value < 9.95 { 1 } else { 0 };
    format!("{value:.digits$} {unit}")
}

/// A longer span: `3d 04h`, `4h 12m`, `3m 20s`, `12 s`, `0.3 s`.
fn span(seconds: f64) -> String {
    let whole = whole(seconds);
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match whole {
        86_400.. => format!("{days}d {hours:02}h"),
        3_600.. => format!("{hours}h {minutes:02}m"),
        60.. => format!("{minutes}m {:02}s", whole % 60),
        10.. => format!("{whole} s"),
        _ => format!("{seconds:.1} s"),
    }
}

/// The same in one unit.
fn age(seconds: f64) -> String {
    match whole(seconds) {
        whole @ 86_400.. => format!("{}d", whole / 86_400),
        whole @ 3_600.. => format!("{}h", whole / 3_600),
        whole @ 60.. => format!("{}m", whole / 60),
        whole => format!("{whole}s"),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is within the numbers; a fraction is dropped on purpose"
)]
fn whole(seconds: f64) -> u64 {
    seconds.clamp(0.0, 1e15) as u64
}

fn rate(per_second: f64) -> String {
    if per_second < 0.05 {
        "0".to_owned()
    } else if per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        grouped(whole(per_second.round()))
    }
}

/// `1,234,567`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < units.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$} {}", units[unit])
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let short: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{short}…")
}

/// How many clients are printed where there is no end of lines.
const CLIENTS_PRINTED: usize = 20;
/// How many classes are named.
const CLASSES_SHOWN: usize = 3;
const BAR_CELLS: u32 = 30;
/// What a client that reads hardly ever leaves unread.
const LAGGING_BYTES: u64 = 1 << 20;
/// A turn that takes this long keeps others waiting.
const LONG_TURN: f64 = 1.0;

#[cfg(test)]
mod tests;
