//! Manners, seen from the other end of the socket.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod accept;
mod patient;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use edge::Listener;
use tokio::net::TcpStream;

/// Long enough for a loaded machine; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

fn listen(connections_max: usize, write_wait: Duration) -> (Listener, SocketAddr) {
    let (socket, address) = edge::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = Listener::new(socket, connections_max, write_wait).unwrap();
    (listener, address)
}

async fn connect(address: SocketAddr) -> TcpStream {
    patiently(TcpStream::connect(address)).await.unwrap()
}
