//! `zodiac up`: the whole cluster on this machine, each part a process of its own.

use std::ffi::OsString;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use crate::cli::Up;
use crate::config::Config;
use crate::events::{Event, Reporter};
use crate::shutdown::Shutdown;
use crate::supervise::{Job, Patience, Supervised};
use crate::{logging, portal};

/// Runs the cluster until it is told to stop.
pub(crate) fn run(arguments: &Up) -> Result<()> {
    let config = arguments.load()?;
    if config.zeo.tls().is_some() != config.publish.tls().is_some() {
        bail!("zeo.tls-certificate, publish.tls-certificate: name both, or none");
    }
    logging::start(&config.log, super::log_name(&arguments.common, "up"))?;
    let reporter = Reporter::new(arguments.common.json);
    if let Some(created) = portal::create_if_absent(&config.zeo.data)? {
        reporter.report(&created);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments, &config, reporter))
}

async fn serve(arguments: &Up, config: &Config, reporter: Reporter) -> Result<()> {
    let shutdown = Shutdown::new(arguments.common.supervised)?.ordered();
    tokio::pin!(shutdown);
    let mut cluster = Cluster::default();
    let started = tokio::select! {
        started = cluster.start(arguments, config, reporter) => started,
        _ = &mut shutdown => Ok(None),
    };
    if let Ok(Some(address)) = &started {
        reporter.report(&Event::Ready { address: *address });
        let reason = shutdown.await;
        tracing::info!(reason, "the cluster stops");
    }
    cluster.stop().await;
    started.map(|_| ())
}

/// The running parts, in the order they were started.
#[derive(Default)]
struct Cluster {
    parts: Vec<Supervised>,
}

impl Cluster {
    /// Starts the storage server, the publishers on it, and the balancer before them.
    async fn start(
        &mut self,
        arguments: &Up,
        config: &Config,
        reporter: Reporter,
    ) -> Result<Option<SocketAddr>> {
        let patience = Patience {
            restart: (config.up.restart_pause.0, config.up.restart_pause_max.0),
            stop: config.up.stop_wait.0,
        };
        let shared = shared_arguments(arguments, config);
        let publisher_addresses = publisher_addresses(config)?;

        let mut job = Job {
            role: "zeo",
            number: None,
            listen: config.zeo.listen,
            arguments: shared.clone(),
        };
        job.arguments
            .extend(["--data".into(), config.zeo.data.clone().into()]);
        let zeo = Supervised::start(job, patience, reporter).await?;
        let zeo_address = zeo.address.to_string();
        self.add(zeo, reporter);

        let publishers = publisher_addresses
            .into_iter()
            .enumerate()
            .map(|(index, listen)| {
                let mut arguments = shared.clone();
                arguments.extend(["--zeo".into(), zeo_address.clone().into()]);
                let job = Job {
                    role: "publish",
                    number: Some(index + 1),
                    listen,
                    arguments,
                };
                tokio::spawn(Supervised::start(job, patience, reporter))
            });
        let mut failed = None;
        let mut members: Vec<OsString> = shared.clone();
        for publisher in publishers.collect::<Vec<_>>() {
            match publisher.await.context("a task ended early")? {
                Ok(publisher) => {
                    members.extend(["--member".into(), publisher.address.to_string().into()]);
                    self.add(publisher, reporter);
                }
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }

        let job = Job {
            role: "balance",
            number: None,
            listen: config.balance.listen,
            arguments: members,
        };
        let balancer = Supervised::start(job, patience, reporter).await?;
        let address = balancer.address;
        self.add(balancer, reporter);
        Ok(Some(address))
    }

    fn add(&mut self, part: Supervised, reporter: Reporter) {
        reporter.report(&part.listening);
        self.parts.push(part);
    }

    /// Stops the parts from the users' side inwards, so that none misses the one it depends on.
    async fn stop(self) {
        for part in self.parts.into_iter().rev() {
            part.stop().await;
        }
    }
}

/// What every child is told.
fn shared_arguments(arguments: &Up, config: &Config) -> Vec<OsString> {
    let mut shared: Vec<OsString> = Vec::new();
    if let Some(file) = &arguments.common.config {
        shared.extend(["--config".into(), file.clone().into()]);
    }
    let format = match config.log.format {
        crate::config::LogFormat::Text => "text",
        crate::config::LogFormat::Json => "json",
    };
    shared.extend(["--log-format", format, "--log-level"].map(Into::into));
    shared.push(config.log.level.clone().into());
    shared
}

/// The configured address and the ports after it; port 0 stays 0 for each.
fn publisher_addresses(config: &Config) -> Result<Vec<SocketAddr>> {
    let first = config.up.publisher_listen;
    (0..config.up.publishers.0)
        .map(|index| {
            let step = if first.port() == 0 {
                0
            } else {
                u16::try_from(index)?
            };
            let port = first.port().checked_add(step).with_context(|| {
                let count = config.up.publishers.0;
                format!("up.publisher-listen {first} leaves no ports for {count} publishers")
            })?;
            Ok(SocketAddr::new(first.ip(), port))
        })
        .collect()
}
