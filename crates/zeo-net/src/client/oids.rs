//! Object ids that the server gave us and nobody uses yet.

use std::collections::VecDeque;

use storage::Oid;

use super::link::Generation;

/// Ids of one connection. A server that went backwards may hand out again what an earlier
/// connection was given, so nothing is kept across connections.
#[derive(Default)]
pub(super) struct OidPool {
    generation: Generation,
    free: VecDeque<Oid>,
}

impl OidPool {
    /// Forgets everything: from now on only ids of this connection are taken.
    pub(super) fn restart(&mut self, generation: Generation) {
        self.generation = generation;
        self.free.clear();
    }

    /// Takes ids in, unless they came over another connection than the current one.
    pub(super) fn put(&mut self, generation: Generation, fresh: Vec<Oid>) {
        if generation == self.generation {
            self.free.extend(fresh);
        }
    }

    /// Hands out so many, or nothing if there are not enough.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<Oid>> {
        (self.free.len() >= count).then(|| self.free.drain(..count).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oids(numbers: std::ops::Range<u64>) -> Vec<Oid> {
        numbers.map(Oid::new).collect()
    }

    #[test]
    fn ids_are_handed_out_once_and_in_order() {
        let mut pool = OidPool::default();
        pool.put(Generation::default(), oids(1..4));
        assert_eq!(pool.take(4), None);
        pool.put(Generation::default(), oids(4..7));
        assert_eq!(pool.take(4), Some(oids(1..5)));
        assert_eq!(pool.take(2), Some(oids(5..7)));
        assert_eq!(pool.take(1), None);
    }

    #[test]
    fn ids_of_an_earlier_connection_are_dropped() {
        let (mut pool, earlier) = (OidPool::default(), Generation::default());
        pool.put(earlier, oids(1..3));
        pool.restart(earlier.next());
        assert_eq!(pool.take(1), None);
        // A reply that was on its way while the connection was replaced.
        pool.put(earlier, oids(3..5));
        assert_eq!(pool.take(1), None);
        pool.put(earlier.next(), oids(1..3));
        assert_eq!(pool.take(2), Some(oids(1..3)));
    }
}
