//! One key put or deleted, as the C extensions do it (`_BTree_set`, `_bucket_set`).
//!
//! The order of the steps decides which nodes are loaded, which errors there are, and in which
//! order nodes are marked as changed.

use std::cmp::Ordering;

use super::TreeMut;
use super::nodes::{At, Live, LiveBucket};
use crate::bucket::Item;
use crate::error::TreeError;
use crate::probe::{Probe, copy};

/// What is done with a key.
#[derive(Debug)]
pub(super) enum Change {
    Put {
        value: Probe,
        /// A key that is there keeps its value.
        is_unique: bool,
    },
    Delete,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    /// There are as many keys as before.
    Same,
    /// There is one more, or one less.
    Resized,
    /// There is one less, and the first bucket of the subtree left: whoever has the bucket before it
    /// has to mend the chain.
    FirstBucketGone,
}

impl TreeMut<'_> {
    pub(super) fn change_tree(
        &mut self,
        at: At,
        key: &Probe,
        change: &Change,
        depth: usize,
    ) -> Result<Status, TreeError> {
        let depth = self.deeper(depth, at)?;
        self.activate(at)?;
        let was_empty = self.nodes.tree(at).children.is_empty();
        if was_empty {
            if matches!(change, Change::Delete) {
                return Ok(Status::Same);
            }
            let bucket = self.nodes.add(Live::Bucket(LiveBucket::new()));
            let tree = self.nodes.tree_mut(at);
            tree.children.push(bucket);
            tree.keys.push(Item::Nothing);
            tree.first = Some(bucket);
        }
        let place = self.nodes.tree(at).search(key)?;
        self.nodes.rely_on(at);
        let child = self.nodes.tree(at).children[place];
        self.activate(child)?;
        let (status, is_changed) = if self.nodes.is_tree(child) {
            (self.change_tree(child, key, change, depth)?, false)
        } else {
            let (status, is_changed) = self.change_bucket(child, key, change)?;
            // The only bucket is part of its tree's record until it has an id.
            let is_part =
                self.nodes.tree(at).children.len() == 1 && self.nodes.oid(child).is_none();
            (status, is_changed && is_part)
        };
        if status == Status::Same {
            if is_changed {
                self.nodes.change(at);
            }
            return Ok(status);
        }
        self.finish(at, place, key, (change, status, is_changed))
    }

    /// The child at the place has a key more, or one less.
    fn finish(
        &mut self,
        at: At,
        place: usize,
        key: &Probe,
        (change, status, is_changed): (&Change, Status, bool),
    ) -> Result<Status, TreeError> {
        // From here on an error leaves the tree half changed.
        let was_torn = std::mem::replace(&mut self.is_torn, true);
        let (status, is_changed) = match change {
            Change::Put { .. } => {
                let child = self.nodes.tree(at).children[place];
                let max = if self.nodes.is_tree(child) {
                    self.sizes.internal
                } else {
                    self.sizes.leaf
                };
                let is_too_large = self.nodes.len(child) > max;
                if is_too_large {
                    self.grow(at, place)?;
                }
                (status, is_changed || is_too_large)
            }
            Change::Delete => self.shrink(at, place, key, status, is_changed)?,
        };
        if is_changed {
            self.nodes.change(at);
        }
        self.is_torn = was_torn;
        Ok(status)
    }

    fn shrink(
        &mut self,
        at: At,
        place: usize,
        key: &Probe,
        mut status: Status,
        mut is_changed: bool,
    ) -> Result<(Status, bool), TreeError> {
        let child = self.nodes.tree(at).children[place];
        let is_empty = self.nodes.len(child) == 0;
        if place > 0 && !is_empty {
            self.replace_key(at, place, key)?;
        }
        if status == Status::FirstBucketGone {
            if place > 0 {
                let before = self.nodes.tree(at).children[place - 1];
                self.delete_next_bucket(before)?;
                status = Status::Resized;
            } else {
                self.nodes.tree_mut(at).first = self.nodes.tree(child).first;
                is_changed = true;
            }
        }
        if !is_empty {
            return Ok((status, is_changed));
        }
        if !self.nodes.is_tree(child) {
            if place > 0 {
                let before = self.nodes.tree(at).children[place - 1];
                self.delete_next_bucket(before)?;
            } else {
                self.nodes.tree_mut(at).first = self.nodes.bucket(child).next;
                status = Status::FirstBucketGone;
            }
        }
        let tree = self.nodes.tree_mut(at);
        tree.children.remove(place);
        tree.keys.remove(place);
        if let Some(first) = tree.keys.first_mut() {
            *first = Item::Nothing;
        }
        Ok((status, true))
    }

    /// Where the deleted key separated two children, the first key behind takes its place.
    fn replace_key(&mut self, at: At, place: usize, key: &Probe) -> Result<(), TreeError> {
        let tree = self.nodes.tree(at);
        let comparer = key.comparer();
        let order = tree.keys[place].order_in(&tree.arena, key.item, &key.arena, &comparer)?;
        if order != Ordering::Equal {
            return Ok(());
        }
        let child = tree.children[place];
        let bucket = if self.nodes.is_tree(child) {
            self.nodes.tree(child).first
        } else {
            Some(child)
        };
        let bucket = bucket.ok_or_else(|| self.damaged(child, "it has no first bucket"))?;
        self.activate_bucket(bucket)?;
        let mut arena = std::mem::take(&mut self.nodes.tree_mut(at).arena);
        let bucket = self.nodes.bucket(bucket);
        let first = bucket
            .items
            .first()
            .map(|(key, _)| copy(*key, &bucket.arena, &mut arena));
        let tree = self.nodes.tree_mut(at);
        tree.arena = arena;
        if let Some(first) = first {
            tree.keys[place] = first;
        }
        self.nodes.change(at);
        Ok(())
    }

    /// Takes the bucket behind a subtree, or a bucket, out of the chain.
    fn delete_next_bucket(&mut self, before: At) -> Result<(), TreeError> {
        let mut last = before;
        let mut depth = 0;
        loop {
            self.activate(last)?;
            match self.nodes.live(last) {
                Live::Bucket(_) => break,
                Live::Tree(tree) => {
                    let child = tree.children.last().copied();
                    last = child.ok_or_else(|| self.damaged(last, "it is empty"))?;
                }
            }
            depth = self.deeper(depth, last)?;
        }
        let Some(gone) = self.nodes.bucket(last).next else {
            return Ok(());
        };
        self.activate_bucket(gone)?;
        let next = self.nodes.bucket(gone).next;
        self.nodes.bucket_mut(last).next = next;
        self.nodes.change(last);
        Ok(())
    }

    pub(super) fn activate_bucket(&mut self, at: At) -> Result<(), TreeError> {
        self.activate(at)?;
        if self.nodes.is_tree(at) {
            return Err(self.damaged(at, "it is a tree where a bucket should be"));
        }
        Ok(())
    }

    pub(super) fn damaged(&self, at: At, what: &'static str) -> TreeError {
        TreeError::Damaged {
            oid: self.nodes.oid(at).unwrap_or_else(|| self.oid()),
            what,
        }
    }

    /// What became of it, and whether the bucket changed.
    pub(super) fn change_bucket(
        &mut self,
        at: At,
        key: &Probe,
        change: &Change,
    ) -> Result<(Status, bool), TreeError> {
        let has_values = self.class.has_values();
        let bucket = self.nodes.bucket_mut(at);
        let found = bucket.search(key)?;
        let status = match (found, change) {
            (Err(_), Change::Delete) => return Ok((Status::Same, false)),
            (Ok(index), Change::Delete) => {
                bucket.items.remove(index);
                Status::Resized
            }
            (Ok(index), Change::Put { value, is_unique }) => {
                if *is_unique || !has_values || is_same(bucket.items[index].1, value.item) {
                    return Ok((Status::Same, false));
                }
                bucket.items[index].1 = value.copy_to(&mut bucket.arena);
                Status::Same
            }
            (Err(index), Change::Put { value, .. }) => {
                let item = (
                    key.copy_to(&mut bucket.arena),
                    value.copy_to(&mut bucket.arena),
                );
                bucket.items.insert(index, item);
                Status::Resized
            }
        };
        self.nodes.change(at);
        Ok((status, true))
    }

    /// Empties the root, where there is anything in it.
    pub(super) fn clear_root(&mut self) {
        let root = self.nodes.root();
        if self.nodes.len(root) == 0 {
            return;
        }
        match self.nodes.live_mut(root) {
            Live::Bucket(bucket) => *bucket = LiveBucket::new(),
            Live::Tree(tree) => *tree = super::nodes::LiveTree::new(),
        }
        self.nodes.change(root);
    }
}

/// Numbers that are equal are not written again.
fn is_same(old: Item, new: Item) -> bool {
    match (old, new) {
        (Item::Signed(old), Item::Signed(new)) => old == new,
        (Item::Unsigned(old), Item::Unsigned(new)) => old == new,
        #[expect(clippy::float_cmp, reason = "as the original compares them")]
        (Item::Float(old), Item::Float(new)) => old == new,
        _ => false,
    }
}
