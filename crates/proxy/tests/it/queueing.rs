//! Slots and the queue before them.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::support::{Act, Balancer, Origin, until};

/// A backend whose answers wait for the test, and the senders that let them go.
async fn gated(count: usize) -> (Origin, Vec<oneshot::Sender<()>>) {
    let (senders, gates): (Vec<_>, Vec<_>) = (0..count).map(|_| oneshot::channel()).unzip();
    let gates = Mutex::new(gates.into_iter());
    let origin = Origin::start(move |_| Act::Wait(gates.lock().unwrap().next().unwrap())).await;
    (origin, senders)
}

fn get(number: usize) -> Vec<u8> {
    format!("GET /{number} HTTP/1.1\r\nHost: site\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_backend_never_has_more_requests_than_slots_and_the_first_comes_first() {
    let (origin, gates) = gated(6).await;
    let balancer = Balancer::start(&[&origin], |options| options.slots = 2);
    let mut clients = Vec::new();
    for number in 0..6 {
        let mut client = balancer.client().await;
        client.send(&get(number)).await;
        clients.push(client);
        until(|| origin.in_flight() + balancer.handle.waiting() == number + 1).await;
    }
    assert_eq!((origin.in_flight(), balancer.handle.waiting()), (2, 4));
    for gate in gates {
        gate.send(()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "waited");
    }
    let mut paths: Vec<String> = origin.seen().iter().map(|s| s.path().to_owned()).collect();
    paths[..2].sort();
    assert_eq!(paths, ["/0", "/1", "/2", "/3", "/4", "/5"]);
    assert_eq!(origin.in_flight_max(), 2);
    balancer.stop().await;
}

#[tokio::test]
async fn who_waits_too_long_is_told_when_to_come_back() {
    let (origin, gates) = gated(1).await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.slots = 1;
        options.queue_wait = Duration::from_millis(50);
    });
    let mut first = balancer.client().await;
    first.send(&get(0)).await;
    until(|| origin.in_flight() == 1).await;
    let response = balancer.get("/1").await;
    assert_eq!(response.status, 503);
    assert_eq!(response.header("retry-after"), Some("5"));
    assert!(response.text().contains("stayed busy for too long"));
    drop(gates);
    assert_eq!(first.response().await.status, 200);
    assert_eq!(balancer.handle.waiting(), 0);
    balancer.stop().await;
}

#[tokio::test]
async fn the_queue_has_an_end() {
    let (origin, gates) = gated(2).await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.slots = 1;
        options.waiting_max = 1;
    });
    let (mut first, mut second) = (balancer.client().await, balancer.client().await);
    first.send(&get(0)).await;
    until(|| origin.in_flight() == 1).await;
    second.send(&get(1)).await;
    until(|| balancer.handle.waiting() == 1).await;
    assert_eq!(balancer.get("/2").await.status, 503);
    drop(gates);
    assert_eq!(first.response().await.status, 200);
    assert_eq!(second.response().await.status, 200);
    balancer.stop().await;
}

#[tokio::test]
async fn a_waiter_whose_client_hung_up_leaves_the_queue() {
    let (origin, gates) = gated(1).await;
    let balancer = Balancer::start(&[&origin], |options| options.slots = 1);
    let (mut first, mut second) = (balancer.client().await, balancer.client().await);
    first.send(&get(0)).await;
    until(|| origin.in_flight() == 1).await;
    second.send(&get(1)).await;
    until(|| balancer.handle.waiting() == 1).await;
    drop(second);
    until(|| balancer.handle.waiting() == 0).await;
    drop(gates);
    assert_eq!(first.response().await.status, 200);
    assert_eq!(origin.seen().len(), 1);
    balancer.stop().await;
}

/// The backend cannot stop computing; its slot is not free until it has.
#[tokio::test]
async fn a_client_that_hangs_up_does_not_free_the_slot_of_a_computing_backend() {
    let (origin, mut gates) = gated(2).await;
    let balancer = Balancer::start(&[&origin], |options| options.slots = 1);
    let mut first = balancer.client().await;
    first.send(&get(0)).await;
    until(|| origin.in_flight() == 1).await;
    drop(first);
    let mut second = balancer.client().await;
    second.send(&get(1)).await;
    until(|| balancer.handle.waiting() == 1).await;
    assert_eq!(origin.seen().len(), 1);
    gates.remove(0).send(()).unwrap();
    gates.remove(0).send(()).unwrap();
    assert_eq!(second.response().await.text(), "waited");
    assert_eq!(origin.in_flight_max(), 1);
    balancer.stop().await;
}
