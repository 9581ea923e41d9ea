//! One client's connection, as the server sees it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::TransactionMeta;

use super::blob_stream::BlobStream;
use super::caller::Caller;
use super::calls::{Method, Watch};
use super::desk::{Aborted, Vote};
use super::facts::UndoQuery;
use super::finish::Finish;
use super::hub::Hub;
use super::iterators::{Iterators, Step};
use super::job::{Job, Read, Release};
use super::loads::{LOADS_MAX, Loads};
use super::outbox::{Outbox, ReplyTo};
use super::pack::Packing;
use super::rights::Rights;
use super::served::{Served, count, oid_list};
use super::transaction::{Ended, Leftovers, Log, Transaction};
use crate::frame::{FrameReader, write_frame};
use crate::looking::named_tid;
use crate::message::Message;
use crate::refusal::UNKNOWN_TRANSACTION;
use crate::request::{BadRequest, Copied, NEW_OIDS_MAX};
use crate::wire::LoadCall;
use crate::{Encoding, ProtocolError, Refusal, Request, Value};

mod admission;
mod blobs;

/// The server's end of one connection. Feed it bytes with [`receive`](Self::receive), then take
/// jobs with [`next_job`](Self::next_job) until there is none, and write out the
/// [`outbox`](Self::outbox).
pub struct Connection {
    frames: FrameReader,
    peer: Peer,
}

struct Peer {
    hub: Arc<Hub>,
    id: u64,
    caller: Arc<Caller>,
    rights: Rights,
    /// Whether the log tells already that it tries what it may not.
    is_noted: bool,
    outbox: Arc<Outbox>,
    phase: Phase,
    transaction: Option<Transaction>,
    iterators: Iterators,
}

enum Phase {
    /// Waiting for the first frame.
    Handshake,
    /// Waiting for `register`.
    Stranger(Encoding),
    Registered {
        encoding: Encoding,
        served: Arc<Served>,
        read_only: bool,
    },
    /// Everything is said; what is in the outbox is still to be sent.
    Closing,
}

/// The longest first frame: `Z5`, `ruok`, or the hello of some older client.
const HANDSHAKE_BYTES_MAX: usize = 64;
/// The longest frame before `register`.
const STRANGER_BYTES_MAX: usize = 64 << 10;

impl Connection {
    pub(super) fn new(hub: Arc<Hub>, caller: Arc<Caller>, rights: Rights) -> Self {
        let outbox = Arc::clone(&caller.outbox);
        let announcement = hub.options().encoding.announcement();
        outbox.append(|out| write_frame(out, |out| out.extend_from_slice(announcement)));
        Self {
            frames: FrameReader::new(HANDSHAKE_BYTES_MAX),
            peer: Peer {
                hub,
                id: caller.id,
                caller,
                rights,
                is_noted: false,
                outbox,
                phase: Phase::Handshake,
                transaction: None,
                iterators: Iterators::default(),
            },
        }
    }

    /// Takes bytes from the client.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.peer.caller.count_received(bytes.len());
        self.frames.push(bytes);
    }

    /// Reads on until a call needs the storage; `None` when all that came was read.
    ///
    /// # Errors
    /// The reason why the connection must be closed.
    pub fn next_job(&mut self) -> Result<Option<Job>, ProtocolError> {
        loop {
            if let Some(failure) = self.peer.outbox.failure() {
                return Err(failure);
            }
            if let Some(job) = self.peer.granted_vote() {
                return Ok(Some(job));
            }
            if let Some(job) = self.loads() {
                return Ok(Some(job));
            }
            let Some(frame) = self.frames.next_frame()? else {
                return Ok(None);
            };
            let job = self.peer.handle(frame)?;
            self.frames.set_max(match self.peer.phase {
                Phase::Handshake => HANDSHAKE_BYTES_MAX,
                Phase::Stranger(_) => STRANGER_BYTES_MAX,
                Phase::Registered { .. } | Phase::Closing => {
                    self.peer.hub.options().frame_bytes_max
                }
            });
            if job.is_some() {
                return Ok(job);
            }
        }
    }

    /// A vote that has waited for its turn and may run now, which [`next_job`](Self::next_job) yields
    /// too.
    pub fn granted_vote(&mut self) -> Option<Job> {
        self.peer.granted_vote()
    }

    /// The loads that come next, if any do.
    fn loads(&mut self) -> Option<Job> {
        let Phase::Registered {
            encoding, served, ..
        } = &self.peer.phase
        else {
            return None;
        };
        if !self.peer.rights.read {
            return None; // each of them is refused
        }
        let mut calls = VecDeque::new();
        let read = |frame: &[u8]| LoadCall::read(*encoding, frame);
        // A wrong frame is found again when it is the first.
        while calls.len() < LOADS_MAX
            && let Ok(Some(call)) = self.frames.next_frame_if(read)
        {
            calls.push_back(call);
        }
        if calls.is_empty() {
            return None;
        }
        let count = u64::try_from(calls.len()).unwrap_or(u64::MAX);
        served.counters.loads.fetch_add(count, Ordering::Relaxed);
        let loads = Loads {
            calls,
            encoding: *encoding,
            outbox: self.peer.outbox.clone(),
            watch: Watch::begin(self.peer.caller.clone(), Method::LOAD, 0),
        };
        Some(Job::loads(served.clone(), loads))
    }

    /// What is to be sent to the client.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.peer.outbox
    }

    /// Whether the connection ends as soon as its outbox is sent.
    pub fn is_closing(&self) -> bool {
        matches!(self.peer.phase, Phase::Closing)
    }

    /// Whether its transaction is between vote and end. A client that is cut off there cannot know
    /// what became of the transaction, should it have asked for the finish.
    pub fn is_committing(&self) -> bool {
        match (&self.peer.phase, &self.peer.transaction) {
            (Phase::Registered { served, .. }, Some(open)) => served.turns().is_under_way(open.key),
            _ => false,
        }
    }

    /// Counts bytes that were sent to the client.
    pub fn sent(&self, bytes: usize) {
        self.peer.caller.count_sent(bytes);
    }

    /// The client's name for log lines.
    pub fn label(&self) -> String {
        self.peer.label()
    }

    /// Ends the connection: it gets no more pushes, and its open transaction is aborted. If that
    /// takes work in the storage, the work comes back as a job.
    pub fn disconnect(&mut self) -> Option<Job> {
        self.peer.disconnect()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(job) = self.disconnect() {
            job.run();
        }
        self.peer.hub.leave(&self.peer.caller);
    }
}

impl Peer {
    fn label(&self) -> String {
        self.caller.name()
    }

    fn handle(&mut self, frame: &[u8]) -> Result<Option<Job>, ProtocolError> {
        match &self.phase {
            Phase::Closing => Ok(None),
            Phase::Handshake if frame == b"ruok" => {
                let json = self.hub.status_json();
                self.outbox
                    .append(|out| write_frame(out, |out| out.extend_from_slice(json.as_bytes())));
                self.phase = Phase::Closing;
                Ok(None)
            }
            Phase::Handshake => {
                let encoding = Encoding::from_handshake(frame)?;
                self.hub.count_encoding(encoding);
                self.caller.set_encoding(encoding);
                self.phase = Phase::Stranger(encoding);
                Ok(None)
            }
            Phase::Stranger(encoding) | Phase::Registered { encoding, .. } => {
                let encoding = *encoding;
                let message = Message::decode(encoding, frame)?;
                self.call(encoding, message, frame.len())
            }
        }
    }

    fn call(
        &mut self,
        encoding: Encoding,
        message: Message<'_>,
        bytes: usize,
    ) -> Result<Option<Job>, ProtocolError> {
        if message.is_heartbeat() {
            return Ok(None);
        }
        let to = ReplyTo {
            outbox: self.outbox.clone(),
            encoding,
            id: (!message.flag).then(|| message.id.into_owned()),
            method: message.name.clone().into_owned(),
            watch: Watch::begin(self.caller.clone(), Method::named(&message.name), bytes),
        };
        let request = match Request::decode(&message.name, &message.args) {
            Ok(request) => request,
            Err(BadRequest::Unknown(error)) => return Err(error),
            Err(BadRequest::Refused(refusal)) => {
                to.refuse(&refusal);
                return Ok(None);
            }
        };
        let answered = match (&self.phase, request) {
            (Phase::Stranger(_), Request::Register { storage, read_only }) => self
                .register(encoding, &storage, read_only, &to)
                .map(|()| None),
            (Phase::Registered { served, .. }, request)
                if !matches!(request, Request::Register { .. }) =>
            {
                let served = served.clone();
                match self.rights.lacking(&request) {
                    None => self.serve(served, request, &to),
                    Some(right) => self.deny(right, &to),
                }
            }
            _ => {
                return Err(ProtocolError::Method {
                    name: message.name.into_owned(),
                });
            }
        };
        Ok(answered.unwrap_or_else(|refusal| {
            self.note(&refusal, &to);
            to.refuse(&refusal);
            None
        }))
    }

    /// Answers a call at once, or with a job.
    fn serve(
        &mut self,
        served: Arc<Served>,
        request: Request,
        to: &ReplyTo,
    ) -> Result<Option<Job>, Refusal> {
        let read = match request {
            Request::Pack { to: time, wait } => {
                if !wait {
                    to.reply(Value::None);
                }
                let waiter = wait.then(|| to.clone());
                let packing = Packing { to: time, waiter };
                return Ok(Some(Job::pack(served, packing)));
            }
            Request::LoadBefore { oid, before } => {
                count(&served.counters.loads);
                Read::LoadBefore { oid, before }
            }
            Request::LoadSerial { oid, tid } => Read::LoadSerial { oid, tid },
            Request::GetTid(oid) => Read::CurrentTid(oid),
            Request::History { oid, size } => Read::History { oid, size },
            Request::GetInfo => Read::Info {
                may_undo: self.rights.undo,
            },
            Request::NewOids(count) => {
                self.check_writable()?;
                Read::NewOids(count.clamp(1, NEW_OIDS_MAX))
            }
            Request::GetInvalidations(tid) => {
                let desk = served.desk();
                if let Some(oids) = desk.queue.changed_since(tid) {
                    count(&served.counters.verified_from_queue);
                    let newest = Value::id(served.head().to_bytes());
                    to.reply(Value::Tuple(vec![newest, oid_list(&oids)]));
                    return Ok(None);
                }
                drop(desk);
                let max = self.hub.look_back_max(tid, served.head());
                Read::ChangedSince(tid, max)
            }
            Request::UndoLog {
                first,
                last,
                specification,
            } => Read::UndoLog(UndoQuery {
                first,
                last,
                specification,
            }),
            Request::RecordNext(oid) => Read::RecordNext(oid),
            Request::IteratorStart { from, to } => self.walk(Step::Start { from, to }),
            Request::IteratorNext(walk) => self.walk(Step::Next(walk)),
            Request::IteratorRecordStart { iterator, tid } => self.walk(Step::StartRecords {
                walk: iterator,
                tid,
            }),
            Request::IteratorRecordNext(walk) => self.walk(Step::NextRecord(walk)),
            Request::IteratorGc(walks) => self.walk(Step::Forget(walks)),
            Request::SendBlob { oid, tid } => {
                let stream = BlobStream::new(served, oid, tid, to.clone());
                self.outbox.append_stream(stream);
                return Ok(None);
            }
            other => return self.serve_at_once(&served, other, to),
        };
        Ok(Some(Job::read(served, read, to.clone())))
    }

    fn walk(&self, step: Step) -> Read {
        Read::Walk(self.iterators.clone(), step)
    }

    fn serve_at_once(
        &mut self,
        served: &Arc<Served>,
        request: Request,
        to: &ReplyTo,
    ) -> Result<Option<Job>, Refusal> {
        match request {
            Request::Ping => to.reply(Value::None),
            Request::LastTransaction => to.reply(Value::id(served.head().to_bytes())),
            Request::ServerStatus => to.reply(self.hub.status(served)),
            Request::SetClientLabel(label) => {
                self.caller.set_label(&label);
                to.reply(Value::None);
            }
            Request::NotOffered { method } => return Err(Refusal::not_offered(method)),
            other => return self.commit(served, other, to),
        }
        Ok(None)
    }

    /// A part of a transaction that the storage does not offer. The transaction must not commit
    /// without it; as these calls are one-way, the vote tells.
    fn decline(&mut self, method: &'static str, to: &ReplyTo) -> Result<Option<Job>, Refusal> {
        let refusal = Refusal::not_offered(method);
        if let Some(transaction) = self.open_transaction() {
            transaction.failed.get_or_insert_with(|| refusal.clone());
            if to.id.is_none() {
                return Ok(None);
            }
        }
        Err(refusal)
    }

    fn commit(
        &mut self,
        served: &Arc<Served>,
        request: Request,
        to: &ReplyTo,
    ) -> Result<Option<Job>, Refusal> {
        self.check_writable()?;
        match request {
            Request::TpcBegin { id, meta, copied } => {
                self.begin(served, id, meta, copied)?;
                to.reply(Value::None);
                Ok(None)
            }
            Request::Store {
                oid,
                base,
                record,
                id,
            } => {
                count(&served.counters.stores);
                self.log(id, |log| log.store(oid, base, record))?;
                to.reply(Value::None);
                Ok(None)
            }
            Request::Delete { oid, base, id } => {
                count(&served.counters.stores);
                self.log(id, |log| log.delete(oid, base))?;
                to.reply(Value::None);
                Ok(None)
            }
            Request::Restore {
                oid,
                data,
                data_tid,
                id,
                ..
            } => {
                count(&served.counters.stores);
                self.log(id, |log| log.restore(oid, data, data_tid))?;
                to.reply(Value::None);
                Ok(None)
            }
            Request::CheckCurrent { oid, base, id } => {
                self.log(id, |log| log.check(oid, base))?;
                to.reply(Value::None);
                Ok(None)
            }
            Request::Undo { .. } if served.storage.undo().is_none() => self.decline("undoa", to),
            Request::Undo { transaction, id } => {
                self.undo(&transaction, id)?;
                to.reply(Value::None);
                Ok(None)
            }
            Request::BlobStart
            | Request::BlobChunk(_)
            | Request::BlobEnd { .. }
            | Request::BlobShared { .. } => self.blob(served, request, to),
            Request::Vote(id) => self.vote(served, id, to),
            Request::TpcFinish(id) => self.finish(served, &id, to),
            Request::TpcAbort(id) => Ok(self.abort(served, &id, to)),
            other => Err(Refusal::arguments(format!(
                "{other:?} is no part of a commit"
            ))),
        }
    }

    fn begin(
        &mut self,
        served: &Served,
        id: Value<'static>,
        meta: TransactionMeta,
        copied: Option<Copied>,
    ) -> Result<(), Refusal> {
        if let Some(open) = self.open_transaction() {
            return if open.id == id {
                Ok(())
            } else {
                Err(Refusal::transaction(
                    "Multiple simultaneous tpc_begin requests from one client.",
                ))
            };
        }
        count(&served.counters.active_transactions);
        self.caller.set_transaction(&meta.user, &meta.description);
        let (log, failed) = match copied {
            None => (Log::new(meta), None),
            Some(Copied {
                tid: Some(tid),
                is_packed,
            }) => (Log::copying(meta, tid, is_packed), None),
            Some(Copied { tid: None, .. }) => {
                let refusal = Refusal::not_offered("a status without a transaction id");
                (Log::new(meta), Some(refusal))
            }
        };
        self.transaction = Some(Transaction {
            id,
            key: self.hub.new_transaction(),
            log: Arc::new(log),
            ended: Ended::default(),
            failed,
            upload: None,
            blob_bytes: 0,
            is_waiting: false,
        });
        Ok(())
    }

    /// The undo is part of the log; a name that names nothing fails the vote, as in the original.
    fn undo(&mut self, transaction: &[u8], id: Value<'static>) -> Result<(), Refusal> {
        if let Some(tid) = named_tid(transaction) {
            return self.log(id, |log| log.undo(tid));
        }
        let open = self.named_transaction(id)?;
        open.failed
            .get_or_insert_with(|| Refusal::undo(UNKNOWN_TRANSACTION));
        Ok(())
    }

    /// Adds to the log of the open transaction.
    fn log(&mut self, id: Value<'static>, write: impl FnOnce(&mut Log)) -> Result<(), Refusal> {
        let bytes_max = self.hub.options().transaction_bytes_max;
        let transaction = self.named_transaction(id)?;
        if transaction.failed.is_some() {
            return Ok(());
        }
        let log = Arc::make_mut(&mut transaction.log);
        write(log);
        if log.bytes() > bytes_max {
            *log = Log::new(TransactionMeta::default());
            let text = format!("the transaction is larger than the server's limit of {bytes_max}");
            transaction.failed = Some(Refusal::new("ZODB.POSException.StorageError", text));
        }
        Ok(())
    }

    fn vote(
        &mut self,
        served: &Arc<Served>,
        id: Value<'static>,
        to: &ReplyTo,
    ) -> Result<Option<Job>, Refusal> {
        let client = self.label();
        let transaction = self.named_transaction(id)?;
        if let Some(refusal) = transaction.failed.take() {
            // Should an earlier vote hold the lock, it must not stay held.
            let job = self.give_up(served, None);
            to.refuse(&refusal);
            return Ok(job);
        }
        let position = served.turns().position(transaction.key);
        if let Some(position) = position {
            return Err(Refusal::transaction(format!("Already voting ({position})")));
        }
        let granted = served.request_turn(Vote {
            key: transaction.key,
            log: transaction.log.clone(),
            ended: transaction.ended.clone(),
            to: to.clone(),
            client,
        });
        transaction.is_waiting = granted.is_none();
        Ok(granted.map(|vote| Job::vote(served.clone(), vote)))
    }

    /// The vote that has waited for its turn, if it may run now.
    fn granted_vote(&mut self) -> Option<Job> {
        let transaction = self.transaction.as_mut().filter(|open| open.is_waiting)?;
        let Phase::Registered { served, .. } = &self.phase else {
            return None;
        };
        let vote = served.turns().take_granted(transaction.key)?;
        transaction.is_waiting = false;
        Some(Job::vote(served.clone(), vote))
    }

    fn finish(
        &mut self,
        served: &Arc<Served>,
        id: &Value<'static>,
        to: &ReplyTo,
    ) -> Result<Option<Job>, Refusal> {
        let connection = self.id;
        let Some(transaction) = self.open_transaction().filter(|open| open.id == *id) else {
            to.reply(Value::None);
            return Ok(None);
        };
        let (key, ended) = (transaction.key, transaction.ended.clone());
        let Some((voted, log)) = served.turns().finishing(key) else {
            return Err(Refusal::transaction("finish without a vote"));
        };
        // The storage has files of its own by now.
        transaction.log = Arc::default();
        let finish = Finish {
            served: served.clone(),
            key,
            connection,
            ended,
            to: to.clone(),
        };
        Ok(finish.submit(voted, &log))
    }

    fn abort(&mut self, served: &Arc<Served>, id: &Value<'static>, to: &ReplyTo) -> Option<Job> {
        let is_open = self.open_transaction().is_some_and(|open| open.id == *id);
        if !is_open {
            to.reply(Value::None);
            return None;
        }
        count(&served.counters.aborts);
        let job = self.give_up(served, Some(to));
        if job.is_none() {
            to.reply(Value::None);
        }
        job
    }

    /// Drops the open transaction, wherever it stands.
    fn give_up(&mut self, served: &Arc<Served>, to: Option<&ReplyTo>) -> Option<Job> {
        let transaction = self.close_transaction(served)?;
        let key = transaction.key;
        let leftovers = Leftovers {
            log: Some(transaction.log),
            upload: transaction.upload,
        };
        let voted = match served.abort(key) {
            Aborted::Nothing | Aborted::Voting => None,
            Aborted::Waiting(vote, granted) => {
                granted.wake();
                vote.to
                    .refuse(&Refusal::transaction("aborted while waiting to vote"));
                None
            }
            Aborted::Voted(voted) => Some(voted),
        };
        (voted.is_some() || leftovers.are_some()).then(|| {
            let release = Release {
                key: voted.is_some().then_some(key),
                voted,
                leftovers,
                to: to.cloned(),
            };
            Job::release(served.clone(), release)
        })
    }

    fn disconnect(&mut self) -> Option<Job> {
        let phase = std::mem::replace(&mut self.phase, Phase::Closing);
        let Phase::Registered { served, .. } = phase else {
            return None;
        };
        served.unregister(self.id);
        let key = self.open_transaction().map(|open| open.key);
        if key.is_some_and(|key| !served.turns().is_ending(key)) {
            count(&served.counters.aborts);
        }
        self.give_up(&served, None)
    }

    /// The transaction that is open, after a look whether a job has ended it.
    fn open_transaction(&mut self) -> Option<&mut Transaction> {
        let ended = self
            .transaction
            .as_ref()
            .is_some_and(|open| open.ended.is_set());
        if ended && let Phase::Registered { served, .. } = &self.phase {
            let served = served.clone();
            self.close_transaction(&served);
        }
        self.transaction.as_mut()
    }

    fn close_transaction(&mut self, served: &Served) -> Option<Transaction> {
        let transaction = self.transaction.take()?;
        served.end(&transaction.ended);
        Some(transaction)
    }

    fn named_transaction(&mut self, id: Value<'static>) -> Result<&mut Transaction, Refusal> {
        match self.open_transaction() {
            Some(open) if open.id == id => Ok(open),
            Some(open) => Err(Refusal::no_transaction(Some(open.id.clone()), id)),
            None => Err(Refusal::no_transaction(None, id)),
        }
    }

    fn check_writable(&self) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Registered { read_only, .. } if *read_only => Err(Refusal::read_only()),
            _ => Ok(()),
        }
    }
}
