//! Undo, history and iteration, over a storage that can.

use std::sync::Arc;

use filestorage::{FileStorage, Options};
use sim::SimDisk;
use storage::{Oid, Tid, TransactionMeta};
use zeo::{Encoding, Hub, HubOptions, Reply, Request, Value};

use crate::pair::Client;

const OID: Oid = Oid::new(5);

/// A hub over a Data.fs.
fn hub(encoding: Encoding) -> Arc<Hub> {
    let options = Options {
        disk: Arc::new(SimDisk::new()),
        ..Options::default()
    };
    let storage = FileStorage::open("/db/Data.fs", options).unwrap();
    let hub_options = HubOptions {
        encoding,
        ..HubOptions::default()
    };
    Hub::new(vec![("1".to_owned(), storage)], hub_options).unwrap()
}

fn both(check: impl Fn(&Arc<Hub>)) {
    for encoding in [Encoding::Pickle, Encoding::Msgpack] {
        check(&hub(encoding));
    }
}

fn other(client: &mut Client, request: &Request) -> Value<'static> {
    match client.ask_raw(request) {
        Ok(Reply::Other(value)) => value,
        Ok(Reply::Nothing) => Value::None,
        answer => panic!("{request:?}: {answer:?}"),
    }
}

fn undo_log(client: &mut Client, first: i64, last: i64, user: Option<&str>) -> Vec<Value<'static>> {
    let wanted = user.map(|user| {
        let name = Value::Text("user_name".into());
        (name, Value::Bytes(user.as_bytes().to_vec().into()))
    });
    let request = Request::UndoLog {
        first,
        last,
        specification: wanted.into_iter().collect(),
    };
    other(client, &request).elements().unwrap().to_vec()
}

fn undo_id(entry: &Value<'_>) -> Vec<u8> {
    entry.get("id").unwrap().as_bytes().unwrap().to_vec()
}

/// Opens a transaction that only undoes.
fn begin_undo(client: &mut Client, number: i64, transaction: Vec<u8>) -> Value<'static> {
    let id = Value::Int(number);
    client.send(&Request::TpcBegin {
        id: id.clone(),
        meta: TransactionMeta {
            user: b"undoer".to_vec(),
            ..TransactionMeta::default()
        },
        copied: None,
    });
    client.send(&Request::Undo {
        transaction,
        id: id.clone(),
    });
    id
}

#[test]
fn an_undo_is_told_to_everybody() {
    both(|hub| {
        let mut client = Client::registered(hub);
        let mut witness = Client::registered(hub);
        let first = client.commit(OID, Tid::ZERO, b"first");
        client.commit(OID, first, b"second");
        let log = undo_log(&mut client, 0, -20, None);
        assert_eq!(log.len(), 2);
        witness.hear();
        witness.invalidations();

        let id = begin_undo(&mut client, 1, undo_id(&log[0]));
        let voted = client.ask(&Request::Vote(id.clone()));
        assert_eq!(voted, Ok(Reply::Voted(vec![OID])));
        let Ok(Reply::Tid(undo)) = client.ask(&Request::TpcFinish(id)) else {
            panic!("not finished");
        };
        witness.hear();
        assert_eq!(witness.invalidations(), [(undo, vec![OID])]);
        let named = undo_log(&mut client, 0, 10, Some("undoer"));
        assert_eq!(named.len(), 1);
        assert_eq!(
            named[0].get("user_name").unwrap().as_bytes(),
            Some(&b"undoer"[..])
        );
        assert_eq!(undo_log(&mut client, 1, 2, None), log[..1]);
        assert_eq!(undo_log(&mut client, 1, -2, None), log);
    });
}

#[test]
fn a_refused_undo_names_the_object_and_frees_the_lock() {
    both(|hub| {
        let mut client = Client::registered(hub);
        let first = client.commit(OID, Tid::ZERO, b"first");
        let second = client.commit(OID, first, b"second");
        let third = client.commit(OID, second, b"third");
        let log = undo_log(&mut client, 0, -20, None);
        let refused = [
            (undo_id(&log[1]), "ZODB.POSException.MultipleUndoErrors"),
            (b"AAAAAAAAAAE=".to_vec(), "ZODB.POSException.UndoError"),
            (b"nonsense".to_vec(), "ZODB.POSException.UndoError"),
        ];
        for (number, (transaction, class)) in (1..).zip(refused) {
            let id = begin_undo(&mut client, number, transaction);
            let refusal = client.ask(&Request::Vote(id.clone())).unwrap_err();
            assert_eq!(refusal.class(), class);
            if let Some(errors) = refusal.data().get("_errs") {
                let pair = errors.elements().unwrap()[0].elements().unwrap();
                assert_eq!(pair[0].as_bytes(), Some(&OID.to_bytes()[..]));
                let text = pair[1].as_text().unwrap();
                assert!(text.contains("modified by a later"), "{text}");
            }
            assert_eq!(client.ask(&Request::TpcAbort(id)), Ok(Reply::Nothing));
        }
        client.commit(OID, third, b"fourth");
    });
}

/// What the genuine client does in `storage.iterator()`.
#[test]
fn a_walk_goes_through_everything_once() {
    both(|hub| {
        let mut client = Client::registered(hub);
        let first = client.commit(OID, Tid::ZERO, b"first");
        let second = client.commit(OID, first, b"second");
        client.commit(OID, second, b"third");
        let start = Request::IteratorStart {
            from: first,
            to: second,
        };
        let walk = other(&mut client, &start).as_int().unwrap();
        for (tid, data) in [(first, b"first".to_vec()), (second, b"second".to_vec())] {
            let named = other(&mut client, &Request::IteratorNext(walk));
            let named = named.elements().unwrap();
            assert_eq!(named[0].as_bytes(), Some(&tid.to_bytes()[..]));
            assert_eq!(named[1].as_text(), Some(" "));
            // The records may be asked for again.
            for _ in 0..2 {
                let start = Request::IteratorRecordStart {
                    iterator: walk,
                    tid,
                };
                let records = other(&mut client, &start).as_int().unwrap();
                let record = other(&mut client, &Request::IteratorRecordNext(records));
                assert_eq!(
                    record,
                    Value::Tuple(vec![
                        Value::id(OID.to_bytes()),
                        Value::id(tid.to_bytes()),
                        Value::Bytes(data.clone().into()),
                        Value::None
                    ])
                );
                let end = other(&mut client, &Request::IteratorRecordNext(records));
                assert_eq!(end, Value::None);
                let gone = client.ask(&Request::IteratorRecordNext(records));
                assert_eq!(gone.unwrap_err().class(), "builtins.KeyError");
            }
        }
        assert_eq!(
            other(&mut client, &Request::IteratorNext(walk)),
            Value::None
        );
        let gone = client.ask(&Request::IteratorNext(walk));
        assert_eq!(gone.unwrap_err().class(), "builtins.KeyError");
    });
}

#[test]
fn walks_are_counted_and_forgotten() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let tid = client.commit(OID, Tid::ZERO, b"first");
    let start = Request::IteratorStart {
        from: Tid::ZERO,
        to: Tid::MAX,
    };
    let walks: Vec<_> = (0..1000)
        .map(|_| other(&mut client, &start).as_int().unwrap())
        .collect();
    assert!(client.ask(&start).is_err(), "one too many");
    let early = client.ask(&Request::IteratorRecordStart {
        iterator: walks[0],
        tid,
    });
    assert_eq!(early.unwrap_err().class(), "builtins.Exception");
    client.send(&Request::IteratorGc(walks[1..].to_vec()));
    client.settle();
    let forgotten = client.ask(&Request::IteratorNext(walks[1]));
    assert_eq!(forgotten.unwrap_err().class(), "builtins.KeyError");
    assert!(client.ask(&start).is_ok());
    assert!(client.ask(&Request::IteratorNext(walks[0])).is_ok());
}

#[test]
fn a_history_says_who_and_why() {
    both(|hub| {
        let mut client = Client::registered(hub);
        client.commit(OID, Tid::ZERO, b"first");
        let log = undo_log(&mut client, 0, -20, None);
        let id = begin_undo(&mut client, 1, undo_id(&log[0]));
        client.ask(&Request::Vote(id.clone())).unwrap();
        client.ask(&Request::TpcFinish(id)).unwrap();
        let history = Request::History { oid: OID, size: 9 };
        let entries = other(&mut client, &history).elements().unwrap().to_vec();
        let facts: Vec<_> = entries
            .iter()
            .map(|entry| {
                let user = entry.get("user_name").unwrap().as_bytes().unwrap().to_vec();
                (user, entry.get("size").unwrap().as_int().unwrap())
            })
            .collect();
        assert_eq!(facts, [(b"undoer".to_vec(), 0), (b"".to_vec(), 5)]);
        let next = client.ask(&Request::RecordNext(Oid::ROOT));
        assert_eq!(next.unwrap_err().class(), "ZODB.POSException.POSKeyError");
        let behind = client.ask(&Request::RecordNext(OID.next()));
        assert_eq!(behind.unwrap_err().class(), "builtins.ValueError");
    });
}
