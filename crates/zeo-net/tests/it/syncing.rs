//! Databases that ask the server before each transaction.

use std::sync::Arc;
use std::time::Duration;

use storage::{CommitError, MemoryStorage, Oid, StorageError, TransactionMeta};
use zeo_net::{ClientOptions, ZeoStorage};
use zodb::{Connection, Data, Database, DatabaseOptions, PersistentMapping};

use crate::world::{TestServer, options};

const ONE: Oid = Oid::new(1);

fn open(server: &TestServer, server_sync: bool) -> Arc<Database> {
    let storage = ZeoStorage::connect(ClientOptions {
        server_sync,
        wait: Duration::from_millis(200),
        ..options(server.address)
    });
    Database::new(storage.unwrap(), DatabaseOptions::default())
}

fn set(database: &Arc<Database>, count: i64) {
    let mut connection = database.connect();
    let mut mapping = PersistentMapping::new();
    mapping.set("count", count);
    mapping.store(&mut connection, ONE).unwrap();
    connection.commit(TransactionMeta::default()).unwrap();
}

fn count(connection: &Connection) -> Option<Data> {
    PersistentMapping::load(connection, ONE)
        .unwrap()
        .get("count")
}

#[test]
fn a_transaction_sees_what_another_client_committed_before_it() {
    let server = TestServer::start(Arc::new(MemoryStorage::new()));
    let (writer, reader) = (open(&server, false), open(&server, true));
    assert!(reader.storage().syncs_first() && !writer.storage().syncs_first());
    for number in 0..200 {
        set(&writer, number);
        assert_eq!(count(&reader.connect()), Some(number.into()));
    }
}

#[test]
fn without_a_server_it_does_not_begin() {
    let mut server = TestServer::start(Arc::new(MemoryStorage::new()));
    let (easy, strict) = (open(&server, false), open(&server, true));
    set(&strict, 1);
    assert_eq!(count(&strict.connect()), Some(1.into()));
    easy.storage().sync().unwrap();
    assert_eq!(count(&easy.connect()), Some(1.into()));
    server.stop();
    assert_eq!(count(&easy.connect()), Some(1.into()), "as it was known");
    let connection = strict.connect();
    let error = connection.load(ONE).unwrap_err();
    assert!(
        matches!(
            error,
            zodb::ZodbError::Storage(StorageError::Disconnected { .. })
        ),
        "{error}"
    );
    let error = connection.commit(TransactionMeta::default()).unwrap_err();
    assert!(matches!(
        error,
        CommitError::Storage(StorageError::Disconnected { .. })
    ));
}
