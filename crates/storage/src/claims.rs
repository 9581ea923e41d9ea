//! What voted transactions hold against others, from the vote to the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::Oid;

/// The claims of all transactions that have voted or wait for that. They are served in the order
/// they came: nobody is overtaken by somebody who wants the same object, so nobody starves, and
/// nobody waits in a circle.
#[derive(Default)]
pub(crate) struct Claims {
    queue: Mutex<Queue>,
    released: Condvar,
}

#[derive(Default)]
struct Queue {
    next: u64,
    claims: BTreeMap<u64, Claim>,
}

/// What a transaction touches.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    /// Nobody else may be between vote and end.
    Everything,
    /// These objects.
    Objects(BTreeMap<Oid, Intent>),
}

/// What a transaction does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Intent {
    /// Others may rely on it as well.
    Rely,
    /// Nobody else may touch it.
    Change,
}

impl Claim {
    fn excludes(&self, other: &Self) -> bool {
        let (Self::Objects(these), Self::Objects(those)) = (self, other) else {
            return true;
        };
        these.iter().any(|(oid, intent)| {
            let other = those.get(oid);
            other.is_some_and(|other| Intent::Change == *intent.max(other))
        })
    }
}

impl Claims {
    /// Waits until nobody who came earlier is in the way.
    pub(crate) fn acquire(self: &Arc<Self>, claim: Claim) -> ClaimGuard {
        let mut queue = self.queue.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.claims.insert(ticket, claim.clone());
        while queue
            .claims
            .range(..ticket)
            .any(|(_, earlier)| earlier.excludes(&claim))
        {
            self.released.wait(&mut queue);
        }
        drop(queue);
        ClaimGuard {
            claims: Arc::clone(self),
            ticket,
        }
    }
}

/// Whoever has this holds the claim; dropping it lets others pass.
pub(crate) struct ClaimGuard {
    claims: Arc<Claims>,
    ticket: u64,
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.claims.queue.lock().claims.remove(&self.ticket);
        self.claims.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(wanted: &[(u64, Intent)]) -> Claim {
        let wanted = wanted.iter().map(|(oid, intent)| (Oid::new(*oid), *intent));
        Claim::Objects(wanted.collect())
    }

    #[test]
    fn only_a_change_of_the_same_object_is_in_the_way() {
        use Intent::{Change, Rely};
        let changes = objects(&[(1, Change), (2, Rely)]);
        assert!(!changes.excludes(&objects(&[(2, Rely), (3, Change)])));
        assert!(changes.excludes(&objects(&[(1, Rely)])));
        assert!(changes.excludes(&objects(&[(2, Change)])));
        assert!(!changes.excludes(&objects(&[])));
        assert!(changes.excludes(&Claim::Everything));
        assert!(Claim::Everything.excludes(&objects(&[])));
    }

    #[test]
    fn claims_that_do_not_meet_are_held_side_by_side() {
        let claims = Arc::new(Claims::default());
        let one = claims.acquire(objects(&[(1, Intent::Change)]));
        let two = claims.acquire(objects(&[(2, Intent::Change)]));
        drop(one);
        drop(claims.acquire(objects(&[(1, Intent::Change)])));
        drop(two);
        drop(claims.acquire(Claim::Everything));
    }
}
