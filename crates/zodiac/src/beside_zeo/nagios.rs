//! `zodiac zeo-nagios`: asks a ZEO server how it is, in the form of a Nagios plugin.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use zeo_net::{CERTIFICATE_EXPIRES_SOON, TlsClientOptions};

use super::address::ServerAddress;
use super::python;
use crate::clock;
use crate::tls_arguments::TlsArguments;

/// `zodiac zeo-nagios`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ZeoNagios {
    /// HOST:PORT, `[IPV6]:PORT`, or the path of a Unix socket
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Print the figures behind the message
    #[arg(short = 'm', long)]
    output_metrics: bool,
    /// Remember the figures here: with those of the last time, rates are printed too
    #[arg(short, long, value_name = "FILE")]
    status_path: Option<PathBuf>,
    /// The unit of time of the rates
    #[arg(short = 'u', long, value_name = "UNIT", value_enum, default_value_t = Unit::Minutes)]
    time_units: Unit,
    #[command(flatten)]
    tls: TlsArguments,
}

const HELP: &str = "\
The program zeo-nagios of ZEO, with its options, its words and its file of figures. Exit status 0: well;
1: a storage is empty, or there is none, or the server's certificate expires within 30 days; 2: no answer;
3: the figures of the last time cannot be used.

Examples:
  zodiac zeo-nagios localhost:8100
  zodiac zeo-nagios -m -s /var/tmp/zeo.status -u seconds localhost:8100";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
}

impl Unit {
    fn seconds(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Minutes => 60.0,
            Self::Hours => 3600.0,
            Self::Days => 86_400.0,
        }
    }
}

const LEVELS: [&str; 3] = ["active_txns", "connections", "waiting"];
const COUNTERS: [&str; 6] = [
    "aborts",
    "commits",
    "conflicts",
    "conflicts_resolved",
    "loads",
    "stores",
];
const NO_TRANSACTION: &str = "0000000000000000";
const LAST: &str = "last-transaction";
/// So the original spells it.
const SAMPLE_TIME: &str = "sameple-time";

/// The figures of each storage, in the order of their names.
type Figures = BTreeMap<String, Map<String, Value>>;

/// What Nagios shows.
#[derive(Debug, Default)]
struct Finding {
    messages: Vec<String>,
    metrics: Vec<String>,
    level: u8,
}

const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// Looks, and says what it found.
pub(crate) fn run(arguments: &ZeoNagios) -> io::Result<ExitCode> {
    let found = match ask(
        &address(&arguments.address),
        arguments.tls.options().as_ref(),
    ) {
        Ok(answer) => look(answer, arguments)
            .unwrap_or_else(|error| Finding::new(UNKNOWN, format!("{error:#}"))),
        Err(message) => Finding::new(CRITICAL, message),
    };
    writeln!(io::stdout(), "{found}")?;
    Ok(ExitCode::from(found.level))
}

fn look(answer: Answer, arguments: &ZeoNagios) -> Result<Finding> {
    let Answer {
        mut figures,
        certificate_left,
    } = answer;
    if figures.is_empty() {
        return Ok(Finding::new(WARNING, "No storages".to_owned()));
    }
    let mut found = Finding::default();
    if arguments.output_metrics {
        for (storage, now) in &figures {
            for name in LEVELS {
                found.add(storage, name, figure(now, name)?);
            }
        }
        if let Some(path) = &arguments.status_path {
            let units = arguments.time_units.seconds();
            add_rates(&mut found, &mut figures, path, units)
                .with_context(|| format!("status file {}", path.display()))?;
        }
    }
    for (storage, now) in &figures {
        if now.get(LAST).and_then(Value::as_str) == Some(NO_TRANSACTION) {
            let message = format!("Empty storage {}", python::quoted(storage));
            found.messages.push(message);
            found.level = WARNING;
        }
    }
    if let Some(left) = certificate_left {
        found.add_certificate(left, arguments.output_metrics);
    }
    if found.messages.is_empty() {
        found.messages.push("OK".to_owned());
    }
    Ok(found)
}

/// Compares with the figures of the last time, and leaves those of now in their place.
fn add_rates(found: &mut Finding, figures: &mut Figures, path: &Path, units: f64) -> Result<()> {
    let now = clock::since_1970();
    let before = match fs::metadata(path) {
        Ok(metadata) => clock::since_1970_of(metadata.modified()?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => now,
        Err(error) => return Err(error.into()),
    };
    let passed = now.saturating_sub(before);
    if !passed.is_zero() {
        let old: Figures =
            serde_json::from_slice(&fs::read(path)?).context("it holds no figures; remove it")?;
        for (storage, now_figures) in figures.iter_mut() {
            now_figures.insert(SAMPLE_TIME.to_owned(), Value::from(now.as_secs_f64()));
            let Some(old) = old.get(storage) else {
                continue;
            };
            for name in COUNTERS {
                let number = |figures| figure(figures, name).map(|value| value.as_f64());
                let (new, old) = (number(now_figures)?, number(old)?);
                let grown = new.zip(old).map(|(new, old)| new - old);
                let grown = grown.with_context(|| format!("{name} is no number"))?;
                let rate = grown / (passed.as_secs_f64() / units);
                found.add_text(storage, name, &python::float(rate));
            }
        }
    }
    fs::write(path, serde_json::to_vec(&figures)?)?;
    Ok(())
}

fn figure<'a>(figures: &'a Map<String, Value>, name: &str) -> Result<&'a Value> {
    figures
        .get(name)
        .with_context(|| format!("there is no figure {name}"))
}

impl Finding {
    fn new(level: u8, message: String) -> Self {
        Self {
            messages: vec![message],
            metrics: Vec::new(),
            level,
        }
    }

    /// The original, which speaks no TLS, knows no such thing.
    fn add_certificate(&mut self, left: Duration, is_metric_wanted: bool) {
        let days = left.as_secs() / 86_400;
        if is_metric_wanted {
            self.metrics.push(format!("certificate_days={days}"));
        }
        if left < CERTIFICATE_EXPIRES_SOON {
            let message = format!("The server's certificate expires in {days} days");
            self.messages.push(message);
            self.level = WARNING;
        }
    }

    fn add(&mut self, storage: &str, name: &str, value: &Value) {
        self.add_text(storage, name, &value.to_string());
    }

    fn add_text(&mut self, storage: &str, name: &str, value: &str) {
        let label = match storage {
            "1" => name.to_owned(),
            storage if storage.contains(' ') => format!("'{storage}:{name}'"),
            storage => format!("{storage}:{name}"),
        };
        self.metrics.push(format!("{label}={value}"));
    }
}

/// One figure goes behind the first message, all others behind the last one.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, others) = match self.metrics.split_first() {
            Some((first, others)) => (Some(first), others),
            None => (None, &[][..]),
        };
        for (number, message) in self.messages.iter().enumerate() {
            match first {
                Some(metric) if number == 0 => write!(f, "{message}|{metric}")?,
                _ if number == 0 => f.write_str(message)?,
                _ => write!(f, "\n{message}")?,
            }
        }
        if !others.is_empty() {
            write!(f, "\n| {}", others.join("\n "))?;
        }
        Ok(())
    }
}

/// What looks like a host and a port is that; anything else is a path.
fn address(text: &str) -> ServerAddress {
    let inet = text.rsplit_once(':').and_then(|(host, port)| {
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number)?;
        let is_word = !host.is_empty() && !host.contains(char::is_whitespace);
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        is_word.then(|| ServerAddress::Inet(bare.unwrap_or(host).to_owned(), port))
    });
    inet.unwrap_or_else(|| ServerAddress::Unix(text.to_owned()))
}

/// How long a server has for a connection, and for each part of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What the server says.
struct Answer {
    figures: Figures,
    /// For how long the certificate counts that it has shown.
    certificate_left: Option<Duration>,
}

/// What the server says, or why it says nothing.
fn ask(address: &ServerAddress, tls: Option<&TlsClientOptions>) -> Result<Answer, String> {
    let mut stream = address
        .connect_with(PATIENCE, tls)
        .map_err(|error| format!("Can't connect {}", in_pythons_words(&error)))?;
    let mut figures = || -> Result<Figures> {
        stream.write_all(b"\0\0\0\x04ruok")?;
        let _protocol = read_frame(&mut stream)?;
        Ok(serde_json::from_slice(&read_frame(&mut stream)?)?)
    };
    let figures = figures().map_err(|error| format!("No answer: {error:#}"))?;
    let expires = stream.certificate_expires();
    Ok(Answer {
        figures,
        certificate_left: expires.map(|expires| expires.saturating_sub(clock::since_1970())),
    })
}

fn read_frame(stream: &mut impl Read) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length))?;
    anyhow::ensure!(
        length <= ANSWER_BYTES_MAX,
        "an answer of {length} bytes is too long"
    );
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// An error of the system as Python words it.
fn in_pythons_words(error: &io::Error) -> String {
    let said = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let words = said.split(" (os error").next().unwrap_or_default();
            format!("[Errno {number}] {words}")
        }
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_as_by_the_original() {
        let inet = |host: &str, port| ServerAddress::Inet(host.to_owned(), port);
        for (text, expected) in [
            ("localhost:8100", inet("localhost", 8100)),
            ("[::1]:8100", inet("::1", 8100)),
            (
                "/run/zeo.sock",
                ServerAddress::Unix("/run/zeo.sock".to_owned()),
            ),
            ("zeo:", ServerAddress::Unix("zeo:".to_owned())),
            (":8100", ServerAddress::Unix(":8100".to_owned())),
            ("a b:1", ServerAddress::Unix("a b:1".to_owned())),
            ("a:+1", ServerAddress::Unix("a:+1".to_owned())),
        ] {
            assert_eq!(address(text), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_without_end_is_not_waited_for() {
        let endless = [0xff; 8];
        let refused = read_frame(&mut &endless[..]).unwrap_err();
        assert!(refused.to_string().contains("too long"), "{refused}");
    }
}
