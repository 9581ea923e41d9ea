//! The memo of a decoder or scanner: values by slot number.

use std::collections::BTreeMap;

/// Slots in use. Picklers count from 0, so a vector holds them; a hostile slot number must not make it grow.
pub(crate) struct Memo<T> {
    dense: Vec<Option<T>>,
    sparse: BTreeMap<u64, T>,
    entries: usize,
}

/// A slot so far beyond the last one is kept aside.
const MEMO_GAP_MAX: usize = 64;

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self {
            dense: Vec::new(),
            sparse: BTreeMap::new(),
            entries: 0,
        }
    }
}

impl<T: Copy> Memo<T> {
    pub(crate) fn clear(&mut self) {
        self.dense.clear();
        self.sparse.clear();
        self.entries = 0;
    }

    #[inline]
    pub(crate) fn put(&mut self, slot: u64, id: T) {
        // Picklers number their slots as they go.
        if slot == self.dense.len() as u64 && self.sparse.is_empty() {
            self.dense.push(Some(id));
            self.entries += 1;
            return;
        }
        self.put_out_of_order(slot, id);
    }

    fn put_out_of_order(&mut self, slot: u64, id: T) {
        let near = usize::try_from(slot)
            .ok()
            .filter(|slot| *slot < self.dense.len() + MEMO_GAP_MAX);
        let before = match near {
            None => self.sparse.insert(slot, id),
            Some(index) if index == self.dense.len() => {
                self.dense.push(Some(id));
                self.sparse_before(slot)
            }
            Some(index) => {
                if index > self.dense.len() {
                    self.dense.resize(index + 1, None);
                }
                self.dense[index]
                    .replace(id)
                    .or_else(|| self.sparse_before(slot))
            }
        };
        self.entries += usize::from(before.is_none());
    }

    /// The slot may have been kept aside before the vector reached it.
    fn sparse_before(&mut self, slot: u64) -> Option<T> {
        if self.sparse.is_empty() {
            None
        } else {
            self.sparse.remove(&slot)
        }
    }

    #[inline]
    pub(crate) fn get(&self, slot: u64) -> Option<T> {
        let dense = usize::try_from(slot)
            .ok()
            .and_then(|slot| *self.dense.get(slot)?);
        dense.or_else(|| self.sparse.get(&slot).copied())
    }

    /// How many slots are in use: the number MEMOIZE takes next.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }
}
