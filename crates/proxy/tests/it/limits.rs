//! Limits of size and time.

use std::time::Duration;

use crate::support::{Act, Balancer, Origin, until};

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let origin = Origin::answering("reached").await;
    let balancer = Balancer::start(&[&origin], |options| options.body_bytes_max = 100_000);
    let mut client = balancer.client().await;
    client
        .send(b"PUT / HTTP/1.1\r\nHost: site\r\nContent-Length: 100001\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 413);
    // The client sends on, as clients do; a reset now could overtake the answer on its way.
    for _ in 0..10 {
        client.send(&[b'x'; 10_000]).await;
    }
    assert_eq!(client.rest().await.unwrap(), b"");

    let mut client = balancer.client().await;
    client
        .send(b"PUT / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..11 {
        client
            .send(&[b"2710\r\n", vec![b'x'; 10_000].as_slice(), b"\r\n"].concat())
            .await;
    }
    assert_eq!(client.response().await.status, 413);
    assert!(origin.seen().is_empty());

    let body = vec![b'x'; 100_000];
    let mut client = balancer.client().await;
    client
        .send(b"PUT / HTTP/1.1\r\nHost: site\r\nContent-Length: 100000\r\n\r\n")
        .await;
    client.send(&body).await;
    assert_eq!(client.response().await.status, 200);
    balancer.stop().await;
}

#[tokio::test]
async fn a_head_over_the_limits_is_refused() {
    let origin = Origin::answering("reached").await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.head_bytes_max = 20_000;
        options.headers_max = 50;
    });
    let long = format!(
        "GET / HTTP/1.1\r\nHost: site\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    assert_eq!(balancer.ask(&long).await.status, 431);
    let endless = "GET /".to_owned() + &"x".repeat(20_000);
    assert_eq!(balancer.ask(&endless).await.status, 431);
    let many = format!(
        "GET / HTTP/1.1\r\nHost: site\r\n{}\r\n",
        "X: y\r\n".repeat(50)
    );
    assert_eq!(balancer.ask(&many).await.status, 431);
    assert!(origin.seen().is_empty());
    let fits = format!(
        "GET / HTTP/1.1\r\nHost: site\r\n{}\r\n",
        "X: y\r\n".repeat(49)
    );
    assert_eq!(balancer.ask(&fits).await.status, 200);
    let fits = format!(
        "GET / HTTP/1.1\r\nHost: site\r\nX: {}\r\n\r\n",
        "x".repeat(19_900)
    );
    assert_eq!(balancer.ask(&fits).await.status, 200);
    balancer.stop().await;
}

#[tokio::test]
async fn slow_clients_are_told_and_silent_ones_cut() {
    let origin = Origin::answering("ok").await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.head_wait = Duration::from_millis(50);
        options.body_wait = Duration::from_millis(50);
        options.idle_wait = Duration::from_millis(50);
    });
    let mut client = balancer.client().await;
    client.send(b"GET / HTTP/1.1\r\nHo").await;
    assert_eq!(client.response().await.status, 408);
    assert_eq!(client.rest().await.unwrap(), b"");

    let mut client = balancer.client().await;
    client
        .send(b"PUT / HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\n\r\nbo")
        .await;
    assert_eq!(client.response().await.status, 408);

    let mut client = balancer.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
    assert_eq!(
        client.rest().await.unwrap(),
        b"",
        "idle: closed without a word"
    );
    balancer.stop().await;
}

#[tokio::test]
async fn a_client_is_not_idle_while_it_waits_for_us() {
    let (open, gate) = tokio::sync::oneshot::channel();
    let gate = std::sync::Mutex::new(Some(gate));
    let origin = Origin::start(move |_| Act::Wait(gate.lock().unwrap().take().unwrap())).await;
    let idle_wait = Duration::from_millis(20);
    let balancer = Balancer::start(&[&origin], |options| options.idle_wait = idle_wait);
    let mut client = balancer.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    until(|| origin.in_flight() == 1).await;
    // Several times the idle limit, with nothing to wait for but time.
    tokio::time::sleep(5 * idle_wait).await;
    open.send(()).unwrap();
    assert_eq!(client.response().await.text(), "waited");
    balancer.stop().await;
}

#[tokio::test]
async fn a_backend_that_computes_for_too_long_is_a_504() {
    let origin = Origin::start(|_| Act::Hang).await;
    let balancer = Balancer::start(&[&origin], |options| {
        options.response_wait = Duration::from_millis(50);
    });
    let response = balancer
        .ask("POST / HTTP/1.1\r\nHost: site\r\nContent-Length: 1\r\n\r\nx")
        .await;
    assert_eq!(response.status, 504);
    assert!(
        response
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(response.text().contains("did not answer in time"));
    balancer.stop().await;
}

/// A page that takes too long here takes as long elsewhere: asking twice would cost two workers.
#[tokio::test]
async fn a_read_that_takes_too_long_is_not_asked_for_twice() {
    let first = Origin::start(|_| Act::Hang).await;
    let second = Origin::start(|_| Act::Hang).await;
    let balancer = Balancer::start(&[&first, &second], |options| {
        options.response_wait = Duration::from_millis(50);
    });
    assert_eq!(balancer.get("/").await.status, 504);
    assert_eq!(first.seen().len() + second.seen().len(), 1);
    balancer.stop().await;
}

/// The limit of waiting is for waiting: time that a backend computed before it died is not it.
#[tokio::test]
async fn a_backend_that_dies_late_is_replaced_all_the_same() {
    let (open, gate) = tokio::sync::oneshot::channel();
    let gate = std::sync::Mutex::new(Some(gate));
    let mut dying =
        Origin::start(move |_| gate.lock().unwrap().take().map_or(Act::Hang, Act::Wait)).await;
    let balancer = Balancer::start(&[&dying], |options| {
        options.queue_wait = Duration::from_millis(100);
    });
    let mut client = balancer.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    until(|| dying.in_flight() == 1).await;
    let living = Origin::answering("alive").await;
    balancer
        .handle
        .set_members(&[dying.address.into(), living.address.into()]);
    tokio::time::sleep(Duration::from_millis(150)).await;
    dying.kill().await;
    assert_eq!(client.response().await.text(), "alive");
    drop(open);
    balancer.stop().await;
}
