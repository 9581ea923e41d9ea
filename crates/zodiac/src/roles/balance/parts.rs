//! The servers that a balancer consists of: each is there where the configuration asks for it.

use std::future::Future;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::report_listening;
use crate::cli::Common;
use crate::config::Balance;

/// What listens, and does not serve yet.
pub(super) struct Parts {
    http: Option<proxy::Server>,
    relays: Vec<relay::Server>,
    dns: Option<dns::Server>,
}

impl Parts {
    /// Takes all ports, and tells of each.
    pub(super) fn bind(config: &Balance, common: &Common) -> Result<Self> {
        let http = match config.http {
            true => Some(proxy::Server::bind(config.listen, super::options(config)?)?),
            false => None,
        };
        let relays = config.tcp.iter();
        let relays = relays.map(|tcp| relay::Server::bind(tcp.listen, tcp.relay(config)));
        let relays: Vec<relay::Server> = relays.collect::<Result<_, _>>()?;
        let dns = match config.dns()? {
            Some(options) => Some(dns::Server::bind(&config.dns.listen, options)?),
            None => None,
        };
        if let Some(server) = &http {
            report_listening(common, "balance", server.local_addr());
        }
        for server in &relays {
            report_listening(common, "tcp", server.local_addr());
        }
        for address in dns.iter().flat_map(dns::Server::local_addrs) {
            report_listening(common, "dns", address);
        }
        Ok(Self { http, relays, dns })
    }

    /// Serves until `stop` is ready, or a part cannot go on; then all of them stop, each in its own order.
    pub(super) async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let told = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|&stopped| stopped).await) }
        };
        let mut running = JoinSet::new();
        if let Some(server) = self.http {
            running.spawn(server.run(told()));
        }
        for server in self.relays {
            running.spawn(server.run(told()));
        }
        if let Some(server) = self.dns {
            running.spawn(server.run(told()));
        }
        tokio::select! {
            () = stop => {}
            _ = running.join_next() => {}
        }
        stopping.send_replace(true);
        while running.join_next().await.is_some() {}
    }
}
