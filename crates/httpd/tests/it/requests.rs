//! What the publisher is asked, and what becomes of its answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use publisher::{Body, Request, Response};

use crate::support::{Running, echo, text};

#[tokio::test]
async fn the_publisher_is_asked_what_the_client_asked() {
    let server = Running::start(|_| {}, echo);
    let reply = server
        .ask(
            "POST /a%20b/?c=%64 HTTP/1.1\r\nHost: www.example.org:81\r\nX-Two: 1\r\nx-two: 2\r\n\
            Content-Length: 4\r\n\r\nbody",
        )
        .await;
    let lines: Vec<&str> = reply.text().lines().collect();
    assert_eq!(
        lines[0],
        "POST http www.example.org:81 /a%20b/ c=%64 127.0.0.1"
    );
    assert!(lines.contains(&"x-two=1") && lines.contains(&"x-two=2"));
    assert_eq!(lines.last(), Some(&"body=body"));
    assert_eq!(reply.header("server"), Some("Zodiac"));
    assert!(
        reply
            .header("date")
            .is_some_and(|date| date.ends_with("GMT"))
    );
    server.stop().await;
}

#[tokio::test]
async fn targets_in_absolute_form_are_taken_apart() {
    let server = Running::start(|_| {}, echo);
    let reply = server
        .ask("GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert!(
        reply.text().starts_with("GET http b:81 /x y "),
        "{}",
        reply.text()
    );
    server.stop().await;
}

#[tokio::test]
async fn only_a_trusted_peer_speaks_for_its_client() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: www\r\n\r\n";
    let server = Running::start(|_| {}, echo);
    assert!(
        server
            .ask(request)
            .await
            .text()
            .starts_with("GET https www /  203.0.113.5")
    );
    server.stop().await;
    let server = Running::start(|options| options.trusted_peers.clear(), echo);
    assert!(
        server
            .ask(request)
            .await
            .text()
            .starts_with("GET http a /  127.0.0.1")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_chunked_body_arrives_whole() {
    let server = Running::start(|_| {}, echo);
    let mut client = server.client().await;
    client
        .send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
    assert!(client.reply().await.text().ends_with("body=abcde"));
    server.stop().await;
}

#[tokio::test]
async fn head_tells_the_length_and_sends_nothing() {
    let server = Running::start(
        |_| {},
        |request: &Request| match request.path.as_str() {
            "/told" => Response {
                status: 200,
                headers: vec![("content-length".into(), "1234".into())],
                body: Body::Bytes(Vec::new()),
            },
            "/stream" => Response {
                status: 200,
                headers: Vec::new(),
                body: Body::Stream {
                    length: 77,
                    chunks: Box::new(std::iter::empty()),
                },
            },
            _ => text("12345"),
        },
    );
    let mut client = server.client().await;
    for (path, length) in [("/", "5"), ("/told", "1234"), ("/stream", "77")] {
        client
            .send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await;
        let head = client.head().await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some(length))
        );
    }
    // The connection is still in step.
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.reply().await.text(), "12345");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_arrives_in_order_and_whole() {
    let server = Running::start(
        |_| {},
        |_: &Request| {
            let chunks = (0..100u8).map(|n| Ok(vec![n; 10_000]));
            let body = Body::Stream {
                length: 1_000_000,
                chunks: Box::new(chunks),
            };
            Response {
                status: 200,
                headers: Vec::new(),
                body,
            }
        },
    );
    let reply = server.get("/").await;
    assert_eq!(reply.header("content-length"), Some("1000000"));
    let wanted: Vec<u8> = (0..100u8).flat_map(|n| vec![n; 10_000]).collect();
    assert!(reply.body == wanted);
    server.stop().await;
}

#[tokio::test]
async fn health_is_told_without_a_worker() {
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Running::start(
        |_| {},
        move |_: &Request| {
            count.fetch_add(1, Ordering::SeqCst);
            text("page")
        },
    );
    let reply = server.get("/_zodiac/health").await;
    assert_eq!(
        reply.text(),
        "{\"ready\":true,\"workers\":4,\"busy\":0,\"waiting\":0}\n"
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(server.get("/_zodiac/other").await.status, 404);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    server.stop().await;
}
