//! Many who commit at the same time: what each of them hears, and in which order.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::thread;

use filestorage::{FileStorage, Options};
use storage::{MemoryStorage, Oid, OverlayStorage, Record, Storage, Tid, TransactionMeta};
use zeo::{Event, Reply, Request, Value};

use crate::raw::RawClient;
use crate::world::{Doors, TestServer};

const WRITERS: u64 = 16;
const TIMES: u64 = 25;
/// What all of them want now and then.
const SHARED: Oid = Oid::new(1000);

/// A client and all the transactions that it has heard of, in the order in which it did.
struct Writer {
    client: RawClient,
    oid: Oid,
    heard: Vec<Tid>,
    transactions: i64,
}

impl Writer {
    fn note(&mut self, tid: Tid) {
        let last = self.heard.last().copied().unwrap_or(Tid::ZERO);
        assert!(tid > last, "{tid} was heard of after {last}");
        self.heard.push(tid);
    }

    fn ask(&mut self, request: &Request) -> Reply {
        let call = self.client.call(request);
        loop {
            match self.client.event().expect("the connection stays") {
                Event::Invalidated { tid, .. } => self.note(tid),
                Event::Replied { id, outcome } if id == call => return outcome.unwrap(),
                _ => {}
            }
        }
    }

    /// Stores these objects; nothing where somebody else was faster.
    fn commit(&mut self, objects: &[(Oid, Tid)]) -> Option<Tid> {
        self.transactions += 1;
        let id = Value::Int(self.transactions);
        let mut calls = vec![Request::TpcBegin {
            id: id.clone(),
            meta: TransactionMeta::default(),
            copied: None,
        }];
        calls.extend(objects.iter().map(|&(oid, base)| Request::Store {
            oid,
            base,
            record: Record::from(&b"state"[..]),
            id: id.clone(),
        }));
        for call in &calls {
            self.client.tell(call);
        }
        if self.ask(&Request::Vote(id.clone())) != Reply::Voted(vec![]) {
            self.ask(&Request::TpcAbort(id));
            return None;
        }
        let Reply::Tid(tid) = self.ask(&Request::TpcFinish(id)) else {
            panic!("no transaction id");
        };
        self.note(tid);
        Some(tid)
    }

    fn current(&mut self, oid: Oid) -> Tid {
        match self.ask(&Request::GetTid(oid)) {
            Reply::Tid(tid) => tid,
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self) {
        let mut base = Tid::ZERO;
        for time in 0..TIMES {
            let mut objects = vec![(self.oid, base)];
            if time % 5 == 4 {
                objects.push((SHARED, self.current(SHARED)));
            }
            if let Some(tid) = self.commit(&objects) {
                base = tid;
            }
        }
    }
}

fn everybody_hears_everything_in_order(storage: Arc<dyn Storage>) {
    let server = TestServer::start(storage.clone());
    let begun = Barrier::new(usize::try_from(WRITERS).unwrap());
    let ended = Barrier::new(usize::try_from(WRITERS).unwrap());
    let mut first = writer(&server, SHARED);
    first.commit(&[(SHARED, Tid::ZERO)]).unwrap();
    let heard: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = (1..=WRITERS)
            .map(|number| {
                let (server, begun, ended) = (&server, &begun, &ended);
                scope.spawn(move || {
                    let mut writer = writer(server, Oid::new(number));
                    begun.wait();
                    writer.write();
                    ended.wait();
                    writer.ask(&Request::Ping);
                    writer.heard
                })
            })
            .collect();
        let joined = writers.into_iter().map(|writer| writer.join().unwrap());
        joined.collect()
    });
    first.ask(&Request::Ping);
    let all: BTreeSet<_> = heard.iter().flatten().copied().collect();
    let stored = storage.recent_changes(10_000).unwrap();
    let stored: Vec<_> = stored.iter().map(|changes| changes.tid).collect();
    assert_eq!(first.heard, stored);
    for heard in heard {
        assert_eq!(heard, stored[1..], "nobody misses anything");
    }
    assert_eq!(all.len() + 1, stored.len());
    assert!(all.len() as u64 >= WRITERS * TIMES * 4 / 5, "{}", all.len());
}

fn writer(server: &TestServer, oid: Oid) -> Writer {
    Writer {
        client: RawClient::registered(server),
        oid,
        heard: Vec::new(),
        transactions: 0,
    }
}

#[test]
fn writers_to_a_file_hear_everything_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path().join("Data.fs"), Options::default()).unwrap();
    everybody_hears_everything_in_order(storage);
}

#[test]
fn writers_to_memory_hear_everything_in_order() {
    everybody_hears_everything_in_order(Arc::new(MemoryStorage::new()));
}

#[test]
fn writers_to_a_storage_that_takes_one_at_a_time_hear_everything_in_order() {
    let base = Arc::new(MemoryStorage::new());
    everybody_hears_everything_in_order(OverlayStorage::over(base).unwrap());
}

/// Nobody is held up by a transaction that has voted, by those who wait for it, or by a finish.
#[test]
fn loads_and_commits_of_others_pass_by_those_who_wait() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path().join("Data.fs"), Options::default()).unwrap();
    let server = TestServer::start(storage);
    let mut busy = writer(&server, Oid::new(1));
    busy.commit(&[(Oid::new(1), Tid::ZERO)]).unwrap();
    let id = Value::Int(1);
    let holder = RawClient::voted(&server, Oid::new(2), &id);
    let mut waiting: Vec<_> = (0..40)
        .map(|_| {
            let mut client = RawClient::registered(&server);
            let vote = client.begin_to_vote(Oid::new(2), &id);
            (client, vote)
        })
        .collect();
    let base = busy.current(Oid::new(1));
    busy.commit(&[(Oid::new(1), base)]).unwrap();
    let load = Request::LoadBefore {
        oid: Oid::new(1),
        before: Tid::MAX,
    };
    assert!(matches!(busy.ask(&load), Reply::Revision(Some(_))));
    drop(holder);
    let (first, vote) = &mut waiting[0];
    assert_eq!(first.answer(*vote), Some(Ok(Reply::Voted(vec![]))));
}

/// Disconnects at each stage, among others who commit: nothing stays claimed.
#[test]
fn those_who_leave_at_any_stage_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path().join("Data.fs"), Options::default()).unwrap();
    let server = TestServer::start(storage);
    let id = Value::Int(1);
    for _ in 0..10 {
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let mut client = RawClient::registered(&server);
                let vote = client.begin_to_vote(Oid::new(1), &id);
                if number == 0 {
                    client.answer(vote);
                    client.call(&Request::TpcFinish(id.clone()));
                }
                client
            })
            .collect();
        drop(clients);
    }
    // Somebody's finish may be on its way still: its vote waits for that.
    let mut last = writer(&server, Oid::new(1));
    let base = last.current(Oid::new(1));
    last.commit(&[(Oid::new(1), base)]);
    let base = last.current(Oid::new(1));
    last.commit(&[(Oid::new(1), base)]).unwrap();
}

#[test]
fn a_finish_that_waits_holds_up_nobody_else() {
    let storage = Arc::new(Doors::default());
    let server = TestServer::start(storage.clone());
    let id = Value::Int(1);
    let mut client = RawClient::voted(&server, Oid::new(1), &id);
    storage.finishes.shut();
    let finish = client.call(&Request::TpcFinish(id));
    storage.finishes.wait_for(1);
    let ping = client.call(&Request::Ping);
    assert_eq!(client.answer(ping), Some(Ok(Reply::Nothing)));
    storage.finishes.open();
    assert!(matches!(client.answer(finish), Some(Ok(Reply::Tid(_)))));
}
