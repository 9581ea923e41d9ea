//! The client's end of one connection.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use storage::{
    Conflict, CurrentRecord, DataRecord, HistoryEntry, Oid, Record, Revision, StorageStats, Tid,
};

use crate::frame::{FrameReader, write_frame};
use crate::looking::{self, UndoLog, WalkedTransaction};
use crate::message::{Message, REPLY, write_call, write_heartbeat, write_one_way};
use crate::{Encoding, ProtocolError, Refusal, Request, Value};

/// How often a client shows that it lives.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(60);

/// Names one call of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(i64);

/// What the server said.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The handshake is done; calls may be made, beginning with `register`.
    Connected(Encoding),
    /// The answer to a call.
    Replied {
        /// The call.
        id: CallId,
        /// What it answered.
        outcome: Result<Reply, Refusal>,
    },
    /// A transaction was committed by somebody else.
    Invalidated {
        /// The transaction.
        tid: Tid,
        /// The objects it changed.
        oids: Vec<Oid>,
    },
    /// New size figures.
    Resized(StorageStats),
    /// A part of the file of a blob that was asked for.
    Blob {
        /// The object.
        oid: Oid,
        /// The transaction that wrote the revision.
        tid: Tid,
        /// What came.
        part: BlobPart,
    },
}

/// A part of a blob that the server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobPart {
    /// It begins.
    Start,
    /// The next bytes.
    Chunk(Vec<u8>),
    /// That was all.
    Stop,
}

/// A result, read as the call it answers promises.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// A transaction id: `register`, `lastTransaction`, `getTid`, `tpc_finish`.
    Tid(Tid),
    /// A revision: `loadBefore`.
    Revision(Option<Revision>),
    /// A record: `loadSerial`.
    Record(Record),
    /// Object ids: `new_oids`.
    Oids(Vec<Oid>),
    /// The newest transaction and what changed: `getInvalidations`; `None` if the server cannot
    /// tell.
    Invalidations(Option<(Tid, Vec<Oid>)>),
    /// `vote`: the transaction is voted; these objects were stored differently.
    Voted(Vec<Oid>),
    /// `vote`: the server hands conflicts over to be resolved, and keeps the transaction.
    Conflicts(Vec<Conflict>),
    /// `get_info`.
    Info {
        /// Size figures.
        stats: StorageStats,
        /// The storage's name for itself.
        name: String,
        /// Whether it can undo.
        undoes: bool,
        /// Whether it can be walked through.
        iterates: bool,
    },
    /// The number of a walk: `iterator_start`, `iterator_record_start`.
    Walk(i64),
    /// `iterator_next`; nothing behind the last one.
    Transaction(Option<WalkedTransaction>),
    /// `iterator_record_next`; nothing behind the last one.
    DataRecord(Option<DataRecord>),
    /// `record_iternext`.
    CurrentRecord(CurrentRecord),
    /// `history`.
    History(Vec<HistoryEntry>),
    /// `undoLog`.
    UndoLog(UndoLog),
    /// Anything else.
    Other(Value<'static>),
}

/// How the reply to a call is read.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Tid,
    Revision,
    Record,
    Oids,
    Invalidations,
    Vote,
    Info,
    Walk,
    Transaction,
    DataRecord,
    CurrentRecord,
    History,
    UndoLog,
    Other,
}

/// The client's side of the protocol as a value: bytes in, events out; calls in, bytes out.
#[derive(Debug)]
pub struct Session {
    frames: FrameReader,
    encoding: Option<Encoding>,
    calls: HashMap<CallId, Expected>,
    last_id: i64,
    events: VecDeque<Event>,
    out: Vec<u8>,
    heartbeat_at: Instant,
}

impl Session {
    /// A session on a fresh connection.
    pub fn new(now: Instant, frame_bytes_max: usize) -> Self {
        Self {
            frames: FrameReader::new(frame_bytes_max),
            encoding: None,
            calls: HashMap::new(),
            last_id: 0,
            events: VecDeque::new(),
            out: Vec::new(),
            heartbeat_at: now + HEARTBEAT_INTERVAL,
        }
    }

    /// Takes bytes from the server. Call [`poll_event`](Self::poll_event) until it is empty, then
    /// [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Errors
    /// The server breaks the protocol: the connection is of no more use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.frames.push(bytes);
        while let Some(frame) = self.frames.next_frame()? {
            let Some(encoding) = self.encoding else {
                // The client speaks what the server announces.
                let encoding = Encoding::from_handshake(frame)?;
                self.encoding = Some(encoding);
                write_frame(&mut self.out, |out| {
                    out.extend_from_slice(encoding.announcement());
                });
                self.events.push_back(Event::Connected(encoding));
                continue;
            };
            let message = Message::decode(encoding, frame)?;
            let event = if message.name == REPLY {
                replied(&mut self.calls, message)?
            } else {
                pushed(message)?
            };
            self.events.push_back(event);
        }
        Ok(())
    }

    /// Makes a call that will be answered by an [`Event::Replied`].
    ///
    /// # Panics
    /// Before [`Event::Connected`]: nothing is known of the encoding.
    pub fn call(&mut self, request: &Request) -> CallId {
        self.call_expecting(request, expected(request))
    }

    /// As [`call`](Self::call), with a result that is handed out as it came: [`Reply::Other`].
    ///
    /// # Panics
    /// Before [`Event::Connected`]: nothing is known of the encoding.
    pub fn call_raw(&mut self, request: &Request) -> CallId {
        self.call_expecting(request, Expected::Other)
    }

    fn call_expecting(&mut self, request: &Request, expected: Expected) -> CallId {
        self.last_id += 1;
        let id = CallId(self.last_id);
        self.calls.insert(id, expected);
        let (name, args) = request.encode();
        write_call(self.connected(), id.0, name, args, &mut self.out);
        id
    }

    /// Makes a call that is not answered.
    ///
    /// # Panics
    /// Before [`Event::Connected`]: nothing is known of the encoding.
    pub fn send(&mut self, request: &Request) {
        let (name, args) = request.encode();
        write_one_way(self.connected(), name, args, &mut self.out);
    }

    fn connected(&self) -> Encoding {
        self.encoding
            .expect("calls are made after Event::Connected")
    }

    /// What the server said next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Moves what is to be sent into `out`, which should be empty. Whether there was anything.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        if out.is_empty() {
            mem::swap(&mut self.out, out);
        } else {
            out.append(&mut self.out);
        }
        !out.is_empty()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.encoding.map(|_| self.heartbeat_at)
    }

    /// Does what is due: a heartbeat.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(encoding) = self.encoding
            && now >= self.heartbeat_at
        {
            write_heartbeat(encoding, &mut self.out);
            self.heartbeat_at = now + HEARTBEAT_INTERVAL;
        }
    }
}

fn expected(request: &Request) -> Expected {
    match request {
        Request::Register { .. }
        | Request::LastTransaction
        | Request::GetTid(_)
        | Request::TpcFinish(_) => Expected::Tid,
        Request::LoadBefore { .. } => Expected::Revision,
        Request::LoadSerial { .. } => Expected::Record,
        Request::NewOids(_) => Expected::Oids,
        Request::GetInvalidations(_) => Expected::Invalidations,
        Request::Vote(_) => Expected::Vote,
        Request::GetInfo => Expected::Info,
        Request::IteratorStart { .. } | Request::IteratorRecordStart { .. } => Expected::Walk,
        Request::IteratorNext(_) => Expected::Transaction,
        Request::IteratorRecordNext(_) => Expected::DataRecord,
        Request::RecordNext(_) => Expected::CurrentRecord,
        Request::History { .. } => Expected::History,
        Request::UndoLog { .. } => Expected::UndoLog,
        _ => Expected::Other,
    }
}

fn replied(
    calls: &mut HashMap<CallId, Expected>,
    message: Message<'_>,
) -> Result<Event, ProtocolError> {
    let id = message.id.as_int().map(CallId);
    let Some((id, expected)) = id.and_then(|id| Some((id, calls.remove(&id)?))) else {
        return Err(ProtocolError::unexpected("a reply to no call"));
    };
    let outcome = if message.flag {
        let refusal = Refusal::from_wire(message.args);
        Err(refusal.ok_or_else(|| ProtocolError::unexpected("an error without class and data"))?)
    } else {
        let reply = expected.read(message.args);
        Ok(reply
            .ok_or_else(|| ProtocolError::unexpected(format!("a reply that is no {expected:?}")))?)
    };
    Ok(Event::Replied { id, outcome })
}

fn pushed(message: Message<'_>) -> Result<Event, ProtocolError> {
    let event = match (&*message.name, message.args.elements()) {
        ("invalidateTransaction", Some([tid, oids])) => tid_of(tid)
            .zip(oids_of(oids))
            .map(|(tid, oids)| Event::Invalidated { tid, oids }),
        ("info", Some([info])) => stats_of(info).map(Event::Resized),
        ("receiveBlobStart", Some([oid, tid])) => blob_event(oid, tid, Some(BlobPart::Start)),
        ("receiveBlobStop", Some([oid, tid])) => blob_event(oid, tid, Some(BlobPart::Stop)),
        ("receiveBlobChunk", Some([oid, tid, bytes])) => {
            let bytes = bytes.as_bytes().map(<[u8]>::to_vec);
            blob_event(oid, tid, bytes.map(BlobPart::Chunk))
        }
        _ => None,
    };
    event.ok_or_else(|| ProtocolError::unexpected(format!("a push of {:?}", message.name)))
}

fn blob_event(oid: &Value<'_>, tid: &Value<'_>, part: Option<BlobPart>) -> Option<Event> {
    Some(Event::Blob {
        oid: oid_of(oid)?,
        tid: tid_of(tid)?,
        part: part?,
    })
}

impl Expected {
    fn read(self, value: Value<'_>) -> Option<Reply> {
        Some(match self {
            Self::Tid if value == Value::None => Reply::Nothing,
            Self::Tid => Reply::Tid(tid_of(&value)?),
            Self::Revision if value == Value::None => Reply::Revision(None),
            Self::Revision => Reply::Revision(Some(revision_of(&value)?)),
            Self::Record => Reply::Record(Record::from(value.as_bytes()?)),
            Self::Oids => Reply::Oids(oids_of(&value)?),
            Self::Invalidations if value == Value::None => Reply::Invalidations(None),
            Self::Invalidations => match value.elements()? {
                [tid, oids] => Reply::Invalidations(Some((tid_of(tid)?, oids_of(oids)?))),
                _ => return None,
            },
            Self::Vote => votes_of(&value)?,
            Self::Info => Reply::Info {
                stats: stats_of(&value)?,
                name: value.get("name")?.as_text()?.to_owned(),
                undoes: value.get("supportsUndo").is_some_and(Value::is_true),
                iterates: provides(&value, "IStorageIteration"),
            },
            Self::Walk => Reply::Walk(value.as_int()?),
            Self::Transaction if value == Value::None => Reply::Transaction(None),
            Self::DataRecord if value == Value::None => Reply::DataRecord(None),
            // What a transaction says of itself may be anything at all: that which cannot be read
            // costs its caller an answer, and not everybody the connection.
            Self::Transaction
            | Self::DataRecord
            | Self::CurrentRecord
            | Self::History
            | Self::UndoLog => self
                .look(&value)
                .unwrap_or_else(|| Reply::Other(value.into_owned())),
            Self::Other if value == Value::None => Reply::Nothing,
            Self::Other => Reply::Other(value.into_owned()),
        })
    }

    fn look(self, value: &Value<'_>) -> Option<Reply> {
        Some(match self {
            Self::Transaction => Reply::Transaction(Some(looking::transaction_of(value)?)),
            Self::DataRecord => Reply::DataRecord(Some(looking::data_record_of(value)?)),
            Self::CurrentRecord => Reply::CurrentRecord(looking::current_record_of(value)?),
            Self::History => Reply::History(looking::history_of(value)?),
            Self::UndoLog => Reply::UndoLog(looking::undo_log_of(value)?),
            _ => return None,
        })
    }
}

/// Whether `get_info` names the interface of ZODB.
fn provides(info: &Value<'_>, interface: &str) -> bool {
    let named = info.get("interfaces").and_then(Value::elements);
    named.is_some_and(|all| {
        all.iter().any(|pair| match pair.elements() {
            Some([module, name]) => {
                module.as_text() == Some("ZODB.interfaces") && name.as_text() == Some(interface)
            }
            _ => false,
        })
    })
}

fn tid_of(value: &Value<'_>) -> Option<Tid> {
    Tid::try_from(value.as_bytes()?).ok()
}

fn oid_of(value: &Value<'_>) -> Option<Oid> {
    Oid::try_from(value.as_bytes()?).ok()
}

fn oids_of(value: &Value<'_>) -> Option<Vec<Oid>> {
    value.elements()?.iter().map(oid_of).collect()
}

fn revision_of(value: &Value<'_>) -> Option<Revision> {
    let [record, tid, next] = value.elements()? else {
        return None;
    };
    Some(Revision {
        record: Record::from(record.as_bytes()?),
        tid: tid_of(tid)?,
        next: match next {
            Value::None => None,
            next => Some(tid_of(next)?),
        },
    })
}

fn stats_of(value: &Value<'_>) -> Option<StorageStats> {
    let number = |key| u64::try_from(value.get(key)?.as_int()?).ok();
    Some(StorageStats {
        objects: number("length")?,
        bytes: number("size")?,
    })
}

/// Object ids whose conflicts the server resolved, or dicts of conflicts that it did not.
fn votes_of(value: &Value<'_>) -> Option<Reply> {
    if *value == Value::None {
        return Some(Reply::Voted(Vec::new()));
    }
    let elements = value.elements()?;
    let (conflicts, resolved): (Vec<_>, Vec<_>) = elements
        .iter()
        .partition(|element| matches!(element, Value::Map(_)));
    if conflicts.is_empty() {
        return Some(Reply::Voted(
            resolved.into_iter().map(oid_of).collect::<Option<_>>()?,
        ));
    }
    let conflict = |element: &Value<'_>| {
        let serials = element.get("serials")?.elements()?;
        Some(Conflict {
            oid: oid_of(element.get("oid")?)?,
            committed: tid_of(serials.first()?)?,
            base: tid_of(serials.get(1)?)?,
            refusal: None,
        })
    };
    let conflicts = conflicts.into_iter().map(conflict);
    Some(Reply::Conflicts(conflicts.collect::<Option<_>>()?))
}
