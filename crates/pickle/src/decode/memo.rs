//! The memo of a decoder: values by slot number.

use std::collections::BTreeMap;

use crate::node::NodeId;

/// Slots in use. Picklers count from 0, so a vector holds them; a hostile slot number must not make it grow.
#[derive(Default)]
pub(super) struct Memo {
    dense: Vec<Option<NodeId>>,
    sparse: BTreeMap<u64, NodeId>,
    entries: usize,
}

/// A slot so far beyond the last one is kept aside.
const MEMO_GAP_MAX: usize = 64;

impl Memo {
    pub(super) fn put(&mut self, slot: u64, id: NodeId) {
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
    fn sparse_before(&mut self, slot: u64) -> Option<NodeId> {
        if self.sparse.is_empty() {
            None
        } else {
            self.sparse.remove(&slot)
        }
    }

    pub(super) fn get(&self, slot: u64) -> Option<NodeId> {
        let dense = usize::try_from(slot)
            .ok()
            .and_then(|slot| *self.dense.get(slot)?);
        dense.or_else(|| self.sparse.get(&slot).copied())
    }

    /// How many slots are in use: the number MEMOIZE takes next.
    pub(super) fn len(&self) -> usize {
        self.entries
    }
}
