//! Nodes as they are stored, looked at without a copy.
//!
//! | node | state |
//! |---|---|
//! | empty tree | `None` |
//! | tree of one bucket that has no id of its own | `((bucket's state,),)` |
//! | tree | `((child, key, child, .., key, child), first bucket)` |
//! | bucket | `((key, value, key, value, ..),)`, or with the next bucket behind |
//! | set | `((key, key, ..),)`, or with the next set behind |

use std::cmp::Ordering;
use std::sync::Arc;

use pickle::{Elements, Kind, NodeId, Value};
use storage::Oid;
use zodb::{ClassName, Connection, Object, Reference};

use crate::error::TreeError;
use crate::family::Class;
use crate::probe::Probe;
use crate::reference;

/// Deepest tree that is walked: one of the original's sizes with that many levels fits nowhere.
pub(crate) const DEPTH_MAX: usize = 32;

/// A node, as its record has it.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Empty,
    Leaf(Leaf),
    Inner(Inner),
}

/// A bucket or set; also the one within the record of a small tree.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) object: Arc<Object>,
    /// The tuple of keys and values.
    items: NodeId,
    pub(crate) next: Option<Oid>,
    class: Class,
}

/// A tree, or a part of one, with its children.
#[derive(Clone, Debug)]
pub(crate) struct Inner {
    pub(crate) object: Arc<Object>,
    /// The tuple of children and keys.
    parts: NodeId,
    pub(crate) first: Option<Oid>,
    class: Class,
}

pub(crate) fn damaged(object: &Object, what: &'static str) -> TreeError {
    TreeError::Damaged {
        oid: object.oid(),
        what,
    }
}

/// What the nodes of a tree are: classes of the family, or, for the tree and the nodes below it that
/// are trees, one derived from these.
#[derive(Clone, Debug)]
pub(crate) struct Kin {
    pub(crate) class: Class,
    derived: Option<ClassName>,
}

impl Kin {
    /// Of a class of the family.
    pub(crate) fn of_class(class: Class) -> Self {
        let derived = None;
        Self { class, derived }
    }

    /// By the name of the object's class. Where that is not known, by its state: a tree with several
    /// buckets names the class of the first one.
    pub(crate) fn of(object: &Object) -> Option<Self> {
        let name = object.class();
        if let Some(class) = Class::named(name.module(), name.name()) {
            return Some(Self::of_class(class));
        }
        let mut parts = tuple(object.state()).filter(|parts| parts.len() == 2)?;
        let (children, first) = (tuple(parts.next()?)?, parts.next()?);
        children.clone().next()?.persistent_id()?;
        let Some(Reference::Strong { class: first, .. }) = Reference::read(first) else {
            return None;
        };
        let first = first?;
        let class = Class::named(first.module(), first.name())?.tree_of()?;
        Some(Self {
            class,
            derived: Some(name.clone()),
        })
    }

    /// Of an object whose class is derived from one of the family.
    pub(crate) fn derived(object: &Object, class: Class) -> Self {
        let known = Self::of_class(class);
        if class.of_node(object.class()) == Some(class) {
            return known;
        }
        let derived = Some(object.class().clone());
        Self { derived, ..known }
    }

    /// The class of the family that a node is of, by its name; nothing where it is none of this tree.
    pub(crate) fn of_node(&self, name: &ClassName) -> Option<Class> {
        match &self.derived {
            Some(derived) if derived == name => Some(self.class),
            _ => self.class.of_node(name),
        }
    }

    /// The name of its class.
    pub(crate) fn name(&self) -> ClassName {
        match &self.derived {
            Some(derived) => derived.clone(),
            None => self.class.class_name(),
        }
    }

    /// The name of the class that its nodes of that class have.
    pub(crate) fn name_of(&self, node: Class) -> ClassName {
        if node == self.class {
            self.name()
        } else {
            node.class_name()
        }
    }
}

impl Node {
    /// Loads a node of a tree of this class.
    pub(crate) fn load(connection: &Connection, oid: Oid, tree: &Kin) -> Result<Self, TreeError> {
        Self::read(connection.load(oid)?, tree)
    }

    pub(crate) fn read(object: Arc<Object>, tree: &Kin) -> Result<Self, TreeError> {
        let class = tree.of_node(object.class());
        let class =
            class.ok_or_else(|| damaged(&object, "it is of another class than its tree"))?;
        let state = object.state();
        if state.is_none() && class.is_tree() {
            return Ok(Self::Empty);
        }
        let parts = tuple(state);
        let parts = parts.ok_or_else(|| damaged(&object, "its state is no tuple"))?;
        if !class.is_tree() {
            return leaf(&object, state, class).map(Self::Leaf);
        }
        match parts.len() {
            1 => {
                let only = parts
                    .clone()
                    .next()
                    .and_then(tuple)
                    .filter(|p| p.len() == 1);
                let only = only.and_then(|mut parts| parts.next());
                let only = only.ok_or_else(|| damaged(&object, "it has no bucket"))?;
                leaf(&object, only, class.leaves()).map(Self::Leaf)
            }
            2 => {
                let mut parts = parts.clone();
                let children = parts
                    .next()
                    .filter(|p| tuple(*p).is_some_and(|p| p.len() % 2 == 1));
                let children = children.ok_or_else(|| damaged(&object, "it has no children"))?;
                let first = parts.next().and_then(Reference::read);
                Ok(Self::Inner(Inner {
                    parts: children.id(),
                    first: first.map(|first| first.oid()),
                    object: object.clone(),
                    class,
                }))
            }
            _ => Err(damaged(&object, "its state is none that a tree has")),
        }
    }
}

fn leaf(object: &Arc<Object>, state: Value<'_>, class: Class) -> Result<Leaf, TreeError> {
    let parts = tuple(state).filter(|parts| matches!(parts.len(), 1 | 2));
    let mut parts = parts.ok_or_else(|| damaged(object, "its state is none that a bucket has"))?;
    let items = parts.next().filter(|items| tuple(*items).is_some());
    let items = items.ok_or_else(|| damaged(object, "its keys are in no tuple"))?;
    let next = match parts.next() {
        Some(next) => {
            let next = Reference::read(next).map(|next| next.oid());
            Some(next.ok_or_else(|| damaged(object, "what is behind it is no bucket"))?)
        }
        None => None,
    };
    Ok(Leaf {
        object: object.clone(),
        items: items.id(),
        next,
        class,
    })
}

fn tuple(value: Value<'_>) -> Option<Elements<'_>> {
    match value.kind() {
        Kind::Tuple(items) => Some(items),
        _ => None,
    }
}

impl Leaf {
    fn width(&self) -> usize {
        if self.class.has_values() { 2 } else { 1 }
    }

    fn items(&self) -> Elements<'_> {
        self.object.pickles().value(self.items).elements()
    }

    /// How many keys there are. Half a pair at the end is not looked at.
    pub(crate) fn len(&self) -> usize {
        self.items().len() / self.width()
    }

    pub(crate) fn key(&self, at: usize) -> Option<Value<'_>> {
        self.items().nth(at * self.width())
    }

    pub(crate) fn value(&self, at: usize) -> Option<Value<'_>> {
        if self.class.has_values() {
            self.items().nth(at * 2 + 1)
        } else {
            None
        }
    }

    fn compare(&self, at: usize, probe: &Probe) -> Result<Ordering, TreeError> {
        let key = self.key(at);
        compare(&self.object, self.class, key, probe)
    }

    /// Where the key is, or where it belongs.
    pub(crate) fn search(&self, probe: &Probe) -> Result<Result<usize, usize>, TreeError> {
        search_leaf(self.len(), |at| self.compare(at, probe))
    }
}

impl Inner {
    fn parts(&self) -> Elements<'_> {
        self.object.pickles().value(self.parts).elements()
    }

    pub(crate) fn len(&self) -> usize {
        self.parts().len().div_ceil(2)
    }

    pub(crate) fn child(&self, at: usize) -> Result<Oid, TreeError> {
        // Without its class, which the child itself has.
        let id = self.parts().nth(at * 2).and_then(Value::persistent_id);
        let child = id.and_then(reference::Reference::read);
        let child = child.filter(|child| child.database.is_none() && !child.is_weak);
        let oid = child.and_then(|child| Oid::try_from(child.oid).ok());
        oid.ok_or_else(|| damaged(&self.object, "a child is no object"))
    }

    /// The key before a child; the first has none.
    pub(crate) fn key(&self, at: usize) -> Option<Value<'_>> {
        self.parts().nth((at * 2).checked_sub(1)?)
    }

    /// The child in which the key belongs.
    pub(crate) fn search(&self, probe: &Probe) -> Result<usize, TreeError> {
        search_inner(self.len(), |at| {
            compare(&self.object, self.class, self.key(at), probe)
        })
    }
}

/// A stored key with one that is looked for.
fn compare(
    object: &Object,
    class: Class,
    key: Option<Value<'_>>,
    probe: &Probe,
) -> Result<Ordering, TreeError> {
    let item = key.and_then(|key| class.key.read(key).ok());
    let item = item.ok_or_else(|| damaged(object, "a key is none that the class has"))?;
    let comparer = probe.comparer();
    Ok(item.order_in(object.pickles(), probe.item, &probe.arena, &comparer)?)
}

/// The original's search within a bucket: which keys are compared decides which errors there are.
pub(crate) fn search_leaf(
    len: usize,
    mut compare: impl FnMut(usize) -> Result<Ordering, TreeError>,
) -> Result<Result<usize, usize>, TreeError> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = (low + high) / 2;
        match compare(middle)? {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return Ok(Ok(middle)),
            Ordering::Greater => high = middle,
        }
    }
    Ok(Err(low))
}

/// The original's search among the children of a node. The first key is never looked at.
pub(crate) fn search_inner(
    len: usize,
    mut compare: impl FnMut(usize) -> Result<Ordering, TreeError>,
) -> Result<usize, TreeError> {
    let (mut low, mut high) = (0, len);
    let mut middle = high / 2;
    while middle > low {
        match compare(middle)? {
            Ordering::Less => low = middle,
            Ordering::Equal => break,
            Ordering::Greater => high = middle,
        }
        middle = (low + high) / 2;
    }
    Ok(middle)
}
