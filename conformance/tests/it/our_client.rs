//! Our client at genuine servers: blobs, read-only servers, and finishes that are not answered.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use conformance::{PATIENCE, judge, poll};
use serde_json::json;
use storage::{
    CommitError, DataRecord, Oid, Record, Severity, Storage, Tid, TransactionMeta, Voted,
};
use zeo_net::{BlobOptions, ClientOptions, ZeoStorage};

use crate::genuine_zeo::Server;

const RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";

fn at(address: &str) -> ClientOptions {
    ClientOptions {
        servers: vec![address.to_owned()],
        storage: "0".to_owned(),
        ..ClientOptions::default()
    }
}

fn store_blob(client: &Arc<ZeoStorage>, oid: Oid, base: Tid, data: &[u8]) -> Tid {
    let file = client.blobs().unwrap().staging_file();
    fs::write(&file, data).unwrap();
    let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
    commit
        .store_blob(oid, base, Record::from(RECORD), file)
        .unwrap();
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}

fn read_blob(client: &ZeoStorage, oid: Oid, tid: Tid) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = client.blobs().unwrap().open_blob(oid, tid).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn blobs(encoding_is_msgpack: bool) {
    let folder = tempfile::tempdir().unwrap();
    let wanted = json!({
        "directory": folder.path(), "count": 1, "msgpack": encoding_is_msgpack, "blobs": true,
    });
    let server = Server::start_as(&wanted);
    let client = |blobs| {
        let options = ClientOptions {
            blobs: Some(blobs),
            ..at(server.address())
        };
        ZeoStorage::connect(options).unwrap()
    };
    let cache = folder.path().join("cache");
    let one = client(BlobOptions::cache(&cache));
    let other = client(BlobOptions::cache(folder.path().join("other")));
    let sharing = client(BlobOptions::shared(folder.path().join("0.blobs")));
    let (oid, mut base) = (Oid::new(1), Tid::ZERO);
    for length in [0, 100_000] {
        for (number, writer) in [&one, &other, &sharing].into_iter().enumerate() {
            let data = vec![u8::try_from(number).unwrap(); length];
            writer.sync().unwrap();
            base = store_blob(writer, oid, base, &data);
            for reader in [&one, &other, &sharing] {
                reader.sync().unwrap();
                assert_eq!(read_blob(reader, oid, base), data, "{length}");
            }
        }
    }
    let entries = fs::read_dir(folder.path().join("0.blobs/tmp")).unwrap();
    assert_eq!(entries.count(), 0, "nothing is left behind");

    // A genuine client has the same cache.
    let oid = one.new_oids(1).unwrap()[0];
    let tid = store_blob(&one, oid, Tid::ZERO, b"from us");
    let wanted = json!({
        "server": server.address(), "storage": "0", "cache": cache, "store": "from Python",
        "load": [hex(&oid.to_bytes()), hex(&tid.to_bytes())],
    });
    let said = judge::run("zeo_blob_cache.py", &wanted).unwrap();
    assert_eq!(said["loaded"], "from us");
    assert_eq!(said["was_there"], true);
    let [oid, tid] = [0, 1].map(|at| {
        let text = said["stored"][at].as_str().unwrap();
        u64::from_str_radix(text, 16).unwrap()
    });
    one.sync().unwrap();
    let file = one.load_blob(oid, tid);
    assert!(file.starts_with(&cache));
    assert_eq!(fs::read(file).unwrap(), b"from Python");
    assert_eq!(
        read_blob(&sharing, Oid::new(oid), Tid::new(tid)),
        b"from Python"
    );
}

/// All records of a storage, each with the file of its blob.
fn everything(storage: &dyn Storage) -> Vec<(Tid, Oid, Option<Vec<u8>>)> {
    let iterate = storage.iterate().unwrap();
    let mut found = Vec::new();
    for transaction in iterate.iterate_transactions(Tid::ZERO, Tid::MAX).unwrap() {
        for record in transaction.unwrap().records {
            let DataRecord { oid, tid, data, .. } = record.unwrap();
            let blobs = storage.blobs().unwrap();
            let file = data.map(|_| fs::read(blobs.load_blob(oid, tid).unwrap()).unwrap());
            found.push((tid, oid, file));
        }
    }
    found
}

/// With their ids and files, also where the blob was taken back meanwhile; the genuine client would
/// leave the files behind.
#[test]
fn transactions_with_blobs_are_copied_to_a_genuine_server() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = json!({
        "directory": folder.path(), "count": 2, "msgpack": false, "blobs": true,
    });
    let server = Server::start_as(&wanted);
    let client = |storage: &str, blobs| {
        let options = ClientOptions {
            storage: storage.to_owned(),
            blobs: Some(blobs),
            ..at(server.address())
        };
        ZeoStorage::connect(options).unwrap()
    };
    let source = client("0", BlobOptions::cache(folder.path().join("source")));
    let undo = |tid| {
        let mut commit = source.clone().begin(TransactionMeta::default()).unwrap();
        commit.undo(tid).unwrap();
        commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
    };
    let oid = source.new_oids(1).unwrap()[0];
    let created = store_blob(&source, oid, Tid::ZERO, b"one");
    let undone = undo(created);
    let again = undo(undone);
    store_blob(&source, oid, again, &[7; 100_000]);

    let target = client("1", BlobOptions::cache(folder.path().join("target")));
    let iterate = source.iterate().unwrap();
    for transaction in iterate.iterate_transactions(Tid::ZERO, Tid::MAX).unwrap() {
        let transaction = transaction.unwrap();
        let (meta, tid) = (transaction.meta, transaction.tid);
        let mut copy = target.clone().begin_restore(meta, tid, false).unwrap();
        for record in transaction.records {
            let DataRecord {
                oid,
                tid,
                data,
                data_tid,
            } = record.unwrap();
            let Some(data) = data else {
                copy.restore(oid, None, None).unwrap();
                continue;
            };
            let file = target.blobs().unwrap().staging_file();
            fs::copy(source.blobs().unwrap().load_blob(oid, tid).unwrap(), &file).unwrap();
            copy.restore_blob(oid, data, data_tid, file).unwrap();
        }
        assert_eq!(copy.vote().unwrap().finish(Box::new(|_| {})).unwrap(), tid);
    }
    let reader = client("1", BlobOptions::shared(folder.path().join("1.blobs")));
    assert_eq!(everything(&*reader), everything(&*source));
}

trait LoadBlob {
    fn load_blob(&self, oid: u64, tid: u64) -> std::path::PathBuf;
}

impl LoadBlob for Arc<ZeoStorage> {
    /// Of a client that cannot ask: the file must be there.
    fn load_blob(&self, oid: u64, tid: u64) -> std::path::PathBuf {
        let blobs = self.blobs().unwrap();
        let file = blobs.staging_directory().parent().unwrap().join(format!(
            "{}/{}.{tid:016x}.blob",
            oid % 997,
            oid / 997
        ));
        assert!(file.exists(), "Python's file is where ours would be");
        blobs.load_blob(Oid::new(oid), Tid::new(tid)).unwrap()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn blobs_go_to_and_from_genuine_servers_and_caches_are_shared_with_genuine_clients() {
    blobs(false);
}

#[test]
fn blobs_go_to_and_from_genuine_servers_in_msgpack() {
    blobs(true);
}

#[test]
fn a_genuine_read_only_server_will_do_until_it_takes_commits() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |read_only: bool, port: u16| {
        Server::start_as(&json!({
            "directory": folder.path(), "count": 1, "msgpack": false,
            "read_only": read_only, "port": port,
        }))
    };
    let server = serve(true, 0);
    let address = server.address().to_owned();
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let options = ClientOptions {
        read_only_fallback: true,
        ..at(&address)
    };
    let client = ZeoStorage::connect(options).unwrap();
    assert!(client.is_read_only());
    assert!(client.clone().begin(TransactionMeta::default()).is_err());
    drop(server);
    let lock = folder.path().join("0.fs.lock");
    let _the_next_one_makes_it_anew = fs::remove_file(lock);
    let _server = serve(false, port);
    poll("a server that takes commits", PATIENCE, || {
        let _reached = client.ping();
        (!client.is_read_only()).then_some(())
    })
    .unwrap();
    voted(&client, &[(Oid::new(1), Tid::ZERO, b"one")])
        .finish(Box::new(|_| {}))
        .unwrap();
}

fn voted(client: &Arc<ZeoStorage>, stores: &[(Oid, Tid, &[u8])]) -> Box<dyn Voted> {
    let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
    for (oid, base, record) in stores {
        commit.store(*oid, *base, Record::from(*record)).unwrap();
    }
    commit.vote().unwrap()
}

/// A wire that may lose what one side says, and breaks.
struct Wire {
    address: String,
    is_server_deaf: Arc<AtomicBool>,
    is_client_deaf: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap().to_string(),
            is_server_deaf: Arc::default(),
            is_client_deaf: Arc::default(),
            streams: Arc::default(),
        };
        let server = server.to_owned();
        let (to_server, to_client) = (wire.is_server_deaf.clone(), wire.is_client_deaf.clone());
        let streams = wire.streams.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else {
                    return;
                };
                streams
                    .lock()
                    .unwrap()
                    .extend([&client, &server].map(|end| end.try_clone().unwrap()));
                pass(&client, &server, to_server.clone());
                pass(&server, &client, to_client.clone());
            }
        });
        wire
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _gone_already = stream.shutdown(Shutdown::Both);
        }
        self.is_server_deaf.store(false, Ordering::SeqCst);
        self.is_client_deaf.store(false, Ordering::SeqCst);
    }
}

fn pass(from: &TcpStream, to: &TcpStream, is_deaf: Arc<AtomicBool>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if !is_deaf.load(Ordering::SeqCst) && to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _gone_already = to.shutdown(Shutdown::Both);
    });
}

/// What a finish comes to whose answer, or which itself, is lost.
fn lost(
    directory: &Path,
    is_heard: bool,
    stores: &[(u64, &[u8])],
) -> (Tid, Result<Tid, CommitError>) {
    let wanted = json!({ "directory": directory, "count": 1, "msgpack": false });
    let server = Server::start_as(&wanted);
    let wire = Wire::to(server.address());
    let client = ZeoStorage::connect(at(&wire.address)).unwrap();
    let other = ZeoStorage::connect(at(server.address())).unwrap();
    let base = voted(&client, &[(Oid::new(1), Tid::ZERO, b"one")])
        .finish(Box::new(|_| {}))
        .unwrap();
    let stores: Vec<_> = stores
        .iter()
        .map(|(oid, data)| {
            (
                Oid::new(*oid),
                if *oid == 1 { base } else { Tid::ZERO },
                *data,
            )
        })
        .collect();
    let voted = voted(&client, &stores);
    let deaf = if is_heard {
        &wire.is_client_deaf
    } else {
        &wire.is_server_deaf
    };
    deaf.store(true, Ordering::SeqCst);
    let outcome = thread::scope(|scope| {
        let outcome = scope.spawn(|| voted.finish(Box::new(|_| {})));
        if is_heard {
            poll("the commit", PATIENCE, || {
                other.ping().unwrap();
                (other.last_tid() > base).then_some(())
            })
            .unwrap();
        }
        wire.cut();
        outcome.join().unwrap()
    });
    other.ping().unwrap();
    (other.last_tid(), outcome)
}

#[test]
fn what_became_of_a_finish_is_found_out_at_a_genuine_server() {
    let folders = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let (tid, outcome) = lost(folders[0].path(), true, &[(1, b"two"), (2, b"new")]);
    assert_eq!(outcome.unwrap(), tid);
    let (_, outcome) = lost(folders[1].path(), true, &[(1, b"two")]);
    assert!(matches!(outcome, Err(CommitError::Unknown)), "{outcome:?}");
    for (folder, stores) in folders[2..]
        .iter()
        .zip([&[(1, &b"two"[..])], &[(2, &b"new"[..])]])
    {
        let (_, outcome) = lost(folder.path(), false, stores);
        let error = outcome.unwrap_err();
        assert_eq!(error.severity(), Severity::Retry, "{error}");
    }
}
