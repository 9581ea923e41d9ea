//! Log lines on standard error: text for people, JSON for machines, each naming its process's role.

use std::fmt;
use std::io::{self, Write};

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::config::{Log, LogFormat};

/// Starts logging for this process; `name` says which role it has: `zeo`, `publish-2`.
pub(crate) fn start(config: &Log, name: &str) -> Result<()> {
    let filter = filter(&config.level)?;
    let name = name.to_owned();
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    match config.format {
        LogFormat::Text => builder
            .with_timer(NamedTime { name })
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .with_writer(io::stderr)
            .init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_writer(move || NamedJson {
                prefix: json_prefix(&name),
            })
            .init(),
    }
    Ok(())
}

/// Says on standard error what a file is opened with that should be known, and no more.
pub(crate) fn start_for_tools() {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .without_time()
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(io::stderr)
        .init();
}

/// What `log.level` lets through.
pub(crate) fn filter(level: &str) -> Result<EnvFilter> {
    let wrong = || {
        format!(
            "log.level {level:?} is not understood; write error, warn, info, debug, trace or off, \
             or a list such as \"info,zeo=debug\""
        )
    };
    // A word alone would otherwise be taken for a module's name.
    let bare = level
        .split(',')
        .filter(|directive| !directive.contains('='));
    for word in bare {
        word.trim()
            .parse::<LevelFilter>()
            .map_err(|_| anyhow!(wrong()))?;
    }
    EnvFilter::try_new(level).with_context(wrong)
}

/// The time of a text line, and after it the name of the process.
struct NamedTime {
    name: String,
}

impl FormatTime for NamedTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(writer)?;
        write!(writer, " {:<9}", self.name)
    }
}

fn json_prefix(name: &str) -> String {
    format!("{{\"process\":{},", serde_json::Value::from(name))
}

/// Adds the name of the process to each JSON line; the formatter writes a line in one piece.
struct NamedJson {
    prefix: String,
}

impl Write for NamedJson {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        match line.strip_prefix(b"{") {
            Some(rest) => stderr.write_all(&[self.prefix.as_bytes(), rest].concat())?,
            None => stderr.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_prefix_makes_a_json_object() {
        let line = format!("{}{}", json_prefix("publish-2"), "\"level\":\"INFO\"}");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["process"], "publish-2");
    }
}
