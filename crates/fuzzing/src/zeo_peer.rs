//! ZEO: what a peer may send, to either side.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use storage::{MemoryStorage, Oid, Record, Tid, TransactionMeta};
use zeo::{
    Connection, Encoding, Event, FrameReader, Hub, HubOptions, Reply, Request, Session, Value,
};

/// Cuts a stream into frames; the first byte says in which pieces it comes.
///
/// # Panics
/// Where the pieces make a difference, or a frame is over the limit.
pub fn zeo_frames(bytes: &[u8]) {
    let Some((size, stream)) = split(bytes) else {
        return;
    };
    let frames = |size: usize| {
        let mut reader = FrameReader::new(FRAME_BYTES_MAX);
        let mut frames = Vec::new();
        for piece in stream.chunks(size) {
            reader.push(piece);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
            assert!(reader.pending() <= FRAME_BYTES_MAX + 4);
        }
        (frames, None)
    };
    let (found, error) = frames(size);
    assert!(found.iter().all(|frame| frame.len() <= FRAME_BYTES_MAX));
    assert_eq!((found, error), frames(usize::MAX));
}

/// Decodes a message in pickle; what was decoded is encoded and decoded again.
///
/// # Panics
/// Where an encoding does not come back.
pub fn zeo_pickle(bytes: &[u8]) {
    decode(Encoding::Pickle, bytes);
}

/// The same in msgpack.
///
/// # Panics
/// Where an encoding does not come back.
pub fn zeo_msgpack(bytes: &[u8]) {
    decode(Encoding::Msgpack, bytes);
}

fn decode(encoding: Encoding, bytes: &[u8]) {
    if bytes.len() > BYTES_MAX {
        return;
    }
    let Ok(value) = encoding.decode(bytes) else {
        return;
    };
    let mut encoded = Vec::new();
    encoding.encode(&value, &mut encoded);
    let again = encoding.decode(&encoded).expect("we wrote it");
    let mut encoded_again = Vec::new();
    encoding.encode(&again, &mut encoded_again);
    assert_eq!(encoded, encoded_again, "an encoding is stable");
}

/// What a client sends, handshake and all; the first byte says in which pieces it comes. A second
/// client commits before, in between, and after.
///
/// # Panics
/// Where the second client hears anything but what it should, or is held up when the first is gone.
pub fn zeo_connection(bytes: &[u8]) {
    let Some((size, stream)) = split(bytes) else {
        return;
    };
    let storages = vec![("1".to_owned(), Arc::new(MemoryStorage::new()) as _)];
    let options = HubOptions {
        frame_bytes_max: FRAME_BYTES_MAX,
        transaction_bytes_max: BYTES_MAX,
        output_bytes_max: OUTPUT_BYTES_MAX,
        ..HubOptions::default()
    };
    let hub = Hub::new(storages, options).expect("it is in memory");
    let mut bystander = Bystander::new(&hub);
    bystander.commit();
    let mut peer = hub.connect("fuzz".to_owned(), || {});
    for piece in stream.chunks(size) {
        peer.receive(piece);
        if serve(&mut peer).is_err() {
            break;
        }
        assert!(peer.outbox().pending() <= 2 * OUTPUT_BYTES_MAX);
    }
    bystander.look();
    if let Some(job) = peer.disconnect() {
        job.run();
    }
    drop(peer);
    bystander.commit();
    // Its last word: it took too long, in a turn that is nobody's any more.
    assert!(
        hub.handle_timeout(now() + Duration::from_secs(60))
            .is_some()
    );
    bystander.commit();
}

/// What a server sends; the first byte says in which pieces it comes.
///
/// # Panics
/// Never, it should be.
pub fn zeo_session(bytes: &[u8]) {
    let Some((size, stream)) = split(bytes) else {
        return;
    };
    let mut session = Session::new(now(), FRAME_BYTES_MAX);
    let mut out = Vec::new();
    for piece in stream.chunks(size) {
        if session.receive(piece).is_err() {
            return;
        }
        while let Some(event) = session.poll_event() {
            if matches!(event, Event::Connected(_)) {
                for request in questions() {
                    session.call(&request);
                }
            }
        }
        session.poll_transmit(&mut out);
    }
}

/// One of each kind of answer that a client reads, by the numbers from 1 on.
fn questions() -> Vec<Request> {
    let (oid, tid) = (Oid::ROOT, Tid::new(1));
    vec![
        Request::LastTransaction,
        Request::GetInfo,
        Request::GetInvalidations(tid),
        Request::LoadBefore { oid, before: tid },
        Request::LoadSerial { oid, tid },
        Request::NewOids(10),
        Request::Vote(Value::Int(1)),
        Request::History { oid, size: 10 },
        Request::IteratorNext(1),
        Request::IteratorRecordNext(1),
        Request::RecordNext(oid),
        Request::UndoLog {
            first: 0,
            last: -10,
            specification: Vec::new(),
        },
        Request::Ping,
    ]
}

/// An honest client.
struct Bystander {
    session: Session,
    connection: Connection,
    last: Tid,
    transactions: i64,
}

impl Bystander {
    fn new(hub: &Arc<Hub>) -> Self {
        let mut bystander = Self {
            session: Session::new(now(), FRAME_BYTES_MAX),
            connection: hub.connect("bystander".to_owned(), || {}),
            last: Tid::ZERO,
            transactions: 0,
        };
        bystander.hear();
        let register = Request::Register {
            storage: "1".to_owned(),
            read_only: false,
        };
        bystander.ask(&register);
        bystander
    }

    /// Takes what came: invalidations in their order.
    fn hear(&mut self) -> Option<Reply> {
        let mut bytes = Vec::new();
        let taken = self.connection.outbox().take(&mut bytes);
        taken.expect("it is no reason to give the bystander up");
        self.session.receive(&bytes).expect("the server is sound");
        let mut reply = None;
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Invalidated { tid, .. } => {
                    assert!(tid > self.last, "{tid} is pushed after {}", self.last);
                    self.last = tid;
                }
                Event::Replied { outcome, .. } => {
                    reply = Some(outcome.expect("nobody else is in the way"));
                }
                Event::Connected(_) | Event::Resized(_) | Event::Blob { .. } => {}
            }
        }
        reply
    }

    fn ask(&mut self, request: &Request) -> Reply {
        self.session.call(request);
        let mut bytes = Vec::new();
        self.session.poll_transmit(&mut bytes);
        self.connection.receive(&bytes);
        assert_eq!(serve(&mut self.connection), Ok(()));
        self.hear().expect("answered")
    }

    fn look(&mut self) {
        assert_eq!(self.ask(&Request::Ping), Reply::Nothing);
        self.ask(&Request::ServerStatus);
    }

    /// A new object, which nobody else can have in use.
    fn commit(&mut self) {
        self.transactions += 1;
        let id = Value::Int(self.transactions);
        let Reply::Oids(oids) = self.ask(&Request::NewOids(1)) else {
            unreachable!("it is how such an answer is read");
        };
        self.session.send(&Request::TpcBegin {
            id: id.clone(),
            meta: TransactionMeta::default(),
            copied: None,
        });
        let oid = oids.first().copied().expect("one was asked for");
        self.session.send(&Request::Store {
            oid: Oid::new(oid.number() | BYSTANDERS),
            base: Tid::ZERO,
            record: Record::from(&b"\x80\x03ca\nB\n.}."[..]),
            id: id.clone(),
        });
        assert_eq!(self.ask(&Request::Vote(id.clone())), Reply::Voted(vec![]));
        let Reply::Tid(tid) = self.ask(&Request::TpcFinish(id)) else {
            unreachable!("it is how such an answer is read");
        };
        assert!(tid > self.last, "{tid} is finished after {}", self.last);
        self.last = tid;
    }
}

fn serve(connection: &mut Connection) -> Result<(), zeo::ProtocolError> {
    while let Some(job) = connection.next_job()? {
        job.run();
    }
    Ok(())
}

/// The size of the pieces, and what comes in them.
fn split(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (size, stream) = bytes.split_first()?;
    let size = if *size == 0 {
        usize::MAX
    } else {
        usize::from(*size)
    };
    (stream.len() <= BYTES_MAX).then_some((size, stream))
}

#[allow(clippy::disallowed_methods, reason = "a point to count from")]
fn now() -> Instant {
    Instant::now()
}

const BYTES_MAX: usize = 1 << 14;
const FRAME_BYTES_MAX: usize = 1 << 12;
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Object ids that no input guesses in passing.
const BYSTANDERS: u64 = 0x0b75_7a4d_e500_0000;
