//! `pack`: hours of work on the order of one call, while everybody is served.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::{PackError, PackOptions, PackProgress, Tid};

use super::figures::PackFigures;
use super::outbox::ReplyTo;
use super::served::Served;
use crate::{Refusal, Value};

/// A pack that a client asked for.
pub(super) struct Packing {
    pub(super) to: Tid,
    /// Who waits for its end; nobody where the call was answered at once.
    pub(super) waiter: Option<ReplyTo>,
}

impl Packing {
    /// Packs, tells everybody of the new size, and answers.
    pub(super) fn perform(self, served: &Served) {
        let storage = served.name.as_str();
        let answer = match served.storage.packer() {
            None => Err(Refusal::not_offered("pack")),
            Some(packer) => {
                tracing::info!(storage, to = %self.to, "packing");
                let options = PackOptions {
                    to: self.to,
                    cancel: Arc::clone(&served.stop_packs),
                    progress: served.packs.progress(),
                    ..packer.options()
                };
                let began = served.now();
                served.packs.begin(began);
                let packed = packer.pack(&options);
                if !matches!(packed, Err(PackError::Running)) {
                    served.packs.end(began, served.now(), packed.is_ok());
                }
                packed.map_err(|error| refusal(&error))
            }
        };
        let answer = answer.map(|report| {
            tracing::info!(storage, ?report, "packed");
            served.tell_size();
            Value::None
        });
        match (self.waiter, answer) {
            (Some(waiter), answer) => waiter.answer(answer),
            (None, Ok(_)) => {}
            (None, Err(refusal)) => {
                tracing::error!(storage, data = ?refusal.data(), "the pack failed");
            }
        }
    }
}

/// What is known of the packs of a storage.
#[derive(Default)]
pub(super) struct Packs(Arc<Mutex<PackState>>);

#[derive(Default)]
struct PackState {
    began: Option<Instant>,
    progress: Option<PackProgress>,
    done: u64,
    failed: u64,
    last: Option<Duration>,
    ended: Option<Instant>,
}

impl Packs {
    /// One begins, or is refused because another one runs.
    fn begin(&self, now: Option<Instant>) {
        let mut state = self.0.lock();
        state.began = state.began.or(now);
    }

    fn end(&self, began: Option<Instant>, now: Option<Instant>, is_done: bool) {
        let mut state = self.0.lock();
        (state.began, state.progress) = (None, None);
        let counter = if is_done {
            &mut state.done
        } else {
            &mut state.failed
        };
        *counter += 1;
        state.last = began.zip(now).map(|(began, now)| now - began);
        state.ended = now;
    }

    /// Notes how far the pack is.
    fn progress(&self) -> Arc<dyn Fn(PackProgress) + Send + Sync> {
        let state = Arc::clone(&self.0);
        Arc::new(move |progress| state.lock().progress = Some(progress))
    }

    pub(super) fn figures(&self, now: Option<Instant>) -> PackFigures {
        let state = self.0.lock();
        let passed = |since: Option<Instant>| {
            let since = since.zip(now);
            since.map(|(since, now)| now.saturating_duration_since(since))
        };
        PackFigures {
            running: passed(state.began),
            progress: state.progress,
            done: state.done,
            failed: state.failed,
            last: state.last,
            ended: passed(state.ended),
        }
    }
}

impl Served {
    /// Gives up the pack that runs, and every later one: the server stops.
    pub(super) fn stop_packs(&self) {
        self.stop_packs.store(true, Ordering::Relaxed);
    }
}

/// In the classes of the original, as far as it has some for that.
fn refusal(error: &PackError) -> Refusal {
    match error {
        PackError::Storage(error) => error.into(),
        PackError::Running => Refusal::new(
            "ZODB.FileStorage.FileStorage.FileStorageError",
            "Already packing",
        ),
        other => Refusal::new("ZODB.FileStorage.fspack.PackError", other.to_string()),
    }
}
