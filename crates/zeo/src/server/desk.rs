//! The commit lock of one storage: held from vote to finish, granted in the order of the votes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::Voted;

use super::outbox::{Outbox, ReplyTo};
use super::transaction::{Ended, Log, TransactionKey};

/// A vote and everything its job needs.
pub(super) struct Vote {
    pub(super) key: TransactionKey,
    pub(super) log: Arc<Log>,
    pub(super) ended: Ended,
    pub(super) to: ReplyTo,
    /// The client's name for log lines.
    pub(super) client: String,
}

/// Who has the commit lock and who waits for it.
#[derive(Default)]
pub(super) struct CommitLock {
    holder: Option<Holder>,
    waiting: VecDeque<Vote>,
}

struct Holder {
    key: TransactionKey,
    stage: Stage,
    client: Client,
    /// When a look at the clock first found it here.
    seen: Option<Instant>,
    /// It was told to go.
    is_overdue: bool,
}

/// Whose transaction holds the lock.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) outbox: Arc<Outbox>,
}

enum Stage {
    /// The vote runs; `abandoned` when its client has aborted or gone meanwhile.
    Voting {
        abandoned: bool,
    },
    Voted(Box<dyn Voted>, Arc<Log>),
    /// Finish or release runs.
    Ending,
}

/// What an abort finds.
pub(super) enum Aborted {
    /// No lock involved.
    Nothing,
    /// The vote was waiting; it is owed an answer.
    Waiting(Vote),
    /// The vote is running and will be given up as soon as it is done.
    Voting,
    /// The lock is held; the transaction has to be released in the storage.
    Voted(Box<dyn Voted>),
}

impl CommitLock {
    /// Asks for the lock: the vote comes back if it may run now, else it waits.
    pub(super) fn request(&mut self, vote: Vote) -> Option<Vote> {
        if self.holder.is_some() {
            self.waiting.push_back(vote);
            return None;
        }
        self.hold(&vote);
        Some(vote)
    }

    pub(super) fn is_held_by(&self, key: TransactionKey) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.key == key)
    }

    /// Whether this transaction holds the lock, and whether it waits for it.
    pub(super) fn position(&self, key: TransactionKey) -> Option<&'static str> {
        if self.is_held_by(key) {
            Some("locked")
        } else if self.waiting.iter().any(|vote| vote.key == key) {
            Some("waiting")
        } else {
            None
        }
    }

    /// How many votes wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps what a vote achieved; gives it back when the client is gone.
    pub(super) fn voted(
        &mut self,
        key: TransactionKey,
        voted: Box<dyn Voted>,
        log: Arc<Log>,
    ) -> Result<(), Box<dyn Voted>> {
        let holder = self.holder.as_mut();
        let holder = holder.filter(|holder| holder.key == key);
        let holder = holder.expect("a vote runs only while its transaction holds the lock");
        if matches!(holder.stage, Stage::Voting { abandoned: true }) {
            holder.stage = Stage::Ending;
            return Err(voted);
        }
        holder.stage = Stage::Voted(voted, log);
        Ok(())
    }

    /// Takes the voted transaction out, to finish it. The lock stays held.
    pub(super) fn finishing(&mut self, key: TransactionKey) -> Option<(Box<dyn Voted>, Arc<Log>)> {
        let holder = self.holder.as_mut().filter(|holder| holder.key == key)?;
        match std::mem::replace(&mut holder.stage, Stage::Ending) {
            Stage::Voted(voted, log) => Some((voted, log)),
            other => {
                holder.stage = other;
                None
            }
        }
    }

    /// Gives a transaction up.
    pub(super) fn abort(&mut self, key: TransactionKey) -> Aborted {
        if let Some(index) = self.waiting.iter().position(|vote| vote.key == key) {
            return self
                .waiting
                .remove(index)
                .map_or(Aborted::Nothing, Aborted::Waiting);
        }
        let Some(holder) = self.holder.as_mut().filter(|holder| holder.key == key) else {
            return Aborted::Nothing;
        };
        match std::mem::replace(&mut holder.stage, Stage::Ending) {
            Stage::Voting { .. } => {
                holder.stage = Stage::Voting { abandoned: true };
                Aborted::Voting
            }
            Stage::Voted(voted, _) => Aborted::Voted(voted),
            Stage::Ending => Aborted::Nothing,
        }
    }

    /// Frees the lock; the vote that has waited longest holds it now and is to be run.
    pub(super) fn release(&mut self, key: TransactionKey) -> Option<Vote> {
        debug_assert_eq!(self.holder.as_ref().map(|holder| holder.key), Some(key));
        self.holder = None;
        let next = self.waiting.pop_front()?;
        self.hold(&next);
        Some(next)
    }

    /// The client that has held the lock for longer than `allowed`, once. What the storage is
    /// finishing is beyond a timeout: its outcome is not ours to choose any more.
    pub(super) fn overdue(&mut self, allowed: Duration, now: Instant) -> Option<Client> {
        let holder = self.holder.as_mut()?;
        let seen = *holder.seen.get_or_insert(now);
        let is_late = now.saturating_duration_since(seen) >= allowed;
        if !is_late || holder.is_overdue || matches!(holder.stage, Stage::Ending) {
            return None;
        }
        holder.is_overdue = true;
        Some(holder.client.clone())
    }

    fn hold(&mut self, vote: &Vote) {
        self.holder = Some(Holder {
            key: vote.key,
            stage: Stage::Voting { abandoned: false },
            client: Client {
                name: vote.client.clone(),
                outbox: vote.to.outbox.clone(),
            },
            seen: None,
            is_overdue: false,
        });
    }
}
