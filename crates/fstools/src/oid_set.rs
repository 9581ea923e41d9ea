//! A set of object ids: one bit for each where ids are dense.

use std::collections::BTreeMap;

use storage::Oid;

/// Object ids, in their order.
#[derive(Default)]
pub(crate) struct OidSet {
    pages: BTreeMap<u64, Box<[u64; PAGE_WORDS]>>,
}

impl OidSet {
    /// Whether it was not there before.
    pub(crate) fn insert(&mut self, oid: Oid) -> bool {
        let (page, word, bit) = place(oid);
        let page = self
            .pages
            .entry(page)
            .or_insert_with(|| Box::new([0; PAGE_WORDS]));
        let was_there = page[word] & bit != 0;
        page[word] |= bit;
        !was_there
    }

    pub(crate) fn contains(&self, oid: Oid) -> bool {
        let (page, word, bit) = place(oid);
        self.pages
            .get(&page)
            .is_some_and(|page| page[word] & bit != 0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Oid> {
        self.pages.iter().flat_map(|(page, words)| {
            words.iter().zip(0u64..).flat_map(move |(bits, word)| {
                let base = (page * PAGE_WORDS as u64 + word) * 64;
                let set = (0..64).filter(move |bit| bits >> bit & 1 == 1);
                set.map(move |bit| Oid::new(base + bit))
            })
        })
    }
}

fn place(oid: Oid) -> (u64, usize, u64) {
    let word = oid.number() / 64;
    let (page, word) = (word / PAGE_WORDS as u64, word % PAGE_WORDS as u64);
    let word = usize::try_from(word).expect("it is less than the words of a page");
    (page, word, 1 << (oid.number() % 64))
}

/// 4096 ids a page: sparse ids cost half a kilobyte each.
const PAGE_WORDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_in_their_order() {
        let mut set = OidSet::default();
        let numbers = [0, 1, 63, 64, 4095, 4096, 1 << 40, u64::MAX];
        for number in numbers.into_iter().rev() {
            assert!(set.insert(Oid::new(number)));
            assert!(!set.insert(Oid::new(number)));
        }
        let found: Vec<u64> = set.iter().map(Oid::number).collect();
        assert_eq!(found, numbers);
        assert!(!set.contains(Oid::new(2)) && set.contains(Oid::new(4096)));
    }
}
