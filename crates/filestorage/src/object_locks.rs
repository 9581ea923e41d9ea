//! The locks that a committing transaction holds on its objects, from its vote to its end.
//!
//! A transaction asks for all its objects at once, and each object has a queue. It has its locks when
//! it is admitted in every queue: at the front, or, where it only relies on the object staying
//! as it is, behind nobody who wants to change it. Since all queues have those who ask in the same
//! order, nobody waits in a circle; since nobody is overtaken, nobody starves; and since there is no
//! way to give up, no queue holds a place for somebody who has gone.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use storage::Oid;

/// The queues of all objects that anybody holds or waits for.
#[derive(Default)]
pub(crate) struct ObjectLocks {
    queues: Mutex<HashMap<Oid, Queue>>,
}

/// What a transaction does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Intent {
    /// Nobody else may touch it.
    Change,
    /// Others may rely on it as well.
    Rely,
}

/// Those who want one object, in the order they came. Hardly ever there is a second one.
struct Queue {
    first: Entry,
    rest: Vec<Entry>,
}

struct Entry {
    ticket: Arc<Ticket>,
    intent: Intent,
    admitted: bool,
}

/// One transaction in its queues.
#[derive(Default)]
struct Ticket {
    /// In how many queues it is not admitted yet. Changed under the lock of the queues.
    waits_for: AtomicUsize,
    turn: Condvar,
}

impl ObjectLocks {
    /// Waits for these objects.
    pub(crate) fn acquire(self: &Arc<Self>, mut wanted: Vec<(Oid, Intent)>) -> ObjectGuard {
        wanted.sort_unstable();
        // Whoever relies on an object and changes it, changes it.
        wanted.dedup_by_key(|(oid, _)| *oid);
        let ticket = Arc::new(Ticket::default());
        let mut queues = self.queues.lock();
        let mut waits_for = 0;
        for &(oid, intent) in &wanted {
            let entry = Entry {
                ticket: Arc::clone(&ticket),
                intent,
                admitted: true,
            };
            match queues.entry(oid) {
                MapEntry::Vacant(vacant) => {
                    let rest = Vec::new();
                    vacant.insert(Queue { first: entry, rest });
                }
                MapEntry::Occupied(mut queue) => {
                    waits_for += usize::from(!queue.get_mut().join(entry));
                }
            }
        }
        ticket.waits_for.store(waits_for, Ordering::Relaxed);
        while ticket.waits_for.load(Ordering::Relaxed) > 0 {
            ticket.turn.wait(&mut queues);
        }
        drop(queues);
        ObjectGuard {
            locks: Arc::clone(self),
            ticket,
            oids: wanted.into_iter().map(|(oid, _)| oid).collect(),
        }
    }

    fn release(&self, ticket: &Arc<Ticket>, oids: &[Oid]) {
        let mut queues = self.queues.lock();
        for oid in oids {
            let MapEntry::Occupied(mut queue) = queues.entry(*oid) else {
                unreachable!("who holds a lock is in its queue");
            };
            if queue.get_mut().leave(ticket) {
                queue.remove();
            }
        }
    }

    /// How many transactions wait for an object.
    #[cfg(test)]
    pub(crate) fn waiting(&self, oid: Oid) -> usize {
        let queues = self.queues.lock();
        let Some(queue) = queues.get(&oid) else {
            return 0;
        };
        queue.rest.iter().filter(|entry| !entry.admitted).count()
    }
}

impl Queue {
    /// Whether the new last one is admitted at once.
    fn join(&mut self, mut entry: Entry) -> bool {
        let relies = |entry: &Entry| entry.intent == Intent::Rely;
        entry.admitted = relies(&entry) && relies(&self.first) && self.rest.iter().all(relies);
        let admitted = entry.admitted;
        self.rest.push(entry);
        admitted
    }

    /// Takes one out and admits those whose turn it is now. True where nobody is left.
    fn leave(&mut self, ticket: &Arc<Ticket>) -> bool {
        if Arc::ptr_eq(&self.first.ticket, ticket) {
            if self.rest.is_empty() {
                return true;
            }
            self.first = self.rest.remove(0);
        } else {
            let mut rest = self.rest.iter();
            let place = rest.position(|entry| Arc::ptr_eq(&entry.ticket, ticket));
            self.rest
                .remove(place.expect("who holds a lock is in its queue"));
        }
        self.first.admit();
        if self.first.intent == Intent::Rely {
            let rest = self.rest.iter_mut();
            rest.take_while(|entry| entry.intent == Intent::Rely)
                .for_each(Entry::admit);
        }
        false
    }
}

impl Entry {
    fn admit(&mut self) {
        if !self.admitted {
            self.admitted = true;
            if self.ticket.waits_for.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.ticket.turn.notify_one();
            }
        }
    }
}

/// Whoever has this holds the locks; dropping it passes them on.
pub(crate) struct ObjectGuard {
    locks: Arc<ObjectLocks>,
    ticket: Arc<Ticket>,
    oids: Vec<Oid>,
}

impl Drop for ObjectGuard {
    fn drop(&mut self) {
        self.locks.release(&self.ticket, &self.oids);
    }
}

#[cfg(test)]
mod tests;
