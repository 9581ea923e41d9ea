//! What the server does not take, and what it costs the client.

use storage::{Oid, Record, StorageError, Tid};
use zeo::{Encoding, HubOptions, ProtocolError, Reply, Request, Value, write_frame};

use crate::pair::{Client, hub, hub_with, memory, register};

/// Sends raw frames to a fresh connection and returns what it ends with.
fn raw(frames: &[&[u8]]) -> Result<Vec<u8>, ProtocolError> {
    let hub = hub(Encoding::Pickle);
    let mut connection = hub.connect("raw".to_owned(), || {});
    let mut bytes = Vec::new();
    for frame in frames {
        write_frame(&mut bytes, |out| out.extend_from_slice(frame));
    }
    connection.receive(&bytes);
    while let Some(job) = connection.next_job()? {
        job.run();
    }
    let mut out = Vec::new();
    connection.outbox().take(&mut out)?;
    assert!(
        out.starts_with(b"\0\0\0\x02Z5"),
        "the announcement comes first"
    );
    Ok(out.split_off(6))
}

#[test]
fn bad_handshakes_are_refused() {
    for hello in [&b"Z4"[..], b"Z309", b"", b"X5", b"GET / HTTP/1.1\r\n"] {
        let ended = raw(&[hello]);
        assert!(
            matches!(ended, Err(ProtocolError::Handshake { .. })),
            "{hello:?}"
        );
    }
    assert!(matches!(
        raw(&[&[b'Z'; 1000]]),
        Err(ProtocolError::FrameTooLarge { .. })
    ));
}

#[test]
fn either_encoding_is_taken_whatever_was_announced() {
    for (hello, call) in [
        (
            b"Z5",
            &b"\x80\x03(K\x01K\x00X\x08\x00\x00\x00registerX\x01\x00\x00\x001\x89\x86t."[..],
        ),
        (b"M5", b"\x94\x01\xc2\xa8register\x92\xa11\xc2"),
    ] {
        let reply = raw(&[hello, call]).unwrap();
        assert!(
            reply.ends_with(&[0; 8]) || reply.ends_with(b"\0\0\0\0\0\0\0\0t."),
            "{reply:?}"
        );
    }
}

#[test]
fn the_friendly_question_gets_a_status_and_an_end() {
    let hub = hub(Encoding::Pickle);
    let mut connection = hub.connect("monitor".to_owned(), || {});
    connection.receive(b"\0\0\0\x04ruok");
    assert!(connection.next_job().unwrap().is_none());
    assert!(connection.is_closing());
    let mut out = Vec::new();
    connection.outbox().take(&mut out).unwrap();
    let text = String::from_utf8_lossy(&out[10..]);
    assert!(text.starts_with("{\"1\": {\"connections\": 0, "), "{text}");
}

#[test]
fn calls_before_register_unknown_ones_and_a_second_register_close() {
    let hub = hub(Encoding::Pickle);
    let mut early = Client::connect(&hub);
    early.call(&Request::Ping);
    assert!(matches!(early.error, Some(ProtocolError::Method { .. })));

    let mut twice = Client::registered(&hub);
    twice.call(&register(false));
    assert!(matches!(twice.error, Some(ProtocolError::Method { .. })));

    let mut unknown = Client::registered(&hub);
    unknown.send(&Request::NotOffered { method: "__init__" });
    assert!(matches!(unknown.error, Some(ProtocolError::Method { .. })));
}

#[test]
fn undecodable_payloads_close() {
    for payload in [
        &b""[..],
        b"\x80\x03.",
        b"\x80\x03N.",
        b"garbage",
        b"\x80\x03cos\nsystem\n.",
    ] {
        assert!(raw(&[b"Z5", payload]).is_err(), "{payload:?}");
    }
}

#[test]
fn an_unknown_storage_is_refused_and_the_right_one_may_follow() {
    let hub = hub(Encoding::Msgpack);
    let mut client = Client::connect(&hub);
    let wrong = Request::Register {
        storage: "main".to_owned(),
        read_only: false,
    };
    let refusal = client.ask(&wrong).unwrap_err();
    assert_eq!(refusal.class(), "builtins.ValueError");
    assert!(client.ask(&register(false)).is_ok());
}

#[test]
fn a_read_only_server_takes_readers_only() {
    let options = HubOptions {
        read_only: true,
        ..HubOptions::default()
    };
    let hub = hub_with(memory(), options);
    let mut client = Client::connect(&hub);
    let refusal = client.ask(&register(false)).unwrap_err();
    assert!(matches!(
        refusal.to_storage_error(None),
        StorageError::ReadOnly
    ));
    assert!(client.ask(&register(true)).is_ok());
    assert!(client.ask(&Request::NewOids(1)).is_err());
    assert!(client.ask(&Request::TpcAbort(Value::Int(1))).is_err());
    client.begin(Oid::new(1), Tid::ZERO, b"state");
    client.hear();
    assert!(matches!(client.error, Some(ProtocolError::OneWay { .. })));
}

#[test]
fn a_store_without_a_transaction_closes_and_a_vote_is_refused() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let refusal = client.ask(&Request::Vote(Value::Int(7))).unwrap_err();
    assert_eq!(refusal.class(), "ZODB.POSException.StorageTransactionError");
    assert_eq!(
        client.ask(&Request::TpcFinish(Value::Int(7))),
        Ok(Reply::Nothing)
    );
    assert_eq!(
        client.ask(&Request::TpcAbort(Value::Int(7))),
        Ok(Reply::Nothing)
    );
    client.send(&Request::Store {
        oid: Oid::new(1),
        base: Tid::ZERO,
        record: Record::from(&b"state"[..]),
        id: Value::Int(7),
    });
    client.hear();
    assert!(matches!(client.error, Some(ProtocolError::OneWay { .. })));
}

#[test]
fn what_is_not_offered_is_refused_and_the_connection_stays() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let never = Request::NotOffered { method: "new_oid" };
    let refusal = client.ask(&never).unwrap_err();
    assert_eq!(refusal.class(), "builtins.NotImplementedError");
    assert_eq!(client.ask(&Request::Ping), Ok(Reply::Nothing));
    assert_eq!(
        client.ask_raw(&Request::UndoLog {
            first: 0,
            last: -20,
            specification: Vec::new(),
        }),
        Ok(Reply::Other(Value::Tuple(vec![])))
    );
}

proptest::proptest! {
    #[test]
    fn no_frames_from_a_stranger_make_the_server_panic(frames: Vec<Vec<u8>>) {
        let mut all: Vec<&[u8]> = vec![b"Z5"];
        all.extend(frames.iter().map(|frame| &frame[..]));
        let _either = raw(&all);
        all[0] = b"M5";
        let _either = raw(&all);
    }
}
