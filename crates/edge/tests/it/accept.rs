//! How many connections there are, and how they end.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{PATIENCE, connect, listen, patiently};

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_others_to_end() {
    let (listener, address) = listen(1, PATIENCE);
    let (begun, mut began) = mpsc::unbounded_channel();
    let leave = Arc::new(Notify::new());
    let serve = {
        let leave = leave.clone();
        move |accepted: edge::Accepted| {
            begun.send(accepted.peer).unwrap();
            let leave = leave.clone();
            async move {
                leave.notified().await;
                drop(accepted);
            }
        }
    };
    let serving = tokio::spawn(listener.accept(std::future::pending(), serve));
    let (first, second) = (connect(address).await, connect(address).await);
    let served = patiently(began.recv()).await;
    assert_eq!(served, Some(first.local_addr().unwrap()));
    // The second one is connected, as far as it can tell; nobody serves it yet.
    let early = tokio::time::timeout(Duration::from_millis(100), began.recv()).await;
    assert!(early.is_err(), "{early:?} was served beyond the limit");
    leave.notify_one();
    let served = patiently(began.recv()).await;
    assert_eq!(served, Some(second.local_addr().unwrap()));
    serving.abort();
}

#[tokio::test]
async fn the_port_is_closed_and_what_does_not_end_is_cut() {
    let (listener, address) = listen(10, PATIENCE);
    let (stop, stopped) = oneshot::channel::<()>();
    let (begun, mut began) = mpsc::unbounded_channel();
    let serve = move |accepted: edge::Accepted| {
        begun.send(()).unwrap();
        async move {
            std::future::pending::<()>().await;
            drop(accepted);
        }
    };
    let serving = tokio::spawn(listener.accept(async { drop(stopped.await) }, serve));
    let mut client = connect(address).await;
    patiently(began.recv()).await.unwrap();
    drop(stop);
    let connections = patiently(serving).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "still open");
    patiently(connections.end(Duration::from_millis(20))).await;
    let end = patiently(client.read(&mut [0; 1])).await.unwrap();
    assert_eq!(end, 0, "it is seen to end");
}
