//! Records: class heads, damage, and bytes that stay as they are.

use storage::{Oid, Tid};
use zodb::{RecordError, ZodbError};

use crate::world::{commit_number, commit_raw, database, number, value};

/// `pickle.dumps(head, 3) + pickle.dumps({}, 3)` for the ways to name a class.
const HEADS: [(&[u8], &str); 3] = [
    (b"\x80\x03cOFS.Folder\nFolder\nq\x00.\x80\x03}q\x01.", "global"),
    (b"\x80\x03cOFS.Folder\nFolder\nq\x00)\x86q\x01.\x80\x03}q\x02.", "with arguments"),
    (
        b"\x80\x03X\x0a\x00\x00\x00OFS.Folderq\x00X\x06\x00\x00\x00Folderq\x01\x86q\x02N\x86q\x03.\x80\x03}q\x04.",
        "names",
    ),
];

#[test]
fn every_form_of_class_head_is_read() {
    let database = database();
    for (number, (record, form)) in (1u64..).zip(HEADS) {
        let oid = Oid::new(number);
        commit_raw(database.storage(), oid, Tid::ZERO, record);
        let object = database.connect().load(oid).unwrap();
        assert_eq!(object.class().to_string(), "OFS.Folder.Folder", "{form}");
        let class = match object.reference() {
            zodb::Reference::Strong { class, .. } => class,
            other => panic!("{other:?}"),
        };
        assert_eq!(class.is_some(), form == "global");
    }
}

#[test]
fn a_damaged_record_costs_its_own_load_only() {
    let database = database();
    commit_number(&database, Oid::ROOT, 1);
    let damaged: [&[u8]; 5] = [
        b"",
        b"garbage",
        b"\x80\x03ctest\nNumber\nq\x00.",
        b"\x80\x03K\x01.\x80\x03}q\x00.",
        b"\x80\x03ctest\nNumber\nq\x00.\x80\x03}q",
    ];
    let connection = {
        for (number, record) in (10u64..).zip(damaged) {
            commit_raw(database.storage(), Oid::new(number), Tid::ZERO, record);
        }
        database.connect()
    };
    for (number, record) in (10u64..).zip(damaged) {
        // Twice: an error is not remembered as something else.
        for _ in 0..2 {
            match connection.load(Oid::new(number)) {
                Err(ZodbError::Undecodable { oid, tid, .. }) => {
                    assert_eq!(oid, Oid::new(number));
                    assert!(tid > Tid::ZERO);
                }
                other => panic!("{record:?}: {other:?}"),
            }
        }
    }
    assert_eq!(value(&connection, Oid::ROOT), 1);
}

#[test]
fn a_damaged_record_can_be_replaced() {
    let database = database();
    let oid = Oid::new(3);
    commit_raw(database.storage(), oid, Tid::ZERO, b"garbage");
    commit_number(&database, oid, 4);
    assert_eq!(value(&database.connect(), oid), 4);
}

#[test]
fn something_that_is_no_record_is_refused_when_stored() {
    let database = database();
    let mut connection = database.connect();
    let error = connection
        .store(Oid::ROOT, pickle::Pickles::new())
        .unwrap_err();
    assert!(matches!(
        error,
        ZodbError::Undecodable {
            source: RecordError::Roots { found: 0 },
            ..
        }
    ));
    assert!(!connection.is_changed());
}

/// A record of a class nobody knows, with an instance and a set inside, spelled unusually.
#[test]
fn records_that_were_only_read_keep_their_bytes() {
    let database = database();
    let odd: &[u8] =
        b"\x80\x03cno.such\nThing\n.\x80\x03}(X\x01\x00\x00\x00aI5\nX\x01\x00\x00\x00b]u.";
    let oid = Oid::new(9);
    commit_raw(database.storage(), oid, Tid::ZERO, odd);

    let mut connection = database.connect();
    assert_eq!(
        connection
            .load(oid)
            .unwrap()
            .state()
            .get("a")
            .unwrap()
            .as_int(),
        Some(5)
    );
    connection.read_current(oid).unwrap();
    connection.store(Oid::ROOT, number(1)).unwrap();
    let tid = connection
        .commit(storage::TransactionMeta::default())
        .unwrap();

    let kept = database
        .storage()
        .load_before(oid, tid.next())
        .unwrap()
        .unwrap();
    assert_eq!(&*kept.record, odd);
    assert_eq!(kept.tid, Tid::new(1));
}
