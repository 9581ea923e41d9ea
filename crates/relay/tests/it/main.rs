//! Connections through a relay, to members that the tests play.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use balance::{Health, Member, Method};
use relay::{Handle, Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

mod choosing;
mod streams;

/// A relay that stops when it is dropped.
struct Relay {
    address: SocketAddr,
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Relay {
    fn start(options: Options) -> Self {
        let options = Options {
            threads: NonZeroUsize::MIN,
            ..options
        };
        let server = Server::bind(any(), options).expect("a port is free");
        let (stop, stopped) = oneshot::channel::<()>();
        let (address, handle) = (server.local_addr(), server.handle());
        tokio::spawn(server.run(async { drop(stopped.await) }));
        Self {
            address,
            handle,
            _stop: stop,
        }
    }

    fn to(members: &[SocketAddr]) -> Self {
        Self::start(Options {
            members: members.iter().map(|&member| member.into()).collect(),
            ..Options::default()
        })
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address)
            .await
            .expect("the relay accepts")
    }

    /// Who answers a connection that says nothing but its end.
    async fn who(&self) -> String {
        let mut stream = self.connect().await;
        stream.shutdown().await.expect("our side ends");
        let mut name = String::new();
        in_time(stream.read_to_string(&mut name))
            .await
            .expect("a name");
        name
    }
}

/// A member that says its name to everybody, once their side has ended.
async fn named(name: &'static str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let (listener, address) = listener().await;
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("it accepts");
            tokio::spawn(async move {
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said).await;
                let _ = stream.write_all(name.as_bytes()).await;
            });
        }
    });
    (address, serving)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(any()).await.expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    (listener, address)
}

/// A port at which nobody listens.
async fn closed_port() -> SocketAddr {
    listener().await.1
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work)
        .await
        .expect("it ends in time")
}
