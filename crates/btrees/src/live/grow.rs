//! Splitting nodes that became too large.

use pickle::Pickles;

use super::TreeMut;
use super::nodes::{At, Live, LiveBucket, LiveTree};
use crate::bucket::Item;
use crate::error::TreeError;
use crate::probe::{copy, copy_all};

impl TreeMut<'_> {
    /// Splits the child at a place; and the node itself, should it be the root and huge by that.
    pub(super) fn grow(&mut self, at: At, place: usize) -> Result<(), TreeError> {
        let child = self.nodes.tree(at).children[place];
        let mut arena = std::mem::take(&mut self.nodes.tree_mut(at).arena);
        let (new, key) = if self.nodes.is_tree(child) {
            self.split_tree(child, &mut arena)?
        } else {
            self.split_bucket(child, &mut arena)
        };
        let tree = self.nodes.tree_mut(at);
        tree.arena = arena;
        tree.keys.insert(place + 1, key);
        tree.children.insert(place + 1, new);
        if tree.children.len() >= self.sizes.internal * 2 {
            self.split_root(at)?;
        }
        Ok(())
    }

    /// Moves the upper half to a new bucket; with the key that separates them, for `parent`.
    fn split_bucket(&mut self, at: At, parent: &mut Pickles) -> (At, Item) {
        let bucket = self.nodes.bucket_mut(at);
        let mut items = bucket.items.split_off(bucket.items.len() / 2);
        let key = copy(items[0].0, &bucket.arena, parent);
        let mut arena = Pickles::new();
        let parts = items.iter_mut().flat_map(|(key, value)| [key, value]);
        copy_all(parts, &mut bucket.arena, &mut arena);
        let next = bucket.next;
        let new = self
            .nodes
            .add(Live::Bucket(LiveBucket { arena, items, next }));
        self.nodes.bucket_mut(at).next = Some(new);
        self.nodes.change(at);
        (new, key)
    }

    /// Moves the upper half of the children to a new node.
    fn split_tree(&mut self, at: At, parent: &mut Pickles) -> Result<(At, Item), TreeError> {
        let middle = self.nodes.tree(at).children.len() / 2;
        let first_child = self.nodes.tree(at).children[middle];
        self.activate(first_child)?;
        let first = if self.nodes.is_tree(first_child) {
            self.nodes.tree(first_child).first
        } else {
            Some(first_child)
        };
        let tree = self.nodes.tree_mut(at);
        let children = tree.children.split_off(middle);
        let mut keys = tree.keys.split_off(middle);
        let key = copy(keys[0], &tree.arena, parent);
        keys[0] = Item::Nothing;
        let mut arena = Pickles::new();
        copy_all(keys.iter_mut(), &mut tree.arena, &mut arena);
        let new = self.nodes.add(Live::Tree(LiveTree {
            arena,
            keys,
            children,
            first,
        }));
        self.nodes.change(at);
        Ok((new, key))
    }

    /// The root keeps its id: its children go to a new node, which is split.
    fn split_root(&mut self, at: At) -> Result<(), TreeError> {
        let tree = self.nodes.tree_mut(at);
        let first = tree.first;
        let below = std::mem::replace(tree, LiveTree::new());
        let below = self.nodes.add(Live::Tree(below));
        let tree = self.nodes.tree_mut(at);
        tree.keys.push(Item::Nothing);
        tree.children.push(below);
        tree.first = first;
        self.grow(at, 0)
    }
}
