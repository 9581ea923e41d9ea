//! The thread that holds the connection: dials for ever, reads, and applies what arrives.

use std::sync::Arc;
use std::time::Duration;

use zeo::{Event, Reply};

use super::dial::{Connected, Failure, dial};
use super::link::{Answer, Called, Generation, Link, Pending, PendingLoad};
use super::stream::{Stream, is_timeout};
use super::{ClientOptions, Shared};
use crate::clock;

const READ_BYTES: usize = 256 << 10;

/// Keeps a connection until the storage is closed.
pub(super) fn run(shared: &Shared) {
    let options = &shared.options;
    let mut is_first = true;
    let mut pause = options.retry_min;
    let mut generation = Generation::default();
    // Said once, not at each attempt of a long outage.
    let mut said = String::new();
    loop {
        let mut strangers = 0;
        for address in &options.servers {
            if shared.state.lock().closed {
                return;
            }
            let failure = match dial(address, options, &shared.cache, is_first) {
                Ok(connected) => {
                    is_first = false;
                    pause = options.retry_min;
                    tracing::info!(address, "connected to the storage server");
                    said.clear();
                    generation = generation.next();
                    hold(shared, connected, generation)
                }
                Err(failure) => failure,
            };
            let unknown = failure.unknown_storage();
            strangers += usize::from(unknown.is_some());
            let failure = failure.to_string();
            let mut state = shared.state.lock();
            if !state.closed && said != failure {
                tracing::warn!(
                    address,
                    failure,
                    "no connection to the storage server; trying on"
                );
                said.clone_from(&failure);
            }
            state.last_failure = Some(failure);
            // A server that once had the storage may get it back.
            if is_first && strangers == options.servers.len() {
                state.refused = unknown;
                shared.changed.notify_all();
                return;
            }
        }
        let mut state = shared.state.lock();
        if state.closed {
            return;
        }
        shared.changed.wait_for(&mut state, jittered(pause));
        pause = longer(pause, options);
    }
}

fn longer(pause: Duration, options: &ClientOptions) -> Duration {
    pause.saturating_mul(2).min(options.retry_max)
}

/// Half to all of the pause: many clients that lost one server do not come back in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Serves one connection until it ends, and tells why it did.
fn hold(shared: &Shared, connected: Connected, generation: Generation) -> Failure {
    shared.oids.lock().restart(generation);
    let stream = connected.stream.clone();
    let link = Arc::new(Link::new(connected.session, stream, generation));
    link.flush(shared.deadline());
    {
        let mut state = shared.state.lock();
        if state.closed {
            return Failure::Closed;
        }
        state.stats = connected.stats;
        state.can = connected.can;
        state.link = Some(link.clone());
    }
    shared.changed.notify_all();
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
        (Event::Invalidated { tid, oids }, _) => cache.invalidate(tid, oids),
        (Event::Resized(stats), _) => shared.state.lock().stats = stats,
        (Event::Replied { .. } | Event::Connected(_) | Event::Blob { .. }, _) => {}
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
