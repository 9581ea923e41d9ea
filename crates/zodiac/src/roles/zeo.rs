//! `zodiac zeo`: storages for ZEO clients, in the place of runzeo.

pub(crate) mod certs;
mod conf;
mod container;
mod pid_file;
mod plan;
mod storages;

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use zeo_net::{ListenAddress, Server};

use crate::cli::{BesideZeo, Zeo};
use crate::config::Config;
use crate::event_log::EventLog;
use crate::events::{Event, Reporter};
use crate::logging;
use crate::roles::Misuse;
use crate::shutdown::Shutdown;
use crate::watching::{MetricsListener, Watched, WatchedServer};

use pid_file::PidFile;
use plan::{Listen, Plan};
use storages::OpenStorages;

/// Runs the storage server until it is told to stop.
pub(crate) fn run(arguments: &Zeo) -> Result<ExitCode> {
    if let Some(BesideZeo::Certs(certs)) = &arguments.instead {
        return certs::run(certs).map(|()| ExitCode::SUCCESS);
    }
    let plan = Plan::new(arguments)?;
    let event_log = start_logging(arguments, &plan)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments, plan, event_log))
}

/// Says what of a `zeo.conf` could not be followed. Nothing is opened.
pub(crate) fn check(path: &Path) -> Result<()> {
    Plan::from_conf(&path.display().to_string(), &Config::load(None)?).map(drop)
}

/// Where an `<eventlog>` says, or on standard error.
fn start_logging(arguments: &Zeo, plan: &Plan) -> Result<Option<Arc<EventLog>>> {
    let Some(event_log) = &plan.event_log else {
        let config = arguments.common.load()?;
        logging::start(&config.log, super::log_name(&arguments.common, "zeo"))?;
        return Ok(None);
    };
    EventLog::start(event_log.level, event_log.handlers.clone()).map(Some)
}

/// Why the server ended, where nothing failed.
enum End {
    Ordered(&'static str),
    HungUp,
    Poisoned,
}

async fn serve(arguments: &Zeo, plan: Plan, event_log: Option<Arc<EventLog>>) -> Result<ExitCode> {
    let supervised = arguments.common.supervised;
    let shutdown = Shutdown::new(supervised)?.ordered();
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let reopen = signal(SignalKind::user_defined2()).context("cannot listen for signals")?;
    tokio::spawn(reopen_logs(reopen, event_log));

    let poisoned = Arc::new(Notify::new());
    check_free(&plan.listen)?;
    let pid_file = plan.pid_file.clone().and_then(PidFile::write);
    let watched = Watched::new(plan.sync_patience);
    tokio::spawn(Arc::clone(&watched).heart());
    let metrics = start_metrics(arguments, &plan, &watched)?;
    // It takes its time, and blocks. Whoever asks meanwhile hears of it.
    let storages = OpenStorages::open(&plan.storages, plan.merges, &poisoned)?;
    // Whoever connects is served: clients turn to another server, or wait, while storages open.
    let server = bind(&plan)?;
    watched.serves(WatchedServer {
        monitor: server.monitor(),
        storages: storages.watched.clone(),
    });
    for (name, storage) in &storages.served {
        tracing::info!(storage = name, data = storage.name(), "serving");
    }
    for address in server
        .addresses()
        .context("cannot tell the listener's address")?
    {
        super::report_listening(&arguments.common, "zeo", &address);
    }
    let mut end = None;
    let stop = async {
        end = Some(tokio::select! {
            reason = shutdown => End::Ordered(reason),
            _ = hang_up.recv(), if !supervised => End::HungUp,
            () = poisoned.notified() => End::Poisoned,
        });
        watched.stops();
        match &end {
            Some(End::Ordered(reason)) => tracing::info!("terminated by {reason}"),
            Some(End::HungUp) => tracing::info!("restarted by SIGHUP"),
            _ => {}
        }
    };
    server.run(storages.served.clone(), stop).await?;
    let closed = storages.close();
    drop(metrics);
    drop(pid_file);
    closed?;
    match end {
        Some(End::Poisoned) => bail!("a write failed; start again when the disk is well"),
        // For whoever watches over the process: start it again.
        Some(End::HungUp) => Ok(ExitCode::FAILURE),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The listener for those who watch, where one is wanted. It is there before the storages are open, and
/// until they are closed.
fn start_metrics(
    arguments: &Zeo,
    plan: &Plan,
    watched: &Arc<Watched>,
) -> Result<Option<MetricsListener>> {
    let start = |address| MetricsListener::start(address, Arc::clone(watched));
    let listener = plan.metrics.map(start).transpose()?;
    if let Some(listener) = &listener {
        let address = listener.address;
        tracing::info!(%address, "metrics");
        Reporter::new(arguments.common.json).report(&Event::Metrics {
            pid: std::process::id(),
            address,
        });
    }
    Ok(listener)
}

/// How long a server that may be there already has for taking a connection.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Of two servers at one address, the second one ends before it touches pid file and storages.
fn check_free(listen: &Listen) -> Result<()> {
    for address in &listen.addresses {
        let answers = match address {
            ListenAddress::Inet(address) if address.port() == 0 => false,
            ListenAddress::Inet(address) => {
                TcpStream::connect_timeout(address, CHECK_TIMEOUT).is_ok()
            }
            ListenAddress::Unix(path) => UnixStream::connect(path).is_ok(),
        };
        if answers {
            return Err(in_use(&address.to_string()));
        }
    }
    Ok(())
}

fn in_use(shown: &str) -> anyhow::Error {
    Misuse::error(format!(
        "address {shown} already in use; is another server there?"
    ))
}

/// The system's number for "address family not supported".
const NO_SUCH_FAMILY: i32 = 97;

fn bind(plan: &Plan) -> Result<Server> {
    let Listen {
        addresses,
        is_anywhere,
    } = &plan.listen;
    let bound = match Server::bind_all(addresses, plan.server.clone()) {
        Err(error) if *is_anywhere && is_family_missing(&error) => {
            Server::bind_all(&addresses[..1], plan.server.clone())
        }
        bound => bound,
    };
    bound.map_err(|error| {
        let shown: Vec<String> = addresses.iter().map(ListenAddress::to_string).collect();
        let shown = shown.join(", ");
        match error.kind() {
            io::ErrorKind::AddrInUse => in_use(&shown),
            _ => anyhow!("cannot listen on {shown}; is the address ours? {error}"),
        }
    })
}

fn is_family_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

/// Opens the log files again at each SIGUSR2: what logrotate has moved away is left alone from then on.
async fn reopen_logs(mut signals: Signal, event_log: Option<Arc<EventLog>>) {
    while signals.recv().await.is_some() {
        match &event_log {
            Some(log) => {
                log.reopen();
                tracing::info!("Log files reopened successfully");
            }
            None => tracing::warn!("received SIGUSR2, but it was not handled!"),
        }
    }
}
