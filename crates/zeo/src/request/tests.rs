use super::*;

fn requests(id: &Value<'static>) -> Vec<Request> {
    vec![
        Request::Register {
            storage: "1".to_owned(),
            read_only: true,
        },
        Request::LoadBefore {
            oid: Oid::new(1),
            before: Tid::MAX,
        },
        Request::GetInvalidations(Tid::new(77)),
        Request::NewOids(100),
        Request::TpcBegin {
            id: id.clone(),
            meta: TransactionMeta {
                user: b"/ admin".to_vec(),
                description: b"/folder".to_vec(),
                extension: Vec::new(),
            },
            copied: Some(Copied {
                tid: Some(Tid::new(7)),
                is_packed: true,
            }),
        },
        Request::Store {
            oid: Oid::new(1),
            base: Tid::ZERO,
            record: Record::from(&b"state"[..]),
            id: id.clone(),
        },
        Request::CheckCurrent {
            oid: Oid::new(1),
            base: Tid::ZERO,
            id: id.clone(),
        },
        Request::Vote(id.clone()),
    ]
}

fn requests_that_look_back(id: &Value<'static>) -> Vec<Request> {
    vec![
        Request::Delete {
            oid: Oid::new(1),
            base: Tid::new(3),
            id: id.clone(),
        },
        Request::Restore {
            oid: Oid::new(1),
            tid: Tid::new(7),
            data: Some(Record::from(&b"state"[..])),
            data_tid: Some(Tid::new(3)),
            id: id.clone(),
        },
        Request::Restore {
            oid: Oid::new(1),
            tid: Tid::new(7),
            data: None,
            data_tid: None,
            id: id.clone(),
        },
        Request::Pack {
            to: Tid::from_unix_time(Duration::from_secs(1_700_000_040)),
            wait: false,
        },
        Request::Undo {
            transaction: b"A/AAARI0Vng=".to_vec(),
            id: id.clone(),
        },
        Request::UndoLog {
            first: 2,
            last: -7,
            specification: vec![(
                Value::Text("user_name".into()),
                Value::Bytes(b"u"[..].into()),
            )],
        },
        Request::RecordNext(Oid::new(7)),
        Request::IteratorStart {
            from: Tid::new(5),
            to: Tid::MAX,
        },
        Request::IteratorNext(1),
        Request::IteratorRecordStart {
            iterator: 1,
            tid: Tid::new(5),
        },
        Request::IteratorRecordNext(2),
        Request::IteratorGc(vec![1, 2]),
    ]
}

#[test]
fn requests_survive_the_wire_in_both_encodings() {
    let id = Value::Int(1 << 46);
    let mut all = requests(&id);
    all.extend(requests_that_look_back(&id));
    for request in all {
        for encoding in [crate::Encoding::Pickle, crate::Encoding::Msgpack] {
            let (name, args) = request.encode();
            let mut bytes = Vec::new();
            encoding.encode(&args, &mut bytes);
            let args = encoding.decode(&bytes).unwrap();
            assert_eq!(Request::decode(name, &args), Ok(request.clone()));
        }
    }
}

#[test]
fn wrong_arguments_are_refused_and_unknown_methods_close() {
    let none = Value::Tuple(vec![]);
    assert!(matches!(
        Request::decode("loadBefore", &none),
        Err(BadRequest::Refused(_))
    ));
    assert!(matches!(
        Request::decode("__class__", &none),
        Err(BadRequest::Unknown(_))
    ));
    assert_eq!(
        Request::decode("new_oid", &none),
        Ok(Request::NotOffered { method: "new_oid" })
    );
}

#[test]
fn a_pack_time_that_is_none_is_refused() {
    for time in [
        Value::Float(-1.0),
        Value::Float(f64::NAN),
        Value::Float(1e300),
        Value::bytes(b"now"),
    ] {
        let args = Value::Tuple(vec![time, Value::Bool(true)]);
        assert!(Request::decode("pack", &args).is_err(), "{args:?}");
    }
}
