//! What became of a transaction whose finish was not answered.
//!
//! The server chooses the transaction's id, and tells it in the answer that is missing. So the question
//! is put to the objects, over the next connection. First comes a vote that relies on the bases of the
//! lost transaction and is then aborted: it waits until the lost one has given up what it held, however
//! late its last words are read, so that nothing is decided afterwards any more. Where it finds the bases
//! current, nothing was committed. Else what follows the bases tells:
//!
//! * a new object has a first revision that is ours: nobody else knew its id, so we committed;
//! * it does not exist, or something else follows a base: we did not;
//! * just what we stored follows every base, and there is no new object: somebody else may have done the
//!   same work, so nobody can tell.
//!
//! "Not committed" is believed of the server that voted, and only if it has not gone back meanwhile.

use std::time::Instant;

use storage::{Oid, Record, Revision, StorageError, Tid, TransactionMeta};
use zeo::{Reply, Request, Value};

use super::Shared;
use super::link::{Answer, Link};

/// What is known of a transaction that may be lost.
pub(super) struct Evidence {
    /// Objects, what they were made from, and what they became. Without those that the server changed
    /// by itself.
    pub(super) stores: Vec<(Oid, Tid, Record)>,
    /// The id of a transaction that was copied.
    pub(super) tid: Option<Tid>,
    /// The server that voted.
    pub(super) server: String,
    /// How often servers had gone back by then.
    pub(super) went_back: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed(Tid),
    NotCommitted,
    Unknown,
}

/// The vote that waits for the end of the lost transaction.
enum Fence {
    /// Every base is current.
    Unchanged,
    /// Something has changed.
    Changed,
    /// The connection is lost, or the time is over.
    Lost,
    /// The server says something else.
    Unclear,
}

/// How many objects are looked at; of a larger transaction these tell as much.
const OBJECTS_MAX: usize = 1000;
/// How many revisions of a new object are followed back.
const REVISIONS_MAX: usize = 100;

/// Finds out what became of the transaction. Nobody of this client votes meanwhile.
pub(super) fn find(shared: &Shared, evidence: &Evidence, id: &Value<'static>) -> Outcome {
    let deadline = shared.deadline();
    loop {
        let Ok(link) = shared.link_until(deadline) else {
            return Outcome::Unknown;
        };
        let found = ask(shared, &link, evidence, id, deadline);
        match found {
            Ok(Outcome::NotCommitted) if !is_trusted(shared, &link, evidence) => {
                return Outcome::Unknown;
            }
            Ok(outcome) => return outcome,
            Err(StorageError::Disconnected { .. }) if crate::clock::now() < deadline => {
                shared.forget(&link);
            }
            Err(error) => {
                tracing::warn!(%error, "the outcome of a transaction cannot be found out");
                return Outcome::Unknown;
            }
        }
    }
}

/// Whether this is the server that voted, with the same history.
fn is_trusted(shared: &Shared, link: &Link, evidence: &Evidence) -> bool {
    let went_back = shared.state.lock().status.went_back;
    link.peer().address == evidence.server && went_back == evidence.went_back
}

fn ask(
    shared: &Shared,
    link: &Link,
    evidence: &Evidence,
    id: &Value<'static>,
    deadline: Instant,
) -> Result<Outcome, StorageError> {
    if link.peer().is_read_only {
        return Ok(Outcome::Unknown);
    }
    let stores = &evidence.stores[..evidence.stores.len().min(OBJECTS_MAX)];
    let questions = Questions {
        shared,
        link,
        deadline,
    };
    match questions.fence(stores, id) {
        Fence::Unchanged if stores.is_empty() => {}
        Fence::Unchanged => return Ok(Outcome::NotCommitted),
        Fence::Changed => {}
        Fence::Lost => return Err(shared.disconnected()),
        Fence::Unclear => return Ok(Outcome::Unknown),
    }
    if let Some(tid) = evidence.tid {
        return questions.copied(tid);
    }
    let mut outcome = Outcome::Unknown;
    // New objects first: they tell for certain.
    let (new, old): (Vec<_>, Vec<_>) = stores.iter().partition(|(_, base, _)| *base == Tid::ZERO);
    for (oid, base, record) in new.into_iter().chain(old) {
        let seen = if *base == Tid::ZERO {
            questions.first(*oid)?
        } else {
            questions.successor(*oid, *base)?
        };
        outcome = match seen {
            Seen::Nothing => return Ok(Outcome::NotCommitted),
            Seen::Revision(found) if found.record == *record && *base == Tid::ZERO => {
                return questions.applied(found.tid);
            }
            Seen::Revision(found) if found.record != *record && *base != Tid::ZERO => {
                return Ok(Outcome::NotCommitted);
            }
            Seen::Revision(_) | Seen::Unclear => outcome,
        };
    }
    Ok(outcome)
}

/// What follows a base.
enum Seen {
    Nothing,
    Revision(Revision),
    /// It was packed away, or lies too far back.
    Unclear,
}

/// The questions, over one connection.
struct Questions<'a> {
    shared: &'a Shared,
    link: &'a Link,
    deadline: Instant,
}

impl Questions<'_> {
    fn ask(&self, request: &Request) -> Result<Reply, StorageError> {
        let answer = self.link.call(request, self.deadline);
        match answer.wait_until(self.deadline) {
            Some(Answer::Said(Ok(reply))) => Ok(reply),
            Some(Answer::Said(Err(refusal))) => Err(refusal.to_storage_error(None)),
            Some(Answer::Lost) | None => Err(self.shared.disconnected()),
        }
    }

    /// Votes on the bases, and aborts.
    fn fence(&self, stores: &[(Oid, Tid, Record)], id: &Value<'static>) -> Fence {
        // A new object does not exist, or does not rely on anything: it is refused in any case.
        let has_old = stores.iter().any(|(_, base, _)| *base != Tid::ZERO);
        let relied = stores
            .iter()
            .filter(|(_, base, _)| !has_old || *base != Tid::ZERO);
        let begin = Request::TpcBegin {
            id: id.clone(),
            meta: TransactionMeta::default(),
            copied: None,
        };
        let checks = relied.map(|(oid, base, _)| Request::CheckCurrent {
            oid: *oid,
            base: *base,
            id: id.clone(),
        });
        self.link
            .send_all(std::iter::once(begin).chain(checks), self.deadline);
        let vote = self.link.call(&Request::Vote(id.clone()), self.deadline);
        let answer = vote.wait_until(self.deadline);
        let abort = std::iter::once(Request::TpcAbort(id.clone()));
        self.link.send_all(abort, self.deadline);
        match answer {
            Some(Answer::Said(Ok(Reply::Voted(_)))) => Fence::Unchanged,
            Some(Answer::Said(Err(refusal))) if refusal.is_ordinary() => Fence::Changed,
            Some(Answer::Said(other)) => {
                tracing::warn!(?other, "a vote that should tell the fate of another one");
                Fence::Unclear
            }
            Some(Answer::Lost) => Fence::Lost,
            None => {
                // It may hold what it asked for.
                self.shared.abandon(self.link);
                Fence::Lost
            }
        }
    }

    fn load(&self, oid: Oid, before: Tid) -> Result<Option<Revision>, StorageError> {
        let answer = self
            .link
            .call(&Request::LoadBefore { oid, before }, self.deadline);
        match answer.wait_until(self.deadline) {
            Some(Answer::Said(Ok(Reply::Revision(revision)))) => Ok(revision),
            Some(Answer::Said(Ok(other))) => Err(super::unexpected(&other)),
            Some(Answer::Said(Err(refusal))) => match refusal.to_storage_error(Some(oid)) {
                StorageError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
            Some(Answer::Lost) | None => Err(self.shared.disconnected()),
        }
    }

    /// The first revision of an object.
    fn first(&self, oid: Oid) -> Result<Seen, StorageError> {
        let Some(mut first) = self.load(oid, Tid::MAX)? else {
            return Ok(Seen::Nothing);
        };
        for _ in 0..REVISIONS_MAX {
            match self.load(oid, first.tid)? {
                Some(earlier) => first = earlier,
                None => return Ok(Seen::Revision(first)),
            }
        }
        Ok(Seen::Unclear)
    }

    /// The revision that was made from the base.
    fn successor(&self, oid: Oid, base: Tid) -> Result<Seen, StorageError> {
        match self.load(oid, base.next())? {
            Some(revision) if revision.tid == base => match revision.next {
                None => Ok(Seen::Nothing),
                Some(next) => {
                    let revision = self.load(oid, next.next())?;
                    let revision = revision.filter(|revision| revision.tid == next);
                    Ok(revision.map_or(Seen::Unclear, Seen::Revision))
                }
            },
            _ => Ok(Seen::Unclear),
        }
    }

    /// Whether the transaction of that id is there: it was given by us.
    fn copied(&self, tid: Tid) -> Result<Outcome, StorageError> {
        let walk = Request::IteratorStart { from: tid, to: tid };
        let Reply::Walk(walk) = self.ask(&walk)? else {
            return Ok(Outcome::Unknown);
        };
        match self.ask(&Request::IteratorNext(walk))? {
            Reply::Transaction(Some(found)) if found.tid == tid => self.applied(tid),
            Reply::Transaction(None) => Ok(Outcome::NotCommitted),
            _ => Ok(Outcome::Unknown),
        }
    }

    /// It is committed; waits until it is applied here, too.
    fn applied(&self, tid: Tid) -> Result<Outcome, StorageError> {
        self.ask(&Request::Ping)?;
        if self.shared.cache.last_tid() < tid {
            return Ok(Outcome::Unknown);
        }
        Ok(Outcome::Committed(tid))
    }
}
