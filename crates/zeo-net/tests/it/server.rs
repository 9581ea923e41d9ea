//! What the server does about clients that hold others up, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use storage::{MemoryStorage, Oid, Storage, Tid};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use zeo::{Event, Reply, Request, Value};
use zeo_net::{ListenAddress, Server, ServerOptions};

use crate::raw::{RawClient, in_time};
use crate::world::{Doors, TestServer, any_port, commit};

const OID: Oid = Oid::new(1);
/// How many jobs of one connection run at once.
const JOBS_MAX: usize = 4;
const ID: Value<'static> = Value::Int(7);

#[test]
fn a_client_that_votes_and_goes_silent_is_dropped_and_others_commit() {
    let options = ServerOptions {
        transaction_timeout: Some(Duration::from_millis(50)),
        ..ServerOptions::default()
    };
    let server = TestServer::start_with(Arc::new(MemoryStorage::new()), any_port(), options);
    let mut silent = RawClient::voted(&server, OID, &ID);
    let client = server.client();
    in_time(move || commit(&client, OID, Tid::ZERO, b"kept")).unwrap();
    silent.wait_for_end();
}

#[test]
fn a_stop_lets_voted_transactions_finish() {
    let storage = Arc::new(MemoryStorage::new());
    let mut server = TestServer::start(storage.clone());
    let mut client = RawClient::voted(&server, OID, &ID);
    let mut idle = RawClient::registered(&server);
    server.tell_to_stop();
    idle.wait_for_end();
    // The server is stopping now.
    let finish = client.call(&Request::TpcFinish(ID));
    let outcome = client.answer(finish);
    assert!(matches!(outcome, Some(Ok(Reply::Tid(tid))) if tid == storage.last_tid()));
    // With its transaction the reason to stay has gone.
    client.wait_for_end();
    in_time(move || server.stop());
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_silent_voter() {
    let storage = Arc::new(MemoryStorage::new());
    let options = ServerOptions {
        drain: Duration::from_millis(50),
        ..ServerOptions::default()
    };
    let server = Server::bind(any_port(), options).unwrap();
    let address = server.local_addr().unwrap();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (stop, stopped) = oneshot::channel();
    let storages = vec![("1".to_owned(), storage.clone() as Arc<dyn Storage>)];
    let running = runtime.spawn(server.run(storages, async { stopped.await.unwrap() }));
    let mut silent = RawClient::registered_at(address);
    silent.vote(OID, &ID);
    let mut waiting = RawClient::registered_at(address);
    let _never_answered = waiting.begin_to_vote(Oid::new(2), &ID);
    stop.send(()).unwrap();
    runtime.block_on(running).unwrap().unwrap();
    // The server has ended, though its runtime has not: the storage must be free to close.
    in_time(move || commit(&storage, OID, Tid::ZERO, b"kept")).unwrap();
    silent.wait_for_end();
}

#[test]
fn one_client_has_a_few_slow_calls_running_and_the_rest_waits_unread() {
    const CALLS: usize = 30;
    let storage = Arc::new(Doors::default());
    commit(&storage.memory, OID, Tid::ZERO, b"state").unwrap();
    let server = TestServer::start(storage.clone());
    let mut client = RawClient::registered(&server);
    storage.loads.shut();
    let slow = Request::History { oid: OID, size: 1 };
    let mut calls = vec![slow; CALLS];
    calls.push(Request::Ping);
    let calls = client.call_all(&calls);
    storage.loads.wait_for(JOBS_MAX);
    storage.loads.open();
    // The last call was read when most of those before it were done.
    let ping = calls.last();
    let before = std::iter::from_fn(|| client.event())
        .take_while(|event| !matches!(event, Event::Replied { id, .. } if Some(id) == ping))
        .count();
    assert!(
        before + JOBS_MAX > CALLS,
        "{before} answers before the ping"
    );
    let rest = (before..CALLS).map(|_| client.event());
    assert!(rest.into_iter().all(|event| event.is_some()));
}

/// A server may listen in several places; a socket's file comes and goes with it.
#[test]
fn several_addresses_are_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeo.sock");
    let addresses = [
        ListenAddress::Inet(any_port()),
        ListenAddress::Unix(path.clone()),
        ListenAddress::Inet(any_port()),
    ];
    let options = ServerOptions::default();
    let server = Server::bind_all(&addresses, options.clone()).unwrap();
    let bound = server.addresses().unwrap();
    assert_eq!(bound[1], addresses[1]);
    assert_ne!(bound[0], bound[2]);
    let taken = Server::bind_all(&addresses[1..2], options.clone())
        .err()
        .unwrap();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);

    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let storages = vec![(
        "1".to_owned(),
        Arc::new(MemoryStorage::new()) as Arc<dyn Storage>,
    )];
    let (stop, stopped) = oneshot::channel::<()>();
    let running = runtime.spawn(server.run(storages, async {
        let _ = stopped.await;
    }));
    let mut hello = [0; 6];
    // Its greeting: four bytes of length, then the protocol.
    let mut local = std::os::unix::net::UnixStream::connect(&path).unwrap();
    std::io::Read::read_exact(&mut local, &mut hello).unwrap();
    assert_eq!(&hello, b"\0\0\0\x02Z5");
    for address in [&bound[0], &bound[2]] {
        let mut stream = std::net::TcpStream::connect(address.to_string()).unwrap();
        std::io::Read::read_exact(&mut stream, &mut hello).unwrap();
        assert_eq!(&hello, b"\0\0\0\x02Z5");
    }
    stop.send(()).unwrap();
    runtime.block_on(running).unwrap().unwrap();
    assert!(!path.exists());
}

/// What is left of a server that was killed is replaced; other files are not.
#[test]
fn a_stale_socket_is_replaced_and_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeo.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let address = [ListenAddress::Unix(path.clone())];
    drop(Server::bind_all(&address, ServerOptions::default()).unwrap());
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    let error = Server::bind_all(&address, ServerOptions::default())
        .err()
        .unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
