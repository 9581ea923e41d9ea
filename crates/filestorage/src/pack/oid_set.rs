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
    (
        number / (WORD_BITS * WORDS as u64),
        word,
        1 << (number % WORD_BITS),
    )
}

const WORDS: usize = 8;
const WORD_BITS: u64 = 64;

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
    }
}
