//! What strangers may do to a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use storage::{MemoryStorage, Oid, Storage, Tid};
use zeo_net::{ServerOptions, ZeoStorage};

use crate::world::{TestServer, any_port, commit, options};

fn stranger(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut hello = [0; 6];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"\0\0\0\x02Z5");
    stream
}

fn is_closed(mut stream: TcpStream) -> bool {
    // An end or a reset: the server may not have read all that was sent.
    !matches!(stream.read(&mut [0; 100]), Ok(1..))
}

#[test]
fn bad_frames_cost_only_their_connection() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let client = server.client();
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"\0\0\0\x02Z4",
        b"\0\0\0\x02Z5\0\0\0\x04junk",
        b"\0\0\0\x02Z5\x7f\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = stranger(&server);
        stream.write_all(bytes).unwrap();
        assert!(is_closed(stream), "{bytes:?}");
    }
    let mut truncated = stranger(&server);
    truncated.write_all(b"\0\0\0\x02Z5\0\0\0\x10tru").unwrap();
    truncated.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_closed(truncated));
    commit(&client, Oid::new(1), Tid::ZERO, b"state").unwrap();
}

#[test]
fn the_status_is_asked_without_a_registration() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let mut stream = stranger(&server);
    stream.write_all(b"\0\0\0\x04ruok").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer[4..]);
    assert!(text.contains("\"connections\": 0"), "{text}");
}

#[test]
fn there_is_a_most_of_connections() {
    let options = ServerOptions {
        connections_max: 1,
        ..ServerOptions::default()
    };
    let server = TestServer::start_with(Arc::new(MemoryStorage::new()), any_port(), options);
    let client = server.client();
    let mut second = TcpStream::connect(server.address).unwrap();
    assert_eq!(second.read(&mut [0; 10]).unwrap(), 0);
    client.ping().unwrap();
}

#[test]
fn a_frame_over_the_limit_is_an_error_of_that_client_alone() {
    let options_of_server = ServerOptions {
        frame_bytes_max: 1 << 20,
        ..ServerOptions::default()
    };
    let storage = Arc::new(MemoryStorage::new());
    let server = TestServer::start_with(storage.clone(), any_port(), options_of_server);
    let client = server.client();
    let large = vec![7; 2 << 20];
    assert!(commit(&client, Oid::new(1), Tid::ZERO, &large).is_err());
    assert_eq!(storage.last_tid(), Tid::ZERO);
    commit(&client, Oid::new(1), Tid::ZERO, b"small").unwrap();
}

#[test]
fn a_read_only_client_may_not_begin() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let mut reader = options(server.address);
    reader.read_only = true;
    let client = ZeoStorage::connect(reader).unwrap();
    assert!(client.is_read_only());
    assert!(commit(&client, Oid::new(1), Tid::ZERO, b"state").is_err());
    assert!(client.new_oids(1).is_err());
}
