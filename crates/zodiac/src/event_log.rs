//! Logs as an `<eventlog>` describes them: several places, each with a level and a format of Python's.

mod file;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono::format::{Item, StrftimeItems};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use zconfig::{FieldValue, LogFormat};

use file::LogFile;

/// One place that log lines go to.
#[derive(Clone, Debug)]
pub(crate) struct HandlerPlan {
    /// Python's number.
    pub(crate) level: i64,
    pub(crate) format: LogFormat,
    /// Of `%(asctime)s`, as [`date_format`] made it.
    pub(crate) date_format: String,
    pub(crate) target: Target,
}

/// Where lines are written.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Stdout,
    Stderr,
    File {
        path: PathBuf,
        /// When a new file is begun; 0 for never.
        bytes_max: u64,
        /// How many are kept then.
        old_files: u64,
        /// Whether it is opened at the first line.
        is_late: bool,
    },
}

/// The format of times, where each of its parts is known.
pub(crate) fn date_format(text: &str) -> Result<String, String> {
    if StrftimeItems::new(text).any(|item| item == Item::Error) {
        return Err(format!("{text:?} is no format of times that is understood"));
    }
    Ok(text.to_owned())
}

/// All places together.
pub(crate) struct EventLog {
    level: i64,
    handlers: Vec<Handler>,
    started: Duration,
}

struct Handler {
    level: i64,
    format: LogFormat,
    date_format: String,
    sink: Mutex<Sink>,
}

enum Sink {
    Stdout,
    Stderr,
    File(LogFile),
}

impl EventLog {
    /// Opens the files and sends this process's log there.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub(crate) fn start(level: i64, plans: Vec<HandlerPlan>) -> Result<Arc<Self>> {
        let handlers = plans.into_iter().map(|plan| {
            Ok(Handler {
                level: plan.level,
                format: plan.format,
                date_format: plan.date_format,
                sink: Mutex::new(match plan.target {
                    Target::Stdout => Sink::Stdout,
                    Target::Stderr => Sink::Stderr,
                    Target::File {
                        path,
                        bytes_max,
                        old_files,
                        is_late,
                    } => Sink::File(LogFile::open(path, bytes_max, old_files, is_late)?),
                }),
            })
        });
        let log = Arc::new(Self {
            level,
            handlers: handlers.collect::<Result<_>>()?,
            started: vfs::unix_time(),
        });
        tracing_subscriber::registry()
            .with(EventLayer(Arc::clone(&log)))
            .init();
        Ok(log)
    }

    /// Closes the files and opens them again; those that are rotated by size begin anew.
    pub(crate) fn reopen(&self) {
        for handler in &self.handlers {
            if let Sink::File(file) = &mut *handler.sink.lock() {
                file.reopen();
            }
        }
    }

    fn write(&self, record: &Record<'_>) {
        for handler in &self.handlers {
            if record.level >= handler.level {
                let mut line = handler
                    .format
                    .render(|field| self.field(handler, record, field));
                line.push('\n');
                // Nobody is left to be told where the log itself cannot be written.
                let _ = match &mut *handler.sink.lock() {
                    Sink::Stdout => io::stdout().lock().write_all(line.as_bytes()),
                    Sink::Stderr => io::stderr().lock().write_all(line.as_bytes()),
                    Sink::File(file) => {
                        file.write(&line);
                        Ok(())
                    }
                };
            }
        }
    }

    fn field<'a>(
        &self,
        handler: &Handler,
        record: &'a Record<'_>,
        field: &'static str,
    ) -> FieldValue<'a> {
        let path = record.metadata.file().unwrap_or_default();
        let name = || path.rsplit('/').next().unwrap_or_default();
        let thread = std::thread::current();
        match field {
            "asctime" => {
                let time = chrono::DateTime::from_timestamp(
                    i64::try_from(record.time.as_secs()).unwrap_or(i64::MAX),
                    record.time.subsec_nanos(),
                );
                let time = time.unwrap_or_default().with_timezone(&chrono::Local);
                FieldValue::Text(time.format(&handler.date_format).to_string().into())
            }
            "created" => FieldValue::Float(record.time.as_secs_f64()),
            "msecs" => FieldValue::Float(record.time.subsec_millis().into()),
            "relativeCreated" => {
                let since = record.time.saturating_sub(self.started);
                FieldValue::Float(since.as_secs_f64() * 1_000.0)
            }
            "levelno" => FieldValue::Integer(record.level),
            "levelname" => FieldValue::Text(level_name(record.level).into()),
            "lineno" => FieldValue::Integer(record.metadata.line().unwrap_or_default().into()),
            "process" => FieldValue::Integer(std::process::id().into()),
            "processName" => FieldValue::Text("MainProcess".into()),
            "thread" => FieldValue::Integer(thread_number(&thread)),
            "threadName" => {
                FieldValue::Text(thread.name().unwrap_or("MainThread").to_owned().into())
            }
            "pathname" => FieldValue::Text(path.into()),
            "filename" => FieldValue::Text(name().into()),
            "module" => FieldValue::Text(name().trim_end_matches(".rs").into()),
            "name" => FieldValue::Text(record.metadata.target().replace("::", ".").into()),
            "message" | "msg" => FieldValue::Text(record.message.as_str().into()),
            _ => FieldValue::Text("".into()), // a function's name: not known
        }
    }
}

/// `ThreadId(7)` is 7.
fn thread_number(thread: &std::thread::Thread) -> i64 {
    let shown = format!("{:?}", thread.id());
    let digits = shown.trim_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap_or_default()
}

/// One event, as Python's `logging` would have it.
struct Record<'a> {
    metadata: &'a Metadata<'static>,
    level: i64,
    time: Duration,
    message: String,
}

/// Python's number of a level.
fn number(level: Level) -> i64 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

/// Python's number of an event's level. What goes under the original's own name and is an error is
/// critical there: a client that was disconnected while it kept others from committing.
fn event_number(metadata: &Metadata<'_>) -> i64 {
    match *metadata.level() {
        Level::ERROR if metadata.target() == CRITICAL_TARGET => CRITICAL,
        level => number(level),
    }
}

fn level_name(level: i64) -> &'static str {
    match level {
        CRITICAL => "CRITICAL",
        40 => "ERROR",
        30 => "WARNING",
        20 => "INFO",
        10 => "DEBUG",
        _ => "TRACE",
    }
}

const CRITICAL: i64 = 50;
const CRITICAL_TARGET: &str = "ZEO.StorageServer";

struct EventLayer(Arc<EventLog>);

impl<S: Subscriber> Layer<S> for EventLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        event_number(metadata) >= self.0.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = [
            Level::TRACE,
            Level::DEBUG,
            Level::INFO,
            Level::WARN,
            Level::ERROR,
        ];
        let least = levels
            .into_iter()
            .find(|level| number(*level) >= self.0.level.min(number(Level::ERROR)));
        Some(least.map_or(LevelFilter::OFF, LevelFilter::from_level))
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        self.0.write(&Record {
            metadata: event.metadata(),
            level: event_number(event.metadata()),
            time: vfs::unix_time(),
            message: message.text + &message.fields,
        });
    }
}

/// An event's sentence, and what else it tells as ` name=value`.
#[derive(Default)]
struct Message {
    text: String,
    fields: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        } else {
            self.fields += &format!(" {}={value:?}", field.name());
        }
    }
}
