//! A finish that is not answered: what became of it is found out, and never guessed.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use storage::{
    CommitError, MemoryStorage, Oid, Record, Severity, Storage, StorageError, Tid, TransactionMeta,
    Voted,
};
use zeo_net::ZeoStorage;

use crate::world::{Doors, TestServer, Wire, commit, connect, options};

const OID: Oid = Oid::new(1);
const NEW: Oid = Oid::new(2);

fn voted(client: &Arc<ZeoStorage>, stores: &[(Oid, Tid, &[u8])]) -> Box<dyn Voted> {
    let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
    for (oid, base, record) in stores {
        commit.store(*oid, *base, Record::from(*record)).unwrap();
    }
    commit.vote().unwrap()
}

/// The connection breaks while the server finishes; it does so nevertheless.
fn finished_without_an_answer(stores: &[(Oid, &[u8])]) -> (Arc<Doors>, Result<Tid, CommitError>) {
    let storage = Arc::new(Doors::default());
    let server = TestServer::start(storage.clone());
    let wire = Wire::to(server.address);
    let client = connect(wire.address);
    let base = commit(&client, OID, Tid::ZERO, b"one").unwrap();
    let stores: Vec<_> = stores
        .iter()
        .map(|(oid, record)| {
            let base = if *oid == OID { base } else { Tid::ZERO };
            (*oid, base, *record)
        })
        .collect();
    let voted = voted(&client, &stores);
    storage.finishes.shut();
    let outcome = thread::scope(|scope| {
        let outcome = scope.spawn(|| voted.finish(Box::new(|_| {})));
        storage.finishes.wait_for(1);
        wire.cut();
        storage.finishes.open();
        outcome.join().unwrap()
    });
    if let Ok(tid) = outcome {
        assert!(client.last_tid() >= tid, "it is applied here");
        let seen = client.load_before(OID, tid.next()).unwrap().unwrap();
        assert_eq!(&*seen.record, b"two");
    }
    (storage, outcome)
}

#[test]
fn a_new_object_tells_that_its_transaction_is_there() {
    let (storage, outcome) = finished_without_an_answer(&[(OID, b"two"), (NEW, b"new")]);
    assert_eq!(outcome.unwrap(), storage.memory.last_tid());
}

/// Somebody else may have made the same change from the same base after ours was aborted: to call it
/// ours would lose one of two steps of a counter.
#[test]
fn what_somebody_else_may_have_done_is_unknown() {
    let (storage, outcome) = finished_without_an_answer(&[(OID, b"two")]);
    assert!(matches!(outcome, Err(CommitError::Unknown)), "{outcome:?}");
    let seen = storage.memory.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!(&*seen.record, b"two");
}

/// The order to finish does not reach the server. `meanwhile` is what another client does.
fn lost_before_the_server(stores: &[(Oid, &[u8])], meanwhile: Option<&[u8]>) -> CommitError {
    let storage = Arc::new(MemoryStorage::new());
    let server = TestServer::start(storage.clone());
    let wire = Wire::to(server.address);
    let client = connect(wire.address);
    let other = server.client();
    let base = commit(&other, OID, Tid::ZERO, b"one").unwrap();
    client.ping().unwrap();
    let stores: Vec<_> = stores
        .iter()
        .map(|(oid, record)| {
            let base = if *oid == OID { base } else { Tid::ZERO };
            (*oid, base, *record)
        })
        .collect();
    let voted = voted(&client, &stores);
    wire.swallow();
    thread::scope(|scope| {
        let outcome = scope.spawn(|| voted.finish(Box::new(|_| panic!("published"))));
        wire.wait_for_swallowed();
        // It waits for the vote that is lost.
        let later = meanwhile.map(|record| scope.spawn(|| commit(&other, OID, base, record)));
        wire.cut();
        if let Some(later) = later {
            // The client's look at the objects is in nobody's way for long.
            later.join().unwrap().unwrap();
        }
        outcome.join().unwrap().unwrap_err()
    })
}

fn is_to_be_done_again(error: &CommitError) -> bool {
    let is_disconnected = matches!(
        error,
        CommitError::Storage(StorageError::Disconnected { waited }) if waited.is_zero()
    );
    is_disconnected && error.severity() == Severity::Retry
}

#[test]
fn what_did_not_reach_the_server_may_be_done_again() {
    for stores in [
        &[(OID, &b"two"[..])][..],
        &[(NEW, b"new")],
        &[(OID, b"two"), (NEW, b"new")],
    ] {
        let error = lost_before_the_server(stores, None);
        assert!(is_to_be_done_again(&error), "{error}");
    }
    let error = lost_before_the_server(&[(OID, b"two")], Some(b"something else"));
    assert!(is_to_be_done_again(&error), "{error}");
}

/// The look comes after the other's change, or before it: both know that it is not ours, or do not
/// claim it.
#[test]
fn the_same_change_by_another_client_is_never_taken_for_ours() {
    let error = lost_before_the_server(&[(OID, b"two")], Some(b"two"));
    let is_unknown = matches!(error, CommitError::Unknown);
    assert!(is_unknown || is_to_be_done_again(&error), "{error}");
    // Here the new object tells.
    let error = lost_before_the_server(&[(OID, b"two"), (NEW, b"new")], Some(b"two"));
    assert!(is_to_be_done_again(&error), "{error}");
}

/// A server that takes over may lack what the other has done.
#[test]
fn another_server_is_not_believed_that_nothing_was_committed() {
    let storage = Arc::new(Doors::default());
    let mut server = TestServer::start(storage.clone());
    let copy = Arc::new(MemoryStorage::new());
    let taking_over = TestServer::start(copy.clone());
    let wire = Wire::to(server.address);
    let mut both = options(wire.address);
    both.servers.push(taking_over.address.to_string());
    both.wait = Duration::from_secs(2);
    let client = ZeoStorage::connect(both).unwrap();
    let voted = voted(&client, &[(NEW, Tid::ZERO, b"new")]);
    storage.finishes.shut();
    let outcome = thread::scope(|scope| {
        let outcome = scope.spawn(|| voted.finish(Box::new(|_| {})));
        storage.finishes.wait_for(1);
        server.tell_to_stop();
        wire.cut();
        let outcome = outcome.join().unwrap();
        storage.finishes.open();
        outcome
    });
    assert!(matches!(outcome, Err(CommitError::Unknown)), "{outcome:?}");
    drop(server);
}
