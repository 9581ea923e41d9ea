//! Whether a client may keep its cache at a server where it has just registered.

use std::cmp::Ordering;
use std::mem;

use storage::{Revision, Tid};

use crate::{ClientCache, Refusal, Reply, Request};

/// What brings a cache up to date after a registration: questions, one after the other, and an end.
/// What the server pushes meanwhile is applied after it, where it is newer than what the cache has then.
#[derive(Debug)]
pub struct Verification {
    /// The server's last transaction, as the registration told it.
    server_tid: Tid,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Whether the newest revision in the cache is the server's, too.
    History(Revision),
    /// What has changed since.
    Changes,
    Done,
}

/// What is to be done next.
#[derive(Debug)]
pub enum VerificationStep {
    /// Ask the server that, and hand the answer to [`Verification::answered`].
    Ask(Request),
    /// That was all.
    Done(Verified),
}

/// What became of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// There was none.
    Empty,
    /// It is kept, but for what has changed.
    Kept,
    /// It is dropped: the server does not know what has changed since.
    TooOld,
    /// It is dropped: the server lacks what was seen.
    WentBack {
        /// The last transaction that was seen.
        seen: Tid,
        /// The last one of the server.
        found: Tid,
    },
}

impl Verification {
    /// Begins when a server has said what its last transaction is.
    pub fn begin(cache: &ClientCache, server_tid: Tid) -> (Self, VerificationStep) {
        let mut verification = Self {
            server_tid,
            stage: Stage::Done,
        };
        let seen = cache.last_tid();
        let step = if seen == Tid::ZERO {
            cache.restart(server_tid);
            VerificationStep::Done(Verified::Empty)
        } else {
            match server_tid.cmp(&seen) {
                Ordering::Less => verification.went_back(cache),
                Ordering::Equal => VerificationStep::Done(Verified::Kept),
                Ordering::Greater => verification.ask_for_history(cache),
            }
        };
        (verification, step)
    }

    /// Takes the answer to what was asked last.
    pub fn answered(
        &mut self,
        cache: &ClientCache,
        outcome: Result<Reply, Refusal>,
    ) -> VerificationStep {
        match mem::replace(&mut self.stage, Stage::Done) {
            Stage::History(newest) => match outcome {
                Ok(Reply::Revision(Some(found)))
                    if (found.tid, &found.record) == (newest.tid, &newest.record) =>
                {
                    self.ask_for_changes(cache)
                }
                _ => self.went_back(cache),
            },
            Stage::Changes => match outcome {
                Ok(Reply::Invalidations(Some((tid, oids)))) => {
                    cache.verify(tid, oids);
                    VerificationStep::Done(Verified::Kept)
                }
                _ => {
                    cache.restart(self.server_tid);
                    VerificationStep::Done(Verified::TooOld)
                }
            },
            Stage::Done => VerificationStep::Done(Verified::Kept),
        }
    }

    /// A server whose file was put back to an older copy, and then went on, is ahead of what was seen,
    /// and yet lacks some of it. A pack may have taken the revision away that is asked for, which costs
    /// no more than the cache.
    fn ask_for_history(&mut self, cache: &ClientCache) -> VerificationStep {
        let Some((oid, newest)) = cache.newest() else {
            return self.ask_for_changes(cache);
        };
        let before = newest.tid.next();
        self.stage = Stage::History(newest);
        VerificationStep::Ask(Request::LoadBefore { oid, before })
    }

    fn ask_for_changes(&mut self, cache: &ClientCache) -> VerificationStep {
        self.stage = Stage::Changes;
        VerificationStep::Ask(Request::GetInvalidations(cache.last_tid()))
    }

    fn went_back(&self, cache: &ClientCache) -> VerificationStep {
        let seen = cache.last_tid();
        cache.restart(self.server_tid);
        VerificationStep::Done(Verified::WentBack {
            seen,
            found: self.server_tid,
        })
    }
}
