//! Panics, crowds, broken requests, clients that leave or stall.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use publisher::{Body, Request, Response};
use storage::StorageError;

use crate::support::{Running, echo, patiently, text, until_health};

/// A publisher whose pages wait until the test sends them something.
fn gated() -> (
    mpsc::Sender<()>,
    impl Fn(&Request) -> Response + Send + Sync,
) {
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let publish = move |request: &Request| {
        gate.lock().unwrap().recv().unwrap();
        text(&request.path)
    };
    (open, publish)
}

fn one(options: &mut httpd::Options) {
    options.workers = NonZeroUsize::MIN;
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let server = Running::start(one, |request: &Request| {
        assert!(request.path != "/panic", "told to");
        text("ok")
    });
    let mut client = server.client().await;
    for _ in 0..3 {
        client.send(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.reply().await.status, 500);
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.reply().await.text(), "ok");
    }
    until_health(&server, "\"busy\":0").await;
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_fails_is_cut_where_it_failed() {
    fn failing(kind: &str) -> Box<dyn Iterator<Item = Result<Vec<u8>, StorageError>> + Send> {
        match kind {
            "/panic" => Box::new((0..2).map(|n| {
                assert!(n < 1, "told to");
                Ok(vec![b'x'; 10])
            })),
            "/long" => Box::new((0..3).map(|_| Ok(vec![b'x'; 10]))),
            _ => Box::new((0..1).map(|_| Ok(vec![b'x'; 10]))),
        }
    }
    let server = Running::start(one, |request: &Request| Response {
        status: 200,
        headers: Vec::new(),
        body: Body::Stream {
            length: 20,
            chunks: failing(&request.path),
        },
    });
    for path in ["/panic", "/short", "/long"] {
        let mut client = server.client().await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await;
        if path == "/long" {
            // Never more than announced.
            assert_eq!(client.reply().await.body, [b'x'; 20]);
            continue;
        }
        // The end of the connection tells that something is missing; not even the head is sure.
        let got = client.rest().await.unwrap_or_default();
        let end = got.windows(4).position(|end| end == b"\r\n\r\n");
        let body = end.map_or(0, |at| got.len() - at - 4);
        assert!(body < 20, "{path}: {}", got.escape_ascii());
    }
    until_health(&server, "\"busy\":0").await;
    server.stop().await;
}

#[tokio::test]
async fn when_workers_and_queue_are_full_the_next_is_told_so() {
    let (open, publish) = gated();
    let server = Running::start(
        |options| {
            one(options);
            options.waiting_max = 1;
        },
        publish,
    );
    let (mut first, mut second) = (server.client().await, server.client().await);
    first.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_health(&server, "\"busy\":1,\"waiting\":0").await;
    second.send(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_health(&server, "\"busy\":1,\"waiting\":1").await;
    let reply = server.get("/3").await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(first.reply().await.text(), "/1");
    assert_eq!(second.reply().await.text(), "/2");
    server.stop().await;
}

#[tokio::test]
async fn a_waiting_request_whose_client_left_is_not_computed() {
    let (open, publish) = gated();
    let server = Running::start(one, publish);
    let (mut first, mut second) = (server.client().await, server.client().await);
    first.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_health(&server, "\"busy\":1,\"waiting\":0").await;
    second.send(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_health(&server, "\"busy\":1,\"waiting\":1").await;
    drop(second);
    let mut third = server.client().await;
    third.send(b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_health(&server, "\"busy\":1,\"waiting\":2").await;
    // Two tickets for three requests: the one that left must not use one up.
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(first.reply().await.text(), "/1");
    assert_eq!(third.reply().await.text(), "/3");
    server.stop().await;
}

fn endless(_: &Request) -> Response {
    let chunks = std::iter::repeat_with(|| Ok(vec![b'x'; 1 << 16]));
    let body = Body::Stream {
        length: 1 << 40,
        chunks: Box::new(chunks),
    };
    Response {
        status: 200,
        headers: Vec::new(),
        body,
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_frees_the_worker() {
    let server = Running::start(one, endless);
    let mut client = server.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    until_health(&server, "\"busy\":1").await;
    drop(client);
    until_health(&server, "\"busy\":0").await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_stalls_does_not_hold_the_worker_for_ever() {
    let server = Running::start(
        |options| {
            one(options);
            options.write_wait = Duration::from_millis(100);
        },
        endless,
    );
    let mut client = server.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await;
    until_health(&server, "\"busy\":0").await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let server = Running::start(|options| options.body_bytes_max = 1000, echo);
    let mut client = server.client().await;
    client
        .send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        .await;
    assert_eq!(client.reply().await.status, 413);
    // The client sends on, as clients do; a reset now could overtake the answer on its way.
    for _ in 0..10 {
        client.send(&[b'x'; 100]).await;
    }
    assert_eq!(client.rest().await.unwrap(), b"");
    let mut client = server.client().await;
    client
        .send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client
        .send(&[b"3e9\r\n", [b'x'; 1001].as_slice(), b"\r\n0\r\n\r\n"].concat())
        .await;
    assert_eq!(client.reply().await.status, 413);
    let exactly = format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{}",
        "x".repeat(1000)
    );
    assert_eq!(server.ask(&exactly).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn broken_requests_cost_their_connection_only() {
    let server = Running::start(
        |options| {
            options.head_bytes_max = 10_000;
            options.head_wait = Duration::from_secs(5);
            options.body_wait = Duration::from_millis(50);
        },
        echo,
    );
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nbad header: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nshort",
            408,
        ),
        (&long, 431),
        (&many, 431),
    ] {
        let mut client = server.client().await;
        client.send(request.as_bytes()).await;
        assert_eq!(
            client.reply().await.status,
            status,
            "{}",
            request.escape_debug()
        );
        assert_eq!(client.rest().await.unwrap(), b"", "closed");
    }
    assert_eq!(server.get("/").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_server_ends_what_it_began() {
    let (open, publish) = gated();
    let server = Running::start(one, publish);
    let (mut client, idle) = (server.client().await, server.client().await);
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_health(&server, "\"busy\":1").await;
    let address = server.address;
    let stopping = tokio::spawn(server.stop());
    patiently(async { while tokio::net::TcpStream::connect(address).await.is_ok() {} }).await;
    open.send(()).unwrap();
    let reply = client.reply().await;
    assert_eq!(
        (reply.text(), reply.header("connection")),
        ("/1", Some("close"))
    );
    drop(client);
    patiently(stopping).await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_page_that_never_ends_does_not_keep_the_server_from_stopping() {
    let (open, publish) = gated();
    let server = Running::start(
        |options| {
            one(options);
            options.shutdown_wait = Duration::from_millis(50);
        },
        publish,
    );
    let mut client = server.client().await;
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_health(&server, "\"busy\":1").await;
    server.stop().await;
    drop(open);
}

/// A default stack would overflow here, and take the whole process with it.
#[tokio::test]
async fn a_page_may_recurse_as_deep_as_the_publisher_allows() {
    let server = Running::start(one, |_: &Request| {
        let top = 0_u8;
        text(&recurse(std::ptr::from_ref(&top).addr()).to_string())
    });
    let mut client = server.client().await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.reply().await.status, 200);
}

/// Goes down until half of a worker's stack is used; returns how many levels that took.
fn recurse(top: usize) -> usize {
    let frame = std::hint::black_box([0_u8; 1024]);
    let used = top.saturating_sub(std::ptr::from_ref(&frame).addr());
    if used > publisher::STACK_BYTES / 2 {
        return 0;
    }
    recurse(top) + 1 + usize::from(std::hint::black_box(frame)[0])
}
