//! Blobs: objects whose data are files.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use filestorage::{FileStorage, Options};
use storage::{CommitError, Oid, StorageError, TransactionMeta};
use tempfile::TempDir;
use zodb::{ClassName, Connection, Database, DatabaseOptions, Reference, ZodbError};

use crate::world::{commit_number, database, number};

/// What ZODB 6.4 writes for every blob.
const RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";
const ONE: Oid = Oid::new(1);

pub(crate) struct Site {
    folder: TempDir,
    pub(crate) database: Arc<Database>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            blob_dir: Some(folder.path().join("blobs")),
            ..Options::default()
        };
        let storage = FileStorage::open(folder.path().join("Data.fs"), options).unwrap();
        let database = Database::new(storage, DatabaseOptions::default());
        Self { folder, database }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// How many files wait for their commit.
    pub(crate) fn staged(&self) -> usize {
        let blobs = self.database.storage().blobs().unwrap();
        fs::read_dir(blobs.staging_directory()).unwrap().count()
    }

    fn committed(&self, text: &str) -> Oid {
        let mut connection = self.database.connect();
        let oid = connection.add_blob(text.as_bytes()).unwrap();
        connection.commit(meta()).unwrap();
        oid
    }
}

fn meta() -> TransactionMeta {
    TransactionMeta::default()
}

pub(crate) fn text(connection: &Connection, oid: Oid) -> String {
    let mut text = String::new();
    let mut file = connection.open_blob(oid).unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_is_committed_is_read_and_each_snapshot_has_its_own() {
    let site = Site::new();
    let oid = site.committed("one");
    let old = site.database.connect();
    assert_eq!(text(&old, oid), "one");
    assert_eq!(&*old.record(oid).unwrap(), RECORD);
    let class = Some(ClassName::new("ZODB.blob", "Blob"));
    let reference = old.load(oid).unwrap().reference();
    assert_eq!(reference, Reference::Strong { oid, class });

    let mut connection = site.database.connect();
    let more = old.open_blob(oid).unwrap().chain(&b", two"[..]);
    connection.put_blob(oid, more).unwrap();
    assert_eq!(text(&old, oid), "one", "not before the commit");
    assert_eq!(text(&connection, oid), "one, two", "except here");
    connection.commit(meta()).unwrap();

    assert_eq!(text(&site.database.connect(), oid), "one, two");
    assert_eq!(text(&old, oid), "one");
    let past = site.database.at(old.load(oid).unwrap().tid()).unwrap();
    assert_eq!(text(&past, oid), "one");
    let mut file = old.open_blob(oid).unwrap();
    file.seek(SeekFrom::Start(2)).unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "e");
    assert_eq!(site.staged(), 0);
}

#[test]
fn files_are_taken_over() {
    let site = Site::new();
    let (first, second) = (site.file("first", "1"), site.file("second", "2"));
    let mut connection = site.database.connect();
    let oid = connection.add_blob_file(&first).unwrap();
    assert!(!first.exists());
    connection.put_blob_file(oid, &second).unwrap();
    assert!(!second.exists());
    assert_eq!(site.staged(), 1, "what was replaced is gone");
    connection.commit(meta()).unwrap();
    assert_eq!(text(&site.database.connect(), oid), "2");
    assert_eq!(site.staged(), 0);

    let mut connection = site.database.connect();
    connection.add_blob_file(site.folder.path()).unwrap_err();
    let missing = site.folder.path().join("missing");
    connection.put_blob_file(oid, missing).unwrap_err();
    assert!(!connection.is_changed());
}

#[test]
fn savepoints_bring_the_data_back_and_nothing_stays_of_what_is_given_up() {
    let site = Site::new();
    let oid = site.committed("one");
    let mut connection = site.database.connect();
    connection.put_blob(oid, &b"two"[..]).unwrap();
    let savepoint = connection.savepoint();
    connection.put_blob(oid, &b"three"[..]).unwrap();
    let new = connection.add_blob(&b"new"[..]).unwrap();
    let mut open = connection.open_blob(new).unwrap();
    assert_eq!(site.staged(), 3);

    connection.roll_back(savepoint).unwrap();
    assert_eq!(site.staged(), 1);
    assert_eq!(text(&connection, oid), "two");
    assert!(connection.open_blob(new).unwrap_err().is_not_found());
    let mut rest = String::new();
    open.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "new", "who has it open reads it to its end");

    connection.put_blob(oid, &b"four"[..]).unwrap();
    connection.abort();
    assert_eq!(text(&connection, oid), "one");
    assert_eq!(site.staged(), 0);

    connection.put_blob(oid, &b"five"[..]).unwrap();
    drop(connection);
    assert_eq!(site.staged(), 0);

    // After a rollback, the data of the savepoint are committed.
    let mut connection = site.database.connect();
    connection.put_blob(oid, &b"six"[..]).unwrap();
    let savepoint = connection.savepoint();
    connection.put_blob(oid, &b"seven"[..]).unwrap();
    connection.roll_back(savepoint).unwrap();
    connection.commit(meta()).unwrap();
    assert_eq!(text(&site.database.connect(), oid), "six");
}

#[test]
fn a_conflict_leaves_the_data_of_who_came_first() {
    let site = Site::new();
    let oid = site.committed("one");
    let mut late = site.database.connect();
    late.put_blob(oid, &b"late"[..]).unwrap();
    let mut early = site.database.connect();
    early.put_blob(oid, &b"early"[..]).unwrap();
    early.commit(meta()).unwrap();
    let error = late.commit(meta()).unwrap_err();
    assert!(matches!(error, CommitError::Conflict(_)), "{error}");
    assert_eq!(text(&site.database.connect(), oid), "early");
    assert_eq!(site.staged(), 0);
}

#[test]
fn what_is_no_blob_and_what_has_no_data_is_refused() {
    let site = Site::new();
    commit_number(&site.database, ONE, 1);
    let mut connection = site.database.connect();
    for error in [
        connection.open_blob(ONE).unwrap_err(),
        connection.put_blob(ONE, &b""[..]).unwrap_err(),
        connection.put_blob_file(ONE, "nowhere").unwrap_err(),
    ] {
        assert!(
            matches!(error, ZodbError::NotABlob { oid: ONE, .. }),
            "{error}"
        );
    }
    // A record alone would be a blob whose file is lost.
    let record = pickle::Pickles::decode(RECORD).unwrap();
    for error in [
        connection.store(ONE, record.clone()).unwrap_err(),
        connection.create(record.clone()).unwrap_err(),
    ] {
        assert!(
            matches!(error, ZodbError::BlobWithoutData { .. }),
            "{error}"
        );
    }
    assert!(!connection.is_changed());
    // With data it may be stored as often as is liked, and be something else in the end.
    let oid = connection.add_blob(&b"data"[..]).unwrap();
    connection.store(oid, record).unwrap();
    assert_eq!(text(&connection, oid), "data");
    connection.store(oid, number(1)).unwrap();
    assert_eq!(site.staged(), 0);

    let past = site.database.at(site.database.storage().last_tid());
    let error = past.unwrap().add_blob(&b""[..]).unwrap_err();
    assert!(matches!(error, ZodbError::Historical), "{error}");
    let error = database().connect().add_blob(&b""[..]).unwrap_err();
    let unsupported = ZodbError::Storage(StorageError::Unsupported { operation: "" });
    assert_eq!(
        std::mem::discriminant(&error),
        std::mem::discriminant(&unsupported)
    );
}

#[test]
fn an_undo_brings_the_data_back() {
    let site = Site::new();
    let oid = site.committed("one");
    let mut connection = site.database.connect();
    connection.put_blob(oid, &b"two"[..]).unwrap();
    let tid = connection.commit(meta()).unwrap();
    site.database.undo(&[tid], meta()).unwrap();
    assert_eq!(text(&site.database.connect(), oid), "one");
}
