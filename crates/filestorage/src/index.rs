//! Where the current record of each object is.

use std::collections::BTreeMap;

use storage::Oid;

use crate::format::Offset;

/// A map from object ids to offsets. Ids are handed out in sequence, so most pages are full and an
/// entry costs eight bytes; a page with few entries keeps them in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    /// Sorted by slot.
    Sparse(Vec<(u16, Offset)>),
    /// [`Offset::NONE`] where there is no entry.
    Dense(Box<[Offset]>),
}

impl Index {
    pub(crate) fn get(&self, oid: Oid) -> Option<Offset> {
        let (page, slot) = split(oid);
        match self.pages.get(&page)? {
            Page::Sparse(entries) => {
                let at = entries.binary_search_by_key(&slot, |entry| entry.0).ok()?;
                Some(entries[at].1)
            }
            Page::Dense(offsets) => offsets[usize::from(slot)].some(),
        }
    }

    /// The offset must not be [`Offset::NONE`].
    pub(crate) fn insert(&mut self, oid: Oid, offset: Offset) {
        assert_ne!(offset, Offset::NONE, "an index entry points somewhere");
        let (number, slot) = split(oid);
        let page = self
            .pages
            .entry(number)
            .or_insert_with(|| Page::Sparse(Vec::new()));
        if page.insert(slot, offset) {
            self.len += 1;
        }
    }

    /// Takes the entry away, if there is one.
    pub(crate) fn remove(&mut self, oid: Oid) {
        let (number, slot) = split(oid);
        let Some(page) = self.pages.get_mut(&number) else {
            return;
        };
        if page.remove(slot) {
            self.len -= 1;
            if page.entries().next().is_none() {
                self.pages.remove(&number);
            }
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn last_oid(&self) -> Option<Oid> {
        let (number, page) = self.pages.last_key_value()?;
        let slot = page.entries().last()?.0;
        Some(join(*number, slot))
    }

    /// The first entry whose id is not before `oid`.
    pub(crate) fn first_from(&self, oid: Oid) -> Option<(Oid, Offset)> {
        let (first_page, first_slot) = split(oid);
        self.pages.range(first_page..).find_map(|(number, page)| {
            let slots_from = if *number == first_page { first_slot } else { 0 };
            let (slot, offset) = page.entries().find(|(slot, _)| *slot >= slots_from)?;
            Some((join(*number, slot), offset))
        })
    }

    /// All entries, in the order of the ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Oid, Offset)> {
        self.pages.iter().flat_map(|(number, page)| {
            page.entries()
                .map(|(slot, offset)| (join(*number, slot), offset))
        })
    }
}

impl Page {
    /// Whether the slot was empty.
    fn insert(&mut self, slot: u16, offset: Offset) -> bool {
        match self {
            Self::Dense(offsets) => {
                let old = std::mem::replace(&mut offsets[usize::from(slot)], offset);
                old == Offset::NONE
            }
            Self::Sparse(entries) => {
                match entries.binary_search_by_key(&slot, |entry| entry.0) {
                    Ok(at) => {
                        entries[at].1 = offset;
                        return false;
                    }
                    Err(at) => entries.insert(at, (slot, offset)),
                }
                if entries.len() > SPARSE_ENTRIES_MAX {
                    let mut offsets = vec![Offset::NONE; PAGE_SLOTS].into_boxed_slice();
                    for &(slot, offset) in entries.iter() {
                        offsets[usize::from(slot)] = offset;
                    }
                    *self = Self::Dense(offsets);
                }
                true
            }
        }
    }

    /// Whether the slot had an entry.
    fn remove(&mut self, slot: u16) -> bool {
        match self {
            Self::Dense(offsets) => {
                let old = std::mem::take(&mut offsets[usize::from(slot)]);
                old != Offset::NONE
            }
            Self::Sparse(entries) => match entries.binary_search_by_key(&slot, |entry| entry.0) {
                Ok(at) => {
                    entries.remove(at);
                    true
                }
                Err(_) => false,
            },
        }
    }

    fn entries(&self) -> Box<dyn Iterator<Item = (u16, Offset)> + '_> {
        match self {
            Self::Sparse(entries) => Box::new(entries.iter().copied()),
            Self::Dense(offsets) => Box::new(
                (0u16..)
                    .zip(offsets.iter().copied())
                    .filter(|(_, offset)| *offset != Offset::NONE),
            ),
        }
    }
}

fn split(oid: Oid) -> (u64, u16) {
    let number = oid.number();
    let slot = u16::try_from(number & SLOT_MASK).expect("the mask leaves ten bits");
    (number >> SLOT_BITS, slot)
}

fn join(page: u64, slot: u16) -> Oid {
    Oid::new((page << SLOT_BITS) | u64::from(slot))
}

const SLOT_BITS: u32 = 10;
const PAGE_SLOTS: usize = 1 << SLOT_BITS;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
/// Beyond this many entries a list would be larger than the full page.
const SPARSE_ENTRIES_MAX: usize = PAGE_SLOTS / 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_index_is_an_ordered_map(
            entries in prop::collection::vec(
                (prop_oneof![0u64..3000, any::<u64>()], 1u64..1 << 48), 0..3000),
            removed in prop::collection::vec(0u64..3000, 0..3000),
        ) {
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (oid, offset) in entries {
                index.insert(Oid::new(oid), Offset::new(offset));
                model.insert(Oid::new(oid), Offset::new(offset));
            }
            for oid in removed {
                index.remove(Oid::new(oid));
                model.remove(&Oid::new(oid));
            }
            prop_assert_eq!(index.len(), model.len() as u64);
            prop_assert_eq!(index.last_oid(), model.keys().last().copied());
            for oid in model.keys().flat_map(|oid| [*oid, oid.next()]) {
                prop_assert_eq!(index.get(oid), model.get(&oid).copied());
            }
            prop_assert!(index.iter().eq(model));
        }
    }
}
