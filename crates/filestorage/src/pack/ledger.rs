//! A proof, while a file is read once, that its pointers and an index lead to all of its records.
//!
//! Every record but the last one of its object is named by one pointer to the previous record, and the last
//! one by the index; and all pointers lead back. So the sum of all records is that of all that are
//! named, and only then: the pointers lead through the records of each object from the last to the
//! first, past none. The sums are of numbers that are mixed well, so that wrong ones come out even
//! once in 2^64 times. That takes no memory, and says nothing of what is wrong.

use storage::Oid;

use crate::format::{DataHeader, Offset};

/// The two sums.
#[derive(Default)]
pub(super) struct Ledger {
    records: u64,
    named: u64,
    /// Whether a pointer leads to its own record or behind it.
    is_crooked: bool,
}

impl Ledger {
    /// Enters a record and what its pointer names.
    pub(super) fn enter(&mut self, at: Offset, record: &DataHeader) {
        self.records = self.records.wrapping_add(mixed(record.oid, at));
        if let Some(previous) = record.previous.some() {
            self.named = self.named.wrapping_add(mixed(record.oid, previous));
            self.is_crooked |= previous >= at;
        }
    }

    /// Enters what the index names: the last record of the object.
    pub(super) fn close(&mut self, oid: Oid, at: Offset) {
        self.named = self.named.wrapping_add(mixed(oid, at));
    }

    /// Whether all records are named once.
    pub(super) fn balances(&self) -> bool {
        self.records == self.named && !self.is_crooked
    }
}

/// A number that has little to do with that of any other pair: `splitmix64`, twice.
pub(super) fn mixed(oid: Oid, at: Offset) -> u64 {
    let mix = |number: u64| {
        let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    };
    mix(mix(oid.number()) ^ at.number())
}

#[cfg(test)]
mod tests {
    use storage::Tid;

    use super::*;

    const RECORDS: [(u64, u64, u64); 7] = [
        (0, 4, 0),
        (1, 100, 0),
        (0, 200, 4),
        (2, 300, 0),
        (0, 400, 200),
        (2, 500, 300),
        (0, 600, 400),
    ];
    const CURRENT: [(u64, u64); 3] = [(0, 600), (1, 100), (2, 500)];

    fn balances(records: &[(u64, u64, u64)], current: &[(u64, u64)]) -> bool {
        let mut ledger = Ledger::default();
        for &(oid, at, previous) in records {
            let record = DataHeader {
                oid: Oid::new(oid),
                tid: Tid::ZERO,
                previous: Offset::new(previous),
                transaction: Offset::NONE,
                version_length: 0,
                data_length: 0,
            };
            ledger.enter(Offset::new(at), &record);
        }
        for &(oid, at) in current {
            ledger.close(Oid::new(oid), Offset::new(at));
        }
        ledger.balances()
    }

    #[test]
    fn a_ledger_balances_where_all_is_right_and_nowhere_else() {
        assert!(balances(&RECORDS, &CURRENT));
        let numbers = RECORDS.iter().flat_map(|record| [record.0, record.1]);
        let numbers: Vec<u64> = numbers.chain([7, 250]).collect();
        for place in 0..RECORDS.len() {
            for &number in &numbers {
                let mut changed = [RECORDS; 3];
                changed[0][place].0 = number;
                changed[1][place].1 = number;
                changed[2][place].2 = number;
                for records in changed.iter().filter(|records| **records != RECORDS) {
                    assert!(!balances(records, &CURRENT), "{place} {number}");
                }
            }
        }
        for place in 0..CURRENT.len() {
            let mut current = CURRENT.to_vec();
            current.remove(place);
            assert!(!balances(&RECORDS, &current));
            for &number in &numbers {
                let mut current = CURRENT;
                current[place].1 = number;
                assert!(current == CURRENT || !balances(&RECORDS, &current));
            }
        }
        // Every record is named once, but not by a way that leads back.
        let crooked = [(0, 4, 0), (0, 200, 400), (0, 400, 4)];
        assert!(!balances(&crooked, &[(0, 200)]));
    }
}
