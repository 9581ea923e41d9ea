//! Who is let in, and what clients are kept from.

use super::{Peer, Phase};
use crate::server::job::Job;
use crate::server::outbox::ReplyTo;
use crate::server::rights::{Right, Rights};
use crate::{Encoding, Refusal};

impl Peer {
    pub(super) fn register(
        &mut self,
        encoding: Encoding,
        name: &str,
        read_only: bool,
        to: &ReplyTo,
    ) -> Result<(), Refusal> {
        if self.rights == Rights::NONE {
            return Err(Right::Connect.denied());
        }
        let Some(served) = self.hub.storage(name).cloned() else {
            let text = format!("unknown storage: {name}");
            return Err(Refusal::new("builtins.ValueError", text));
        };
        if !read_only {
            if !self.rights.write {
                return Err(Right::Write.denied());
            }
            if self.hub.options().read_only || served.storage.is_read_only() {
                return Err(Refusal::read_only());
            }
        }
        self.caller.set_served(&served);
        served.register(self.id, to);
        self.phase = Phase::Registered {
            encoding,
            served,
            read_only,
        };
        Ok(())
    }

    /// Refuses what the client has no right to. One-way calls belong to a transaction, whose vote
    /// tells then.
    pub(super) fn deny(&mut self, right: Right, to: &ReplyTo) -> Result<Option<Job>, Refusal> {
        let refusal = right.denied();
        if to.id.is_none()
            && let Some(transaction) = self.open_transaction()
        {
            transaction.failed.get_or_insert_with(|| refusal.clone());
            self.note(&refusal, to);
            return Ok(None);
        }
        Err(refusal)
    }

    /// Tells once in the log that the client tries what it may not.
    pub(super) fn note(&mut self, refusal: &Refusal, to: &ReplyTo) {
        if refusal.is_denial() && !std::mem::replace(&mut self.is_noted, true) {
            let (label, method) = (self.label(), &to.method);
            let why = refusal.reason().unwrap_or("it may not write");
            tracing::warn!(target: "ZEO.StorageServer", "({label}) {method} was refused: {why}");
        }
    }
}
