//! Which of several servers is connected to.
//!
//! They are tried one after the other, each a moment after the one before, without waiting for its
//! answer: one that is gone, or that accepts and says nothing, keeps nobody from the next. The first
//! that will do is taken, and the others are let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::Tid;

use super::ClientOptions;
use super::dial::{Failure, Registered, Wanted, register};
use crate::clock;

/// Attempts at all servers of a client.
pub(super) struct Race {
    options: Arc<ClientOptions>,
    /// The servers at which an attempt is under way, maybe since the race before: a server that says
    /// nothing is asked once at a time.
    busy: Arc<[AtomicBool]>,
    /// Where attempts tell what they came to, while anybody wants to know.
    outlet: Arc<Mutex<Option<Sender<Outcome>>>>,
}

/// The number of a server, and what came of it.
type Outcome = (usize, Result<Registered, Failure>);

/// What a client asks of a race.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) wanted: Wanted,
    /// The last transaction that the client has seen.
    pub(super) seen: Tid,
    /// Whether a server that lacks it will do where there is no other.
    pub(super) takes_behind: bool,
}

/// How well a server will do, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    Fit,
    /// It is not written to, although that is wanted.
    ReadOnly,
    /// It lacks what was seen.
    Behind,
}

/// The head start of each server before the next.
const STAGGER: Duration = Duration::from_millis(250);
/// How long a better server is waited for when one is there that allows no writing; where the one that
/// is there is behind, as long as an attempt to connect may take.
const HOLD: Duration = Duration::from_secs(1);
/// How often it is looked whether anybody still wants a connection.
const LOOK: Duration = Duration::from_millis(100);

impl Race {
    pub(super) fn new(options: Arc<ClientOptions>) -> Self {
        let busy = options.servers.iter().map(|_| AtomicBool::new(false));
        Self {
            busy: busy.collect(),
            options,
            outlet: Arc::default(),
        }
    }

    /// Connects to a server, or tells why it could not, server by server. `is_over` ends it early.
    pub(super) fn run(
        &self,
        terms: Terms,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Registered, Vec<(usize, Failure)>> {
        if let [only] = &self.options.servers[..] {
            let registered = register(only, &self.options, terms.wanted);
            return registered.map_err(|failure| vec![(0, failure)]);
        }
        let (sender, outcomes) = mpsc::channel();
        *self.outlet.lock() = Some(sender);
        let mut course = Course::new(self, terms);
        let end = course.run(&outcomes, is_over);
        // Who comes too late is let go, and so is who has just come.
        *self.outlet.lock() = None;
        end
    }

    /// Begins an attempt, unless one is still under way.
    fn start(&self, index: usize, wanted: Wanted) -> Result<(), Failure> {
        if self.busy[index].swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let options = self.options.clone();
        let busy = self.busy.clone();
        let outlet = self.outlet.clone();
        let attempt = move || {
            let outcome = register(&options.servers[index], &options, wanted);
            busy[index].store(false, Ordering::Release);
            if let Some(outlet) = &*outlet.lock() {
                let _nobody_asks_any_more = outlet.send((index, outcome));
            }
        };
        let started = thread::Builder::new()
            .name("zeo-client-dial".to_owned())
            .spawn(attempt);
        if let Err(error) = started {
            self.busy[index].store(false, Ordering::Release);
            return Err(error.into());
        }
        Ok(())
    }
}

/// One race.
struct Course<'a> {
    race: &'a Race,
    terms: Terms,
    /// The server whose turn it is to be started.
    next: usize,
    next_at: Instant,
    /// The servers whose answers are awaited.
    awaited: Vec<bool>,
    best: Option<(Fitness, usize, Registered)>,
    /// When `best` is taken although others have not answered.
    hold_until: Option<Instant>,
    failures: Vec<(usize, Failure)>,
}

impl<'a> Course<'a> {
    fn new(race: &'a Race, terms: Terms) -> Self {
        Self {
            race,
            terms,
            next: 0,
            next_at: clock::now(),
            awaited: vec![false; race.options.servers.len()],
            best: None,
            hold_until: None,
            failures: Vec::new(),
        }
    }

    fn run(
        &mut self,
        outcomes: &Receiver<Outcome>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Registered, Vec<(usize, Failure)>> {
        while !is_over() {
            let now = clock::now();
            self.start_next(now);
            let is_waiting = self.awaited.contains(&true) || self.next < self.awaited.len();
            let is_held = self.hold_until.is_none_or(|until| now < until);
            if !is_waiting || !is_held {
                break;
            }
            match outcomes.recv_timeout(LOOK.min(STAGGER)) {
                Ok((index, outcome)) => {
                    self.awaited[index] = false;
                    // The next need not wait any longer.
                    self.next_at = now;
                    if let Some(registered) = self.take(index, outcome) {
                        return Ok(registered);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match self.best.take() {
            Some((_, _, registered)) => Ok(registered),
            None => Err(std::mem::take(&mut self.failures)),
        }
    }

    fn start_next(&mut self, now: Instant) {
        if self.next < self.awaited.len() && now >= self.next_at {
            let index = self.next;
            self.next += 1;
            self.next_at = now + STAGGER;
            match self.race.start(index, self.terms.wanted) {
                Ok(()) => self.awaited[index] = true,
                Err(failure) => self.failures.push((index, failure)),
            }
        }
    }

    /// The server, if it is one to be glad of; else it is kept in mind.
    fn take(&mut self, index: usize, outcome: Result<Registered, Failure>) -> Option<Registered> {
        let registered = match outcome {
            Ok(registered) => registered,
            Err(failure) => {
                self.failures.push((index, failure));
                return None;
            }
        };
        let fitness = self.fitness(&registered);
        if fitness == Fitness::Fit {
            return Some(registered);
        }
        if fitness == Fitness::Behind && !self.terms.takes_behind {
            let failure = Failure::Behind {
                seen: self.terms.seen,
                found: registered.tid,
            };
            self.failures.push((index, failure));
            return None;
        }
        let rank = (fitness, index);
        if self
            .best
            .as_ref()
            .is_none_or(|best| rank < (best.0, best.1))
        {
            let hold = match fitness {
                Fitness::Behind => self.race.options.connect_timeout,
                Fitness::Fit | Fitness::ReadOnly => HOLD,
            };
            self.hold_until = Some(clock::now() + hold);
            self.best = Some((fitness, index, registered));
        }
        None
    }

    fn fitness(&self, registered: &Registered) -> Fitness {
        if registered.tid < self.terms.seen {
            Fitness::Behind
        } else if registered.peer.is_read_only && self.terms.wanted != Wanted::Reading {
            Fitness::ReadOnly
        } else {
            Fitness::Fit
        }
    }
}
