//! The thread that holds the connection: dials for ever, reads, and applies what arrives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use zeo::{Event, Reply, Verified};

use super::Shared;
use super::dial::{Connected, Failure, Wanted};
use super::link::{Answer, Called, Generation, Link, Pending, PendingLoad};
use super::race::{Race, Terms};
use super::status::Loss;
use super::stream::{Stream, is_timeout};
use super::upgrade;
use crate::clock;

const READ_BYTES: usize = 256 << 10;
/// How many failures are remembered so as not to be said again.
const SAID_MAX: usize = 100;

/// Keeps a connection until the storage is closed.
pub(super) fn run(shared: &Arc<Shared>) {
    let options = &shared.options;
    let race = Race::new(options.clone());
    let mut was_connected = false;
    let mut pause = options.retry_min;
    let mut generation = Generation::default();
    let mut log = FailureLog::default();
    let mut lost_at = clock::now();
    loop {
        // Servers that lag behind get their chance when the others stay away.
        let takes_behind = lost_at.elapsed() >= options.wait / 2;
        let better = shared.state.lock().upgrade.take();
        let connected = match better {
            Some(better) => better
                .refresh()
                .map_err(|failure| vec![(usize::MAX, failure)]),
            None => {
                let terms = Terms {
                    wanted: Wanted::of(options),
                    seen: shared.cache.last_tid(),
                    takes_behind,
                };
                race.run(terms, &|| shared.state.lock().closed)
            }
        };
        let connected = connected.and_then(|registered| {
            let connected = registered.connect(options, &shared.cache);
            connected.map_err(|failure| vec![(usize::MAX, failure)])
        });
        match connected {
            Ok(connected) => {
                was_connected = true;
                pause = options.retry_min;
                generation = generation.next();
                log.forget();
                let end = hold(shared, connected, generation);
                lost_at = clock::now();
                if part(shared, &end, &mut log) {
                    continue;
                }
            }
            Err(failures) => {
                if give_up(shared, &failures, was_connected, &mut log) {
                    return;
                }
            }
        }
        let until = clock::now() + jittered(pause);
        let mut state = shared.state.lock();
        while !state.closed && !shared.changed.wait_until(&mut state, until).timed_out() {}
        if state.closed {
            return;
        }
        pause = longer(pause, options.retry_max);
    }
}

/// Notes the end of a connection. Whether a better one is there already.
fn part(shared: &Shared, end: &Failure, log: &mut FailureLog) -> bool {
    let mut state = shared.state.lock();
    let address = state.status.server.take().unwrap_or_default();
    if state.upgrade.is_some() {
        return true;
    }
    state.status.last_failure = Some(end.to_string());
    if !state.closed {
        log.say(&address, end.to_string());
    }
    false
}

/// Notes that no server is reached. Whether there is no use in going on: no server has the storage, and
/// none ever had; one that once had it may get it back.
fn give_up(
    shared: &Shared,
    failures: &[(usize, Failure)],
    was_connected: bool,
    log: &mut FailureLog,
) -> bool {
    let servers = &shared.options.servers;
    let mut state = shared.state.lock();
    for (index, failure) in failures {
        let address = servers.get(*index).map_or("server", String::as_str);
        if !state.closed {
            log.say(address, failure.to_string());
        }
        state.status.last_failure = Some(failure.to_string());
    }
    let unknown = failures
        .iter()
        .map(|(_, failure)| failure.unknown_storage());
    let unknown: Option<Vec<_>> = unknown.collect();
    let mut unknown = unknown.unwrap_or_default();
    if was_connected || unknown.len() < servers.len() || servers.is_empty() {
        return false;
    }
    state.refused = unknown.pop();
    shared.changed.notify_all();
    true
}

/// What went wrong, each thing once, not at each attempt of a long outage.
#[derive(Default)]
struct FailureLog {
    said: BTreeSet<(String, String)>,
}

impl FailureLog {
    fn say(&mut self, address: &str, failure: String) {
        if self.said.len() >= SAID_MAX {
            self.said.clear();
        }
        if self.said.insert((address.to_owned(), failure.clone())) {
            tracing::warn!(
                address,
                failure,
                "no connection to the storage server; trying on"
            );
        }
    }

    fn forget(&mut self) {
        self.said.clear();
    }
}

pub(super) fn longer(pause: Duration, longest: Duration) -> Duration {
    pause.saturating_mul(2).min(longest)
}

/// Half to all of the pause: many clients that lost one server do not come back in step.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Serves one connection until it ends, and tells why it did.
fn hold(shared: &Arc<Shared>, connected: Connected, generation: Generation) -> Failure {
    shared.oids.lock().restart(generation);
    let stream = connected.stream.clone();
    let peer = connected.peer;
    let link = Arc::new(Link::new(
        connected.session,
        stream,
        generation,
        peer.clone(),
    ));
    link.flush(shared.deadline());
    {
        let mut state = shared.state.lock();
        if state.closed {
            return Failure::Closed;
        }
        state.stats = connected.stats;
        state.can = connected.can;
        state.link = Some(link.clone());
        let status = &mut state.status;
        tracing::info!(address = peer.address, "connected to the storage server");
        status.connections += 1;
        status.is_read_only = peer.is_read_only;
        status.server = Some(peer.address.clone());
        match connected.verified {
            Verified::Empty => {}
            Verified::Kept => status.verified += 1,
            Verified::TooOld => status.too_old += 1,
            Verified::WentBack { seen, found } => {
                status.went_back += 1;
                status.last_loss = Some(Loss {
                    server: peer.address,
                    seen,
                    found,
                });
            }
        }
    }
    shared.changed.notify_all();
    if peer.is_read_only && !shared.options.read_only {
        upgrade::start(shared, &link);
    }
    let failure = read(shared, &link, &connected.stream);
    shared.forget(&link);
    link.kill();
    link.bury(&shared.cache);
    failure
}

fn read(shared: &Shared, link: &Link, stream: &Stream) -> Failure {
    let mut buffer = vec![0; READ_BYTES];
    let mut events = Vec::new();
    let mut received = 0;
    loop {
        let heartbeat_is_due = {
            let mut calls = link.calls.lock();
            if let Err(error) = calls.session.receive(&buffer[..received]) {
                return error.into();
            }
            while let Some(event) = calls.session.poll_event() {
                let pending = match &event {
                    Event::Replied { id, .. } => calls.take(*id),
                    _ => None,
                };
                events.push((event, pending));
            }
            let now = clock::now();
            let is_due = calls.session.poll_timeout().is_some_and(|at| now >= at);
            calls.session.handle_timeout(now);
            is_due
        };
        for (event, pending) in events.drain(..) {
            apply(shared, link, event, pending);
        }
        // Callers write out what is theirs. Doing it for them could wait for a server that waits
        // for us to read.
        if heartbeat_is_due {
            link.flush_unless_busy(shared.deadline());
        }
        received = match stream.read(&mut buffer) {
            Ok(0) => return Failure::Closed,
            Ok(length) => length,
            Err(error) if is_timeout(&error) => 0,
            Err(error) => return error.into(),
        };
    }
}

/// Applies one thing that the server said. The cache comes first, then whoever waits.
fn apply(shared: &Shared, link: &Link, event: Event, pending: Option<Pending>) {
    let cache = &shared.cache;
    match (event, pending) {
        (Event::Replied { outcome, .. }, Some(Pending::Load(load))) => {
            apply_load(shared, link, load, outcome);
        }
        (Event::Replied { outcome, .. }, Some(Pending::Finish(stored, slot))) => {
            match &outcome {
                Ok(Reply::Tid(tid)) => cache.committed(*tid, stored),
                // What became of the transaction is in doubt, and so is the cache.
                _ => shared.abandon(link),
            }
            slot.fill(Answer::Said(outcome));
        }
        (Event::Replied { outcome, .. }, Some(Pending::Other(slot))) => {
            slot.fill(Answer::Said(outcome));
        }
        (Event::Replied { outcome, .. }, Some(Pending::Blob(oid, tid, slot))) => {
            slot.fill(Answer::Said(link.end_blob(oid, tid, outcome)));
        }
        (Event::Blob { oid, tid, part }, _) => link.take_blob(oid, tid, &part),
        (Event::Invalidated { tid, oids }, _) => cache.invalidate(tid, oids),
        (Event::Resized(stats), _) => shared.state.lock().stats = stats,
        (Event::Replied { .. } | Event::Connected(_), _) => {}
    }
}

fn apply_load(shared: &Shared, link: &Link, load: PendingLoad, outcome: Called) {
    let PendingLoad {
        oid,
        before,
        ticket,
        slot,
    } = load;
    let loaded = match outcome {
        Ok(Reply::Revision(revision)) => Ok(shared.cache.finish_load(ticket, revision)),
        Ok(other) => {
            shared.cache.abandon_load(ticket);
            Err(super::unexpected(&other))
        }
        Err(refusal) => {
            shared.cache.abandon_load(ticket);
            Err(refusal.to_storage_error(Some(oid)))
        }
    };
    link.calls.lock().end_load(oid, before);
    slot.fill(Answer::Said(loaded));
}
