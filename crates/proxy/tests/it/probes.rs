//! The desync probes: none of them reaches a backend, each is answered 400 and the connection
//! closed.

use crate::support::{Balancer, Client, Origin};

const PROBES: [(&str, &[u8]); 25] = [
    ("both lengths", b"POST / HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("unknown encoding", b"POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("encoding after tab", b"POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    ("two encodings", b"POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two equal lengths", b"POST / HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody"),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: site\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody"),
    ("signed length", b"POST / HTTP/1.1\r\nHost: site\r\nContent-Length: +4\r\n\r\nbody"),
    ("hexadecimal length", b"POST / HTTP/1.1\r\nHost: site\r\nContent-Length: 0x4\r\n\r\nbody"),
    ("space before colon", b"POST / HTTP/1.1\r\nHost: site\r\nContent-Length : 4\r\n\r\nbody"),
    ("bare carriage return", b"GET / HTTP/1.1\r\nHost: site\r\nX: a\rY: b\r\n\r\n"),
    ("nul", b"GET / HTTP/1.1\r\nHost: site\r\nX: a\0b\r\n\r\n"),
    ("http/1.0 with chunks", b"POST / HTTP/1.0\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("folded line", b"GET / HTTP/1.1\r\nHost: site\r\nX: a\r\n b\r\n\r\n"),
    ("bare line feeds", b"GET / HTTP/1.1\nHost: site\n\n"),
    ("one bare line feed", b"GET / HTTP/1.1\r\nHost: site\nX: a\r\n\r\n"),
    ("no host", b"GET / HTTP/1.1\r\nX: a\r\n\r\n"),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: site\r\nHost: other\r\n\r\n"),
    ("two equal hosts", b"GET / HTTP/1.1\r\nHost: site\r\nHost: site\r\n\r\n"),
    ("other host in the target", b"GET http://other/ HTTP/1.1\r\nHost: site\r\n\r\n"),
    ("line feed after chunk size", b"POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n4\nbody\r\n0\r\n\r\n"),
    ("line feed after chunk", b"POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\n0\r\n\r\n"),
    ("signed chunk size", b"POST / HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n+4\r\nbody\r\n0\r\n\r\n"),
    ("connection names host", b"GET / HTTP/1.1\r\nHost: site\r\nConnection: host\r\n\r\n"),
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: site\r\n\r\n"),
    ("raw bytes in the target", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: site\r\n\r\n"),
];

async fn refused(client: &mut Client, name: &str) {
    let response = client.response().await;
    assert_eq!(response.status, 400, "{name}: {response:?}");
    assert_eq!(response.header("connection"), Some("close"), "{name}");
    assert!(
        response
            .text()
            .contains("The request could not be answered"),
        "{name}"
    );
    assert_eq!(client.rest().await.unwrap(), b"", "{name}: closed cleanly");
}

#[tokio::test]
async fn no_probe_reaches_a_backend() {
    let origin = Origin::answering("reached").await;
    let balancer = Balancer::start(&[&origin], |_| {});
    for (name, probe) in PROBES {
        let mut client = balancer.client().await;
        client.send(probe).await;
        refused(&mut client, name).await;
    }
    assert!(
        origin.seen().is_empty(),
        "a probe reached the backend: {:?}",
        origin.seen()
    );
    assert_eq!(balancer.get("/").await.text(), "reached");
    balancer.stop().await;
}

/// The refusal waits its turn behind good requests, and what follows it is never looked at.
#[tokio::test]
async fn a_probe_between_good_requests_ends_the_connection_there() {
    let origin = Origin::answering("good").await;
    let balancer = Balancer::start(&[&origin], |_| {});
    for (name, probe) in PROBES {
        let mut client = balancer.client().await;
        let good = b"GET /good HTTP/1.1\r\nHost: site\r\n\r\n";
        let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: site\r\n\r\n";
        client.send(&[good, probe, smuggled].concat()).await;
        assert_eq!(client.response().await.text(), "good", "{name}");
        refused(&mut client, name).await;
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), PROBES.len());
    assert!(seen.iter().all(|seen| seen.path() == "/good"));
    balancer.stop().await;
}

#[tokio::test]
async fn probes_cut_into_single_bytes_are_refused_alike() {
    let origin = Origin::answering("reached").await;
    let balancer = Balancer::start(&[&origin], |_| {});
    for (name, probe) in PROBES {
        let mut client = balancer.client().await;
        client.0.set_nodelay(true).unwrap();
        for byte in probe {
            // The balancer may have answered and closed already.
            if tokio::io::AsyncWriteExt::write_all(&mut client.0, &[*byte])
                .await
                .is_err()
            {
                break;
            }
        }
        assert_eq!(client.head().await.status, 400, "{name}");
    }
    assert!(origin.seen().is_empty());
    balancer.stop().await;
}

#[tokio::test]
async fn other_protocols_are_not_spoken() {
    let origin = Origin::answering("reached").await;
    let balancer = Balancer::start(&[&origin], |_| {});
    for (request, status) in [
        ("CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n", 501),
        (
            "GET / HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            501,
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: site\r\nExpect: tea\r\n\r\n", 417),
        ("GET /_zodiac/health HTTP/1.1\r\nHost: site\r\n\r\n", 404),
        ("GET /_zodiac/refused HTTP/1.1\r\nHost: site\r\n\r\n", 404),
        ("GET /_zodiac HTTP/1.1\r\nHost: site\r\n\r\n", 404),
        (
            "GET http://site/_zodiac/health HTTP/1.1\r\nHost: site\r\n\r\n",
            404,
        ),
    ] {
        assert_eq!(balancer.ask(request).await.status, status, "{request}");
    }
    assert!(origin.seen().is_empty());
    balancer.stop().await;
}
