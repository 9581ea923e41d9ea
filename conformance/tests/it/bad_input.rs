//! Bytes that no honest peer sends: a clear answer, and nobody else notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use conformance::http::Connection;
use conformance::{Cluster, Database, Zope, http};

use crate::sound_site;

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn bad_bytes_cost_a_zeo_client_its_connection_only() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 1).unwrap();
    let zeo = cluster.zeo();
    let mut zope = Zope::serve(Database::Zeo(zeo.address)).unwrap();
    let hello = b"\x00\x00\x00\x02Z5".as_slice();
    let cases: [(&str, Vec<u8>); 6] = [
        (
            "garbage instead of a greeting",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ),
        ("an oversized frame", [hello, b"\xff\xff\xff\xff"].concat()),
        ("an oversized greeting", b"\x7f\xff\xff\xffZ5".to_vec()),
        (
            "a frame of garbage",
            [hello, b"\x00\x00\x00\x08\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8"].concat(),
        ),
        ("an empty frame", [hello, b"\x00\x00\x00\x00"].concat()),
        (
            "an unknown protocol",
            b"\x00\x00\x00\x02Q9\x00\x00\x00\x01x".to_vec(),
        ),
    ];
    for (what, bytes) in cases {
        let mut stream = connect(zeo.address);
        // The server may have hung up before all of it was written.
        let _ = stream.write_all(&bytes);
        assert!(
            is_closed_by_peer(&mut stream),
            "{what}: the server keeps the connection"
        );
    }
    // A frame that never comes whole: its connection is closed by us.
    let mut stream = connect(zeo.address);
    stream
        .write_all(&[hello, b"\x00\x00\x10\x00half a frame"].concat())
        .unwrap();
    drop(stream);

    let request = http::Request::new("GET", "/files/small.txt");
    assert_eq!(zope.send("localhost", &request).unwrap().status, 200);
    let answer = http::get(cluster.balancer(), "/files/small.txt").unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        cluster.zeo(),
        zeo,
        "the storage server is still the same process"
    );
}

#[test]
fn bad_requests_are_refused_by_balancer_and_publisher() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 1).unwrap();
    let members = cluster.members();
    let mut bystander = Connection::open(cluster.balancer()).unwrap();
    let ask = http::Request::new("GET", "/note.txt");
    assert_eq!(bystander.send(&ask).unwrap().status, 200);

    let long = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let common: [(&str, &str); 5] = [
        ("no HTTP at all", "\x16\x03\x01\x02\x00\x01\r\n\r\n"),
        (
            "a header without a colon",
            "GET / HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n",
        ),
        (
            "a NUL in a header",
            "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        ),
        ("a head without end", &long),
        (
            "a length that is no number",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4x\r\n\r\nabcd",
        ),
    ];
    let smuggled = "\r\n\r\n0\r\n\r\nGET /note.txt HTTP/1.1\r\nhost: a\r\n\r\n";
    let smuggling: [(&str, String); 6] = [
        (
            "length and chunks",
            format!(
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked{smuggled}"
            ),
        ),
        (
            "two lengths",
            format!(
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5{smuggled}"
            ),
        ),
        (
            "an odd transfer coding",
            format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked{smuggled}"),
        ),
        (
            "two hosts",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (
            "a space before the colon",
            "GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(),
        ),
    ];
    for (what, bytes) in &common {
        assert_refused(cluster.balancer(), what, bytes);
        assert_refused(cluster.publisher(1).address, what, bytes);
    }
    for (what, bytes) in &smuggling {
        assert_refused(cluster.balancer(), what, bytes);
    }
    assert_eq!(bystander.send(&ask).unwrap().text(), "first note\n");
    assert_eq!(
        cluster.members(),
        members,
        "every process is still the same"
    );
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 1).unwrap();
    let head = format!(
        "PUT /note.txt HTTP/1.1\r\nhost: a\r\nauthorization: Basic {}\r\ncontent-length: {}\r\n\r\n",
        "YWRtaW46YWRtaW4tcGFzc3dvcmQ=",
        u64::MAX / 4
    );
    for address in [cluster.balancer(), cluster.publisher(1).address] {
        let mut connection = Connection::open(address).unwrap();
        connection.send_raw(head.as_bytes()).unwrap();
        assert_eq!(connection.read("PUT").unwrap().status, 413);
    }
    assert_eq!(
        http::get(cluster.balancer(), "/note.txt").unwrap().text(),
        "first note\n"
    );
}

#[test]
fn the_inner_paths_are_not_reached_from_outside() {
    let site = sound_site();
    let cluster = Cluster::start(site.data(), 1).unwrap();
    assert_eq!(
        http::get(cluster.publisher(1).address, "/_zodiac/health")
            .unwrap()
            .status,
        200
    );
    for target in [
        "/_zodiac/health",
        "/_zodiac/",
        "/%5fzodiac/health",
        "//_zodiac/health",
    ] {
        let answer = http::get(cluster.balancer(), target).unwrap();
        assert!(
            matches!(answer.status, 400 | 404),
            "{target}: {}",
            answer.status
        );
    }
}

/// The connection gets a 4xx or is closed without an answer, and takes nothing after that.
fn assert_refused(address: SocketAddr, what: &str, bytes: &str) {
    let mut stream = connect(address);
    let _ = stream.write_all(bytes.as_bytes());
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.0 4"),
        "{what} at {address} got: {text}"
    );
    assert_eq!(
        text.matches("HTTP/1.").count().max(1),
        1,
        "{what} got two answers: {text}"
    );
    assert!(
        ended.is_ok() || !is_timeout(&ended),
        "{what} at {address}: it stays open: {text}"
    );
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream
        .set_read_timeout(Some(TIMEOUT))
        .expect("a valid time");
    stream
        .set_write_timeout(Some(TIMEOUT))
        .expect("a valid time");
    stream
}

/// Whether the peer hangs up, after whatever greeting it sends.
fn is_closed_by_peer(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    !is_timeout(&ended)
}

fn is_timeout(outcome: &std::io::Result<usize>) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    outcome
        .as_ref()
        .is_err_and(|error| matches!(error.kind(), TimedOut | WouldBlock))
}
