//! A cache on disk: a client that is started again, and what it believes.

use std::path::Path;
use std::sync::Arc;

use storage::{MemoryStorage, Oid, Storage, StorageError, Tid};
use zeo_net::{ClientOptions, DiskCache, ServerOptions, ZeoStorage};

use crate::world::{Doors, TestServer, commit, options};

const OBJECTS: u64 = 50;

fn client(server: &TestServer, directory: &Path) -> Arc<ZeoStorage> {
    let options = ClientOptions {
        disk_cache: Some(DiskCache {
            directory: directory.to_owned(),
            bytes_max: 8 << 20,
        }),
        ..options(server.address)
    };
    ZeoStorage::connect(options).unwrap()
}

fn oids() -> impl Iterator<Item = Oid> {
    (1..=OBJECTS).map(Oid::new)
}

fn load_all(client: &ZeoStorage) {
    let before = client.last_tid().next();
    for oid in oids() {
        let found = client.load_before(oid, before).unwrap().unwrap();
        assert_eq!(found.next, None);
    }
}

#[test]
fn a_client_that_is_started_again_is_warm_and_knows_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(Doors::default());
    let bases: Vec<_> = oids()
        .map(|oid| commit(&storage.memory, oid, Tid::ZERO, b"one").unwrap())
        .collect();
    let server = TestServer::start(storage.clone());
    let first = client(&server, folder.path());
    load_all(&first);
    assert_eq!(storage.loads.passed(), oids().count());
    let own = commit(&first, Oid::new(1), bases[0], b"our own").unwrap();
    drop(first);
    let other = server.client();
    let last = commit(&other, Oid::new(2), bases[1], b"another's").unwrap();
    let passed = storage.loads.passed();

    let second = client(&server, folder.path());
    assert_eq!(second.status().verified, 1);
    assert_eq!(second.last_tid(), last);
    load_all(&second);
    // The witness of the same history, and the one that has changed.
    assert_eq!(storage.loads.passed() - passed, 2);
    let seen = |oid| {
        second
            .load_before(Oid::new(oid), last.next())
            .unwrap()
            .unwrap()
    };
    assert_eq!((seen(1).tid, &*seen(1).record), (own, &b"our own"[..]));
    assert_eq!((seen(2).tid, &*seen(2).record), (last, &b"another's"[..]));
    assert_eq!(&*seen(3).record, b"one");
}

#[test]
fn what_was_left_by_another_history_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(MemoryStorage::new());
    for oid in oids() {
        commit(&storage, oid, Tid::ZERO, b"lost").unwrap();
    }
    let mut server = TestServer::start(storage);
    load_all(&client(&server, folder.path()));
    server.stop();
    let other = Arc::new(MemoryStorage::new());
    let mut tid = Tid::ZERO;
    for _ in 0..2 * OBJECTS {
        tid = commit(&other, Oid::new(1), tid, b"kept").unwrap();
    }
    let server = TestServer::start_with(other, server.address, ServerOptions::default());
    let again = client(&server, folder.path());
    assert_eq!(again.status().went_back, 1);
    let seen = again.load_before(Oid::new(1), tid.next()).unwrap().unwrap();
    assert_eq!(&*seen.record, b"kept");
    let gone = again.load_before(Oid::new(2), tid.next());
    assert!(
        matches!(gone, Err(StorageError::NotFound { .. })),
        "{gone:?}"
    );
}

#[test]
fn two_clients_with_one_directory_are_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let clients = [(); 2].map(|()| client(&server, folder.path()));
    let mut base = Tid::ZERO;
    for _ in 0..10 {
        for writer in &clients {
            base = commit(writer, Oid::new(1), base, b"state").unwrap();
            for reader in &clients {
                reader.sync().unwrap();
                let seen = reader.load_before(Oid::new(1), base.next()).unwrap();
                assert_eq!(seen.unwrap().tid, base);
            }
        }
    }
}
