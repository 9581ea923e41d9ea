//! Loads, which are most of what is asked: those that came together are done together.

use std::collections::VecDeque;
use std::sync::Arc;

use storage::{Revision, StorageError, Tid};

use super::calls::Watch;
use super::job::{Job, deliver_load};
use super::outbox::{Outbox, ReplyTo};
use super::served::Served;
use crate::wire::LoadCall;
use crate::{Encoding, Value};

/// Loads of one connection, in the order of their calls.
pub(super) struct Loads {
    pub(super) calls: VecDeque<LoadCall>,
    pub(super) encoding: Encoding,
    pub(super) outbox: Arc<Outbox>,
    pub(super) watch: Watch,
}

/// What was found for the first of them.
pub(super) struct Loaded {
    found: VecDeque<(LoadCall, Result<Option<Revision>, StorageError>)>,
    /// What was published when the storage was asked.
    head: Tid,
    rest: Loads,
}

/// How many loads are one job at most.
pub(super) const LOADS_MAX: usize = 64;
/// So much found, the rest is a job of its own: what was found is to be sent first.
const LOADED_BYTES: usize = 256 << 10;

impl Loads {
    pub(super) fn perform(mut self, served: &Served) -> Loaded {
        // The order matters: what is published after this line is looked for at delivery.
        let head = served.head();
        let mut found = VecDeque::with_capacity(self.calls.len());
        let mut bytes = 0;
        while let Some(call) = self.calls.pop_front() {
            let result = served.storage.load_before(call.oid, call.before);
            if let Ok(Some(revision)) = &result {
                bytes += revision.record.len();
            }
            found.push_back((call, result));
            if bytes >= LOADED_BYTES {
                break;
            }
        }
        Loaded {
            found,
            head,
            rest: self,
        }
    }
}

impl Loaded {
    /// Queues the answers in the order of the calls, as [`deliver_load`] says. What is left, or has to
    /// be done again, comes back.
    pub(super) fn deliver(mut self, served: Arc<Served>) -> Option<Job> {
        let mut repeated = VecDeque::new();
        loop {
            self.deliver_plain(&served);
            let Some((call, result)) = self.found.pop_front() else {
                break;
            };
            let to = ReplyTo {
                outbox: self.rest.outbox.clone(),
                encoding: self.rest.encoding,
                id: Some(Value::Int(call.id.into())),
                method: "loadBefore".to_owned(),
                watch: self.rest.watch.clone(),
            };
            let (oid, before) = (call.oid, call.before);
            let again = deliver_load(served.clone(), oid, before, self.head, result, to);
            if again.is_some() {
                repeated.push_back(call);
            }
        }
        repeated.append(&mut self.rest.calls);
        self.rest.calls = repeated;
        (!self.rest.calls.is_empty()).then(|| Job::loads(served, self.rest))
    }

    /// The answers up to the first that is no revision, or one that may have ceased to be current.
    fn deliver_plain(&mut self, served: &Served) {
        if self.found.is_empty() {
            return; // Nobody is to be woken for nothing.
        }
        let (found, head, encoding) = (&mut self.found, self.head, self.rest.encoding);
        let (mut count, mut bytes) = (0, 0);
        self.rest.outbox.append(|out| {
            let before = out.len();
            while let Some((call, Ok(Some(revision)))) = found.front() {
                if revision.next.is_none() && served.head() != head {
                    break;
                }
                call.write_answer(encoding, revision, out);
                found.pop_front();
                count += 1;
            }
            bytes = out.len() - before;
        });
        self.rest.watch.end_many(count, bytes);
    }
}
