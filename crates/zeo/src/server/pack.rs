//! `pack`: hours of work on the order of one call, while everybody is served.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use storage::{PackError, PackOptions, Tid};

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
                    ..packer.options()
                };
                packer.pack(&options).map_err(|error| refusal(&error))
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
