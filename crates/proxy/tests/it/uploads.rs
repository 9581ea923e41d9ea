//! Bodies that are too large to be held: they pass through while a slot is taken.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Act, Balancer, Client, Origin, patiently, until};

/// Beyond what is held back, so that the rest is streamed.
const BEGINNING: usize = 100_000;
const PAUSE: Duration = Duration::from_millis(20);

/// Begins an upload of `more` bytes after the beginning.
async fn begin(balancer: &Balancer, more: usize) -> Client {
    let mut client = balancer.client().await;
    let length = BEGINNING + more;
    let head = format!("PUT / HTTP/1.1\r\nHost: site\r\nContent-Length: {length}\r\n\r\n");
    client.send(head.as_bytes()).await;
    client.send(&[b'x'; BEGINNING]).await;
    client
}

#[tokio::test]
async fn an_upload_that_drips_does_not_hold_its_slot_for_ever() {
    let origin = Origin::answering("whole").await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.body_wait = 50 * PAUSE;
        options.body_total_wait = 10 * PAUSE;
    });
    let client = begin(&balancer, 1_000_000).await;
    until(|| balancer.handle.members()[0].in_flight == 1).await;
    let (mut reading, mut writing) = client.0.into_split();
    // No single pause is too long.
    let drip = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
    });
    let mut status = [0; 12];
    patiently(reading.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
    until(|| balancer.handle.members()[0].in_flight == 0).await;
    assert!(origin.seen().is_empty(), "the backend never had it whole");
    drip.abort();
    balancer.stop().await;
}

/// The time of a backend begins when it has what it needs to compute.
#[tokio::test]
async fn a_steady_upload_may_take_longer_than_an_answer() {
    let origin = Origin::answering("whole").await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.response_wait = 10 * PAUSE;
    });
    let mut client = begin(&balancer, 20).await;
    for _ in 0..20 {
        tokio::time::sleep(PAUSE).await;
        client.send(b"x").await;
    }
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, "whole"));
    assert_eq!(origin.seen()[0].body.len(), BEGINNING + 20);
    balancer.stop().await;
}

/// Time that a request waits for a slot is not time that its client lets us wait.
#[tokio::test]
async fn a_client_is_not_blamed_for_our_queue() {
    let (open, gate) = tokio::sync::oneshot::channel();
    let gate = std::sync::Mutex::new(Some(gate));
    let origin = Origin::start(move |_| {
        gate.lock()
            .unwrap()
            .take()
            .map_or(Act::Answer("whole"), Act::Wait)
    })
    .await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.slots = 1;
        options.body_wait = 5 * PAUSE;
        options.body_total_wait = 5 * PAUSE;
    });
    let mut first = balancer.client().await;
    first.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    until(|| origin.in_flight() == 1).await;
    // Far more than any buffer on the way holds.
    const MORE: usize = 16 << 20;
    let client = begin(&balancer, MORE).await;
    let (reading, mut writing) = client.0.into_split();
    let sending = tokio::spawn(async move {
        writing.write_all(&vec![b'x'; MORE]).await.unwrap();
        writing
    });
    until(|| balancer.handle.waiting() == 1).await;
    tokio::time::sleep(10 * PAUSE).await;
    open.send(()).unwrap();
    assert_eq!(first.response().await.status, 200);
    let writing = patiently(sending).await.unwrap();
    let response = Client(reading.reunite(writing).unwrap()).response().await;
    assert_eq!((response.status, response.text()), (200, "whole"));
    balancer.stop().await;
}

/// A backend that takes nothing is slow itself, whatever its client still has to send. Then both
/// connections end: nothing more of this body can be of use.
#[tokio::test]
async fn a_backend_that_takes_nothing_of_an_upload_is_a_504() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let balancer = Balancer::start(&[], |options| {
        options.members = vec![address.into()];
        options.response_wait = 10 * PAUSE;
    });
    const MORE: usize = 32 << 20;
    let client = begin(&balancer, MORE).await;
    let (mut reading, mut writing) = client.0.into_split();
    let sending = tokio::spawn(async move { writing.write_all(&vec![b'x'; MORE]).await });
    let mut status = [0; 12];
    patiently(reading.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 504");
    let _ = patiently(reading.read_to_end(&mut Vec::new())).await;
    let _ = patiently(sending).await;
    balancer.stop().await;
}
