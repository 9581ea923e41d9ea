//! A server that goes and comes back.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use storage::{
    CommitError, MemoryStorage, Oid, Record, Storage, StorageError, Tid, TransactionMeta,
};
use zeo_net::{ServerOptions, ZeoStorage};

use crate::world::{Doors, TestServer, Wire, any_port, commit, connect, options};

const OID: Oid = Oid::new(1);
const OTHER: Oid = Oid::new(2);

fn start_again(server: &mut TestServer, storage: Arc<dyn Storage>) -> TestServer {
    server.stop();
    TestServer::start_with(storage, server.address, ServerOptions::default())
}

#[test]
fn a_load_waits_for_the_server_and_the_cache_is_verified() {
    let storage = Arc::new(MemoryStorage::new());
    let mut server = TestServer::start(storage.clone());
    let client = server.client();
    let first = commit(&client, OID, Tid::ZERO, b"one").unwrap();
    let other = commit(&client, OTHER, Tid::ZERO, b"other").unwrap();
    client.load_before(OID, Tid::MAX).unwrap();
    server.stop();
    // What is known is still read; what changes meanwhile is learned later.
    assert_eq!(
        client.load_before(OID, first.next()).unwrap().unwrap().tid,
        first
    );
    let second = commit(&storage, OID, first, b"two").unwrap();
    let third = commit(&storage, Oid::new(3), Tid::ZERO, b"three").unwrap();
    let _server = thread::scope(|scope| {
        let load = scope.spawn(|| client.load_before(Oid::new(3), Tid::MAX));
        let server = start_again(&mut server, storage.clone());
        let seen = load.join().unwrap().unwrap().unwrap();
        assert_eq!(seen.tid, third);
        server
    });
    assert_eq!(client.last_tid(), third);
    let seen = client
        .load_before(OID, client.last_tid().next())
        .unwrap()
        .unwrap();
    assert_eq!((seen.tid, &*seen.record), (second, &b"two"[..]));
    // What did not change was kept: it is read although the server is gone.
    drop(_server);
    assert_eq!(
        client
            .load_before(OTHER, third.next())
            .unwrap()
            .unwrap()
            .tid,
        other
    );
}

#[test]
fn calls_in_flight_are_made_again() {
    let storage = Arc::new(MemoryStorage::new());
    let tid = commit(&storage, OID, Tid::ZERO, b"state").unwrap();
    let server = TestServer::start(storage);
    let wire = Wire::to(server.address);
    let client = connect(wire.address);
    wire.swallow();
    thread::scope(|scope| {
        let load = scope.spawn(|| client.load_before(OID, tid.next()));
        wire.wait_for_swallowed();
        wire.cut();
        assert_eq!(load.join().unwrap().unwrap().unwrap().tid, tid);
    });
}

#[test]
fn ids_that_are_asked_for_when_the_connection_breaks_come_over_the_next_one() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let wire = Wire::to(server.address);
    let client = connect(wire.address);
    wire.swallow();
    thread::scope(|scope| {
        let asked = [(); 4].map(|()| scope.spawn(|| client.new_oids(2)));
        wire.wait_for_swallowed();
        wire.cut();
        let mut all = Vec::new();
        for asked in asked {
            all.extend(asked.join().unwrap().unwrap());
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8);
    });
}

#[test]
fn a_commit_before_its_finish_fails_as_disconnected_and_may_be_done_again() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let wire = Wire::to(server.address);
    let client = connect(wire.address);
    let mut voted = client.clone().begin(TransactionMeta::default()).unwrap();
    voted
        .store(OID, Tid::ZERO, Record::from(&b"lost"[..]))
        .unwrap();
    let voted = voted.vote().unwrap();
    wire.cut();
    client.ping().unwrap();
    let outcome = voted.finish(Box::new(|_| panic!("published")));
    let disconnected = |error: &CommitError| {
        matches!(
            error,
            CommitError::Storage(StorageError::Disconnected { .. })
        )
    };
    // The order to finish may have been given to the dead connection, or not even that.
    let error = outcome.unwrap_err();
    assert!(
        disconnected(&error) || matches!(error, CommitError::Unknown),
        "{error}"
    );
    assert!(matches!(
        client.load_before(OID, Tid::MAX),
        Err(StorageError::NotFound { .. })
    ));
    commit(&client, OID, Tid::ZERO, b"again").unwrap();
}

#[test]
fn a_server_that_lost_transactions_makes_the_client_forget_them() {
    let mut server = TestServer::start(Arc::new(MemoryStorage::new()));
    let client = server.client();
    let first = commit(&client, OID, Tid::ZERO, b"one").unwrap();
    commit(&client, OID, first, b"two").unwrap();
    let backup = Arc::new(MemoryStorage::new());
    let only = commit(&backup, OID, Tid::ZERO, b"from the backup").unwrap();
    let _server = start_again(&mut server, backup);
    client.ping().unwrap();
    assert_eq!(client.last_tid(), only);
    let seen = client.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!(&*seen.record, b"from the backup");
}

#[test]
fn whoever_waits_too_long_is_told_so() {
    let mut server = TestServer::start(Arc::new(MemoryStorage::new()));
    let mut short = options(server.address);
    // Long enough to connect on a busy machine, short enough to be waited out thrice.
    short.wait = Duration::from_millis(500);
    let client = ZeoStorage::connect(short.clone()).unwrap();
    server.stop();
    let disconnected = |error| matches!(error, StorageError::Disconnected { .. });
    assert!(disconnected(client.load_before(OID, Tid::MAX).unwrap_err()));
    assert!(disconnected(client.new_oids(1).unwrap_err()));
    assert!(ZeoStorage::connect(short).is_err_and(disconnected));
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a server that never ends must end in a test"
)]
fn a_server_that_talks_without_answering_is_given_up() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let mut short = options(listener.local_addr().unwrap());
    short.wait = Duration::from_millis(300);
    short.connect_timeout = short.wait;
    thread::scope(|scope| {
        let client = scope.spawn(|| ZeoStorage::connect(short));
        let (mut stream, _) = listener.accept().unwrap();
        // A greeting, and the answer to all that follows is one large frame in small pieces.
        let greeting = b"\0\0\0\x02Z5\x01\0\0\0";
        stream.write_all(greeting).unwrap();
        let begun = Instant::now();
        while stream.write_all(b"x").is_ok() {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "still listened to"
            );
        }
        assert!(client.join().unwrap().is_err());
    });
}

#[test]
fn of_several_servers_one_that_lives_is_found() {
    let mut dead = TestServer::start(Arc::new(MemoryStorage::new()));
    dead.stop();
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let mut both = options(dead.address);
    both.servers.push(server.address.to_string());
    let client = ZeoStorage::connect(both).unwrap();
    commit(&client, OID, Tid::ZERO, b"state").unwrap();
}

#[test]
fn a_commit_that_runs_when_the_server_stops_is_finished() {
    let storage = Arc::new(Doors::default());
    let mut server = TestServer::start(storage.clone());
    let client = server.client();
    storage.finishes.shut();
    let outcome = thread::scope(|scope| {
        let commit = scope.spawn(|| commit(&client, OID, Tid::ZERO, b"state"));
        storage.finishes.wait_for(1);
        let stop = scope.spawn(|| server.stop());
        // Nobody is taken any more: the server has begun to stop.
        while std::net::TcpStream::connect(("127.0.0.1", address(&client))).is_ok() {
            thread::yield_now();
        }
        storage.finishes.open();
        stop.join().unwrap();
        commit.join().unwrap()
    });
    assert_eq!(outcome.unwrap(), storage.memory.last_tid());
}

fn address(client: &ZeoStorage) -> u16 {
    let name = client.name();
    let port = name.split([':', '/']).filter_map(|part| part.parse().ok());
    port.max().unwrap()
}

#[test]
fn a_closed_storage_waits_for_nothing() {
    let server = TestServer::start_with(
        Arc::new(MemoryStorage::new()),
        any_port(),
        ServerOptions::default(),
    );
    let client = server.client();
    client.close();
    assert!(client.load_before(OID, Tid::MAX).is_err());
}

/// To ask again would not help, so nobody waits.
#[test]
fn a_storage_that_the_server_does_not_have_is_refused_at_once() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let options = zeo_net::ClientOptions {
        storage: "nope".to_owned(),
        wait: Duration::from_secs(600),
        ..options(server.address)
    };
    let Err(refused) = ZeoStorage::connect(options) else {
        panic!("there is no such storage");
    };
    let refused = refused.to_string();
    assert!(refused.contains("unknown storage: nope"), "{refused}");
}
