//! A client that keeps a cache and writes, and judges all that it hears.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::{Conflict, Oid, Record, Revision, Tid, TransactionMeta};
use zeo::{
    CallId, ClientCache, Event, FRAME_BYTES_MAX, LoadTicket, Refusal, Reply, Request, Session,
    Value, Verification, VerificationStep, Verified,
};

use super::history::History;
use super::line::Line;
use crate::pair::{epoch, register};

/// What all clients together have seen.
pub(super) struct Witnesses {
    pub(super) history: Arc<History>,
    /// The newest transaction of which somebody has heard that it is finished.
    pub(super) known: Tid,
    /// What snapshots of before that see may be gone.
    pub(super) packed: Tid,
    /// When the committer was told, and when the last of the others, where that can be said.
    told: BTreeMap<Tid, (Option<u64>, u64)>,
    has_stamps: bool,
    /// How often something was seen that the simulation is for.
    pub(super) seen: BTreeMap<&'static str, usize>,
}

impl Witnesses {
    pub(super) fn new(history: Arc<History>, has_stamps: bool) -> Self {
        Self {
            history,
            known: Tid::ZERO,
            packed: Tid::ZERO,
            told: BTreeMap::new(),
            has_stamps,
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// What was committed after that is lost.
    pub(super) fn forget_after(&mut self, kept: Tid) {
        self.history.forget_after(kept);
        self.known = self.known.min(kept);
        self.told.retain(|tid, _| *tid <= kept);
    }

    /// The others are told first.
    fn told(&mut self, tid: Tid, stamp: u64, is_committer: bool) {
        let (committer, others) = self.told.entry(tid).or_default();
        if is_committer {
            *committer = Some(stamp);
        } else {
            *others = stamp.max(*others);
        }
        let is_in_order = committer.is_none_or(|committer| committer > *others);
        self.history.check(is_in_order || !self.has_stamps, || {
            format!("the committer of {tid} was told before the others")
        });
    }
}

pub(super) struct Client {
    session: Session,
    pub(super) line: Option<Line>,
    cache: ClientCache,
    /// Whether the cache may be kept, as long as that is not known.
    verification: Option<Verification>,
    calls: BTreeMap<CallId, Asked>,
    pub(super) is_ready: bool,
    /// What was pushed while the cache was verified.
    held: Vec<(Tid, Vec<Oid>)>,
    /// The newest transaction heard of on this connection.
    heard: Tid,
    /// The last push of each object on this connection.
    pushed: BTreeMap<Oid, Tid>,
    /// The revisions it has seen last; `None` for an object that does not exist.
    read: BTreeMap<Oid, Option<Tid>>,
    pub(super) open: Option<Open>,
    transactions: i64,
}

/// A transaction of the client.
pub(super) struct Open {
    pub(super) id: Value<'static>,
    pub(super) stage: Stage,
    stores: BTreeMap<Oid, Record>,
    resolved: Vec<Oid>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Filling,
    Voting,
    Voted,
    Finishing,
    Aborting,
}

enum Asked {
    Register,
    Verify,
    Load {
        oid: Oid,
        before: Tid,
        ticket: LoadTicket,
    },
    /// A barrier: what anybody knew when it was asked is known here when it is answered.
    Ping {
        floor: Tid,
    },
    LastTransaction {
        floor: Tid,
    },
    Changes {
        since: Tid,
    },
    UndoLog,
    /// The answer may come when another transaction is open: an abort does not wait for it.
    Vote {
        number: i64,
    },
    Finish,
    Abort,
    Pack,
}

impl Client {
    pub(super) fn new() -> Self {
        Self {
            session: Session::new(epoch(), FRAME_BYTES_MAX),
            line: None,
            cache: ClientCache::new(16 << 10),
            verification: None,
            calls: BTreeMap::new(),
            is_ready: false,
            held: Vec::new(),
            heard: Tid::ZERO,
            pushed: BTreeMap::new(),
            read: BTreeMap::new(),
            open: None,
            transactions: 0,
        }
    }

    pub(super) fn last_tid(&self) -> Tid {
        self.cache.last_tid()
    }

    pub(super) fn connect(&mut self, line: Line) {
        self.session = Session::new(epoch(), FRAME_BYTES_MAX);
        self.line = Some(line);
    }

    /// The connection is lost, with all that was under way on it.
    pub(super) fn lose(&mut self) -> Option<Line> {
        for asked in std::mem::take(&mut self.calls).into_values() {
            if let Asked::Load { ticket, .. } = asked {
                self.cache.abandon_load(ticket);
            }
        }
        self.is_ready = false;
        self.held.clear();
        self.verification = None;
        self.pushed.clear();
        self.heard = Tid::ZERO;
        self.open = None;
        self.line.take()
    }

    /// Whether an answer is missing.
    pub(super) fn is_waiting(&self) -> bool {
        !self.calls.is_empty()
    }

    fn ask(&mut self, request: &Request, asked: Asked) {
        let id = self.session.call(request);
        self.calls.insert(id, asked);
    }

    /// Hands over what it wants to say.
    pub(super) fn transmit(&mut self) {
        let mut bytes = Vec::new();
        self.session.poll_transmit(&mut bytes);
        if let Some(line) = &mut self.line {
            line.to_server.extend(bytes);
        }
    }

    pub(super) fn ping(&mut self, witnesses: &Witnesses) {
        let floor = witnesses.known;
        self.ask(&Request::Ping, Asked::Ping { floor });
    }

    pub(super) fn ask_last_transaction(&mut self, witnesses: &Witnesses) {
        let floor = witnesses.known;
        self.ask(&Request::LastTransaction, Asked::LastTransaction { floor });
    }

    pub(super) fn ask_changes(&mut self, since: Tid) {
        self.ask(&Request::GetInvalidations(since), Asked::Changes { since });
    }

    pub(super) fn pack(&mut self, to: Tid) {
        self.ask(&Request::Pack { to, wait: true }, Asked::Pack);
    }

    /// Reads as of the newest snapshot, or as of an older one.
    pub(super) fn load(&mut self, oid: Oid, before: Option<Tid>, witnesses: &mut Witnesses) {
        let before = before.unwrap_or_else(|| self.last_tid().next());
        if let Some(revision) = self.cache.lookup(oid, before) {
            witnesses.count("cached");
            self.see(oid, before, Some(revision), witnesses);
            return;
        }
        let ticket = self.cache.begin_load(oid);
        let request = Request::LoadBefore { oid, before };
        self.ask(
            &request,
            Asked::Load {
                oid,
                before,
                ticket,
            },
        );
    }

    /// What a snapshot shows is what history says.
    fn see(&mut self, oid: Oid, before: Tid, found: Option<Revision>, witnesses: &Witnesses) {
        let history = &witnesses.history;
        if before <= witnesses.packed {
            return;
        }
        let expected = history.before(oid, before);
        // An object that was gone at a pack and came back by an undo of its end: the pack keeps what
        // the undo refers to, and no word of the end, as with the original.
        if matches!(expected, Some((ended, None, Some(_))) if ended <= witnesses.packed) {
            return;
        }
        let expected = expected.and_then(|(tid, record, next)| Some((tid, record?, next)));
        let seen = found
            .as_ref()
            .map(|found| (found.tid, found.record.clone()));
        let told = expected
            .as_ref()
            .map(|(tid, record, _)| (*tid, record.clone()));
        history.check(seen == told, || {
            format!("before {before}, {oid} is {seen:?} instead of {told:?}")
        });
        if let (
            Some(Revision {
                next: Some(end), ..
            }),
            Some((tid, _, next)),
        ) = (&found, &expected)
        {
            // The end may be a transaction that is lost: what is believed of the time before it stays true.
            history.check(Some(*end) == *next || history.is_lost(*end), || {
                format!("{oid} of {tid} ends with {end} instead of {next:?}")
            });
        }
        if before > self.last_tid() {
            self.read.insert(oid, found.map(|found| found.tid));
        }
    }

    /// Opens a transaction that changes some objects, and relies on others, as of what was read.
    pub(super) fn begin(&mut self, random: &mut fastrand::Rng, oids: &[Oid], count: &mut i32) {
        let id = self.begin_empty();
        let mut stores = BTreeMap::new();
        for oid in oids {
            let Some(base) = self.read.get(oid).copied() else {
                continue;
            };
            if random.u8(..5) == 0 {
                let base = base.unwrap_or(Tid::ZERO);
                let (oid, id) = (*oid, id.clone());
                self.session.send(&Request::CheckCurrent { oid, base, id });
                continue;
            }
            *count += 1;
            let record = record(*count);
            self.store(*oid, base.unwrap_or(Tid::ZERO), record.clone(), &id);
            stores.insert(*oid, record);
        }
        self.open_with(id, stores);
    }

    fn begin_empty(&mut self) -> Value<'static> {
        self.transactions += 1;
        let id = Value::Int(self.transactions);
        self.session.send(&Request::TpcBegin {
            id: id.clone(),
            meta: TransactionMeta::default(),
            copied: None,
        });
        id
    }

    fn open_with(&mut self, id: Value<'static>, stores: BTreeMap<Oid, Record>) {
        self.open = Some(Open {
            id,
            stage: Stage::Filling,
            stores,
            resolved: Vec::new(),
        });
    }

    fn store(&mut self, oid: Oid, base: Tid, record: Record, id: &Value<'static>) {
        let id = id.clone();
        let store = Request::Store {
            oid,
            base,
            record,
            id,
        };
        self.session.send(&store);
    }

    pub(super) fn ask_undo_log(&mut self) {
        let request = Request::UndoLog {
            first: 0,
            last: -4,
            specification: Vec::new(),
        };
        self.ask(&request, Asked::UndoLog);
    }

    pub(super) fn vote(&mut self) {
        let number = self.transactions;
        self.proceed(Stage::Voting, Request::Vote, Asked::Vote { number });
    }

    pub(super) fn finish(&mut self) {
        self.proceed(Stage::Finishing, Request::TpcFinish, Asked::Finish);
    }

    pub(super) fn abort(&mut self) {
        self.proceed(Stage::Aborting, Request::TpcAbort, Asked::Abort);
    }

    fn proceed(&mut self, to: Stage, request: fn(Value<'static>) -> Request, asked: Asked) {
        if let Some(open) = &mut self.open {
            open.stage = to;
            let id = open.id.clone();
            self.ask(&request(id), asked);
        }
    }

    /// Takes bytes from the server. `Err` where the client gives the connection up.
    pub(super) fn hear(
        &mut self,
        bytes: &[u8],
        stamp: u64,
        witnesses: &mut Witnesses,
    ) -> Result<(), ()> {
        if let Err(error) = self.session.receive(bytes) {
            witnesses.history.fault(format!("a client hears: {error}"));
            return Err(());
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Connected(_) => self.ask(&register(false), Asked::Register),
                Event::Invalidated { tid, oids } => self.invalidated(tid, oids, stamp, witnesses),
                Event::Replied { id, outcome } => {
                    let asked = self.calls.remove(&id).expect("an answer to a call");
                    self.answered(asked, outcome, stamp, witnesses)?;
                }
                Event::Resized(_) | Event::Blob { .. } => {}
            }
        }
        Ok(())
    }

    /// All transactions are heard of in their order, and none is left out.
    fn hear_of(&mut self, tid: Tid, history: &History) {
        let heard = self.heard;
        history.check(tid > heard, || format!("{tid} is heard of after {heard}"));
        let missed = history.between(heard, tid);
        history.check(missed.is_empty(), || {
            format!("between {heard} and {tid}, nothing is heard of {missed:?}")
        });
        self.heard = tid;
    }

    fn invalidated(&mut self, tid: Tid, oids: Vec<Oid>, stamp: u64, witnesses: &mut Witnesses) {
        witnesses.told(tid, stamp, false);
        let history = &witnesses.history;
        self.hear_of(tid, history);
        let mut told: Vec<_> = oids.clone();
        told.sort_unstable();
        let contents = history.contents(tid).unwrap_or_default();
        let changed: Vec<_> = contents.into_keys().collect();
        history.check(told == changed, || {
            format!("{tid} changed {changed:?}, and {told:?} is pushed")
        });
        self.pushed.extend(oids.iter().map(|oid| (*oid, tid)));
        if self.is_ready {
            self.cache.invalidate(tid, oids);
        } else {
            self.held.push((tid, oids));
        }
    }

    fn answered(
        &mut self,
        asked: Asked,
        outcome: Result<Reply, Refusal>,
        stamp: u64,
        witnesses: &mut Witnesses,
    ) -> Result<(), ()> {
        let history = witnesses.history.clone();
        match (asked, outcome) {
            (Asked::Register, Ok(Reply::Tid(tid))) => self.registered(tid, witnesses),
            (Asked::Verify, outcome) => {
                let since = self.last_tid();
                if let Ok(Reply::Invalidations(Some((tid, oids)))) = &outcome {
                    Self::check_changes(since, *tid, oids, &history);
                }
                if let Some(verification) = &mut self.verification {
                    let step = verification.answered(&self.cache, outcome);
                    self.verify(step, witnesses);
                }
            }
            (Asked::Changes { since }, Ok(Reply::Invalidations(changes))) => {
                // What a pack took away was not changed, as far as the storage can tell.
                if let Some((tid, oids)) = changes
                    && since >= witnesses.packed
                {
                    Self::check_changes(since, tid, &oids, &history);
                }
            }
            (
                Asked::Load {
                    oid,
                    before,
                    ticket,
                },
                Ok(Reply::Revision(revision)),
            ) => {
                self.loaded(oid, before, ticket, revision, witnesses);
            }
            (
                Asked::Load {
                    oid,
                    before,
                    ticket,
                },
                Err(refusal),
            ) => {
                history.check(crate::pair::not_found(&refusal), || format!("{refusal:?}"));
                self.cache.abandon_load(ticket);
                self.see(oid, before, None, witnesses);
            }
            (Asked::Ping { floor }, Ok(Reply::Nothing)) => {
                let heard = self.heard;
                history.check(heard >= floor, || {
                    format!("a ping was answered at {heard}, and {floor} was known before")
                });
            }
            (Asked::LastTransaction { floor }, Ok(Reply::Tid(tid))) => {
                history.check(tid >= floor && tid >= self.heard, || {
                    format!("the last transaction is {tid}, and {floor} was known before")
                });
            }
            (asked, outcome) => return self.answered_write(asked, outcome, stamp, witnesses),
        }
        Ok(())
    }

    fn answered_write(
        &mut self,
        asked: Asked,
        outcome: Result<Reply, Refusal>,
        stamp: u64,
        witnesses: &mut Witnesses,
    ) -> Result<(), ()> {
        match (asked, outcome) {
            (Asked::UndoLog, Ok(Reply::UndoLog(log))) => self.undo(&log),
            (Asked::Pack, outcome) => {
                let is_packed = outcome.is_ok();
                witnesses.count(if is_packed { "packed" } else { "not packed" });
            }
            (Asked::Vote { number }, outcome) => {
                if number == self.transactions {
                    self.voted(outcome, witnesses);
                }
            }
            (Asked::Finish, Ok(Reply::Tid(tid))) => self.finished(tid, stamp, witnesses),
            // Its outcome is in doubt, and so is all that was believed.
            (Asked::Finish, Err(_)) => return Err(()),
            (Asked::Abort, Ok(_)) => {
                witnesses.count("aborted");
                self.open = None;
            }
            (_, outcome) => {
                let what = format!("an answer to another question: {outcome:?}");
                witnesses.history.fault(what);
            }
        }
        Ok(())
    }

    fn check_changes(since: Tid, tid: Tid, oids: &[Oid], history: &History) {
        let missing = history.changed(since, tid);
        let missing: Vec<_> = missing
            .into_iter()
            .filter(|oid| !oids.contains(oid))
            .collect();
        history.check(missing.is_empty(), || {
            format!("from {since} to {tid}, nothing is said of {missing:?}")
        });
    }

    fn registered(&mut self, tid: Tid, witnesses: &mut Witnesses) {
        self.heard = tid;
        let (verification, step) = Verification::begin(&self.cache, tid);
        self.verification = Some(verification);
        self.verify(step, witnesses);
    }

    fn verify(&mut self, step: VerificationStep, witnesses: &mut Witnesses) {
        let verified = match step {
            VerificationStep::Ask(request) => return self.ask(&request, Asked::Verify),
            VerificationStep::Done(verified) => verified,
        };
        self.verification = None;
        match verified {
            Verified::Empty => {}
            Verified::Kept => witnesses.count("verified"),
            Verified::TooOld => witnesses.count("too old"),
            Verified::WentBack { seen, found } => {
                witnesses.count("went back");
                // What was read is worth nothing any more, as in a database.
                self.read.clear();
                // A pack may have taken away what the cache has newest.
                let history = &witnesses.history;
                let is_right = history.has_losses() || witnesses.packed > Tid::ZERO;
                history.check(is_right, || {
                    format!("{seen} is said to be lost at {found}, and nothing is")
                });
            }
        }
        self.ready(witnesses);
    }

    fn ready(&mut self, witnesses: &mut Witnesses) {
        self.is_ready = true;
        witnesses.count("connected");
        for (tid, oids) in std::mem::take(&mut self.held) {
            if tid > self.last_tid() {
                self.cache.invalidate(tid, oids);
            }
        }
    }

    /// What is called current must not have ended on this connection before.
    fn loaded(
        &mut self,
        oid: Oid,
        before: Tid,
        ticket: LoadTicket,
        revision: Option<Revision>,
        witnesses: &mut Witnesses,
    ) {
        witnesses.count("loaded");
        let history = witnesses.history.clone();
        if let Some(Revision {
            tid, next: None, ..
        }) = revision
        {
            let ended = self.pushed.get(&oid).copied().unwrap_or(Tid::ZERO);
            history.check(ended <= tid, || {
                format!("{oid} of {tid} is called current after {ended} was heard of")
            });
        }
        let revision = self.cache.finish_load(ticket, revision);
        self.see(oid, before, revision, witnesses);
    }

    fn undo(&mut self, log: &zeo::UndoLog) {
        if let (None, Some(entry)) = (&self.open, log.entries.last()) {
            let id = self.begin_empty();
            self.session.send(&Request::undo(entry.tid, id.clone()));
            self.open_with(id, BTreeMap::new());
        }
    }

    fn voted(&mut self, outcome: Result<Reply, Refusal>, witnesses: &mut Witnesses) {
        let Some(open) = self
            .open
            .as_mut()
            .filter(|open| open.stage == Stage::Voting)
        else {
            return; // aborted meanwhile
        };
        match outcome {
            Ok(Reply::Voted(resolved)) => {
                open.stage = Stage::Voted;
                open.resolved = resolved;
            }
            Ok(Reply::Conflicts(conflicts)) => {
                witnesses.count("conflicts");
                self.merge(conflicts);
            }
            Ok(other) => witnesses
                .history
                .fault(format!("a vote was answered {other:?}")),
            Err(_) => {
                witnesses.count("refused");
                self.open = None;
            }
        }
    }

    /// Says that its own state is what the conflict comes to, and votes again.
    fn merge(&mut self, conflicts: Vec<Conflict>) {
        let open = self.open.as_mut().expect("it voted");
        let (id, stores) = (open.id.clone(), open.stores.clone());
        for Conflict { oid, committed, .. } in conflicts {
            self.store(oid, committed, stores[&oid].clone(), &id);
        }
        self.vote();
    }

    fn finished(&mut self, tid: Tid, stamp: u64, witnesses: &mut Witnesses) {
        witnesses.told(tid, stamp, true);
        let history = witnesses.history.clone();
        self.hear_of(tid, &history);
        witnesses.known = witnesses.known.max(tid);
        let open = self.open.take().expect("it was finished");
        let contents = history.contents(tid).unwrap_or_default();
        let stored = open.stores.iter();
        let is_there = stored.clone().all(|(oid, record)| {
            contents
                .get(oid)
                .is_some_and(|found| found.as_ref() == Some(record))
        });
        history.check(
            is_there && contents.len() == stored.len() + open.resolved.len(),
            || format!("{tid} was finished, and what it stored is {contents:?}"),
        );
        witnesses.count(if open.resolved.is_empty() {
            "committed"
        } else {
            "undone"
        });
        let stored = open
            .stores
            .into_iter()
            .map(|(oid, record)| (oid, Some(record)));
        let resolved = open.resolved.into_iter().map(|oid| (oid, None));
        self.cache.committed(tid, stored.chain(resolved).collect());
    }
}

/// A record of a class and a number.
fn record(number: i32) -> Record {
    let mut bytes = b"\x80\x03cmodule\nClass\n.J".to_vec();
    bytes.extend(number.to_le_bytes());
    bytes.push(b'.');
    Record::from(bytes)
}
