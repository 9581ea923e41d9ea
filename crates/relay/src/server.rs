//! Listeners and threads.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use balance::{Backend, Member};
use edge::{Accepted, BindError, Listener, Stopped};
use health::Watched;

use crate::carry::carry;
use crate::options::Options;
use crate::stock::Stock;

/// A relay with its listeners.
#[derive(Debug)]
pub struct Server {
    /// One for each thread, all on the same port.
    listeners: Vec<std::net::TcpListener>,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    pool: Arc<Watched>,
}

impl Server {
    /// Listens. Port 0 means any free one; [`Server::local_addr`] tells which. Connections wait in
    /// the backlog until [`Server::run`].
    ///
    /// # Errors
    /// When the port is in use or the address is not ours.
    pub fn bind(address: SocketAddr, options: Options) -> Result<Self, BindError> {
        let (listeners, address) = edge::bind_shared(address, options.threads)?;
        let pool = Watched::new(
            options.pool_settings(),
            &options.members,
            options.check.clone(),
        );
        Ok(Self {
            listeners,
            address,
            shared: Arc::new(Shared { options, pool }),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// For changes of a running relay.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Carries connections until `shutdown` is ready, then lets those that run end within
    /// [`Options::shutdown_wait`]. Starts its own threads; the caller's only waits.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let shared = self.shared;
        let work =
            move |number, listener, stopped| run_thread(number, listener, shared.clone(), stopped);
        edge::run_threads("relay", self.listeners, shutdown, work).await;
    }
}

/// Changes a running relay and looks at it. From any thread.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Makes these the members. Those that are no longer named keep the connections that they have.
    pub fn set_members(&self, members: &[Member]) {
        self.0.pool.set_members(members);
    }

    /// The members now, those that only end what they have included.
    pub fn members(&self) -> Vec<Backend> {
        self.0.pool.look(|pool| pool.backends().to_vec())
    }
}

/// One core's work: a listener and its connections. The first one's has the checks besides.
async fn run_thread(
    number: usize,
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    stopped: Stopped,
) -> io::Result<()> {
    let options = &shared.options;
    let share = options.connections_max.div_ceil(options.threads.get());
    let listener = Listener::new(listener, share.max(1), options.connect_wait)?;
    if number == 0 {
        tokio::spawn(health::run(shared.pool.clone()));
    }
    let stock = Arc::new(Stock::default());
    let connections = listener.accept(stopped.wait(), |accepted: Accepted| {
        let (shared, stock) = (shared.clone(), stock.clone());
        async move {
            let Accepted { stream, peer, .. } = accepted;
            let client = stream.into_inner();
            carry(client, peer, &shared.pool, &shared.options, &stock).await;
        }
    });
    connections.await.end(options.shutdown_wait).await;
    Ok(())
}
