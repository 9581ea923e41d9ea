//! Work that touches the storage: made by a connection, run by the driver on a thread of its
//! choice, and delivered into the outboxes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::{CommitError, Oid, Revision, Storage, StorageError, Tid, Voted, Work};

use super::blob_file::BlobFile;
use super::calls::Part;
use super::desk::Vote;
use super::facts::{UndoQuery, describe_revision, next_record, seconds};
use super::iterators::{Iterators, Step};
use super::loads::{Loaded, Loads};
use super::outbox::ReplyTo;
use super::pack::Packing;
use super::served::{Served, count, get_info, oid_list};
use super::transaction::{Leftovers, TransactionKey};
use crate::{Refusal, Value};

/// Work for a storage.
#[must_use = "a client waits for the outcome"]
pub struct Job {
    served: Arc<Served>,
    kind: Kind,
}

enum Kind {
    Loads(Loads),
    Read(Read, ReplyTo),
    Vote(Vote),
    Finish(Work),
    Release(Release),
    Pack(Packing),
    Upload(Arc<BlobFile>, Piece),
}

/// What happens to the file of a blob that comes.
pub(super) enum Piece {
    Start,
    Chunk(Vec<u8>),
    End,
}

/// A question to the storage.
pub(super) enum Read {
    LoadBefore {
        oid: Oid,
        before: Tid,
    },
    LoadSerial {
        oid: Oid,
        tid: Tid,
    },
    CurrentTid(Oid),
    History {
        oid: Oid,
        size: usize,
    },
    Info {
        may_undo: bool,
    },
    NewOids(usize),
    /// What changed since a transaction, if that is not more than so many transactions.
    ChangedSince(Tid, usize),
    UndoLog(UndoQuery),
    RecordNext(Oid),
    Walk(Iterators, Step),
}

/// Gives a voted transaction up.
pub(super) struct Release {
    /// Whose turn ends, if it had one.
    pub(super) key: Option<TransactionKey>,
    pub(super) voted: Option<Box<dyn Voted>>,
    pub(super) leftovers: Leftovers,
    /// Who asked for it, unless the client has gone.
    pub(super) to: Option<ReplyTo>,
}

/// A job whose work is done and whose outcome is not yet on its way.
#[must_use = "deliver it"]
pub struct Done {
    served: Arc<Served>,
    outcome: Outcome,
}

enum Outcome {
    ManyLoaded(Loaded),
    Loaded {
        oid: Oid,
        before: Tid,
        /// What was published when the storage was asked.
        head: Tid,
        result: Result<Option<Revision>, StorageError>,
        to: ReplyTo,
    },
    Answered(Result<Value<'static>, Refusal>, ReplyTo),
    Voted(Result<Box<dyn Voted>, CommitError>, Vote),
    Released(Option<TransactionKey>, Option<ReplyTo>),
    /// It has answered by itself.
    Delivered,
}

impl Job {
    pub(super) fn read(served: Arc<Served>, read: Read, to: ReplyTo) -> Self {
        let kind = Kind::Read(read, to);
        Self { served, kind }
    }

    pub(super) fn loads(served: Arc<Served>, loads: Loads) -> Self {
        let kind = Kind::Loads(loads);
        Self { served, kind }
    }

    pub(super) fn vote(served: Arc<Served>, vote: Vote) -> Self {
        let kind = Kind::Vote(vote);
        Self { served, kind }
    }

    pub(super) fn finish(served: Arc<Served>, work: Work) -> Self {
        let kind = Kind::Finish(work);
        Self { served, kind }
    }

    pub(super) fn release(served: Arc<Served>, release: Release) -> Self {
        let kind = Kind::Release(release);
        Self { served, kind }
    }

    pub(super) fn pack(served: Arc<Served>, packing: Packing) -> Self {
        let kind = Kind::Pack(packing);
        Self { served, kind }
    }

    pub(super) fn upload(served: Arc<Served>, file: Arc<BlobFile>, piece: Piece) -> Self {
        let kind = Kind::Upload(file, piece);
        Self { served, kind }
    }

    /// Whether it must be done before the connection's next job is asked for, by a thread that may
    /// wait.
    pub fn is_ordered(&self) -> bool {
        matches!(self.kind, Kind::Upload(..))
    }

    /// Whether it may take hours, so that it needs a thread beside those that others wait for. It
    /// answers whenever it is done; the connection may be gone by then.
    pub fn is_lasting(&self) -> bool {
        matches!(self.kind, Kind::Pack(_))
    }

    /// Whether it may wait for a disk or a lock for long, so that it needs a thread of its own. A
    /// load is not among these: it mostly finds its page in memory.
    pub fn is_blocking(&self) -> bool {
        match &self.kind {
            Kind::Loads(_) => false,
            Kind::Read(read, _) => match read {
                Read::History { .. } | Read::ChangedSince(..) | Read::UndoLog(_) => true,
                Read::Walk(_, step) => step.is_search(),
                _ => false,
            },
            Kind::Vote(vote) => {
                !vote.log.is_small() || {
                    let bytes = u64::try_from(vote.log.bytes()).unwrap_or(u64::MAX);
                    !self.served.storage.votes_quickly(bytes)
                }
            }
            Kind::Finish(_) | Kind::Release(_) | Kind::Pack(_) | Kind::Upload(..) => true,
        }
    }

    /// Whether it finishes the transactions of others as well, for as long as there are some: nobody
    /// should wait for its end, its connection least of all. It answers by itself.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Finish(_))
    }

    /// Does the work, delivers it, and does what became possible by it.
    pub fn run(self) {
        let mut next = Some(self);
        while let Some(job) = next {
            next = job.perform().deliver();
        }
    }

    /// Notes how long it has waited for others and for a thread.
    fn note_wait(&mut self) {
        // A vote that was thought to be quick has waited for none.
        let may_wait = matches!(self.kind, Kind::Vote(_)) || self.is_blocking();
        let (Kind::Read(_, to) | Kind::Vote(Vote { to, .. })) = &mut self.kind else {
            return;
        };
        if may_wait {
            let queued = to.watch.mark(Part::Queue);
            self.served.queue_waits.record(queued);
        }
    }

    /// Does the work in the storage.
    pub fn perform(mut self) -> Done {
        self.note_wait();
        let served = self.served;
        let outcome = match self.kind {
            Kind::Loads(loads) => Outcome::ManyLoaded(loads.perform(&served)),
            Kind::Read(Read::LoadBefore { oid, before }, to) => {
                // The order matters: what is published after this line is looked for at delivery.
                let head = served.head();
                Outcome::Loaded {
                    oid,
                    before,
                    head,
                    result: served.storage.load_before(oid, before),
                    to,
                }
            }
            Kind::Read(read, to) => Outcome::Answered(read.answer(&served), to),
            Kind::Vote(vote) => {
                let result = guarded(|| vote.log.vote(&served.storage));
                Outcome::Voted(result, vote)
            }
            Kind::Finish(work) => {
                work.run();
                Outcome::Delivered
            }
            Kind::Release(Release {
                key,
                voted,
                leftovers,
                to,
            }) => {
                drop((voted, leftovers));
                Outcome::Released(key, to)
            }
            Kind::Upload(file, piece) => {
                match piece {
                    Piece::Start => file.start(),
                    Piece::Chunk(bytes) => file.append(&bytes),
                    Piece::End => file.end(),
                }
                Outcome::Delivered
            }
            Kind::Pack(packing) => {
                packing.perform(&served);
                Outcome::Delivered
            }
        };
        Done { served, outcome }
    }
}

impl Done {
    /// Puts the outcome into the outboxes it belongs to. What is still to be done comes back: a vote
    /// that nobody wants any more is to be released, or loads are left, for which
    /// what was found so far should be sent first.
    pub fn deliver(self) -> Option<Job> {
        let served = self.served;
        match self.outcome {
            Outcome::Loaded {
                oid,
                before,
                head,
                result,
                to,
            } => deliver_load(served, oid, before, head, result, to),
            Outcome::ManyLoaded(loaded) => loaded.deliver(served),
            Outcome::Answered(answer, to) => {
                to.answer(answer);
                None
            }
            Outcome::Voted(result, vote) => deliver_vote(served, result, vote),
            Outcome::Delivered => None,
            Outcome::Released(key, to) => {
                if let Some(key) = key {
                    served.end_turn(key);
                }
                if let Some(to) = to {
                    to.reply(Value::None);
                }
                None
            }
        }
    }
}

/// A reply that calls a revision current must not follow the push that ends it. So it is queued
/// while nothing was published since the storage was asked; else it is corrected with what was.
pub(super) fn deliver_load(
    served: Arc<Served>,
    oid: Oid,
    before: Tid,
    head: Tid,
    result: Result<Option<Revision>, StorageError>,
    to: ReplyTo,
) -> Option<Job> {
    let mut revision = match result {
        Ok(Some(revision)) => revision,
        Ok(None) => {
            to.reply(Value::None);
            return None;
        }
        Err(error) => {
            to.refuse(&Refusal::from(&error));
            return None;
        }
    };
    let is_unchanged = || revision.next.is_some() || served.head() == head;
    let mut bytes = 0;
    let write = |out: &mut Vec<u8>| bytes = write_revision(&revision, &to, out);
    if to.outbox.append_if(is_unchanged, write) {
        to.watch.end(Part::Storage, bytes);
        return None;
    }
    let desk = served.desk();
    match desk.queue.next_change(oid, revision.tid, head) {
        Ok(next) => {
            revision.next = next;
            to.outbox
                .append(|out| bytes = write_revision(&revision, &to, out));
            drop(desk);
            to.watch.end(Part::Storage, bytes);
            None
        }
        Err(_) => {
            drop(desk);
            Some(Job::read(served, Read::LoadBefore { oid, before }, to))
        }
    }
}

fn write_revision(revision: &Revision, to: &ReplyTo, out: &mut Vec<u8>) -> usize {
    let start = revision.tid.to_bytes();
    let next = revision.next.map(Tid::to_bytes);
    let value = Value::Tuple(vec![
        Value::bytes(&revision.record),
        Value::bytes(&start),
        next.as_ref().map_or(Value::None, |next| Value::bytes(next)),
    ]);
    to.write(value, out)
}

fn deliver_vote(
    served: Arc<Served>,
    result: Result<Box<dyn Voted>, CommitError>,
    vote: Vote,
) -> Option<Job> {
    let Vote {
        key,
        log,
        ended,
        to,
        ..
    } = vote;
    match result {
        Ok(voted) => {
            if !log.undoes() {
                let merged = voted.resolved().len() as u64;
                served
                    .counters
                    .resolved
                    .fetch_add(merged, Ordering::Relaxed);
            }
            let resolved = oid_list(voted.resolved());
            let kept = served.turns().voted(key, voted, log);
            if let Err(voted) = kept {
                to.refuse(&Refusal::transaction("aborted while voting"));
                let release = Release {
                    key: Some(key),
                    voted: Some(voted),
                    leftovers: Leftovers::default(),
                    to: None,
                };
                return Some(Job::release(served, release));
            }
            to.reply(resolved);
            None
        }
        Err(CommitError::Conflict(conflicts))
            if conflicts
                .iter()
                .all(|conflict| conflict.refusal.is_none() && log.stores(conflict.oid)) =>
        {
            // The classes that could merge these states live in the client: it gets the conflicts,
            // keeps its transaction, and may vote again.
            count(&served.counters.conflicts);
            let list = conflicts.iter().map(|conflict| log.describe(conflict));
            // Its next vote must not find this one in the way, so the answer comes last.
            served.end_turn(key);
            to.reply(Value::List(list.collect()));
            None
        }
        Err(error) => {
            if matches!(
                error,
                CommitError::ReadConflict(_) | CommitError::Conflict(_)
            ) {
                count(&served.counters.conflicts);
            }
            served.end(&ended);
            served.end_turn(key);
            to.refuse(&Refusal::from(&error));
            None
        }
    }
}

/// A storage that panics in a vote must not keep its turn from everybody else.
fn guarded<T>(work: impl FnOnce() -> Result<T, CommitError>) -> Result<T, CommitError> {
    // What the storage left half done is its own to judge; nothing of ours is shared with it.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(unforeseen()))
}

/// What a client hears of a panic.
pub(super) fn unforeseen() -> CommitError {
    CommitError::Storage(StorageError::Remote {
        class: "ZODB.POSException.StorageSystemError".to_owned(),
        detail: "the storage failed in an unforeseen way; see the server's log".to_owned(),
    })
}

impl Read {
    fn answer(self, served: &Served) -> Result<Value<'static>, Refusal> {
        match self {
            Self::UndoLog(query) => query.answer(&*served.storage),
            Self::RecordNext(from) => next_record(&*served.storage, from),
            Self::Walk(iterators, step) => iterators.answer(&*served.storage, step),
            Self::History { oid, size } => history(&*served.storage, oid, size),
            other => other.ask(served).map_err(|error| Refusal::from(&error)),
        }
    }

    fn ask(self, served: &Served) -> Result<Value<'static>, StorageError> {
        let storage = &*served.storage;
        Ok(match self {
            Self::LoadSerial { oid, tid } => {
                let found = storage.load_before(oid, tid.next())?;
                let exact = found.filter(|revision| revision.tid == tid);
                let revision = exact.ok_or(StorageError::NotFound { oid })?;
                Value::Bytes(revision.record.to_vec().into())
            }
            Self::CurrentTid(oid) => Value::id(current(storage, oid)?.tid.to_bytes()),
            Self::Info { may_undo } => get_info(storage, may_undo),
            Self::NewOids(count) => oid_list(&storage.new_oids(count)?),
            Self::ChangedSince(tid, max) => changed_since(served, tid, max)?,
            // Loads have an order of their own (`deliver_load`), and `answer` knows the others.
            Self::LoadBefore { .. }
            | Self::History { .. }
            | Self::UndoLog(_)
            | Self::RecordNext(_)
            | Self::Walk(..) => Value::None,
        })
    }
}

fn current(storage: &dyn Storage, oid: Oid) -> Result<Revision, StorageError> {
    let found = storage.load_before(oid, Tid::MAX)?;
    found.ok_or(StorageError::NotFound { oid })
}

fn history(storage: &dyn Storage, oid: Oid, size: usize) -> Result<Value<'static>, Refusal> {
    let size = size.min(HISTORY_MAX);
    let Some(iterate) = storage.iterate() else {
        return loaded_history(storage, oid, size).map_err(|error| Refusal::from(&error));
    };
    let found = iterate.history(oid, size);
    let found = found.map_err(|error| Refusal::from(&error))?;
    let entries: Result<_, _> = found.iter().map(describe_revision).collect();
    entries.map(Value::List)
}

/// The revisions as far as loads tell of them: not who wrote them and why.
fn loaded_history(
    storage: &dyn Storage,
    oid: Oid,
    size: usize,
) -> Result<Value<'static>, StorageError> {
    let mut entries = Vec::new();
    let mut found = Some(current(storage, oid)?);
    while let Some(revision) = found.take_if(|_| entries.len() < size) {
        let length = i64::try_from(revision.record.len()).unwrap_or(i64::MAX);
        entries.push(Value::Map(vec![
            (Value::text("time"), Value::Float(seconds(revision.tid))),
            (Value::text("user_name"), Value::bytes(b"")),
            (Value::text("description"), Value::bytes(b"")),
            (Value::text("tid"), Value::id(revision.tid.to_bytes())),
            (Value::text("size"), Value::Int(length)),
        ]));
        found = match storage.load_before(oid, revision.tid) {
            Err(StorageError::NotFound { .. }) => None,
            other => other?,
        };
    }
    Ok(Value::List(entries))
}

/// The slow way of `getInvalidations`, for clients that were away for longer than the queue.
fn changed_since(served: &Served, tid: Tid, max: usize) -> Result<Value<'static>, StorageError> {
    // What is not published yet is left to the push that will tell of it.
    let head = served.head();
    let found = served.storage.changes_since(tid, max)?;
    let Some(changes) = found else {
        count(&served.counters.not_verified);
        return Ok(Value::None);
    };
    count(&served.counters.verified_from_storage);
    let published = changes.iter().filter(|changes| changes.tid <= head);
    let mut oids: Vec<_> = published
        .flat_map(|changes| &changes.oids)
        .copied()
        .collect();
    oids.sort_unstable();
    oids.dedup();
    Ok(Value::Tuple(vec![
        Value::id(head.to_bytes()),
        oid_list(&oids),
    ]))
}

/// How many revisions `history` names at most.
const HISTORY_MAX: usize = 10_000;
