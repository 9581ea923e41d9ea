//! The turns to commit of one storage. A transaction has its turn from its vote to its end, and with
//! it all that it touches to itself; those that touch other things have theirs at the same time.
//!
//! The storage has locks of its own. But a vote that waits for them takes a thread, and there may be
//! as many as there are clients: so here is waited first, without one, and a vote is handed to the
//! storage when nobody is in its way there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::{Histogram, Spans, Voted};

use super::calls::Part;
use super::claims::{Claim, Claims};
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

/// Who has a turn to commit and who waits for one.
#[derive(Default)]
pub(super) struct Turns {
    claims: Claims,
    turns: BTreeMap<TransactionKey, Turn>,
    clock: Option<fn() -> Instant>,
    held: Histogram,
    lock_waits: Histogram,
}

struct Turn {
    stage: Stage,
    client: Client,
    /// When it was granted.
    granted: Option<Instant>,
    /// When a look at the clock first found it having what it claims.
    seen: Option<Instant>,
    /// It was told to go.
    is_overdue: bool,
}

/// Whose transaction it is.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) outbox: Arc<Outbox>,
}

enum Stage {
    /// Others are in the way.
    Waiting(Vote),
    /// Nobody is, and its connection has yet to notice.
    Granted(Vote),
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
    /// No turn involved.
    Nothing,
    /// The vote was waiting; it is owed an answer.
    Waiting(Box<Vote>, Granted),
    /// The vote is running and will be given up as soon as it is done.
    Voting,
    /// The transaction has to be released in the storage.
    Voted(Box<dyn Voted>),
}

/// Those whose turn it is now, to be woken.
#[must_use = "they wait"]
pub(super) struct Granted(Vec<Arc<Outbox>>);

impl Granted {
    /// Has their connections look for their votes.
    pub(super) fn wake(self) {
        self.0.iter().for_each(|outbox| outbox.wake());
    }
}

impl Turns {
    /// With a clock, to see how long turns last.
    pub(super) fn with_clock(clock: Option<fn() -> Instant>) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// How long turns lasted.
    pub(super) fn held(&self) -> Spans {
        self.held.spans()
    }

    /// How long votes waited for their turns.
    pub(super) fn lock_waits(&self) -> Spans {
        self.lock_waits.spans()
    }

    /// Since when the oldest turn lasts.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.turns.values().filter_map(|turn| turn.granted).min()
    }

    /// Asks for a turn: the vote comes back if it may run now, else it waits, and its connection is
    /// woken when it may.
    pub(super) fn request(&mut self, vote: Vote, claim: Claim) -> Option<Vote> {
        let key = vote.key;
        let client = Client {
            name: vote.client.clone(),
            outbox: vote.to.outbox.clone(),
        };
        let mut since = None;
        let (stage, granted) = if self.claims.claim(key, claim) {
            since = self.clock.map(|clock| clock());
            self.lock_waits.record(Duration::ZERO);
            (Stage::Voting { abandoned: false }, Some(vote))
        } else {
            (Stage::Waiting(vote), None)
        };
        self.turns.insert(
            key,
            Turn {
                stage,
                client,
                granted: since,
                seen: None,
                is_overdue: false,
            },
        );
        granted
    }

    /// The vote that has waited and may run now.
    pub(super) fn take_granted(&mut self, key: TransactionKey) -> Option<Vote> {
        let turn = self.turns.get_mut(&key)?;
        match std::mem::replace(&mut turn.stage, Stage::Voting { abandoned: false }) {
            Stage::Granted(vote) => Some(vote),
            other => {
                turn.stage = other;
                None
            }
        }
    }

    /// Whether the transaction is between the start of its vote and its end.
    pub(super) fn is_under_way(&self, key: TransactionKey) -> bool {
        let turn = self.turns.get(&key);
        turn.is_some_and(|turn| !matches!(turn.stage, Stage::Waiting(_)))
    }

    /// Whether the storage is finishing the transaction.
    pub(super) fn is_ending(&self, key: TransactionKey) -> bool {
        let turn = self.turns.get(&key);
        turn.is_some_and(|turn| matches!(turn.stage, Stage::Ending))
    }

    /// Whether this transaction has its turn, and whether it waits for it.
    pub(super) fn position(&self, key: TransactionKey) -> Option<&'static str> {
        self.turns.get(&key).map(|turn| match turn.stage {
            Stage::Waiting(_) => "waiting",
            _ => "locked",
        })
    }

    /// How many votes wait.
    pub(super) fn waiting(&self) -> usize {
        self.claims.waiting()
    }

    /// Keeps what a vote achieved; gives it back when the client is gone.
    pub(super) fn voted(
        &mut self,
        key: TransactionKey,
        voted: Box<dyn Voted>,
        log: Arc<Log>,
    ) -> Result<(), Box<dyn Voted>> {
        let turn = self.turns.get_mut(&key);
        let turn = turn.expect("a vote runs only while its transaction has its turn");
        if matches!(turn.stage, Stage::Voting { abandoned: true }) {
            turn.stage = Stage::Ending;
            return Err(voted);
        }
        turn.stage = Stage::Voted(voted, log);
        Ok(())
    }

    /// Takes the voted transaction out, to finish it. The turn goes on.
    pub(super) fn finishing(&mut self, key: TransactionKey) -> Option<(Box<dyn Voted>, Arc<Log>)> {
        let turn = self.turns.get_mut(&key)?;
        match std::mem::replace(&mut turn.stage, Stage::Ending) {
            Stage::Voted(voted, log) => Some((voted, log)),
            other => {
                turn.stage = other;
                None
            }
        }
    }

    /// Gives a transaction up.
    pub(super) fn abort(&mut self, key: TransactionKey) -> Aborted {
        let Some(turn) = self.turns.get_mut(&key) else {
            return Aborted::Nothing;
        };
        match std::mem::replace(&mut turn.stage, Stage::Ending) {
            Stage::Waiting(vote) | Stage::Granted(vote) => {
                let granted = self.release(key);
                Aborted::Waiting(Box::new(vote), granted)
            }
            Stage::Voting { .. } => {
                turn.stage = Stage::Voting { abandoned: true };
                Aborted::Voting
            }
            Stage::Voted(voted, _) => Aborted::Voted(voted),
            Stage::Ending => Aborted::Nothing,
        }
    }

    /// Ends a turn, and grants theirs to those who waited for nobody else.
    pub(super) fn release(&mut self, key: TransactionKey) -> Granted {
        let ended = self.turns.remove(&key);
        debug_assert!(ended.is_some(), "a turn ends once");
        let now = self.clock.map(|clock| clock());
        let since = ended.and_then(|turn| turn.granted);
        if let Some((since, now)) = since.zip(now) {
            self.held.record(now.saturating_duration_since(since));
        }
        let mut granted = Vec::new();
        for key in self.claims.release(key) {
            let turn = self.turns.get_mut(&key);
            let turn = turn.expect("who waits for a claim is here");
            turn.granted = now;
            // The stage in between is never seen.
            turn.stage = match std::mem::replace(&mut turn.stage, Stage::Ending) {
                Stage::Waiting(mut vote) => {
                    self.lock_waits.record(vote.to.watch.mark(Part::Lock));
                    Stage::Granted(vote)
                }
                other => other,
            };
            granted.push(turn.client.outbox.clone());
        }
        Granted(granted)
    }

    /// The clients that have had what they claim for longer than `allowed`, each once. What the
    /// storage is finishing is beyond a timeout: its outcome is not ours to choose any more.
    pub(super) fn overdue(&mut self, allowed: Duration, now: Instant) -> Vec<Client> {
        let mut overdue = Vec::new();
        for turn in self.turns.values_mut() {
            if matches!(turn.stage, Stage::Waiting(_) | Stage::Ending) {
                continue;
            }
            let seen = *turn.seen.get_or_insert(now);
            if now.saturating_duration_since(seen) >= allowed && !turn.is_overdue {
                turn.is_overdue = true;
                overdue.push(turn.client.clone());
            }
        }
        overdue
    }
}
