//! The last transactions and what each changed. On a server it spares returning clients their
//! caches and mends loads that were overtaken by a commit; in a client it tells what changed.

use std::collections::{BTreeSet, VecDeque};

use storage::{Changes, Oid, Tid};

/// Recent transactions, oldest first, bounded by number and by objects.
pub(crate) struct InvalidationQueue {
    entries: VecDeque<Changes>,
    /// Every transaction after this one is in the queue.
    complete_from: Tid,
    oids: usize,
    transactions_max: usize,
}

/// How many objects all queued transactions have together at most.
const OIDS_MAX: usize = 4 << 20;

impl InvalidationQueue {
    /// A queue that begins with the storage's newest transactions; `last` is its newest one.
    pub(crate) fn new(recent: Vec<Changes>, last: Tid, transactions_max: usize) -> Self {
        // The oldest one known: whatever came before it is unknown, but it and all after it are
        // complete.
        let complete_from = recent.first().map_or(last, |changes| changes.tid);
        let mut queue = Self {
            entries: VecDeque::new(),
            complete_from,
            oids: 0,
            transactions_max,
        };
        recent.into_iter().for_each(|changes| queue.push(changes));
        queue
    }

    /// The transaction after which everything is known.
    pub(crate) fn complete_from(&self) -> Tid {
        self.complete_from
    }

    pub(crate) fn push(&mut self, changes: Changes) {
        self.oids += changes.oids.len();
        self.entries.push_back(changes);
        while self.entries.len() > self.transactions_max || self.oids > OIDS_MAX {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.oids -= oldest.oids.len();
            self.complete_from = self.complete_from.max(oldest.tid);
        }
    }

    /// Every object changed after `tid`, once; `None` where the queue does not reach back so far.
    pub(crate) fn changed_since(&self, tid: Tid) -> Option<Vec<Oid>> {
        let newer = self.newer_than(tid)?;
        let oids: BTreeSet<_> = newer.flat_map(|changes| &changes.oids).collect();
        Some(oids.into_iter().copied().collect())
    }

    /// The transactions after `tid`, unless the queue does not reach back so far.
    pub(crate) fn since(&self, tid: Tid) -> Option<Vec<Changes>> {
        Some(self.newer_than(tid)?.cloned().collect())
    }

    /// The newest transactions, oldest first.
    pub(crate) fn newest(&self, transactions_max: usize) -> Vec<Changes> {
        let start = self.entries.len().saturating_sub(transactions_max);
        self.entries.range(start..).cloned().collect()
    }

    /// The first transaction after `revision` that changed `oid`, among those after `since`;
    /// `Err` where the queue does not reach back so far.
    pub(crate) fn next_change(
        &self,
        oid: Oid,
        revision: Tid,
        since: Tid,
    ) -> Result<Option<Tid>, TooOld> {
        let mut newer = self.newer_than(since).ok_or(TooOld)?;
        let next = newer.find(|changes| changes.tid > revision && changes.oids.contains(&oid));
        Ok(next.map(|changes| changes.tid))
    }

    fn newer_than(&self, tid: Tid) -> Option<impl Iterator<Item = &Changes>> {
        let start = self.entries.partition_point(|changes| changes.tid <= tid);
        (tid >= self.complete_from).then(|| self.entries.range(start..))
    }
}

/// The queue does not reach back so far.
#[derive(Debug, PartialEq)]
pub(crate) struct TooOld;

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(tid: u64, oids: &[u64]) -> Changes {
        Changes {
            tid: Tid::new(tid),
            oids: oids.iter().copied().map(Oid::new).collect(),
        }
    }

    fn oids(numbers: &[u64]) -> Option<Vec<Oid>> {
        Some(numbers.iter().copied().map(Oid::new).collect())
    }

    #[test]
    fn the_queue_answers_as_far_back_as_it_is_complete() {
        let recent = vec![changes(10, &[1]), changes(20, &[2, 1])];
        let mut queue = InvalidationQueue::new(recent, Tid::new(20), 2);
        assert_eq!(queue.changed_since(Tid::new(9)), None);
        assert_eq!(queue.changed_since(Tid::new(10)), oids(&[1, 2]));
        assert_eq!(queue.changed_since(Tid::new(20)), oids(&[]));
        queue.push(changes(30, &[3]));
        // 10 fell out, but whoever has seen it lacks nothing.
        assert_eq!(queue.changed_since(Tid::new(10)), oids(&[1, 2, 3]));
        queue.push(changes(40, &[4]));
        assert_eq!(queue.changed_since(Tid::new(10)), None);
        assert_eq!(queue.changed_since(Tid::new(25)), oids(&[3, 4]));
    }

    #[test]
    fn an_empty_queue_knows_what_follows_its_beginning() {
        let mut queue = InvalidationQueue::new(Vec::new(), Tid::new(20), 10);
        assert_eq!(queue.changed_since(Tid::new(19)), None);
        queue.push(changes(30, &[3]));
        assert_eq!(queue.changed_since(Tid::new(20)), oids(&[3]));
    }

    #[test]
    fn the_next_change_is_the_first_after_the_revision() {
        let recent = vec![changes(10, &[1]), changes(20, &[1]), changes(30, &[1])];
        let queue = InvalidationQueue::new(recent, Tid::new(30), 10);
        let next =
            |revision, since| queue.next_change(Oid::new(1), Tid::new(revision), Tid::new(since));
        assert_eq!(next(10, 10), Ok(Some(Tid::new(20))));
        assert_eq!(next(20, 10), Ok(Some(Tid::new(30))));
        assert_eq!(next(30, 10), Ok(None));
        assert_eq!(next(5, 9), Err(TooOld));
    }
}
