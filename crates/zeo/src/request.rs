//! What a client asks of a server.

use std::borrow::Cow;
use std::time::Duration;

use storage::{Oid, Record, Tid, TransactionMeta};

use crate::looking::text_id;
use crate::wire::{decode_extension, encode_extension};
use crate::{ProtocolError, Refusal, Value};

/// A call of a client. The names are those of the Python methods on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `register`: choose a storage. Nothing else is allowed before.
    Register {
        /// The storage's name.
        storage: String,
        /// Whether the client will never write.
        read_only: bool,
    },
    /// `get_info`.
    GetInfo,
    /// `set_client_label`: a name for the server's log.
    SetClientLabel(String),
    /// `ping`: a barrier, too. What was committed before the reply was pushed before the reply.
    Ping,
    /// `lastTransaction`.
    LastTransaction,
    /// `getInvalidations`: the objects changed after a transaction.
    GetInvalidations(Tid),
    /// `loadBefore`.
    LoadBefore {
        /// The object.
        oid: Oid,
        /// The snapshot just before this transaction.
        before: Tid,
    },
    /// `loadSerial`: one exact revision.
    LoadSerial {
        /// The object.
        oid: Oid,
        /// The transaction that wrote it.
        tid: Tid,
    },
    /// `getTid`: the transaction of the current revision.
    GetTid(Oid),
    /// `history`: the newest revisions.
    History {
        /// The object.
        oid: Oid,
        /// How many.
        size: usize,
    },
    /// `new_oids`: fresh object ids.
    NewOids(usize),
    /// `tpc_begin`.
    TpcBegin {
        /// The client's id of the transaction; any value at all.
        id: Value<'static>,
        /// Who and what.
        meta: TransactionMeta,
        /// What the transaction brings with it, as a copy of one of another storage.
        copied: Option<Copied>,
    },
    /// `storea`.
    Store {
        /// The object.
        oid: Oid,
        /// The transaction that the change is based on.
        base: Tid,
        /// The new state.
        record: Record,
        /// The client's id of the transaction.
        id: Value<'static>,
    },
    /// `deleteObject`.
    Delete {
        /// The object.
        oid: Oid,
        /// The transaction of its last revision.
        base: Tid,
        /// The client's id of the transaction.
        id: Value<'static>,
    },
    /// `restorea`: a record of a transaction that is copied.
    Restore {
        /// The object.
        oid: Oid,
        /// Its transaction.
        tid: Tid,
        /// The data; nothing where the object ceased to exist.
        data: Option<Record>,
        /// The transaction whose data they are.
        data_tid: Option<Tid>,
        /// The client's id of the transaction.
        id: Value<'static>,
    },
    /// `checkCurrentSerialInTransaction`.
    CheckCurrent {
        /// The object.
        oid: Oid,
        /// The transaction that must still be current.
        base: Tid,
        /// The client's id of the transaction.
        id: Value<'static>,
    },
    /// `vote`.
    Vote(Value<'static>),
    /// `tpc_finish`.
    TpcFinish(Value<'static>),
    /// `tpc_abort`.
    TpcAbort(Value<'static>),
    /// `server_status`.
    ServerStatus,
    /// `undoLog` and `undoInfo`: the transactions that may be undone, newest first. An empty list
    /// where a storage has no undo.
    UndoLog {
        /// The first one, counted from 0.
        first: i64,
        /// The end of the span; a negative number says how many at most.
        last: i64,
        /// What must be equal in each of them (`undoInfo`); empty for all.
        specification: Vec<(Value<'static>, Value<'static>)>,
    },
    /// `pack`: take old revisions and garbage out of the storage.
    Pack {
        /// The pack time.
        to: Tid,
        /// Whether the client waits for the end.
        wait: bool,
    },
    /// `undoa`: take a transaction back.
    Undo {
        /// Its id as the undo log names it.
        transaction: Vec<u8>,
        /// The client's id of the transaction that does it.
        id: Value<'static>,
    },
    /// `record_iternext`: the current record of the first object from there on.
    RecordNext(Oid),
    /// `iterator_start`: walk through the transactions of a span, both ends included.
    IteratorStart {
        /// Where to begin.
        from: Tid,
        /// Where to end.
        to: Tid,
    },
    /// `iterator_next`: the next transaction of a walk.
    IteratorNext(i64),
    /// `iterator_record_start`: walk through the records of the transaction named last.
    IteratorRecordStart {
        /// The walk that named it.
        iterator: i64,
        /// The transaction.
        tid: Tid,
    },
    /// `iterator_record_next`: the next record of a walk.
    IteratorRecordNext(i64),
    /// `iterator_gc`: forget walks.
    IteratorGc(Vec<i64>),
    /// `storeBlobStart`: the file of a blob comes, in pieces.
    BlobStart,
    /// `storeBlobChunk`: a piece of it.
    BlobChunk(Vec<u8>),
    /// `storeBlobEnd`: that was all of it.
    BlobEnd {
        /// The object.
        oid: Oid,
        /// The transaction that the change is based on.
        base: Tid,
        /// The new state.
        record: Record,
        /// The client's id of the transaction.
        id: Value<'static>,
    },
    /// `storeBlobShared`: the file of a blob lies in the directory of the object.
    BlobShared {
        /// The object.
        oid: Oid,
        /// The transaction that the change is based on.
        base: Tid,
        /// The new state.
        record: Record,
        /// The name of the file there.
        name: String,
        /// The client's id of the transaction.
        id: Value<'static>,
    },
    /// `sendBlob`: the file of a revision, which is pushed before the answer.
    SendBlob {
        /// The object.
        oid: Oid,
        /// The transaction that wrote the revision.
        tid: Tid,
    },
    /// A method of the protocol that this server does not offer.
    NotOffered {
        /// Its name.
        method: &'static str,
    },
}

/// What a copied transaction has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its id.
    pub tid: Option<Tid>,
    /// Whether a pack wrote it.
    pub is_packed: bool,
}

/// Why a call cannot be answered.
#[derive(Debug, PartialEq)]
pub(crate) enum BadRequest {
    /// The protocol has no such method: the connection closes.
    Unknown(ProtocolError),
    /// Its arguments are wrong: an error reply.
    Refused(Refusal),
}

impl Request {
    /// `undoa` of that transaction.
    pub fn undo(tid: Tid, id: Value<'static>) -> Self {
        let transaction = text_id(tid);
        Self::Undo { transaction, id }
    }

    /// Reads a call.
    pub(crate) fn decode(name: &str, args: &Value<'_>) -> Result<Self, BadRequest> {
        if let Some(request) = not_offered(name) {
            return Ok(request);
        }
        let Some(elements) = args.elements() else {
            return Err(BadRequest::Refused(Refusal::arguments(format!(
                "{name}: the arguments are no tuple"
            ))));
        };
        let args = Args { name, elements };
        match Self::decode_args(&args) {
            Ok(Some(request)) => Ok(request),
            Ok(None) => Err(BadRequest::Unknown(ProtocolError::Method {
                name: name.chars().take(NAME_CHARS_MAX).collect(),
            })),
            Err(refusal) => Err(BadRequest::Refused(refusal)),
        }
    }

    fn decode_args(args: &Args<'_>) -> Result<Option<Self>, Refusal> {
        Ok(Some(match args.name {
            "register" => Self::Register {
                storage: args.text(0)?,
                read_only: args.flag(1),
            },
            "get_info" => Self::GetInfo,
            "set_client_label" => Self::SetClientLabel(args.text(0)?),
            "ping" => Self::Ping,
            "lastTransaction" => Self::LastTransaction,
            "getInvalidations" => Self::GetInvalidations(args.tid(0)?),
            "loadBefore" => Self::LoadBefore {
                oid: args.oid(0)?,
                before: args.tid(1)?,
            },
            "loadSerial" => Self::LoadSerial {
                oid: args.oid(0)?,
                tid: args.tid(1)?,
            },
            "getTid" => Self::GetTid(args.oid(0)?),
            "history" => Self::History {
                oid: args.oid(0)?,
                size: args.count(1, 1)?,
            },
            "new_oids" => Self::NewOids(args.count(0, NEW_OIDS_MAX)?),
            "tpc_begin" => args.begin()?,
            "storea" => Self::Store {
                oid: args.oid(0)?,
                base: args.base(1)?,
                record: Record::from(args.bytes(2)?),
                id: args.any(3)?,
            },
            "deleteObject" => Self::Delete {
                oid: args.oid(0)?,
                base: args.tid(1)?,
                id: args.any(2)?,
            },
            "restorea" => Self::Restore {
                oid: args.oid(0)?,
                tid: args.tid(1)?,
                data: match args.is_none(2) {
                    true => None,
                    false => Some(Record::from(args.bytes(2)?)),
                },
                data_tid: match args.is_none(3) {
                    true => None,
                    false => Some(args.tid(3)?),
                },
                id: args.any(4)?,
            },
            "checkCurrentSerialInTransaction" => Self::CheckCurrent {
                oid: args.oid(0)?,
                base: args.tid(1)?,
                id: args.any(2)?,
            },
            "vote" => Self::Vote(args.any(0)?),
            "tpc_finish" => Self::TpcFinish(args.any(0)?),
            "tpc_abort" => Self::TpcAbort(args.any(0)?),
            "server_status" => Self::ServerStatus,
            _ => return Self::decode_look_back(args),
        }))
    }

    /// The calls that undo and that walk through what a storage has.
    fn decode_look_back(args: &Args<'_>) -> Result<Option<Self>, Refusal> {
        Ok(Some(match args.name {
            "undoLog" | "undoInfo" => args.undo_log()?,
            "pack" => Self::Pack {
                to: args.moment(0)?,
                wait: args.int(1, Some(1))? != 0,
            },
            "undoa" => Self::Undo {
                transaction: args.bytes_or_text(0)?,
                id: args.any(1)?,
            },
            "record_iternext" if args.is_none(0) => Self::RecordNext(Oid::ROOT),
            "record_iternext" => Self::RecordNext(args.oid(0)?),
            "iterator_start" => Self::IteratorStart {
                from: args.tid_or(0, Tid::ZERO)?,
                to: args.tid_or(1, Tid::MAX)?,
            },
            "iterator_next" => Self::IteratorNext(args.int(0, None)?),
            "iterator_record_start" => Self::IteratorRecordStart {
                iterator: args.int(0, None)?,
                tid: args.tid(1)?,
            },
            "iterator_record_next" => Self::IteratorRecordNext(args.int(0, None)?),
            "iterator_gc" => Self::IteratorGc(args.ints(0)?),
            _ => return Self::decode_blob(args),
        }))
    }

    /// The method's name and its arguments, as a client writes them.
    pub(crate) fn encode(&self) -> (&'static str, Value<'_>) {
        let (name, args) = match self {
            Self::Register { storage, read_only } => (
                "register",
                vec![Value::text(storage), Value::Bool(*read_only)],
            ),
            Self::GetInfo => ("get_info", vec![]),
            Self::SetClientLabel(label) => ("set_client_label", vec![Value::text(label)]),
            Self::Ping => ("ping", vec![]),
            Self::LastTransaction => ("lastTransaction", vec![]),
            Self::GetInvalidations(tid) => ("getInvalidations", vec![Value::id(tid.to_bytes())]),
            Self::LoadBefore { oid, before } => ("loadBefore", pair(*oid, *before)),
            Self::LoadSerial { oid, tid } => ("loadSerial", pair(*oid, *tid)),
            Self::GetTid(oid) => ("getTid", vec![Value::id(oid.to_bytes())]),
            Self::History { oid, size } => {
                ("history", vec![Value::id(oid.to_bytes()), count(*size)])
            }
            Self::NewOids(number) => ("new_oids", vec![count(*number)]),
            Self::TpcBegin { id, meta, copied } => ("tpc_begin", begin_args(id, meta, *copied)),
            Self::Store {
                oid,
                base,
                record,
                id,
            } => {
                let mut args = pair(*oid, *base);
                args.extend([Value::bytes(record), id.clone()]);
                ("storea", args)
            }
            Self::CheckCurrent { oid, base, id } => {
                let mut args = pair(*oid, *base);
                args.push(id.clone());
                ("checkCurrentSerialInTransaction", args)
            }
            Self::Delete { oid, base, id } => {
                let mut args = pair(*oid, *base);
                args.push(id.clone());
                ("deleteObject", args)
            }
            Self::Restore {
                oid,
                tid,
                data,
                data_tid,
                id,
            } => {
                let data = data.as_ref().map_or(Value::None, |data| Value::bytes(data));
                let data_tid = data_tid.map_or(Value::None, |tid| Value::id(tid.to_bytes()));
                let mut args = pair(*oid, *tid);
                args.extend([data, data_tid, id.clone()]);
                ("restorea", args)
            }
            Self::Vote(id) => ("vote", vec![id.clone()]),
            Self::TpcFinish(id) => ("tpc_finish", vec![id.clone()]),
            Self::TpcAbort(id) => ("tpc_abort", vec![id.clone()]),
            Self::ServerStatus => ("server_status", vec![]),
            Self::BlobStart
            | Self::BlobChunk(_)
            | Self::BlobEnd { .. }
            | Self::BlobShared { .. }
            | Self::SendBlob { .. } => self.encode_blob(),
            Self::NotOffered { method } => (*method, vec![]),
            other => other.encode_look_back(),
        };
        (name, Value::Tuple(args))
    }

    /// The calls that undo and that walk through what a storage has.
    fn encode_look_back(&self) -> (&'static str, Vec<Value<'_>>) {
        match self {
            Self::UndoLog {
                first,
                last,
                specification,
            } => {
                let specification = Value::Map(specification.clone());
                (
                    "undoInfo",
                    vec![Value::Int(*first), Value::Int(*last), specification],
                )
            }
            Self::Pack { to, wait } => {
                let to = Value::Float(to.to_unix_time().as_secs_f64());
                ("pack", vec![to, Value::Bool(*wait)])
            }
            Self::Undo { transaction, id } => {
                ("undoa", vec![Value::bytes(transaction), id.clone()])
            }
            Self::RecordNext(oid) => ("record_iternext", vec![Value::id(oid.to_bytes())]),
            Self::IteratorStart { from, to } => {
                let ends = [from, to].map(|tid| Value::id(tid.to_bytes()));
                ("iterator_start", ends.into())
            }
            Self::IteratorNext(id) => ("iterator_next", vec![Value::Int(*id)]),
            Self::IteratorRecordStart { iterator, tid } => (
                "iterator_record_start",
                vec![Value::Int(*iterator), Value::id(tid.to_bytes())],
            ),
            Self::IteratorRecordNext(id) => ("iterator_record_next", vec![Value::Int(*id)]),
            Self::IteratorGc(ids) => {
                let ids = ids.iter().copied().map(Value::Int).collect();
                ("iterator_gc", vec![Value::List(ids)])
            }
            other => unreachable!("{other:?} is encoded with the others"),
        }
    }
}

fn pair(oid: Oid, tid: Tid) -> Vec<Value<'static>> {
    vec![Value::id(oid.to_bytes()), Value::id(tid.to_bytes())]
}

fn count(number: usize) -> Value<'static> {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// An extension that cannot be read as plain values travels as an empty one: `Session::call` is
/// given only what [`extension_travels`] allows.
fn begin_args<'a>(
    id: &'a Value<'static>,
    meta: &'a TransactionMeta,
    copied: Option<Copied>,
) -> Vec<Value<'a>> {
    let extension = decode_extension(&meta.extension).unwrap_or(Value::Map(Vec::new()));
    vec![
        id.clone(),
        Value::bytes(&meta.user),
        Value::bytes(&meta.description),
        extension,
        copied
            .and_then(|copied| copied.tid)
            .map_or(Value::None, |tid| Value::id(tid.to_bytes())),
        if copied.is_some_and(|copied| copied.is_packed) {
            PACKED
        } else {
            NORMAL
        },
    ]
}

/// Whether a transaction's extension is made of values that a message can carry.
pub fn extension_travels(meta: &TransactionMeta) -> bool {
    matches!(decode_extension(&meta.extension), Ok(Value::Map(_)))
}

/// The method that the original lists and does not have.
fn not_offered(name: &str) -> Option<Request> {
    (name == "new_oid").then_some(Request::NotOffered { method: "new_oid" })
}

/// The arguments of one call.
struct Args<'a> {
    name: &'a str,
    elements: &'a [Value<'a>],
}

impl Args<'_> {
    fn wrong(&self, index: usize, expected: &str) -> Refusal {
        Refusal::arguments(format!(
            "{}: argument {} must be {expected}",
            self.name,
            index + 1
        ))
    }

    fn any(&self, index: usize) -> Result<Value<'static>, Refusal> {
        let value = self.elements.get(index);
        let value = value.ok_or_else(|| self.wrong(index, "present"))?;
        Ok(value.clone().into_owned())
    }

    fn text(&self, index: usize) -> Result<String, Refusal> {
        let text = self.elements.get(index).and_then(Value::as_text);
        Ok(text.ok_or_else(|| self.wrong(index, "a text"))?.to_owned())
    }

    fn bytes(&self, index: usize) -> Result<&[u8], Refusal> {
        let bytes = self.elements.get(index).and_then(Value::as_bytes);
        bytes.ok_or_else(|| self.wrong(index, "bytes"))
    }

    /// Bytes; older clients send text.
    fn bytes_or_text(&self, index: usize) -> Result<Vec<u8>, Refusal> {
        match self.elements.get(index) {
            Some(Value::Bytes(bytes)) => Ok(bytes.to_vec()),
            Some(Value::Text(text)) => Ok(text.as_bytes().to_vec()),
            _ => Err(self.wrong(index, "bytes")),
        }
    }

    fn oid(&self, index: usize) -> Result<Oid, Refusal> {
        Oid::try_from(self.bytes(index)?).map_err(|_| self.wrong(index, "an oid of eight bytes"))
    }

    fn tid(&self, index: usize) -> Result<Tid, Refusal> {
        Tid::try_from(self.bytes(index)?).map_err(|_| self.wrong(index, "a tid of eight bytes"))
    }

    /// What a store is based on. Of a new object the original takes whatever is given, None and text
    /// among it; for others those are no transaction, and a conflict.
    fn base(&self, index: usize) -> Result<Tid, Refusal> {
        match self.elements.get(index) {
            Some(Value::None | Value::Text(_)) => Ok(Tid::ZERO),
            _ => self.tid(index),
        }
    }

    fn flag(&self, index: usize) -> bool {
        self.elements.get(index).is_some_and(Value::is_true)
    }

    /// A number of things; nobody gets a negative number of them.
    fn count(&self, index: usize, default: usize) -> Result<usize, Refusal> {
        match self.elements.get(index) {
            None => Ok(default),
            Some(value) => {
                let number = value
                    .as_int()
                    .ok_or_else(|| self.wrong(index, "a number"))?;
                Ok(usize::try_from(number.max(0)).unwrap_or(usize::MAX))
            }
        }
    }

    fn is_none(&self, index: usize) -> bool {
        matches!(self.elements.get(index), None | Some(Value::None))
    }

    fn tid_or(&self, index: usize, default: Tid) -> Result<Tid, Refusal> {
        if self.is_none(index) {
            return Ok(default);
        }
        self.tid(index)
    }

    fn int(&self, index: usize, default: Option<i64>) -> Result<i64, Refusal> {
        let found = match self.elements.get(index) {
            None => default,
            Some(value) => value.as_int(),
        };
        found.ok_or_else(|| self.wrong(index, "a number"))
    }

    /// Seconds since 1970, as the transaction that would be committed then.
    fn moment(&self, index: usize) -> Result<Tid, Refusal> {
        let seconds = match self.elements.get(index) {
            Some(Value::Float(seconds)) => Some(*seconds),
            Some(value) => value
                .as_int()
                .and_then(|seconds| i32::try_from(seconds).ok().map(f64::from)),
            None => None,
        };
        let seconds = seconds.filter(|seconds| *seconds <= MOMENT_MAX);
        seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map(Tid::from_unix_time)
            .ok_or_else(|| self.wrong(index, "a time in seconds since 1970"))
    }

    fn ints(&self, index: usize) -> Result<Vec<i64>, Refusal> {
        let elements = self.elements.get(index).and_then(Value::elements);
        let numbers = elements.map(|all| all.iter().map(Value::as_int).collect());
        let numbers: Option<Option<Vec<_>>> = numbers;
        numbers
            .flatten()
            .ok_or_else(|| self.wrong(index, "a list of numbers"))
    }

    fn undo_log(&self) -> Result<Request, Refusal> {
        let specification = match self.elements.get(2) {
            None | Some(Value::None) => Vec::new(),
            Some(value @ Value::Map(_)) => match value.clone().into_owned() {
                Value::Map(pairs) => pairs,
                _ => Vec::new(),
            },
            Some(_) => return Err(self.wrong(2, "a dict")),
        };
        Ok(Request::UndoLog {
            first: self.int(0, Some(0))?,
            last: self.int(1, Some(UNDO_LOG_LAST))?,
            specification,
        })
    }

    fn begin(&self) -> Result<Request, Refusal> {
        let extension = match self.elements.get(3) {
            None | Some(Value::None) => Vec::new(),
            Some(value @ Value::Map(_)) => encode_extension(value),
            Some(_) => return Err(self.wrong(3, "a dict")),
        };
        let tid = match self.is_none(4) {
            true => None,
            false => Some(self.tid(4)?),
        };
        let status = self.elements.get(5).unwrap_or(&NORMAL);
        let is_copied = tid.is_some() || status != &NORMAL;
        let is_packed = status == &PACKED;
        Ok(Request::TpcBegin {
            id: self.any(0)?,
            meta: TransactionMeta {
                user: self.bytes_or_text(1)?,
                description: self.bytes_or_text(2)?,
                extension,
            },
            copied: is_copied.then_some(Copied { tid, is_packed }),
        })
    }
}

/// The status of a transaction that is nothing special.
const NORMAL: Value<'static> = Value::Text(Cow::Borrowed(" "));
/// The status of one that a pack wrote.
const PACKED: Value<'static> = Value::Text(Cow::Borrowed("p"));
/// How many transactions an undo log names where nothing is said.
const UNDO_LOG_LAST: i64 = -20;
/// The year 3000 or so; there are no transaction ids for times far behind it.
const MOMENT_MAX: f64 = 32e9;
/// How many object ids one call gets at most.
pub(crate) const NEW_OIDS_MAX: usize = 100;
/// How much of a foreign method name goes into the log.
const NAME_CHARS_MAX: usize = 60;

mod blobs;
#[cfg(test)]
mod tests;
