//! The search for a server that takes commits, while there is only one that does not.

use std::sync::Arc;

use super::Shared;
use super::dial::Wanted;
use super::link::Link;
use super::race::{Race, Terms};
use super::reader::{jittered, longer};
use crate::clock;

/// The longest pause is so many times that between attempts of a client without a server.
const PATIENCE: u32 = 10;

/// Looks for a better server than that of the link, as long as it lives, on a thread of its own.
pub(super) fn start(shared: &Arc<Shared>, link: &Arc<Link>) {
    let (shared, link) = (shared.clone(), link.clone());
    let search = move || search(&shared, &link);
    let started = std::thread::Builder::new()
        .name("zeo-client-upgrade".to_owned())
        .spawn(search);
    if let Err(error) = started {
        tracing::error!(%error, "nobody looks for a storage server that takes commits");
    }
}

fn search(shared: &Arc<Shared>, link: &Arc<Link>) {
    let options = &shared.options;
    let race = Race::new(options.clone());
    let mut pause = options.retry_min;
    loop {
        if !wait(shared, link, pause) {
            return;
        }
        pause = longer(pause, options.retry_max.saturating_mul(PATIENCE));
        let terms = Terms {
            wanted: Wanted::Writing,
            seen: shared.cache.last_tid(),
            takes_behind: false,
        };
        let Ok(better) = race.run(terms, &|| !shared.is_current(link)) else {
            continue;
        };
        let mut state = shared.state.lock();
        if !state.closed && state.is_current(link) {
            tracing::info!(
                address = better.peer.address,
                "going over to a server that takes commits"
            );
            state.upgrade = Some(better);
            state.link = None;
            drop(state);
            link.kill();
        }
        return;
    }
}

/// Waits for about so long; whether the link is still the one in use.
fn wait(shared: &Shared, link: &Link, pause: std::time::Duration) -> bool {
    let until = clock::now() + jittered(pause);
    let mut state = shared.state.lock();
    loop {
        if state.closed || !state.is_current(link) {
            return false;
        }
        if shared.changed.wait_until(&mut state, until).timed_out() {
            return !state.closed && state.is_current(link);
        }
    }
}
