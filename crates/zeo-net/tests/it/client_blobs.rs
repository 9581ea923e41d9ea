//! Blobs of our client: in a cache of its own, and in the directory of the server.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use filestorage::{FileStorage, Options};
use storage::{Blobs, Oid, Record, Storage, StorageError, Tid, TransactionMeta, Voted};
use tempfile::TempDir;
use zeo_net::{BlobOptions, ClientOptions, ZeoStorage};

use crate::world::{PATIENCE, TestServer, Wire, options};

const BLOB: Oid = Oid::new(1000);
/// What all blobs have for a record: the class, and no state.
const RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";

struct World {
    folder: TempDir,
    server: TestServer,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            blob_dir: Some(folder.path().join("blobs")),
            ..Options::default()
        };
        let storage = FileStorage::open(folder.path().join("Data.fs"), options).unwrap();
        let server = TestServer::start(storage);
        Self { folder, server }
    }

    fn cache(&self, name: &str) -> BlobOptions {
        BlobOptions::cache(self.folder.path().join(name))
    }

    fn shared(&self) -> BlobOptions {
        BlobOptions::shared(self.folder.path().join("blobs"))
    }

    fn client(&self, blobs: BlobOptions) -> Arc<ZeoStorage> {
        ZeoStorage::connect(with(options(self.server.address), blobs)).unwrap()
    }
}

fn with(options: ClientOptions, blobs: BlobOptions) -> ClientOptions {
    ClientOptions {
        blobs: Some(blobs),
        ..options
    }
}

fn voted(client: &Arc<ZeoStorage>, oid: Oid, base: Tid, data: &[u8]) -> (Box<dyn Voted>, PathBuf) {
    let file = client.blobs().unwrap().staging_file();
    fs::write(&file, data).unwrap();
    let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
    let record = Record::from(RECORD);
    commit.store_blob(oid, base, record, file.clone()).unwrap();
    (commit.vote().unwrap(), file)
}

fn store(client: &Arc<ZeoStorage>, oid: Oid, base: Tid, data: &[u8]) -> Tid {
    let (voted, file) = voted(client, oid, base, data);
    let tid = voted.finish(Box::new(|_| {})).unwrap();
    assert!(!file.exists(), "it belongs to the storage");
    tid
}

fn read(client: &ZeoStorage, oid: Oid, tid: Tid) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = client.blobs().unwrap().open_blob(oid, tid).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// All files below, without locks and markers.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !name.starts_with('.') && !name.starts_with("check_size") {
            found.push(path);
        }
    }
    found
}

#[allow(clippy::disallowed_methods, reason = "a test that waits must end")]
fn wait_for(what: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < end, "it does not come");
        thread::yield_now();
    }
}

fn pattern(length: usize) -> Vec<u8> {
    let bytes = (0..length).map(|at| u8::try_from(at * 31 % 251).unwrap());
    bytes.collect()
}

#[test]
fn what_one_client_stores_the_others_read_in_every_way() {
    let world = World::new();
    let (one, other) = (
        world.client(world.cache("one")),
        world.client(world.cache("other")),
    );
    let sharing = world.client(world.shared());
    let all = [&one, &other, &sharing];
    let mut base = Tid::ZERO;
    // None, less than a piece, and several pieces.
    for (number, length) in [0, 10, 59_000, 200_000].into_iter().enumerate() {
        for writer in all {
            let data = [&pattern(length)[..], &[u8::try_from(number).unwrap()]].concat();
            let data = if length == 0 { Vec::new() } else { data };
            writer.sync().unwrap();
            base = store(writer, BLOB, base, &data);
            for reader in all {
                reader.sync().unwrap();
                assert_eq!(read(reader, BLOB, base), data, "{length}");
            }
        }
    }
    let missing = one.load_blob(BLOB, Tid::new(1)).unwrap_err();
    assert!(
        matches!(missing, StorageError::NotFound { .. }),
        "{missing}"
    );
    let missing = sharing.load_blob(BLOB, Tid::new(1)).unwrap_err();
    assert!(
        matches!(missing, StorageError::NotFound { .. }),
        "{missing}"
    );
    let revisions = 12;
    for name in ["one", "other", "blobs"] {
        assert_eq!(
            files(&world.folder.path().join(name)).len(),
            revisions,
            "{name}"
        );
    }
}

#[test]
fn what_a_client_has_stored_or_read_needs_no_server() {
    let mut world = World::new();
    let (one, other) = (
        world.client(world.cache("one")),
        world.client(world.cache("other")),
    );
    let tid = store(&one, BLOB, Tid::ZERO, b"data");
    assert_eq!(read(&other, BLOB, tid), b"data");
    world.server.stop();
    assert_eq!(read(&one, BLOB, tid), b"data");
    assert_eq!(read(&other, BLOB, tid), b"data");
    // Another process with the same cache, and one that finds a file half made.
    let layout = world.folder.path().join("one/.layout");
    assert_eq!(fs::read_to_string(layout).unwrap(), "zeocache");
    let name = format!("one/3/1.{:016x}.blob", tid.number());
    assert!(world.folder.path().join(name).exists());
}

#[test]
fn what_is_taken_back_leaves_no_file() {
    let world = World::new();
    for (name, blobs) in [("one", world.cache("one")), ("blobs", world.shared())] {
        let client = world.client(blobs);
        let (voted, file) = voted(&client, BLOB, Tid::ZERO, b"never");
        drop(voted);
        client.ping().unwrap();
        assert!(!file.exists());
        let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
        fs::write(&file, "never").unwrap();
        let record = Record::from(RECORD);
        commit.store_blob(BLOB, Tid::ZERO, record, file).unwrap();
        drop(commit);
        // The server takes its own back when it comes to it.
        wait_for(|| files(&world.folder.path().join(name)).is_empty());
    }
}

#[test]
fn a_file_that_cannot_be_read_fails_the_vote_and_not_the_connection() {
    let world = World::new();
    let client = world.client(world.cache("one"));
    let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
    let missing = world.folder.path().join("missing");
    let record = Record::from(RECORD);
    commit.store_blob(BLOB, Tid::ZERO, record, missing).unwrap();
    let Err(error) = commit.vote() else {
        panic!("there is no such file");
    };
    assert!(error.to_string().contains("missing"), "{error}");
    store(&client, BLOB, Tid::ZERO, b"data");
    assert_eq!(client.status().connections, 1);
}

#[test]
fn without_a_directory_there_are_no_blobs() {
    let world = World::new();
    let client = world.server.client();
    assert!(client.blobs().is_none());
    let file = world.folder.path().join("file");
    fs::write(&file, "data").unwrap();
    let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
    let refused = commit.store_blob(BLOB, Tid::ZERO, Record::from(RECORD), file);
    assert!(matches!(refused, Err(StorageError::Unsupported { .. })));
}

#[test]
fn a_download_that_is_cut_off_begins_anew() {
    const LENGTH: usize = 24 << 20;
    let world = World::new();
    let data = pattern(LENGTH);
    let tid = store(&world.client(world.cache("one")), BLOB, Tid::ZERO, &data);
    let wire = Wire::to(world.server.address);
    let options = with(options(wire.address), world.cache("other"));
    let client = ZeoStorage::connect(options).unwrap();
    let coming = world
        .folder
        .path()
        .join(format!("other/3/1.{:016x}.blob.dl", tid.number()));
    let read = thread::scope(|scope| {
        let read = scope.spawn(|| read(&client, BLOB, tid));
        while !coming.exists() && !read.is_finished() {
            thread::yield_now();
        }
        wire.cut();
        read.join().unwrap()
    });
    assert!(read == data);
    assert_eq!(files(&world.folder.path().join("other")).len(), 1);
}

#[test]
fn callers_who_want_one_file_fetch_it_once() {
    let world = World::new();
    let tid = store(
        &world.client(world.cache("one")),
        BLOB,
        Tid::ZERO,
        &pattern(1 << 20),
    );
    let clients = [
        world.client(world.cache("two")),
        world.client(world.cache("two")),
    ];
    thread::scope(|scope| {
        for client in &clients {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(read(client, BLOB, tid).len(), 1 << 20));
            }
        }
    });
    assert_eq!(files(&world.folder.path().join("two")).len(), 1);
}

#[test]
fn a_cache_keeps_to_its_bound_and_what_was_removed_comes_again() {
    const BYTES: usize = 10_000;
    let world = World::new();
    let writer = world.client(world.shared());
    let bounded = BlobOptions {
        bytes_max: Some(10 * BYTES as u64),
        ..world.cache("small")
    };
    let client = world.client(bounded);
    let oids = (0..50).map(|number| Oid::new(number + 1));
    let stored: Vec<_> = oids
        .map(|oid| (oid, store(&writer, oid, Tid::ZERO, &pattern(BYTES))))
        .collect();
    for (oid, tid) in &stored {
        assert_eq!(read(&client, *oid, *tid), pattern(BYTES));
    }
    let small = world.folder.path().join("small");
    wait_for(|| files(&small).len() <= 11);
    for (oid, tid) in stored.iter().rev() {
        assert_eq!(read(&client, *oid, *tid), pattern(BYTES));
    }
}

/// A record, and the file of its blob.
type Stored = (Tid, Oid, Option<Record>, Option<Vec<u8>>);

/// All transactions of a storage, and all files of its blobs.
fn everything(storage: &dyn Storage) -> Vec<Stored> {
    let mut found = Vec::new();
    let iterate = storage.iterate().unwrap();
    for transaction in iterate.iterate_transactions(Tid::ZERO, Tid::MAX).unwrap() {
        for record in transaction.unwrap().records {
            let record = record.unwrap();
            let blobs = storage.blobs().unwrap();
            let file = record.data.as_ref().map(|_| {
                let path = blobs.load_blob(record.oid, record.tid).unwrap();
                fs::read(path).unwrap()
            });
            found.push((record.tid, record.oid, record.data, file));
        }
    }
    found
}

/// With their ids, and over an object that was taken back meanwhile.
#[test]
fn transactions_with_blobs_are_copied_to_a_server() {
    let source = World::new();
    let writer = source.client(source.cache("writer"));
    let undo = |tid| {
        let mut commit = writer.clone().begin(TransactionMeta::default()).unwrap();
        commit.undo(tid).unwrap();
        commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
    };
    let created = store(&writer, BLOB, Tid::ZERO, b"one");
    let undone = undo(created);
    let again = undo(undone);
    let changed = store(&writer, BLOB, again, &pattern(100_000));
    undo(changed);
    store(&writer, Oid::new(1001), Tid::ZERO, b"other");

    for is_shared in [false, true] {
        let target = World::new();
        let blobs = if is_shared {
            target.shared()
        } else {
            target.cache("copier")
        };
        let copier = target.client(blobs);
        let iterate = writer.iterate().unwrap();
        for transaction in iterate.iterate_transactions(Tid::ZERO, Tid::MAX).unwrap() {
            let transaction = transaction.unwrap();
            let copy = copier
                .clone()
                .begin_restore(transaction.meta, transaction.tid, false);
            let mut copy = copy.unwrap();
            for record in transaction.records {
                let record = record.unwrap();
                let Some(data) = record.data else {
                    copy.restore(record.oid, None, None).unwrap();
                    continue;
                };
                let file = copier.blobs().unwrap().staging_file();
                fs::copy(writer.load_blob(record.oid, record.tid).unwrap(), &file).unwrap();
                copy.restore_blob(record.oid, data, record.data_tid, file)
                    .unwrap();
            }
            let tid = copy.vote().unwrap().finish(Box::new(|_| {})).unwrap();
            assert_eq!(tid, transaction.tid);
        }
        assert_eq!(everything(&*copier), everything(&*writer), "{is_shared}");
        // A reader without anything in its cache sees the same.
        let reader = target.client(target.cache("reader"));
        assert_eq!(everything(&*reader), everything(&*writer));
    }

    // Only in a transaction that was begun for that, and nothing is left behind.
    let file = writer.blobs().unwrap().staging_file();
    fs::write(&file, "data").unwrap();
    let mut commit = writer.clone().begin(TransactionMeta::default()).unwrap();
    let refused = commit.restore_blob(BLOB, Record::from(RECORD), None, file.clone());
    assert!(matches!(refused, Err(StorageError::Unsupported { .. })));
    assert!(!file.exists());
}
