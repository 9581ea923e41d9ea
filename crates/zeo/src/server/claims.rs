//! What transactions claim for themselves, from the vote to the end, and who is in whose way.
//!
//! A transaction claims all that it touches at once, and everything has a queue. It has its claim
//! when it is admitted in every queue: at the front, or, where it only relies on a thing, behind
//! nobody who changes it. All queues have those who claim in the same order, so nobody waits in a
//! circle, and nobody is overtaken, so nobody starves. Nothing here waits: whoever is admitted last
//! is named when somebody else goes.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap};

use storage::Oid;

use super::transaction::TransactionKey;

/// What a transaction touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nobody else may be between vote and end.
    Everything,
    /// These objects.
    Objects(BTreeMap<Oid, Intent>),
}

/// What a transaction does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Intent {
    /// Others may rely on it as well.
    Rely,
    /// Nobody else may touch it.
    Change,
}

/// The claims of all transactions that have their turn or wait for it.
#[derive(Default)]
pub(super) struct Claims {
    next_ticket: u64,
    claims: HashMap<TransactionKey, Held>,
    queues: HashMap<Thing, Queue>,
    waiting: usize,
}

/// What there is a queue for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Thing {
    /// Whoever claims objects relies on the storage, whoever claims everything changes it.
    Storage,
    Object(Oid),
}

struct Held {
    ticket: u64,
    things: Vec<Thing>,
    /// In how many queues it is not admitted yet.
    waits_for: usize,
}

/// Those who claim one thing, in the order they came. Hardly ever an object has a second one.
struct Queue {
    first: Entry,
    rest: BTreeMap<u64, Entry>,
    /// How many change it.
    changes: usize,
    /// How many are not admitted yet.
    waiting: usize,
}

struct Entry {
    ticket: u64,
    key: TransactionKey,
    intent: Intent,
    admitted: bool,
}

impl Claims {
    /// Whether the transaction has its claim at once; else it waits.
    pub(super) fn claim(&mut self, key: TransactionKey, claim: Claim) -> bool {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let wanted: Vec<_> = match claim {
            Claim::Everything => vec![(Thing::Storage, Intent::Change)],
            Claim::Objects(objects) => std::iter::once((Thing::Storage, Intent::Rely))
                .chain(
                    objects
                        .into_iter()
                        .map(|(oid, intent)| (Thing::Object(oid), intent)),
                )
                .collect(),
        };
        let mut waits_for = 0;
        for &(thing, intent) in &wanted {
            let entry = Entry {
                ticket,
                key,
                intent,
                admitted: true,
            };
            match self.queues.entry(thing) {
                MapEntry::Vacant(vacant) => {
                    vacant.insert(Queue::new(entry));
                }
                MapEntry::Occupied(mut queue) => {
                    waits_for += usize::from(!queue.get_mut().join(entry));
                }
            }
        }
        let things = wanted.into_iter().map(|(thing, _)| thing).collect();
        let held = Held {
            ticket,
            things,
            waits_for,
        };
        let other = self.claims.insert(key, held);
        debug_assert!(other.is_none(), "a transaction claims once");
        self.waiting += usize::from(waits_for > 0);
        waits_for == 0
    }

    /// Gives a claim up, or the place of one who waits. Those come back who waited for it and for
    /// nobody else.
    pub(super) fn release(&mut self, key: TransactionKey) -> Vec<TransactionKey> {
        let Some(held) = self.claims.remove(&key) else {
            return Vec::new();
        };
        self.waiting -= usize::from(held.waits_for > 0);
        let mut admitted = Vec::new();
        for thing in held.things {
            let MapEntry::Occupied(mut queue) = self.queues.entry(thing) else {
                unreachable!("who claims a thing is in its queue");
            };
            if queue.get_mut().leave(held.ticket, &mut admitted) {
                queue.remove();
            }
        }
        admitted.retain(|key| {
            let held = self.claims.get_mut(key);
            let held = held.expect("who is in a queue has a claim");
            held.waits_for -= 1;
            held.waits_for == 0
        });
        self.waiting -= admitted.len();
        admitted
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

impl Queue {
    fn new(first: Entry) -> Self {
        Self {
            changes: usize::from(first.intent == Intent::Change),
            first,
            rest: BTreeMap::new(),
            waiting: 0,
        }
    }

    /// Whether the new last one is admitted at once.
    fn join(&mut self, mut entry: Entry) -> bool {
        let admitted = entry.intent == Intent::Rely && self.changes == 0;
        entry.admitted = admitted;
        self.changes += usize::from(entry.intent == Intent::Change);
        self.waiting += usize::from(!admitted);
        self.rest.insert(entry.ticket, entry);
        admitted
    }

    /// Takes one out and names those whose turn it is now. True where nobody is left.
    fn leave(&mut self, ticket: u64, admitted: &mut Vec<TransactionKey>) -> bool {
        let gone = if self.first.ticket == ticket {
            let Some((_, next)) = self.rest.pop_first() else {
                return true;
            };
            std::mem::replace(&mut self.first, next)
        } else {
            let gone = self.rest.remove(&ticket);
            gone.expect("who claims a thing is in its queue")
        };
        self.changes -= usize::from(gone.intent == Intent::Change);
        self.waiting -= usize::from(!gone.admitted);
        if self.waiting > 0 {
            self.admit(admitted);
        }
        false
    }

    fn admit(&mut self, admitted: &mut Vec<TransactionKey>) {
        let relies = |entry: &Entry| entry.intent == Intent::Rely;
        let others = if relies(&self.first) { usize::MAX } else { 0 };
        let others = self.rest.values_mut().take(others);
        let others = others.take_while(|entry| relies(entry));
        for entry in std::iter::once(&mut self.first).chain(others) {
            if !entry.admitted {
                entry.admitted = true;
                self.waiting -= 1;
                admitted.push(entry.key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
