//! Blobs: their files come with the transactions, and go to those who ask.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use filestorage::{FileStorage, Options};
use storage::{Blobs, CommitError, Oid, Record, Storage, StorageError, Tid};
use zeo::{BlobPart, Encoding, Event, Hub, HubOptions, ProtocolError, Reply, Request, Value};

use crate::pair::{Client, hub};

const OID: Oid = Oid::new(1);
/// What all blobs have for a record: the class, and no state.
const BLOB: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";

struct Site {
    folder: tempfile::TempDir,
    storage: Arc<FileStorage>,
    hub: Arc<Hub>,
}

impl Site {
    fn new(options: HubOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let storage_options = Options {
            blob_dir: Some(folder.path().join("blobs")),
            ..Options::default()
        };
        let storage = FileStorage::open(folder.path().join("Data.fs"), storage_options).unwrap();
        let served: Arc<dyn Storage> = storage.clone();
        let hub = Hub::new(vec![("1".to_owned(), served)], options).unwrap();
        Self {
            folder,
            storage,
            hub,
        }
    }

    /// What lies in `tmp/`.
    fn staged(&self) -> usize {
        fs::read_dir(self.folder.path().join("blobs/tmp"))
            .unwrap()
            .count()
    }

    fn shared(&self, name: &str) -> PathBuf {
        let path = self.storage.shared_file(OID, name).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }
}

fn site() -> Site {
    Site::new(HubOptions::default())
}

/// Sends the file of a blob in an open transaction.
fn upload(client: &mut Client, base: Tid, pieces: &[&[u8]], id: &Value<'static>) {
    client.send(&Request::BlobStart);
    for piece in pieces {
        client.send(&Request::BlobChunk(piece.to_vec()));
    }
    client.send(&Request::BlobEnd {
        oid: OID,
        base,
        record: Record::from(BLOB),
        id: id.clone(),
    });
    client.run_jobs();
}

fn commit(client: &mut Client, base: Tid, pieces: &[&[u8]]) -> Tid {
    let id = client.begin(OID, base, BLOB);
    upload(client, base, pieces, &id);
    finish(client, id)
}

fn finish(client: &mut Client, id: Value<'static>) -> Tid {
    let vote = client.ask(&Request::Vote(id.clone()));
    assert!(matches!(vote, Ok(Reply::Voted(_))), "{vote:?}");
    match client.ask(&Request::TpcFinish(id)) {
        Ok(Reply::Tid(tid)) => tid,
        other => panic!("{other:?}"),
    }
}

/// Sends what waits, blobs too.
fn hear_all(client: &mut Client) {
    loop {
        client.hear();
        let Some(mut stream) = client.connection.outbox().take_stream() else {
            return;
        };
        let mut is_more = true;
        while is_more {
            let mut out = Vec::new();
            is_more = stream.produce(&mut out).unwrap();
            assert!(out.len() < 300_000, "{} bytes at once", out.len());
            client.session.receive(&out).unwrap();
        }
        client.connection.outbox().end_stream();
    }
}

fn download(client: &mut Client, tid: Tid) -> (Vec<u8>, Result<Reply, zeo::Refusal>) {
    let call = client.call(&Request::SendBlob { oid: OID, tid });
    hear_all(client);
    let mut bytes = Vec::new();
    let mut marks = 0;
    for event in std::mem::take(&mut client.events) {
        match event {
            Event::Blob { part, .. } => match part {
                BlobPart::Chunk(chunk) => bytes.extend(chunk),
                BlobPart::Start | BlobPart::Stop => marks += 1,
            },
            event => client.events.push_back(event),
        }
    }
    let answer = client.answer(call).expect("answered");
    assert_eq!(marks, if answer.is_ok() { 2 } else { 0 });
    (bytes, answer)
}

#[test]
fn a_blob_travels_in_pieces_both_ways() {
    let site = site();
    let mut client = Client::registered(&site.hub);
    let large: Vec<u8> = (0..400_000u32).map(|number| (number % 251) as u8).collect();
    let first = commit(&mut client, Tid::ZERO, &[&large[..1], &large[1..]]);
    assert_eq!(site.staged(), 0, "nothing is left behind");
    let second = commit(&mut client, first, &[]);
    assert_eq!(download(&mut client, first), (large, Ok(Reply::Nothing)));
    assert_eq!(download(&mut client, second), (vec![], Ok(Reply::Nothing)));
    let missing = download(&mut client, second.next()).1.unwrap_err();
    assert_eq!(missing.class(), "ZODB.POSException.POSKeyError");
    let Value::Tuple(data) = missing.data() else {
        panic!("{missing:?}");
    };
    assert_eq!(data.len(), 3, "a text, the object, the transaction");
}

#[test]
fn nothing_comes_between_the_pieces_of_a_blob() {
    let site = site();
    let mut reader = Client::registered(&site.hub);
    let mut writer = Client::registered(&site.hub);
    let tid = commit(&mut writer, Tid::ZERO, &[&[7; 300_000]]);
    reader.hear();
    reader.events.clear();
    let blob = reader.call(&Request::SendBlob { oid: OID, tid });
    let ping = reader.call(&Request::Ping);
    let later = writer.commit(Oid::new(2), Tid::ZERO, b"state");
    hear_all(&mut reader);
    let kinds: Vec<_> = reader
        .events
        .iter()
        .map(|event| match event {
            Event::Blob { .. } => "blob".to_owned(),
            Event::Replied { id, .. } if *id == blob => "its reply".to_owned(),
            Event::Replied { id, .. } if *id == ping => "ping".to_owned(),
            Event::Invalidated { tid, .. } if *tid == later => "invalidation".to_owned(),
            other => format!("{other:?}"),
        })
        .collect();
    let (parts, others) = kinds.split_at(kinds.len() - 3);
    assert!(parts.iter().all(|kind| kind == "blob") && parts.len() == 8);
    assert_eq!(others, ["its reply", "ping", "invalidation"]);
}

#[test]
fn what_waits_behind_a_blob_is_bounded() {
    let site = Site::new(HubOptions {
        output_bytes_max: 2_000,
        ..HubOptions::default()
    });
    let mut client = Client::registered(&site.hub);
    let tid = commit(&mut client, Tid::ZERO, &[b"x"]);
    for _ in 0..20 {
        client.call(&Request::SendBlob { oid: OID, tid });
    }
    let failure = client.connection.outbox().failure();
    assert!(matches!(failure, Some(ProtocolError::Stalled { .. })));
}

#[test]
fn files_are_kept_for_the_next_vote_and_gone_after_an_end_of_any_kind() {
    let site = site();
    let mut client = Client::registered(&site.hub);
    let mut other = Client::registered(&site.hub);
    let plain = Oid::new(2);
    let base = other.commit(plain, Tid::ZERO, b"base");
    let newer = other.commit(plain, base, b"newer");
    let id = client.begin(plain, base, b"mine");
    upload(&mut client, Tid::ZERO, &[b"text"], &id);
    let vote = Request::Vote(id.clone());
    assert!(matches!(client.ask(&vote), Ok(Reply::Conflicts(_))));
    client.store(plain, newer, b"merged", &id);
    let tid = finish(&mut client, id);
    assert_eq!(download(&mut client, tid).0, b"text");
    assert_eq!(site.staged(), 0);

    // An abort before the vote, and after it.
    for votes in [false, true] {
        let id = client.begin(OID, tid, BLOB);
        upload(&mut client, tid, &[b"lost"], &id);
        assert_eq!(site.staged(), 1);
        if votes {
            client.ask(&Request::Vote(id.clone())).unwrap();
        }
        assert_eq!(client.ask(&Request::TpcAbort(id)), Ok(Reply::Nothing));
        assert_eq!(site.staged(), 0);
    }
    // A failed vote.
    let id = client.begin(plain, newer, b"x");
    upload(&mut client, tid, &[b"lost"], &id);
    client.send(&Request::CheckCurrent {
        oid: OID,
        base: Tid::ZERO,
        id: id.clone(),
    });
    client.ask(&Request::Vote(id.clone())).unwrap_err();
    client.ask(&Request::TpcAbort(id)).unwrap();
    assert_eq!(site.staged(), 0);
    // A client that leaves in the middle of a file.
    client.begin(OID, tid, BLOB);
    client.send(&Request::BlobStart);
    client.send(&Request::BlobChunk(b"lo".to_vec()));
    client.run_jobs();
    assert_eq!(site.staged(), 1);
    drop(client);
    assert_eq!(site.staged(), 0);
}

#[test]
fn a_file_in_the_shared_directory_is_taken_from_there() {
    let site = site();
    let mut client = Client::registered(&site.hub);
    let share = |client: &mut Client, base, name: &str| {
        let id = client.begin(OID, base, BLOB);
        client.send(&Request::BlobShared {
            oid: OID,
            base,
            record: Record::from(BLOB),
            name: name.to_owned(),
            id: id.clone(),
        });
        id
    };
    let path = site.shared("abc.tmp");
    fs::write(&path, b"shared").unwrap();
    let id = share(&mut client, Tid::ZERO, "abc.tmp");
    let tid = finish(&mut client, id);
    assert!(!path.exists());
    assert_eq!(download(&mut client, tid).0, b"shared");
    // One that is not there costs the vote.
    let id = share(&mut client, tid, "gone.tmp2");
    let refusal = client.ask(&Request::Vote(id.clone())).unwrap_err();
    assert!(matches!(
        refusal.to_commit_error(),
        CommitError::Storage(StorageError::Remote { .. })
    ));
    client.ask(&Request::TpcAbort(id)).unwrap();
    for name in ["../abc.tmp", "/etc/passwd", "abc", "a/b.tmp", "0x01.blob"] {
        let mut client = Client::registered(&site.hub);
        share(&mut client, tid, name);
        client.settle();
        assert!(
            matches!(&client.error, Some(ProtocolError::OneWay { reason, .. }) if reason.contains("ValueError")),
            "{name}: {:?}",
            client.error
        );
    }
}

#[test]
fn an_undone_blob_has_its_older_file_again() {
    let site = site();
    let mut client = Client::registered(&site.hub);
    let first = commit(&mut client, Tid::ZERO, &[b"one"]);
    let second = commit(&mut client, first, &[b"two"]);
    let id = client.begin(Oid::new(2), Tid::ZERO, b"beside");
    client.send(&Request::undo(second, id.clone()));
    let undone = finish(&mut client, id);
    assert_eq!(download(&mut client, undone).0, b"one");
}

#[test]
fn too_much_fails_the_vote_and_nonsense_the_connection() {
    let site = Site::new(HubOptions {
        blob_bytes_max: 10,
        ..HubOptions::default()
    });
    let mut client = Client::registered(&site.hub);
    let id = client.begin(OID, Tid::ZERO, BLOB);
    upload(&mut client, Tid::ZERO, &[b"12345", b"123456", b"1"], &id);
    let refusal = client.ask(&Request::Vote(id)).unwrap_err();
    let text = refusal.to_commit_error().to_string();
    assert!(text.contains("limit of 10"), "{text}");
    assert_eq!(site.staged(), 0);
    let nonsense = [
        vec![Request::BlobChunk(b"x".to_vec())],
        vec![Request::BlobStart, Request::BlobStart],
    ];
    for calls in nonsense {
        let mut client = Client::registered(&site.hub);
        client.begin(OID, Tid::ZERO, BLOB);
        calls.iter().for_each(|call| client.send(call));
        client.settle();
        assert!(client.error.is_some());
    }
    let mut early = Client::registered(&site.hub);
    early.send(&Request::BlobStart);
    early.hear();
    assert!(early.error.is_some(), "without a transaction");
}

#[test]
fn a_storage_without_blobs_says_so() {
    let hub = hub(Encoding::Pickle);
    let mut client = Client::registered(&hub);
    let (_, answer) = download(&mut client, Tid::new(1));
    assert_eq!(answer.unwrap_err().class(), "builtins.TypeError");
    let id = client.begin(OID, Tid::ZERO, BLOB);
    upload(&mut client, Tid::ZERO, &[b"x"], &id);
    let refusal = client.ask(&Request::Vote(id)).unwrap_err();
    let text = refusal.to_commit_error().to_string();
    assert!(text.contains("does not offer blobs"), "{text}");
}
