//! `zodiac top`: a live view of a running storage server, from the listener for those who watch.

mod fetch;
mod rates;
mod screen;
mod terminal;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use tokio::sync::oneshot;

use crate::clock;
use crate::config::Config;
use crate::watching::report::Report;

use fetch::Source;
use rates::View;
use screen::{Palette, Screen};
use terminal::Terminal;

/// `zodiac top`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Top {
    /// Where the server's metrics are [default: zeo.metrics of the configuration]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "url")]
    address: Option<SocketAddr>,
    /// The same as a URL: http://HOST:PORT
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "2", value_parser = crate::cli::seconds)]
    interval: Duration,
    /// Look twice, an interval apart, print, and end
    #[arg(long)]
    once: bool,
    /// Print one JSON object for each look
    #[arg(long)]
    json: bool,
    /// The configuration file [default: zodiac.toml where it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
}

const HELP: &str = "\
The server must have zeo.metrics in its configuration, or be started with --metrics ADDRESS. Rates are of the
time between two looks; q or Ctrl-C ends. Where the output is no terminal, one view follows the other.

Exit status 0: well; 1: the server does not answer.

Examples:
  zodiac top --address 127.0.0.1:8101
  zodiac top --once --interval 10
  zodiac top --json | jq .storages[0].commits_per_second";

/// Shows until it is told to end.
pub(crate) fn run(arguments: &Top) -> Result<ExitCode> {
    let source = Arc::new(source(arguments)?);
    let first = source.report().with_context(|| hint(&source))?;
    if arguments.once || arguments.json {
        return print(arguments, &source, first);
    }
    match Terminal::open()? {
        Some(terminal) => show(arguments, &source, first, terminal),
        None => print(arguments, &source, first),
    }
}

fn source(arguments: &Top) -> Result<Source> {
    if let Some(url) = &arguments.url {
        return Source::from_url(url);
    }
    let configured = || -> Result<SocketAddr> {
        let config = Config::load(arguments.config.as_deref())?;
        config.zeo.metrics.0.ok_or_else(|| {
            anyhow!(
                "where is the server? Name it with --address, or set zeo.metrics in the configuration"
            )
        })
    };
    let address = arguments.address.map_or_else(configured, Ok)?;
    Ok(Source::from_address(address))
}

fn hint(source: &Source) -> String {
    format!("{source} does not answer; is the server there, with zeo.metrics set?")
}

/// One view after the other, for pipes and files.
fn print(arguments: &Top, source: &Source, mut last: Report) -> Result<ExitCode> {
    loop {
        clock::pause(arguments.interval);
        let next = source.report().with_context(|| hint(source))?;
        let view = View::new(&last, &next);
        let text = if arguments.json {
            format!("{}\n", serde_json::to_string(&view)?)
        } else {
            let screen = Screen {
                source: source.to_string(),
                columns: PRINTED_COLUMNS,
                rows: None,
                palette: Palette::plain(),
            };
            screen.draw(&view)
        };
        let mut out = io::stdout().lock();
        let end = if arguments.once || arguments.json {
            ""
        } else {
            "\n"
        };
        let written = out.write_all(format!("{text}{end}").as_bytes());
        if written.and_then(|()| out.flush()).is_err() || arguments.once {
            return Ok(ExitCode::SUCCESS); // Whoever read it may have had enough.
        }
        last = next;
    }
}

/// One view over the other.
fn show(
    arguments: &Top,
    source: &Arc<Source>,
    first: Report,
    mut terminal: Terminal,
) -> Result<ExitCode> {
    let mut last = first;
    let mut view = View::new(&Report::default(), &last);
    let mut trouble: Option<String> = None;
    loop {
        let draw = |terminal: &Terminal| draw(terminal, source, &view, trouble.as_deref());
        draw(&terminal)?;
        let pause = async { tokio::time::sleep(arguments.interval).await };
        if terminal.wait(pause, &draw)?.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        let Some(answer) = terminal.wait(ask(source), &draw)? else {
            return Ok(ExitCode::SUCCESS);
        };
        match answer {
            Ok(next) => {
                // A server that was started anew counts from 0.
                let is_same = next.process.pid == last.process.pid && next.uptime >= last.uptime;
                let zero = Report::default();
                view = View::new(if is_same { &last } else { &zero }, &next);
                (last, trouble) = (next, None);
            }
            Err(error) => trouble = Some(format!("{error:#}")),
        }
    }
}

/// Asks the server on a thread of its own: keys and signals count while it does not answer.
async fn ask(source: &Arc<Source>) -> Result<Report> {
    let (sender, receiver) = oneshot::channel();
    let source = Arc::clone(source);
    std::thread::spawn(move || {
        let _nobody_may_wait = sender.send(source.report());
    });
    receiver.await?
}

fn draw(
    terminal: &Terminal,
    source: &Source,
    view: &View,
    trouble: Option<&str>,
) -> io::Result<()> {
    let (columns, rows) = terminal.size();
    let screen = Screen {
        source: source.to_string(),
        columns,
        rows: Some(rows),
        palette: Palette::colourful(),
    };
    let text = match trouble {
        None => screen.draw(view),
        Some(trouble) => screen.draw_trouble(view, trouble),
    };
    terminal.show(&text)
}

/// How wide a view is where no terminal says it.
const PRINTED_COLUMNS: usize = 100;
