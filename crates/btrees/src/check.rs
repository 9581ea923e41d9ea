//! Looking for damage in a tree, as `_check` and `BTrees.check` do together.

use std::collections::HashSet;
use std::fmt;

use storage::Oid;
use zodb::Connection;

use crate::error::TreeError;
use crate::node::{DEPTH_MAX, Inner, Leaf, Node};
use crate::probe::Probe;
use crate::tree::Tree;

/// Something wrong in a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// The node.
    pub oid: Oid,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {}: {}", self.oid, self.what)
    }
}

/// Most flaws that are told of one tree.
const FLAWS_MAX: usize = 1_000;

/// Walks through a tree, bucket or set and tells what is wrong with it: the order of keys, within
/// nodes and with the keys above them, the chain of buckets, empty buckets, nodes of a wrong class.
/// Nothing where all is well.
///
/// # Errors
/// Where nodes cannot be loaded, or keys do not compare.
pub fn check(connection: &Connection, oid: Oid) -> Result<Vec<Flaw>, TreeError> {
    Tree::open(connection, oid)?.check()
}

impl Tree<'_> {
    /// What [`check`] says of this tree.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check(&self) -> Result<Vec<Flaw>, TreeError> {
        let mut checker = Checker {
            tree: self.clone(),
            flaws: Vec::new(),
            buckets: Vec::new(),
            seen: HashSet::from([self.oid()]),
        };
        checker.node(self.root(), self.oid(), [None, None], 0)?;
        checker.chain();
        Ok(checker.flaws)
    }
}

struct Checker<'c> {
    tree: Tree<'c>,
    flaws: Vec<Flaw>,
    /// The buckets in the order of their keys, each with the one behind it.
    buckets: Vec<(Oid, Option<Oid>)>,
    /// Every node that was reached: none is twice in a tree.
    seen: HashSet<Oid>,
}

/// The keys between which those of a node have to be: the first may be among them.
type Bounds<'a> = [Option<&'a Probe>; 2];

impl Checker<'_> {
    fn node(
        &mut self,
        node: &Node,
        oid: Oid,
        bounds: Bounds<'_>,
        depth: usize,
    ) -> Result<Option<Oid>, TreeError> {
        if depth > DEPTH_MAX {
            return Err(self.tree.too_deep());
        }
        match node {
            Node::Empty => Ok(None),
            Node::Leaf(leaf) => {
                if leaf.len() == 0 && depth > 0 {
                    self.flaw(oid, "a bucket without keys".to_owned());
                }
                self.leaf(leaf, oid, bounds)?;
                self.buckets.push((oid, leaf.next));
                Ok(Some(oid))
            }
            Node::Inner(inner) => self.inner(inner, oid, bounds, depth),
        }
    }

    fn leaf(&mut self, leaf: &Leaf, oid: Oid, bounds: Bounds<'_>) -> Result<(), TreeError> {
        let mut before: Option<Probe> = None;
        for at in 0..leaf.len() {
            let key = self.key(leaf.key(at), oid)?;
            self.key_within(&key, before.as_ref(), bounds, (oid, at))?;
            before = Some(key);
        }
        Ok(())
    }

    /// Gives the first bucket that it has.
    fn inner(
        &mut self,
        inner: &Inner,
        oid: Oid,
        bounds: Bounds<'_>,
        depth: usize,
    ) -> Result<Option<Oid>, TreeError> {
        let mut keys = Vec::with_capacity(inner.len());
        for at in 1..inner.len() {
            let key = self.key(inner.key(at), oid)?;
            self.key_within(&key, keys.last(), bounds, (oid, at - 1))?;
            keys.push(key);
        }
        let mut first = None;
        let mut has_trees = None;
        for at in 0..inner.len() {
            let low = at.checked_sub(1).map_or(bounds[0], |at| keys.get(at));
            let high = keys.get(at).or(bounds[1]);
            let child_oid = inner.child(at)?;
            if !self.seen.insert(child_oid) {
                self.flaw(child_oid, "it is in the tree more than once".to_owned());
                continue;
            }
            let child = match self.tree.child(inner, at) {
                Ok(child) => child,
                Err(TreeError::Damaged { oid, what }) => {
                    self.flaw(oid, what.to_owned());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_tree = matches!(child, Node::Inner(_));
            if *has_trees.get_or_insert(is_tree) != is_tree {
                self.flaw(oid, "its children are of different kinds".to_owned());
            }
            let bucket = self.node(&child, child_oid, [low, high], depth + 1)?;
            if at == 0 {
                first = bucket;
            }
        }
        if inner.first != first {
            self.flaw(
                oid,
                "what it takes for its first bucket is another".to_owned(),
            );
        }
        Ok(first)
    }

    fn key(&self, key: Option<pickle::Value<'_>>, oid: Oid) -> Result<Probe, TreeError> {
        let what = "a key is none that the class has";
        let key = key.ok_or(TreeError::Damaged { oid, what })?;
        Probe::of_value(key, self.tree.kind().key).ok_or(TreeError::Damaged { oid, what })
    }

    fn key_within(
        &mut self,
        key: &Probe,
        before: Option<&Probe>,
        [low, high]: Bounds<'_>,
        (oid, at): (Oid, usize),
    ) -> Result<(), TreeError> {
        if let Some(before) = before
            && !before.order(key)?.is_lt()
        {
            self.flaw(
                oid,
                format!("the key at {at} is not behind the one before it"),
            );
        }
        if let Some(low) = low
            && !low.order(key)?.is_le()
        {
            self.flaw(
                oid,
                format!("the key at {at} lies before those of the node"),
            );
        }
        if let Some(high) = high
            && !key.order(high)?.is_lt()
        {
            self.flaw(
                oid,
                format!("the key at {at} lies behind those of the node"),
            );
        }
        Ok(())
    }

    fn chain(&mut self) {
        let buckets = std::mem::take(&mut self.buckets);
        // A bucket that is looked at by itself may be part of a chain.
        if !self.tree.kind().is_tree() {
            return;
        }
        for (at, (oid, next)) in buckets.iter().enumerate() {
            if *next != buckets.get(at + 1).map(|(oid, _)| *oid) {
                self.flaw(
                    *oid,
                    "the bucket behind it is another than it says".to_owned(),
                );
            }
        }
    }

    fn flaw(&mut self, oid: Oid, what: String) {
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.push(Flaw { oid, what });
        }
    }
}
