//! Objects carried to another database in an export file.

use pickle::Pickles;
use storage::{Oid, Tid, TransactionMeta};
use zodb::{
    ClassName, Connection, Data, Database, ExportFileError, Exported, ImportError, Imported,
    PersistentMapping, Reference,
};

use crate::blobs::{Site, text};
use crate::world::{commit_raw, database, number, value};

fn strong(oid: Oid, class: &str) -> Reference {
    let (module, name) = class.rsplit_once('.').unwrap();
    let class = Some(ClassName::new(module, name));
    Reference::Strong { oid, class }
}

/// A mapping with a number, a blob, a circle, and references that are not followed.
fn make(connection: &mut Connection) -> Oid {
    let number = connection.create(number(7)).unwrap();
    let blob = connection.add_blob(&b"film"[..]).unwrap();
    let weak = connection.create(crate::world::number(8)).unwrap();
    let oid = connection.new_oid().unwrap();
    let mut mapping = PersistentMapping::new();
    mapping.set("number", strong(number, "test.Number"));
    mapping.set("again", strong(number, "test.Number"));
    mapping.set("blob", strong(blob, "ZODB.blob.Blob"));
    mapping.set("self", strong(oid, "persistent.mapping.PersistentMapping"));
    let database = None;
    mapping.set(
        "weak",
        Reference::Weak {
            oid: weak,
            database,
        },
    );
    let foreign = Reference::Foreign {
        database: "other".into(),
        oid: number,
        class: None,
    };
    mapping.set("foreign", foreign);
    mapping.store(connection, oid).unwrap();
    oid
}

fn reference(mapping: &PersistentMapping, key: &str) -> Reference {
    match mapping.get(key) {
        Some(Data::Reference(reference)) => reference,
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn objects_and_what_they_hold_are_the_same_elsewhere() {
    let (here, there) = (Site::new(), Site::new());
    let mut connection = here.database.connect();
    let oid = make(&mut connection);
    let mut file = Vec::new();
    let exported = connection.export(oid, &mut file).unwrap();
    let expected = Exported {
        objects: 3,
        blobs: 1,
        absent: 0,
    };
    assert_eq!(exported, expected, "also before the commit");
    connection.commit(TransactionMeta::default()).unwrap();
    let mut again = Vec::new();
    here.database.connect().export(oid, &mut again).unwrap();
    assert_eq!(again, file);

    // Ids of its own are taken there.
    let mut connection = there.database.connect();
    for _ in 0..10 {
        connection.create(number(0)).unwrap();
    }
    let imported = connection.import(&mut &*file).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();
    let expected = Imported {
        oid: imported.oid,
        objects: 3,
        blobs: 1,
        dangling: 0,
    };
    assert_eq!(imported, expected);
    let connection = there.database.connect();
    let mapping = PersistentMapping::load(&connection, imported.oid).unwrap();
    let of = |key| reference(&mapping, key);
    assert_eq!(value(&connection, of("number").oid()), 7);
    assert_eq!(of("again"), of("number"));
    assert_eq!(text(&connection, of("blob").oid()), "film");
    assert_eq!(of("self").oid(), imported.oid);
    assert!(matches!(of("weak"), Reference::Weak { .. }));
    assert!(
        connection
            .load(of("weak").oid())
            .unwrap_err()
            .is_not_found()
    );
    assert_eq!(of("foreign").database(), Some("other"));
    assert_eq!(there.staged(), 0);
}

/// Every cut of the file, and what else may be wrong with it.
#[test]
fn an_import_that_fails_changes_nothing() {
    let (here, there) = (Site::new(), Site::new());
    let mut connection = here.database.connect();
    let oid = make(&mut connection);
    let mut file = Vec::new();
    connection.export(oid, &mut file).unwrap();

    let mut connection = there.database.connect();
    for length in 0..file.len() {
        connection.import(&mut &file[..length]).unwrap_err();
        assert!(!connection.is_changed());
    }
    assert_eq!(there.staged(), 0);

    let mut import = |bytes: &[u8]| connection.import(&mut &*bytes).unwrap_err();
    let error = import(b"ZIP");
    assert!(matches!(error, ImportError::File(ExportFileError::Magic)));
    let end = [0xff; 16];
    let error = import(&[b"ZEXP", &end[..]].concat());
    assert!(matches!(error, ImportError::Empty));
    let record = |oid: u64, record: &[u8]| {
        let length = (record.len() as u64).to_be_bytes();
        [&oid.to_be_bytes()[..], &length, record].concat()
    };
    let plain = number(1).encode();
    let two = [b"ZEXP", &*record(1, &plain), &record(2, &plain), &end].concat();
    let error = import(&two);
    assert!(matches!(error, ImportError::Unreferenced(oid) if oid == Oid::new(2)));
    let odd = b"\x80\x03ctest\nNumber\nq\x00.\x80\x03K\x05Q.";
    let error = import(&[b"ZEXP", &*record(1, odd), &end].concat());
    assert!(matches!(error, ImportError::Record { .. }), "{error}");
    let long = [&b"ZEXP\0\0\0\0\0\0\0\x01"[..], &u64::MAX.to_be_bytes()].concat();
    let error = import(&long);
    assert!(matches!(
        error,
        ImportError::File(ExportFileError::Length(u64::MAX))
    ));
}

#[test]
fn what_is_missing_is_counted() {
    let here = database();
    let mut connection = here.connect();
    let mut mapping = PersistentMapping::new();
    mapping.set("lost", strong(Oid::new(99), "test.Number"));
    mapping.store(&mut connection, Oid::ROOT).unwrap();
    let mut file = Vec::new();
    let exported = connection.export(Oid::ROOT, &mut file).unwrap();
    assert_eq!((exported.objects, exported.absent), (1, 1));
    let imported = database().connect().import(&mut &*file).unwrap();
    assert_eq!((imported.objects, imported.dangling), (1, 1));
    connection.export(Oid::new(99), &mut file).unwrap_err();
}

/// Some storages leave it to their clients to compress and to inflate.
#[test]
fn compressed_records_are_read_and_exported_plain() {
    let database: std::sync::Arc<Database> = database();
    let mut pickles: Pickles = number(5);
    let state = pickles.root(1).unwrap().id();
    let long = pickles.str(&"long ".repeat(100));
    pickles.dict_set(state, "text", long);
    let plain = pickles.encode();
    let record = pickle::compressed(&plain);
    assert!(pickle::is_compressed(&record));
    commit_raw(database.storage(), Oid::ROOT, Tid::ZERO, &record);
    let connection = database.connect();
    assert_eq!(value(&connection, Oid::ROOT), 5);
    let mut file = Vec::new();
    connection.export(Oid::ROOT, &mut file).unwrap();
    assert!(file.windows(plain.len()).any(|part| part == plain));
    commit_raw(database.storage(), Oid::new(3), Tid::ZERO, b".zbroken");
    let error = database.connect().load(Oid::new(3)).unwrap_err();
    assert!(error.to_string().contains("zlib"), "{error}");
}
