//! Commits of several clients.

use std::sync::Arc;
use std::thread;

use storage::{CommitError, MemoryStorage, Oid, Record, Storage, Tid, TransactionMeta};

use crate::world::{Doors, TestServer, commit};

const OID: Oid = Oid::new(1);

#[test]
fn another_client_sees_a_commit_because_it_is_told() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let (writer, reader) = (server.client(), server.client());
    let first = commit(&writer, OID, Tid::ZERO, b"one").unwrap();
    reader.sync().unwrap();
    assert_eq!(reader.last_tid(), first);
    let seen = reader.load_before(OID, first.next()).unwrap().unwrap();
    assert!(seen.is_current());
    let second = commit(&writer, OID, first, b"two").unwrap();
    // The writer reads its own write, without a word to the server.
    let own = writer
        .load_before(OID, writer.last_tid().next())
        .unwrap()
        .unwrap();
    assert_eq!((own.tid, &*own.record), (second, &b"two"[..]));
    reader.sync().unwrap();
    assert_eq!(reader.last_tid(), second);
    let now = reader
        .load_before(OID, reader.last_tid().next())
        .unwrap()
        .unwrap();
    assert_eq!((now.tid, &*now.record), (second, &b"two"[..]));
    let then = reader.load_before(OID, second).unwrap().unwrap();
    assert_eq!((then.tid, then.next), (first, Some(second)));
}

#[test]
fn no_increment_of_many_clients_is_lost() {
    const CLIENTS: u64 = 4;
    const TIMES: u64 = 50;
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    commit(&server.client(), OID, Tid::ZERO, &0u64.to_be_bytes()).unwrap();
    let increment = |client: &Arc<zeo_net::ZeoStorage>| {
        loop {
            let now = client
                .load_before(OID, client.last_tid().next())
                .unwrap()
                .unwrap();
            let count = u64::from_be_bytes((&*now.record).try_into().unwrap());
            match commit(client, OID, now.tid, &(count + 1).to_be_bytes()) {
                Ok(_) => return,
                Err(CommitError::Conflict(_)) => client.sync().unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let client = server.client();
                (0..TIMES).for_each(|_| increment(&client));
            });
        }
    });
    let client = server.client();
    let end = client.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!(&*end.record, (CLIENTS * TIMES).to_be_bytes());
}

#[test]
fn many_threads_that_want_one_object_make_one_call() {
    const THREADS: usize = 16;
    let storage = Arc::new(Doors::default());
    let tid = commit(&storage.memory, OID, Tid::ZERO, b"state").unwrap();
    let server = TestServer::start(storage.clone());
    let client = server.client();
    storage.loads.shut();
    thread::scope(|scope| {
        let load = || client.load_before(OID, tid.next()).unwrap().unwrap();
        let loads: Vec<_> = (0..THREADS).map(|_| scope.spawn(load)).collect();
        storage.loads.wait_for(1);
        storage.loads.open();
        for load in loads {
            assert_eq!(&*load.join().unwrap().record, b"state");
        }
    });
    assert_eq!(storage.loads.passed(), 1);
}

#[test]
fn a_large_transaction_travels_whole() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let (writer, reader) = (server.client(), server.client());
    let record = Record::from(vec![7u8; 3 << 20]);
    let meta = TransactionMeta {
        user: b"/ admin".to_vec(),
        description: "größer".as_bytes().to_vec(),
        extension: b"\x80\x03}q\x00X\x01\x00\x00\x00kq\x01K\x01s.".to_vec(),
    };
    let mut commit = writer.begin(meta).unwrap();
    for number in 0..8 {
        let oid = Oid::new(number);
        commit.store(oid, Tid::ZERO, record.clone()).unwrap();
    }
    let tid = commit.vote().unwrap().finish(&mut |_| {}).unwrap();
    for number in 0..8 {
        let seen = reader
            .load_before(Oid::new(number), tid.next())
            .unwrap()
            .unwrap();
        assert_eq!(seen.record, record);
    }
}

#[test]
fn an_extension_that_cannot_travel_is_refused_before_anything_is_sent() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let meta = TransactionMeta {
        extension: b"\x80\x03cdatetime\ndatetime\n.".to_vec(),
        ..TransactionMeta::default()
    };
    assert!(server.client().begin(meta).is_err());
}
