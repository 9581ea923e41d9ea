//! `zodiac balance`: the one address that users see.

use std::num::NonZeroUsize;

use anyhow::Result;

use self::parts::Parts;
use crate::cli::Balance;
use crate::config::{self, members::Member};
use crate::logging;
use crate::shutdown::Shutdown;

mod parts;

/// Runs the load balancer until it is told to stop.
pub(crate) fn run(arguments: &Balance) -> Result<()> {
    let config = arguments.load()?;
    logging::start(&config.log, super::log_name(&arguments.common, "balance"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = Shutdown::new(arguments.common.supervised)?;
        let parts = Parts::bind(&config.balance, &arguments.common)?;
        let stop = async {
            let reason = shutdown.ordered().await;
            tracing::info!(reason, "the load balancer stops");
        };
        parts.run(stop).await;
        Ok(())
    })
}

fn options(config: &config::Balance) -> Result<proxy::Options> {
    let defaults = proxy::Options::default();
    Ok(proxy::Options {
        members: config.members.iter().map(Member::joining).collect(),
        method: config.method,
        key: config.key.clone(),
        slow_start: config.slow_start.0,
        sessions: config.sessions()?,
        mirrors: config.mirrors(),
        threads: NonZeroUsize::new(config.threads).unwrap_or(defaults.threads),
        slots: u32::try_from(config.slots.0)?,
        waiting_max: config.queue_max,
        queue_wait: config.queue_wait.0,
        body_bytes_max: config.body_bytes_max as u64,
        check_every: config.health_interval.0,
        check_wait: config.health_timeout.0,
        connect_wait: config.connect_timeout.0,
        response_wait: config.response_timeout.0,
        body_total_wait: config.upload_timeout.0,
        idle_wait: config.idle_timeout.0,
        ..defaults
    })
}
