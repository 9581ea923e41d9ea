//! From a listener to connections, and how those end.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::patient::Patient;

/// A port with the connections that came through it.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    connections_max: usize,
    write_wait: Duration,
    connections: Connections,
}

impl Listener {
    /// Connections beyond `connections_max` wait in the system's backlog. `write_wait` is how long
    /// a peer may take nothing of what it is sent.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn new(
        listener: std::net::TcpListener,
        connections_max: usize,
        write_wait: Duration,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            connections_max,
            write_wait,
            connections: Connections {
                tasks: JoinSet::new(),
                graceful: GracefulShutdown::new(),
            },
        })
    }

    /// Takes connections until `stop` is ready, each served by a task of its own. The port is
    /// closed when this returns.
    pub async fn accept<F>(
        mut self,
        stop: impl Future<Output = ()>,
        mut serve: impl FnMut(Accepted) -> F,
    ) -> Connections
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stop = pin!(stop);
        loop {
            let has_room = self.connections.tasks.len() < self.connections_max;
            tokio::select! {
                () = &mut stop => return self.connections,
                Some(_) = self.connections.tasks.join_next() => {}
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => {
                        if let Ok(accepted) = self.prepare(stream, peer) {
                            self.connections.tasks.spawn(serve(accepted));
                        }
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: others must end first.
                        warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn prepare(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<Accepted> {
        let local = stream.local_addr()?;
        let _ = stream.set_nodelay(true);
        Ok(Accepted {
            stream: Patient::new(stream, self.write_wait),
            peer,
            local,
            stopping: Stopping {
                peer,
                watcher: self.connections.graceful.watcher(),
            },
        })
    }
}

/// A connection that has just come.
#[derive(Debug)]
pub struct Accepted {
    /// Its bytes.
    pub stream: Patient,
    /// Who connected.
    pub peer: SocketAddr,
    /// To which address of ours.
    pub local: SocketAddr,
    /// How it will learn that it should end.
    pub stopping: Stopping,
}

/// Tells one connection of the end of the server.
#[derive(Debug)]
pub struct Stopping {
    peer: SocketAddr,
    watcher: Watcher,
}

impl Stopping {
    /// Drives a connection of hyper's to its end: after the request that it is at, once the server
    /// stops.
    pub async fn drive<C>(self, connection: C)
    where
        C: GracefulConnection,
        C::Error: Display,
    {
        if let Err(error) = self.watcher.watch(connection).await {
            debug!(peer = %self.peer, %error, "a connection ended badly");
        }
    }
}

/// The connections of a [`Listener`] that has stopped to take new ones.
#[derive(Debug)]
pub struct Connections {
    tasks: JoinSet<()>,
    graceful: GracefulShutdown,
}

impl Connections {
    /// Lets running requests end within `wait`; idle connections end at once.
    pub async fn end(self, wait: Duration) {
        let Self {
            mut tasks,
            graceful,
        } = self;
        let told = async {
            graceful.shutdown().await;
            while tasks.join_next().await.is_some() {}
        };
        if timeout(wait, told).await.is_err() {
            let left = tasks.len();
            warn!(left, "cutting requests that take too long to end");
            tasks.shutdown().await;
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
