//! From node to node through a tree, in the order of its keys.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;

use filestorage::{Positions, Survey};
use pickle::Value;
use storage::{Oid, StorageError};

use super::key::Key;
use super::node::{Leaf, Node, NodeClass};
use crate::content::Content;
use crate::oid_set::OidSet;
use crate::parents;

/// What is wrong with a node.
pub(super) struct Complaint {
    pub(super) node: Oid,
    pub(super) what: String,
}

/// A walk through one tree.
pub(super) struct TreeWalk<'a> {
    survey: &'a Survey,
    positions: &'a Positions,
    visited: &'a mut OidSet,
    /// The first of them.
    pub(super) complaints: Vec<Complaint>,
    pub(super) complaints_untold: u64,
    /// Whether the order of some keys is not known.
    pub(super) not_compared: bool,
    /// Whether the object has another class by now, or none.
    pub(super) is_gone: bool,
    pending: Vec<Pending>,
    /// The bucket before, and the next one that it names.
    before: Option<(Oid, Option<Oid>)>,
    /// Nodes whose first bucket is still to come, and which it should be.
    firsts: Vec<(Oid, Oid)>,
}

/// A node that is still to be visited.
struct Pending {
    oid: Oid,
    /// The node above.
    parent: Option<(Oid, NodeClass)>,
    /// Keys are not before this one.
    low: Option<Rc<Key>>,
    /// Keys are before this one.
    high: Option<Rc<Key>>,
    /// Whether the children of the node above are trees, once that is known.
    are_trees: Rc<Cell<Option<bool>>>,
}

impl<'a> TreeWalk<'a> {
    pub(super) fn new(
        survey: &'a Survey,
        positions: &'a Positions,
        visited: &'a mut OidSet,
    ) -> Self {
        Self {
            survey,
            positions,
            visited,
            complaints: Vec::new(),
            complaints_untold: 0,
            not_compared: false,
            is_gone: false,
            pending: Vec::new(),
            before: None,
            firsts: Vec::new(),
        }
    }

    /// Visits all nodes. The last bucket should name no next one; where it does, that is handed back.
    pub(super) fn run(&mut self, root: Oid) -> Result<Option<Complaint>, StorageError> {
        self.pending.push(Pending {
            oid: root,
            parent: None,
            low: None,
            high: None,
            are_trees: Rc::default(),
        });
        while let Some(pending) = self.pending.pop() {
            self.visit(&pending)?;
        }
        Ok(self.before.and_then(|(node, next)| {
            let what = format!("the last bucket of the tree names a next one, {}", next?);
            Some(Complaint { node, what })
        }))
    }

    fn visit(&mut self, pending: &Pending) -> Result<(), StorageError> {
        let oid = pending.oid;
        if !self.visited.insert(oid) {
            self.lost(oid, "the node is in two places".to_owned());
            return Ok(());
        }
        let content = parents::content(self.survey, self.positions, oid)?;
        let class = content.as_ref().and_then(|content| content.class());
        let node_class = class.as_deref().and_then(NodeClass::parse);
        let (Some(content), Some(class)) = (&content, node_class) else {
            match pending.parent {
                Some((parent, _)) => {
                    let what = match class {
                        Some(class) => format!("its child {oid} is no node of a tree, but {class}"),
                        None => format!("its child {oid} does not exist, or cannot be read"),
                    };
                    self.lost(parent, what);
                }
                None => self.is_gone = true,
            }
            return Ok(());
        };
        if let Some((parent, parent_class)) = pending.parent
            && let Some(what) = wrong_child(pending, parent_class, class)
        {
            self.lost(parent, format!("its child {oid} {what}"));
            return Ok(());
        }
        match Node::read(class, content) {
            Ok(Node::Tree {
                keys,
                children,
                first,
            }) => self.visit_tree(pending, class, &keys, &children, first),
            Ok(Node::Leaf(leaf)) => self.visit_leaf(pending, class, &leaf),
            Err(what) => self.lost(oid, what),
        }
        Ok(())
    }

    fn visit_tree(
        &mut self,
        pending: &Pending,
        class: NodeClass,
        keys: &[Value<'_>],
        children: &[Oid],
        first: Option<Oid>,
    ) {
        let oid = pending.oid;
        if let Some(key) = keys.iter().find(|key| !class.keys.holds(**key)) {
            let key = Key::read(*key);
            self.complain(oid, format!("the key {key} is not {}", class.keys));
        }
        let keys: Vec<_> = keys.iter().map(|key| Rc::new(Key::read(*key))).collect();
        self.check_order(pending, keys.iter().map(|key| &**key));
        self.firsts.extend(first.map(|first| (oid, first)));
        let are_trees = Rc::default();
        for (place, child) in children.iter().enumerate().rev() {
            let low = place.checked_sub(1).and_then(|before| keys.get(before));
            self.pending.push(Pending {
                oid: *child,
                parent: Some((oid, class)),
                low: low.or(pending.low.as_ref()).cloned(),
                high: keys.get(place).or(pending.high.as_ref()).cloned(),
                are_trees: Rc::clone(&are_trees),
            });
        }
    }

    fn visit_leaf(&mut self, pending: &Pending, class: NodeClass, leaf: &Leaf<'_>) {
        let oid = pending.oid;
        if let Some(what) = leaf.foreign(class) {
            self.complain(oid, what);
        }
        let keys: Vec<_> = leaf.keys.iter().map(|key| Key::read(*key)).collect();
        self.check_order(pending, keys.iter());
        let Some((parent, _)) = pending.parent else {
            // A bucket that is an object of its own, or a whole tree in one record.
            return;
        };
        if class.is_tree {
            // Where a tree is empty, or has its bucket within it, there is nothing to point at.
            let what = format!("its child {oid} is a tree of one record, which only a root can be");
            self.lost(parent, what);
            return;
        }
        if keys.is_empty() {
            self.complain(oid, "the bucket is empty".to_owned());
        }
        if let Some((before, next)) = self.before
            && next != Some(oid)
        {
            let named = match next {
                Some(next) => format!("{next} as the next one"),
                None => "no next one".to_owned(),
            };
            self.complain(before, format!("the bucket names {named}, {oid} follows"));
        }
        self.before = Some((oid, leaf.next));
        for (node, first) in std::mem::take(&mut self.firsts) {
            if first != oid {
                let what = format!("it names {first} as its first bucket, that is {oid}");
                self.complain(node, what);
            }
        }
    }

    /// Says of a node the first thing that is wrong with its keys.
    fn check_order<'k>(&mut self, pending: &Pending, keys: impl Iterator<Item = &'k Key>) {
        let (low, high) = (pending.low.as_deref(), pending.high.as_deref());
        let mut before: Option<&Key> = None;
        let mut wrong = None;
        for key in keys {
            let rules = [
                (before, Ordering::is_gt as Rule, "does not rise above"),
                (low, Ordering::is_ge, "is below the lower bound"),
                (high, Ordering::is_lt, "is not below the upper bound"),
            ];
            for (bound, is_right, what) in rules {
                let Some(bound) = bound else { continue };
                match key.compare(bound) {
                    None => self.not_compared = true,
                    Some(order) if is_right(order) || wrong.is_some() => {}
                    Some(_) => wrong = Some(format!("the key {key} {what} {bound}")),
                }
            }
            before = Some(key);
        }
        if let Some(what) = wrong {
            self.complain(pending.oid, what);
        }
    }

    /// Something is wrong, and buckets are missed: what points at them cannot be judged.
    fn lost(&mut self, node: Oid, what: String) {
        self.complain(node, what);
        self.before = None;
        self.firsts.clear();
    }

    fn complain(&mut self, node: Oid, what: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(Complaint { node, what });
        } else {
            self.complaints_untold += 1;
        }
    }
}

/// Whether the child is something else than its place wants.
fn wrong_child(pending: &Pending, parent: NodeClass, class: NodeClass) -> Option<String> {
    let fits = class == parent || class == parent.leaf();
    if !fits {
        return Some("is a node of another class of trees".to_owned());
    }
    let are_trees = pending.are_trees.get();
    pending
        .are_trees
        .set(Some(are_trees.unwrap_or(class.is_tree)));
    match are_trees {
        Some(true) if !class.is_tree => Some("is a bucket beside trees".to_owned()),
        Some(false) if class.is_tree => Some("is a tree beside buckets".to_owned()),
        _ => None,
    }
}

/// The children of the object, where it is a tree.
pub(super) fn children(
    survey: &Survey,
    positions: &Positions,
    oid: Oid,
) -> Result<Vec<Oid>, StorageError> {
    let content = parents::content(survey, positions, oid)?;
    let found = content.as_ref().and_then(|content| {
        let class = NodeClass::parse(&content.class()?)?;
        children_of(class, content)
    });
    Ok(found.unwrap_or_default())
}

/// The children of a tree: trees or buckets. Nothing of other nodes, and of a tree in one record.
pub(crate) fn children_of(class: NodeClass, content: &Content) -> Option<Vec<Oid>> {
    match Node::read(class, content).ok()? {
        Node::Tree { children, .. } => Some(children),
        Node::Leaf(_) => None,
    }
}

/// How a key has to compare to another.
type Rule = fn(Ordering) -> bool;

/// How much is said of one tree.
const COMPLAINTS_MAX: usize = 20;
