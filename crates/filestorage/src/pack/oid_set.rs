//! A set of object ids, one bit each.

use std::collections::BTreeMap;

use storage::Oid;

/// Ids are handed out in sequence, so a page of 512 bits is well filled.
#[derive(Default)]
pub(super) struct OidSet {
    pages: BTreeMap<u64, [u64; WORDS]>,
}

impl OidSet {
    /// Whether the id was not there yet.
    pub(super) fn insert(&mut self, oid: Oid) -> bool {
        let (page, word, bit) = split(oid);
        let word = &mut self.pages.entry(page).or_default()[word];
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(super) fn remove(&mut self, oid: Oid) {
        let (page, word, bit) = split(oid);
        if let Some(words) = self.pages.get_mut(&page) {
            words[word] &= !bit;
        }
    }

    /// Whether nothing was put in, or everything [taken](Self::take_from).
    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Takes ids away, at least `count` where there are so many, and returns them in their order: whole
    /// pages, from the one on that `from` would be in.
    pub(super) fn take_from(&mut self, from: Oid, count: usize) -> Vec<Oid> {
        let mut taken = Vec::new();
        let (first, ..) = split(from);
        while taken.len() < count
            && let Some((&page, words)) = self.pages.range(first..).next()
        {
            for (number, word) in (page * WORDS as u64..).zip(words) {
                let mut rest = *word;
                while rest != 0 {
                    let bit = u64::from(rest.trailing_zeros());
                    taken.push(Oid::new(number * WORD_BITS + bit));
                    rest &= rest - 1;
                }
            }
            self.pages.remove(&page);
        }
        taken
    }

    pub(super) fn contains(&self, oid: Oid) -> bool {
        let (page, word, bit) = split(oid);
        self.pages
            .get(&page)
            .is_some_and(|words| words[word] & bit != 0)
    }
}

/// The page, the word in it and the bit in that.
fn split(oid: Oid) -> (u64, usize, u64) {
    let number = oid.number();
    let word = usize::try_from(number / WORD_BITS % WORDS as u64).expect("below eight");
    (number / PAGE_BITS, word, 1 << (number % WORD_BITS))
}

const WORDS: usize = 8;
const WORD_BITS: u64 = 64;
const PAGE_BITS: u64 = WORD_BITS * WORDS as u64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_oid_set_is_a_set(
            oids in prop::collection::vec(prop_oneof![0u64..2000, any::<u64>()], 0..500)
        ) {
            let mut set = OidSet::default();
            let mut model = BTreeSet::new();
            for &oid in &oids {
                prop_assert_eq!(set.insert(Oid::new(oid)), model.insert(oid));
            }
            for oid in oids.into_iter().flat_map(|oid| [oid, oid ^ 1, oid.wrapping_add(64)]) {
                prop_assert_eq!(set.contains(Oid::new(oid)), model.contains(&oid));
            }
        }

        #[test]
        fn all_are_taken_once_and_in_order(
            oids in prop::collection::btree_set(prop_oneof![0u64..5000, any::<u64>()], 0..500),
            from: u16,
            count in 1usize..300,
        ) {
            let mut set = OidSet::default();
            for &oid in &oids {
                set.insert(Oid::new(oid));
            }
            let from = u64::from(from);
            let mut taken = Vec::new();
            for start in [from, 0] {
                loop {
                    let more = set.take_from(Oid::new(start), count);
                    prop_assert!(more.is_sorted());
                    prop_assert!(more.iter().all(|oid| oid.number() + PAGE_BITS > start));
                    if more.len() < count {
                        // There is nothing behind them.
                        prop_assert!(set.take_from(Oid::new(start), 1).is_empty());
                        taken.extend(more);
                        break;
                    }
                    taken.extend(more);
                }
            }
            prop_assert!(set.is_empty());
            taken.sort_unstable();
            let expected = oids.into_iter().map(Oid::new);
            prop_assert!(taken.into_iter().eq(expected));
        }
    }
}
