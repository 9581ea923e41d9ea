//! Threads, checks, and the catalog that they keep current.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use balance::{Member, Pool, Settings};
use edge::{BindError, Listener, Stopped};
use health::Watched;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answer::answer;
use crate::catalog::{Catalog, Presented};
use crate::limit::{Limiter, Verdict};
use crate::options::{DomainName, Options, Unanswerable};
use crate::sockets::{self, Sockets};

/// A name server with its sockets.
#[derive(Debug)]
pub struct Server {
    threads: Vec<Sockets>,
    addresses: Vec<SocketAddr>,
    desk: Arc<Desk>,
}

/// A server that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options make no sense.
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    /// The port is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl Server {
    /// Takes the ports, for UDP and TCP. Port 0 means any that is free for both; [`Server::local_addrs`] tells which.
    ///
    /// # Errors
    /// When the options fail their [check](Options::check), or a port is in use.
    pub fn bind(addresses: &[SocketAddr], options: Options) -> Result<Self, StartError> {
        options.check()?;
        let mut threads: Vec<Sockets> = Vec::new();
        threads.resize_with(options.threads.get(), Sockets::default);
        let mut bound = Vec::new();
        for address in addresses {
            bound.push(sockets::bind(*address, &mut threads)?);
        }
        Ok(Self {
            threads,
            addresses: bound,
            desk: Desk::new(options),
        })
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// For changes of a running server.
    pub fn handle(&self) -> Handle {
        Handle(self.desk.clone())
    }

    /// Answers until `shutdown` is ready. Starts its own threads; the caller's only waits.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let desk = self.desk;
        let work =
            move |number, sockets, stopped| run_thread(number, sockets, desk.clone(), stopped);
        edge::run_threads("dns", self.threads, shutdown, work).await;
    }
}

/// Changes a running server. From any thread.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Desk>);

impl Handle {
    /// Makes these the members behind a name. False where the name is not served.
    pub fn set_members(&self, site: &DomainName, members: &[Member]) -> bool {
        let mut sites = self.0.options.sites.iter().zip(&self.0.watched);
        let found = sites.find(|(known, _)| known.name == *site);
        if let Some((_, watched)) = found {
            watched.set_members(members);
        }
        found.is_some()
    }
}

/// One core's work. The first one's has the checks and the connections besides.
async fn run_thread(
    number: usize,
    sockets: Sockets,
    desk: Arc<Desk>,
    stopped: Stopped,
) -> io::Result<()> {
    if number == 0 {
        for watched in &desk.watched {
            tokio::spawn(health::run(watched.clone()));
            tokio::spawn(keep_current(desk.clone(), watched.changes()));
        }
    }
    for socket in sockets.datagrams {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        tokio::spawn(sockets::answer_datagrams(socket, desk.clone()));
    }
    let mut connections = JoinSet::new();
    for listener in sockets.listeners {
        let options = &desk.options;
        let listener = Listener::new(listener, options.connections_max, options.idle_wait)?;
        let (desk, stopped) = (desk.clone(), stopped.clone());
        connections.spawn(async move {
            let serve = |accepted| sockets::answer_connection(accepted, desk.clone());
            let connections = listener.accept(stopped.wait(), serve).await;
            connections.end(sockets::STOP_WAIT).await;
        });
    }
    stopped.wait().await;
    connections.join_all().await;
    Ok(())
}

async fn keep_current(desk: Arc<Desk>, mut changes: watch::Receiver<()>) {
    while changes.changed().await.is_ok() {
        desk.refresh();
    }
}

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) options: Options,
    watched: Vec<Arc<Watched>>,
    catalog: ArcSwap<Catalog>,
    limiter: Limiter,
    /// The newest catalog's. Held while one is made, so that an older view of the pools never comes last.
    serial: Mutex<u32>,
}

impl Desk {
    fn new(options: Options) -> Arc<Self> {
        let watch = |site: &crate::Site| {
            Watched::new(Settings::default(), &site.members, site.check.clone())
        };
        let this = Self {
            watched: options.sites.iter().map(watch).collect(),
            catalog: ArcSwap::default(),
            limiter: Limiter::new(options.responses_per_second, options.slip, now()),
            serial: Mutex::new(0),
            options,
        };
        this.refresh();
        Arc::new(this)
    }

    /// Makes a catalog of who is well now.
    fn refresh(&self) {
        let mut serial = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        *serial = seconds_of_the_clock().max(serial.wrapping_add(1));
        let presented: Vec<Presented> = self
            .watched
            .iter()
            .map(|watched| watched.look(presented))
            .collect();
        let catalog = Catalog::new(&self.options, &presented, *serial);
        self.catalog.store(Arc::new(catalog));
    }

    /// Writes what is to be sent to `peer` over UDP over `bytes`. False if nothing is.
    pub(crate) fn answer_datagram(&self, packet: &[u8], peer: IpAddr, bytes: &mut Vec<u8>) -> bool {
        let Some(answer) = answer(&self.catalog.load(), packet) else {
            return false;
        };
        match self
            .limiter
            .judge(peer, answer.category, answer.about, now())
        {
            Verdict::Send => answer.write_for_udp(bytes),
            Verdict::Slip => answer.write_cut_off(bytes),
            Verdict::Drop => return false,
        }
        true
    }

    /// Appends what is to be sent over TCP. False if the packet deserves no answer.
    pub(crate) fn answer_message(&self, packet: &[u8], bytes: &mut Vec<u8>) -> bool {
        let answer = answer(&self.catalog.load(), packet);
        if let Some(answer) = &answer {
            answer.write_for_tcp(bytes);
        }
        answer.is_some()
    }
}

/// The best members of each kind of address. An address counts once, whatever its ports.
fn presented(pool: &Pool) -> Presented {
    let mut seen = BTreeSet::new();
    let mut presented = Presented::new();
    for is_ipv4 in [true, false] {
        for member in pool.best(|member| member.address().is_ipv4() == is_ipv4) {
            let address = member.address().ip();
            if seen.insert(address) {
                presented.push((address, member.weight().get()));
            }
        }
    }
    presented
}

/// The clock of this crate: the runtime's, which tests may hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A serial number that is larger than those that the server before this one had.
#[allow(
    clippy::disallowed_methods,
    reason = "the serial number of a zone goes on after a restart"
)]
fn seconds_of_the_clock() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    // Serial numbers go round: RFC 1982.
    u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or(0)
}
