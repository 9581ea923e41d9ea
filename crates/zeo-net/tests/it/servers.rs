//! Several servers: which one is taken, and what of those that are read-only, silent, or behind.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::{CommitError, MemoryStorage, Oid, Storage, StorageError, Tid, TransactionMeta};
use zeo_net::{ClientOptions, ListenAddress, Loss, Server, ServerOptions, ZeoStorage};

use crate::world::{PATIENCE, TestServer, any_port, commit, options};

const OID: Oid = Oid::new(1);
const OTHER: Oid = Oid::new(2);

fn of(servers: &[&TestServer]) -> ClientOptions {
    ClientOptions {
        servers: servers
            .iter()
            .map(|server| server.address.to_string())
            .collect(),
        ..ClientOptions::default()
    }
}

fn read_only(storage: Arc<dyn Storage>) -> TestServer {
    let options = ServerOptions {
        read_only: true,
        ..ServerOptions::default()
    };
    TestServer::start_with(storage, any_port(), options)
}

fn again(server: &TestServer, storage: Arc<dyn Storage>) -> TestServer {
    TestServer::start_with(storage, server.address, ServerOptions::default())
}

#[allow(clippy::disallowed_methods, reason = "a test that waits must end")]
fn wait_until(client: &ZeoStorage, what: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < end, "{:?}", client.status());
        let _it_may_change_servers = client.ping();
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it is about time")]
fn a_server_that_accepts_and_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind(any_port()).unwrap();
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let mut both = of(&[&server]);
    let silent = silent.local_addr().unwrap().to_string();
    both.servers.insert(0, silent);
    let begun = Instant::now();
    let client = ZeoStorage::connect(both).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    let address = server.address.to_string();
    assert_eq!(client.status().server, Some(address));
}

#[test]
fn another_server_of_the_same_storage_takes_over_and_the_cache_is_kept() {
    let storage = Arc::new(MemoryStorage::new());
    let mut first = TestServer::start(storage.clone());
    let mut second = TestServer::start(storage.clone());
    second.stop();
    let client = ZeoStorage::connect(of(&[&first, &second])).unwrap();
    let tid = commit(&client, OID, Tid::ZERO, b"one").unwrap();
    assert_eq!(client.status().server, Some(first.address.to_string()));
    first.stop();
    let second = again(&second, storage);
    client.ping().unwrap();
    let status = client.status();
    assert_eq!(status.server, Some(second.address.to_string()));
    assert_eq!((status.connections, status.verified), (2, 1));
    commit(&client, OID, tid, b"two").unwrap();
}

#[test]
fn a_read_only_server_will_do_until_there_is_one_that_is_not() {
    let storage = Arc::new(MemoryStorage::new());
    let tid = commit(&storage, OID, Tid::ZERO, b"one").unwrap();
    let mut writable = TestServer::start(storage.clone());
    writable.stop();
    let mut reading = read_only(storage.clone());
    let options = ClientOptions {
        read_only_fallback: true,
        ..of(&[&writable, &reading])
    };
    let client = ZeoStorage::connect(options).unwrap();
    assert!(client.is_read_only() && client.status().is_read_only);
    let seen = client.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!(seen.tid, tid);
    let refused = client.clone().begin(TransactionMeta::default());
    assert!(matches!(refused.err(), Some(StorageError::ReadOnly)));
    let mut writable = again(&writable, storage.clone());
    wait_until(&client, || !client.is_read_only());
    let status = client.status();
    assert_eq!(status.server, Some(writable.address.to_string()));
    assert_eq!(status.verified, 1, "the cache is kept");
    let tid = commit(&client, OID, tid, b"two").unwrap();
    // And back.
    reading.stop();
    let options = ServerOptions {
        read_only: true,
        ..ServerOptions::default()
    };
    let _reading = TestServer::start_with(storage, reading.address, options);
    writable.stop();
    wait_until(&client, || client.is_read_only());
    let seen = client.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!(seen.tid, tid);
}

#[test]
fn who_wants_to_write_takes_no_read_only_server() {
    let server = read_only(Arc::new(MemoryStorage::new()));
    let short = ClientOptions {
        wait: Duration::from_millis(300),
        ..of(&[&server])
    };
    let Err(refused) = ZeoStorage::connect(short.clone()) else {
        panic!("it does not take commits");
    };
    assert!(
        matches!(refused, StorageError::Disconnected { .. }),
        "{refused}"
    );
    let reader = ClientOptions {
        read_only: true,
        ..short
    };
    assert!(ZeoStorage::connect(reader).unwrap().is_read_only());
}

#[test]
fn a_server_that_is_behind_is_taken_only_when_the_others_stay_away() {
    let storage = Arc::new(MemoryStorage::new());
    let copy = Arc::new(MemoryStorage::new());
    let old = commit(&copy, OID, Tid::ZERO, b"old").unwrap();
    let mut first = TestServer::start(storage.clone());
    let behind = TestServer::start(copy);
    let options = ClientOptions {
        wait: Duration::from_secs(2),
        ..of(&[&first, &behind])
    };
    let client = ZeoStorage::connect(options).unwrap();
    commit(&client, OTHER, Tid::ZERO, b"other").unwrap();
    let tid = commit(&client, OID, Tid::ZERO, b"one").unwrap();
    assert!(tid > old);
    first.stop();
    let mut first = again(&first, storage.clone());
    client.ping().unwrap();
    assert_eq!(client.status().server, Some(first.address.to_string()));
    assert_eq!(client.status().went_back, 0);
    first.stop();
    wait_until(&client, || client.status().went_back == 1);
    let loss = Loss {
        server: behind.address.to_string(),
        seen: tid,
        found: old,
    };
    assert_eq!(client.status().last_loss, Some(loss));
    let seen = client.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!(&*seen.record, b"old");
}

/// Its last transaction is later than what was seen, and yet it is another history.
#[test]
fn a_server_that_went_back_and_on_is_noticed() {
    let mut server = TestServer::start(Arc::new(MemoryStorage::new()));
    let client = server.client();
    let lost = commit(&client, OID, Tid::ZERO, b"lost").unwrap();
    let kept = commit(&client, OTHER, Tid::ZERO, b"lost, too").unwrap();
    server.stop();
    let backup = Arc::new(MemoryStorage::new());
    let mut first = Tid::ZERO;
    for _ in 0..5 {
        first = commit(&backup, OID, first, b"from the backup").unwrap();
    }
    assert!(first > kept && kept > lost);
    let _server = again(&server, backup);
    client.ping().unwrap();
    let status = client.status();
    assert_eq!((status.went_back, status.verified), (1, 0));
    let seen = client.load_before(OID, first.next()).unwrap().unwrap();
    assert_eq!(&*seen.record, b"from the backup");
    let gone = client.load_before(OTHER, Tid::MAX);
    assert!(
        matches!(gone, Err(StorageError::NotFound { .. })),
        "{gone:?}"
    );
}

#[test]
fn a_server_is_reached_through_a_socket_in_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeo.sock");
    let listen = [ListenAddress::Unix(path.clone())];
    let server = Server::bind_all(&listen, ServerOptions::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let storages = vec![("1".to_owned(), Arc::new(MemoryStorage::new()) as _)];
    runtime.spawn(server.run(storages, std::future::pending()));
    let client = ZeoStorage::connect(at(&path)).unwrap();
    let tid = commit(&client, OID, Tid::ZERO, b"one").unwrap();
    let other = ZeoStorage::connect(at(&path)).unwrap();
    let seen = other.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!(seen.tid, tid);
}

fn at(path: &Path) -> ClientOptions {
    ClientOptions {
        servers: vec![path.to_str().unwrap().to_owned()],
        ..ClientOptions::default()
    }
}

#[test]
fn a_client_may_be_there_before_its_server() {
    let storage = Arc::new(MemoryStorage::new());
    let mut server = TestServer::start(storage.clone());
    server.stop();
    let options = ClientOptions {
        wait_at_start: false,
        ..options(server.address)
    };
    let client = ZeoStorage::connect(options).unwrap();
    assert_eq!(client.status().connections, 0);
    let committed: Result<Tid, CommitError> = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| commit(&client, OID, Tid::ZERO, b"one"));
        let _server = again(&server, storage);
        waiting.join().unwrap()
    });
    committed.unwrap();
}
