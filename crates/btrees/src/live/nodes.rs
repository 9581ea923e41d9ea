//! The nodes of a tree that is being changed.

use std::collections::{BTreeSet, HashMap};

use pickle::{NodeId, Pickles};
use storage::Oid;
use zodb::{Data, Object, Reference};

use super::TreeMut;
use crate::bucket::{Bucket, Item};
use crate::error::TreeError;
use crate::family::Class;
use crate::node::{DEPTH_MAX, damaged, search_inner, search_leaf};
use crate::probe::Probe;
use crate::unify;

/// Names a node; the root is the first.
pub(super) type At = usize;

#[derive(Debug)]
pub(super) struct Nodes {
    slots: Vec<Slot>,
    by_oid: HashMap<Oid, At>,
    /// Those that changed and have an id, in the order in which they first did: the order in which
    /// ZODB stores them and gives ids to what they refer to.
    pub(super) changed: Vec<At>,
    /// What was gone through on the way to a change (`readCurrent`).
    pub(super) relied_on: BTreeSet<Oid>,
}

#[derive(Debug)]
struct Slot {
    /// A node gets its id when it is saved, as an object in Python does.
    oid: Option<Oid>,
    is_changed: bool,
    /// Whether the storage has it.
    is_stored: bool,
    /// What a reference to it says, until it is loaded.
    is_tree: Option<bool>,
    live: Option<Live>,
}

#[derive(Debug)]
pub(super) enum Live {
    Bucket(LiveBucket),
    Tree(LiveTree),
}

#[derive(Debug)]
pub(super) struct LiveBucket {
    pub(super) arena: Pickles,
    pub(super) items: Vec<(Item, Item)>,
    pub(super) next: Option<At>,
}

#[derive(Debug)]
pub(super) struct LiveTree {
    pub(super) arena: Pickles,
    /// As many as there are children; the first is nothing.
    pub(super) keys: Vec<Item>,
    pub(super) children: Vec<At>,
    pub(super) first: Option<At>,
}

impl Nodes {
    fn empty() -> Self {
        Self {
            slots: Vec::new(),
            by_oid: HashMap::new(),
            changed: Vec::new(),
            relied_on: BTreeSet::new(),
        }
    }

    pub(super) fn with_root(oid: Oid) -> Self {
        let mut nodes = Self::empty();
        nodes.known(oid, None);
        nodes
    }

    pub(super) fn with_new_root(oid: Oid, class: Class) -> Self {
        let mut nodes = Self::empty();
        let live = if class.is_tree() {
            Live::Tree(LiveTree::new())
        } else {
            Live::Bucket(LiveBucket::new())
        };
        let root = nodes.add(live);
        nodes.give_id(root, oid);
        nodes.change(root);
        nodes
    }

    pub(super) fn root(&self) -> At {
        0
    }

    pub(super) fn root_oid(&self) -> Oid {
        self.slots[0]
            .oid
            .expect("the root has an id from the start")
    }

    /// The place of a stored node.
    fn known(&mut self, oid: Oid, is_tree: Option<bool>) -> At {
        if let Some(at) = self.by_oid.get(&oid) {
            return *at;
        }
        self.slots.push(Slot {
            oid: Some(oid),
            is_changed: false,
            is_stored: true,
            is_tree,
            live: None,
        });
        self.by_oid.insert(oid, self.slots.len() - 1);
        self.slots.len() - 1
    }

    pub(super) fn add(&mut self, live: Live) -> At {
        self.slots.push(Slot {
            oid: None,
            is_changed: false,
            is_stored: false,
            is_tree: None,
            live: Some(live),
        });
        self.slots.len() - 1
    }

    pub(super) fn oid(&self, at: At) -> Option<Oid> {
        self.slots[at].oid
    }

    pub(super) fn give_id(&mut self, at: At, oid: Oid) {
        self.slots[at].oid = Some(oid);
        self.by_oid.insert(oid, at);
    }

    /// Marks a node as changed (`_p_changed`). One without an id is saved when it is reached.
    pub(super) fn change(&mut self, at: At) {
        let slot = &mut self.slots[at];
        if slot.oid.is_some() && !slot.is_changed {
            slot.is_changed = true;
            self.changed.push(at);
        }
    }

    pub(super) fn saved(&mut self, at: At) {
        self.slots[at].is_changed = false;
    }

    /// Makes the transaction depend on a node that it went through.
    pub(super) fn rely_on(&mut self, at: At) {
        let slot = &self.slots[at];
        if slot.is_stored {
            self.relied_on.extend(slot.oid);
        }
    }

    pub(super) fn is_live(&self, at: At) -> bool {
        self.slots[at].live.is_some()
    }

    pub(super) fn live(&self, at: At) -> &Live {
        self.slots[at].live.as_ref().expect("it was activated")
    }

    pub(super) fn live_mut(&mut self, at: At) -> &mut Live {
        self.slots[at].live.as_mut().expect("it was activated")
    }

    pub(super) fn is_tree(&self, at: At) -> bool {
        matches!(self.live(at), Live::Tree(_))
    }

    /// How many keys or children there are.
    pub(super) fn len(&self, at: At) -> usize {
        match self.live(at) {
            Live::Bucket(bucket) => bucket.items.len(),
            Live::Tree(tree) => tree.children.len(),
        }
    }

    pub(super) fn tree(&self, at: At) -> &LiveTree {
        match self.live(at) {
            Live::Tree(tree) => tree,
            Live::Bucket(_) => unreachable!("a node stays what it is"),
        }
    }

    pub(super) fn tree_mut(&mut self, at: At) -> &mut LiveTree {
        match self.live_mut(at) {
            Live::Tree(tree) => tree,
            Live::Bucket(_) => unreachable!("a node stays what it is"),
        }
    }

    pub(super) fn bucket(&self, at: At) -> &LiveBucket {
        match self.live(at) {
            Live::Bucket(bucket) => bucket,
            Live::Tree(_) => unreachable!("a node stays what it is"),
        }
    }

    pub(super) fn bucket_mut(&mut self, at: At) -> &mut LiveBucket {
        match self.live_mut(at) {
            Live::Bucket(bucket) => bucket,
            Live::Tree(_) => unreachable!("a node stays what it is"),
        }
    }
}

impl LiveBucket {
    pub(super) fn new() -> Self {
        Self {
            arena: Pickles::new(),
            items: Vec::new(),
            next: None,
        }
    }

    pub(super) fn search(&self, probe: &Probe) -> Result<Result<usize, usize>, TreeError> {
        let comparer = probe.comparer();
        search_leaf(self.items.len(), |at| {
            let key = self.items[at].0;
            Ok(key.order_in(&self.arena, probe.item, &probe.arena, &comparer)?)
        })
    }

    pub(super) fn value(&self, at: usize) -> Data {
        match self.items[at].1 {
            Item::Object(id) | Item::Bytes(id) => Data::read(self.arena.value(id)),
            Item::Signed(int) => Data::from(int),
            Item::Unsigned(int) => Data::from(int),
            Item::Float(float) => Data::from(f64::from(float)),
            Item::Nothing => Data::None,
        }
    }
}

impl LiveTree {
    pub(super) fn new() -> Self {
        Self {
            arena: Pickles::new(),
            keys: Vec::new(),
            children: Vec::new(),
            first: None,
        }
    }

    pub(super) fn search(&self, probe: &Probe) -> Result<usize, TreeError> {
        let comparer = probe.comparer();
        search_inner(self.keys.len(), |at| {
            Ok(self.keys[at].order_in(&self.arena, probe.item, &probe.arena, &comparer)?)
        })
    }
}

impl TreeMut<'_> {
    /// Loads a node where that was not done yet.
    pub(super) fn activate(&mut self, at: At) -> Result<(), TreeError> {
        if self.nodes.is_live(at) {
            return Ok(());
        }
        let oid = self.nodes.oid(at).expect("only stored nodes are not live");
        let object = self.connection.load(oid)?;
        let class = self.kin.of_node(object.class());
        let class =
            class.ok_or_else(|| damaged(&object, "it is of another class than its tree"))?;
        let mut arena = object.pickles().clone();
        unify::rename(&mut arena)
            .map_err(|_| damaged(&object, "it has a str of Python 2 that is not ASCII"))?;
        let live = if class.is_tree() {
            Live::Tree(self.read_tree(&object, arena)?)
        } else {
            let state = arena.root(1).map(pickle::Value::id);
            let state = state.ok_or_else(|| damaged(&object, "it has no state"))?;
            Live::Bucket(self.read_bucket(&object, arena, state)?)
        };
        self.nodes.slots[at].live = Some(live);
        Ok(())
    }

    fn read_bucket(
        &mut self,
        object: &Object,
        arena: Pickles,
        state: NodeId,
    ) -> Result<LiveBucket, TreeError> {
        let bucket = Bucket::read(arena.value(state), self.class.leaves())
            .map_err(|_| damaged(object, "its state is none that a bucket has"))?;
        let next = match bucket.next {
            Some(next) => Some(self.stored(object, &arena, next)?),
            None => None,
        };
        Ok(LiveBucket {
            arena,
            items: bucket.items,
            next,
        })
    }

    fn read_tree(&mut self, object: &Object, arena: Pickles) -> Result<LiveTree, TreeError> {
        let wrong = || damaged(object, "its state is none that a tree has");
        let state = arena.root(1).ok_or_else(wrong)?;
        if state.is_none() {
            return Ok(LiveTree::new());
        }
        let parts: Vec<NodeId> = state.elements().map(pickle::Value::id).collect();
        match parts[..] {
            [only] => {
                let mut only = arena.value(only).elements();
                let bucket = only
                    .next()
                    .filter(|_| only.len() == 0)
                    .ok_or_else(wrong)?
                    .id();
                let bucket = self.read_bucket(object, arena, bucket)?;
                let bucket = self.nodes.add(Live::Bucket(bucket));
                Ok(LiveTree {
                    arena: Pickles::new(),
                    keys: vec![Item::Nothing],
                    children: vec![bucket],
                    first: Some(bucket),
                })
            }
            [parts, first] => {
                let parts: Vec<NodeId> = arena
                    .value(parts)
                    .elements()
                    .map(pickle::Value::id)
                    .collect();
                let (mut keys, mut children) = (vec![Item::Nothing], Vec::new());
                if parts.len().is_multiple_of(2) {
                    return Err(wrong());
                }
                for (index, part) in parts.into_iter().enumerate() {
                    if index % 2 == 0 {
                        children.push(self.stored(object, &arena, part)?);
                    } else {
                        let key = self.class.key.read(arena.value(part));
                        keys.push(key.map_err(|_| wrong())?);
                    }
                }
                let first = Some(self.stored(object, &arena, first)?);
                Ok(LiveTree {
                    arena,
                    keys,
                    children,
                    first,
                })
            }
            _ => Err(wrong()),
        }
    }

    fn stored(&mut self, object: &Object, arena: &Pickles, id: NodeId) -> Result<At, TreeError> {
        match Reference::read(arena.value(id)) {
            Some(Reference::Strong { oid, class }) => {
                let class = class.and_then(|class| self.kin.of_node(&class));
                Ok(self.nodes.known(oid, class.map(Class::is_tree)))
            }
            _ => Err(damaged(object, "a node that it refers to is no object")),
        }
    }

    /// The class of a node, without loading it where the reference to it has it.
    pub(super) fn class_at(&mut self, at: At) -> Result<Class, TreeError> {
        let is_tree = match self.nodes.slots[at].is_tree {
            Some(is_tree) if !self.nodes.is_live(at) => is_tree,
            _ => {
                self.activate(at)?;
                self.nodes.is_tree(at)
            }
        };
        Ok(if is_tree {
            self.class
        } else {
            self.class.leaves()
        })
    }

    pub(super) fn deeper(&self, depth: usize, at: At) -> Result<usize, TreeError> {
        if depth < DEPTH_MAX {
            return Ok(depth + 1);
        }
        Err(TreeError::Damaged {
            oid: self.nodes.oid(at).unwrap_or_else(|| self.oid()),
            what: "it is nested deeper than any tree",
        })
    }
}
