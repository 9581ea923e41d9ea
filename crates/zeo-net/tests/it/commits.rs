//! Commits of several clients.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use storage::{
    Commit, CommitError, MemoryStorage, Oid, Record, Storage, StorageError, Tid, TransactionMeta,
    Voted,
};
use zeo_net::ZeoStorage;

use crate::world::{Doors, TestServer, commit, options};

const OID: Oid = Oid::new(1);

#[test]
fn another_client_sees_a_commit_because_it_is_told() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let (writer, reader) = (server.client(), server.client());
    let first = commit(&writer, OID, Tid::ZERO, b"one").unwrap();
    reader.ping().unwrap();
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
    reader.ping().unwrap();
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
fn others_are_told_of_deletions_undos_and_copies() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let (writer, reader) = (server.client(), server.client());
    let current = || match reader.load_before(OID, Tid::MAX) {
        Err(StorageError::NotFound { .. }) => None,
        found => found.unwrap(),
    };
    let told = |tid| {
        reader.ping().unwrap();
        assert_eq!(reader.last_tid(), tid);
        current().map(|revision| (revision.tid, revision.record.to_vec()))
    };
    let finish = |commit: Box<dyn Commit>| {
        let voted = commit.vote().unwrap();
        voted.finish(Box::new(|_| {})).unwrap()
    };
    let begin = || writer.clone().begin(TransactionMeta::default()).unwrap();
    let first = commit(&writer, OID, Tid::ZERO, b"one").unwrap();
    assert_eq!(told(first), Some((first, b"one".to_vec())));
    let mut delete = begin();
    delete.delete(OID, first).unwrap();
    let deleted = finish(delete);
    assert_eq!(told(deleted), None);
    assert!(writer.load_before(OID, Tid::MAX).is_err());
    let mut undo = begin();
    undo.undo(deleted).unwrap();
    let undone = finish(undo);
    assert_eq!(told(undone), Some((undone, b"one".to_vec())));
    let own = writer.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!((own.tid, &*own.record), (undone, &b"one"[..]));
    let meta = TransactionMeta::default();
    let copied = Tid::new(undone.number() + 1000);
    let copy = writer.clone().begin_restore(meta, copied, true);
    let mut copy = copy.unwrap();
    copy.restore(OID, Some(Record::from(&b"copied"[..])), None)
        .unwrap();
    assert_eq!(finish(copy), copied);
    assert_eq!(told(copied), Some((copied, b"copied".to_vec())));
    let own = writer.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!((own.tid, &*own.record), (copied, &b"copied"[..]));
}

#[test]
fn after_a_sync_every_commit_that_was_acknowledged_before_shows() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let (writer, reader) = (server.client(), server.client());
    let mut base = Tid::ZERO;
    for _ in 0..200 {
        base = commit(&writer, OID, base, b"x").unwrap();
        Storage::sync(&*reader).unwrap();
        assert_eq!(reader.last_tid(), base);
    }
    drop(server);
    // Away is away: nobody waits for what may never come.
    let away = Storage::sync(&*reader);
    assert!(matches!(away, Err(StorageError::Disconnected { waited }) if waited.is_zero()));
}

#[test]
fn no_increment_of_many_clients_is_lost() {
    const CLIENTS: u64 = 4;
    const TIMES: u64 = 50;
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    commit(&server.client(), OID, Tid::ZERO, &0u64.to_be_bytes()).unwrap();
    let increment = |client: &Arc<ZeoStorage>| {
        loop {
            let now = client
                .load_before(OID, client.last_tid().next())
                .unwrap()
                .unwrap();
            let count = u64::from_be_bytes((&*now.record).try_into().unwrap());
            match commit(client, OID, now.tid, &(count + 1).to_be_bytes()) {
                Ok(_) => return,
                Err(CommitError::Conflict(_)) => client.ping().unwrap(),
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
    let tid = commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
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

/// Long enough for a commit on a busy machine, short enough to be waited out.
const SHORT: Duration = Duration::from_secs(1);

fn impatient(server: &TestServer) -> Arc<ZeoStorage> {
    let mut options = options(server.address);
    options.wait = SHORT;
    ZeoStorage::connect(options).unwrap()
}

fn voted(client: &Arc<ZeoStorage>, oid: Oid) -> Box<dyn Voted> {
    let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
    let record = Record::from(&b"voted"[..]);
    commit.store(oid, Tid::ZERO, record).unwrap();
    commit.vote().unwrap()
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "how long a caller waits is measured"
)]
fn an_object_that_is_never_given_back_holds_each_writer_up_once() {
    const WRITERS: u64 = 8;
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let (holder, client) = (server.client(), impatient(&server));
    let held = voted(&holder, OID);
    let writer = || {
        let begun = Instant::now();
        let outcome = commit(&client, OID, Tid::ZERO, b"state");
        (outcome, begun.elapsed())
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(writer)).collect();
        for writer in writers {
            let (outcome, took) = writer.join().unwrap();
            // Not zero: the request is not done again at once.
            assert!(
                matches!(
                    outcome,
                    Err(CommitError::Storage(StorageError::Disconnected { waited })) if waited == SHORT
                ),
                "{outcome:?}"
            );
            assert!(took < SHORT * 4, "{took:?}");
        }
    });
    drop(held);
    commit(&client, OID, Tid::ZERO, b"state").unwrap();
}

#[test]
fn a_turn_to_commit_that_is_never_given_back_is_not_waited_for_without_end() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let client = impatient(&server);
    let held = voted(&client, OID);
    let outcome = commit(&client, Oid::new(2), Tid::ZERO, b"state");
    assert!(
        matches!(
            outcome,
            Err(CommitError::Storage(StorageError::Disconnected { waited })) if waited == SHORT
        ),
        "{outcome:?}"
    );
    // Whoever has the turn is none the worse for it.
    held.finish(Box::new(|_| {})).unwrap();
}

#[test]
fn a_finish_that_is_not_answered_in_time_is_unknown() {
    let storage = Arc::new(Doors::default());
    let server = TestServer::start(storage.clone());
    let client = impatient(&server);
    storage.finishes.shut();
    let outcome = commit(&client, OID, Tid::ZERO, b"late");
    assert!(matches!(outcome, Err(CommitError::Unknown)), "{outcome:?}");
    storage.finishes.open();
    // The next commit waits for that one, so it is there now.
    let tid = commit(&client, Oid::new(2), Tid::ZERO, b"next").unwrap();
    client.ping().unwrap();
    let seen = client.load_before(OID, tid).unwrap().unwrap();
    assert_eq!(&*seen.record, b"late");
}

#[test]
fn a_finish_that_fails_in_the_server_is_unknown() {
    let storage = Arc::new(Doors::default());
    let server = TestServer::start(storage.clone());
    let client = server.client();
    storage.finishes.break_down();
    let outcome = commit(&client, OID, Tid::ZERO, b"state");
    assert!(matches!(outcome, Err(CommitError::Unknown)), "{outcome:?}");
    // Indeed, it is there.
    let seen = storage.memory.load_before(OID, Tid::MAX).unwrap().unwrap();
    assert_eq!(&*seen.record, b"state");
}
