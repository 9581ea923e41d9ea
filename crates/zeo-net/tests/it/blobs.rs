//! Blobs over sockets: a large one that its client does not take is in nobody's way.

use filestorage::{FileStorage, Options};
use storage::{Oid, Record, Storage, Tid, TransactionMeta};
use zeo::{BlobPart, Event, Reply, Request, Value};

use crate::raw::RawClient;
use crate::world::{TestServer, commit};

const BLOB: Oid = Oid::new(1);
/// More than sockets keep by themselves.
const LENGTH: usize = 32 << 20;
/// What all blobs have for a record: the class, and no state.
const RECORD: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.";

fn store(client: &mut RawClient) -> Tid {
    let id = Value::Int(1);
    client.tell(&Request::TpcBegin {
        id: id.clone(),
        meta: TransactionMeta::default(),
        copied: None,
    });
    client.tell(&Request::BlobStart);
    for number in 0..LENGTH >> 20 {
        let piece = vec![u8::try_from(number).unwrap(); 1 << 20];
        client.call(&Request::BlobChunk(piece));
    }
    client.tell(&Request::BlobEnd {
        oid: BLOB,
        base: Tid::ZERO,
        record: Record::from(RECORD),
        id: id.clone(),
    });
    let vote = client.call(&Request::Vote(id.clone()));
    assert_eq!(client.answer(vote), Some(Ok(Reply::Voted(vec![]))));
    let finish = client.call(&Request::TpcFinish(id));
    match client.answer(finish) {
        Some(Ok(Reply::Tid(tid))) => tid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_blob_that_is_not_taken_holds_up_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        blob_dir: Some(folder.path().join("blobs")),
        ..Options::default()
    };
    let storage = FileStorage::open(folder.path().join("Data.fs"), options).unwrap();
    let server = TestServer::start(storage.clone());
    let mut slow = RawClient::registered(&server);
    let tid = store(&mut slow);
    let blob = slow.call(&Request::SendBlob { oid: BLOB, tid });
    assert!(matches!(
        slow.event(),
        Some(Event::Blob {
            part: BlobPart::Start,
            ..
        })
    ));
    // Meanwhile others commit and load as ever.
    let other = server.client();
    let mut base = Tid::ZERO;
    for _ in 0..20 {
        base = commit(&other, Oid::new(2), base, b"state").unwrap();
    }
    assert_eq!(other.current_tid(Oid::new(2)).unwrap(), base);
    // And what they did comes behind the blob, in order.
    let (mut length, mut heard) = (0, Vec::new());
    loop {
        match slow.event().unwrap() {
            Event::Blob {
                part: BlobPart::Chunk(bytes),
                ..
            } => {
                let is_right = |(at, byte): (usize, &u8)| usize::from(*byte) == at >> 20;
                assert!((length..).zip(&bytes).all(is_right));
                length += bytes.len();
            }
            Event::Replied { id, outcome } if id == blob => {
                assert_eq!(outcome, Ok(Reply::Nothing));
                assert_eq!(length, LENGTH);
            }
            Event::Invalidated { tid, .. } => heard.push(tid),
            _ => {}
        }
        if heard.len() == 20 {
            break;
        }
    }
    assert!(heard.is_sorted() && heard.last() == Some(&base));
}
