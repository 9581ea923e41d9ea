//! The nodes of BTrees as they are stored.
//!
//! | node | state |
//! |---|---|
//! | empty tree | `None` |
//! | tree of one bucket that has no id of its own | `((bucket's state,),)` |
//! | tree | `((child, key, child, .., key, child), first bucket)` |
//! | bucket | `((key, value, key, value, ..),)`, or with the next bucket behind |
//! | set | `((key, key, ..),)`, or with the next set behind |

use pickle::{Kind, Value};
use storage::Oid;
use zodb::Reference;

use super::key::{Domain, Key};
use crate::content::Content;

/// The class of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NodeClass {
    pub(super) keys: Domain,
    pub(super) values: Domain,
    pub(crate) is_tree: bool,
    pub(super) is_mapping: bool,
    /// Whether it is the one that is written in Python; both are stored alike, but not mixed.
    is_python: bool,
}

impl NodeClass {
    /// From a name such as `BTrees.OOBTree.OOBucket`; nothing for every other class.
    pub(crate) fn parse(class: &str) -> Option<Self> {
        let (module, name) = class.strip_prefix("BTrees.")?.split_once('.')?;
        let module = module.strip_prefix('_').unwrap_or(module);
        let family = module.strip_suffix("BTree")?;
        let name = name.strip_prefix(family)?;
        let (keys, values) = match family.as_bytes() {
            b"fs" => (Domain::Bytes(2), Domain::Bytes(6)),
            [keys, values] => (Domain::of(*keys)?, Domain::of(*values)?),
            _ => return None,
        };
        let (kind, is_python) = match name.strip_suffix("Py") {
            Some(kind) => (kind, true),
            None => (name, false),
        };
        let (is_tree, is_mapping) = match kind {
            "BTree" => (true, true),
            "TreeSet" => (true, false),
            "Bucket" => (false, true),
            "Set" => (false, false),
            _ => return None,
        };
        Some(Self {
            keys,
            values,
            is_tree,
            is_mapping,
            is_python,
        })
    }

    /// The class of the buckets of a tree of this class.
    pub(crate) fn leaf(self) -> Self {
        Self {
            is_tree: false,
            ..self
        }
    }
}

/// What a node holds.
pub(super) enum Node<'a> {
    Tree {
        keys: Vec<Value<'a>>,
        children: Vec<Oid>,
        /// The bucket that it calls its first.
        first: Option<Oid>,
    },
    Leaf(Leaf<'a>),
}

/// What a bucket or set holds.
#[derive(Default)]
pub(super) struct Leaf<'a> {
    pub(super) keys: Vec<Value<'a>>,
    pub(super) values: Vec<Value<'a>>,
    pub(super) next: Option<Oid>,
}

impl<'a> Node<'a> {
    /// # Errors
    /// How the state differs from all that a node of the class can have.
    pub(super) fn read(class: NodeClass, content: &'a Content) -> Result<Self, String> {
        let state = content.state();
        if !class.is_tree {
            return Ok(Self::Leaf(Leaf::read(class, state)?));
        }
        if state.is_none() {
            return Ok(Self::Leaf(Leaf::default()));
        }
        let (items, first) = head(state)?;
        if let ([only], None) = (items.as_slice(), first)
            && let Kind::Tuple(_) = only.kind()
        {
            let leaf = Leaf::read(class.leaf(), *only)?;
            if leaf.keys.is_empty() {
                return Err("its one bucket is empty".to_owned());
            }
            if let Some(next) = leaf.next {
                return Err(format!("its one bucket names a next one, {next}"));
            }
            return Ok(Self::Leaf(leaf));
        }
        if items.len() % 2 == 0 {
            return Err(format!(
                "children and the keys between them are an odd number, not {}",
                items.len()
            ));
        }
        let child = |value: &Value<'a>| {
            strong(*value).ok_or_else(|| "a child is no reference to an object".to_owned())
        };
        let children = items.iter().step_by(2).map(child).collect::<Result<_, _>>();
        Ok(Self::Tree {
            keys: items.into_iter().skip(1).step_by(2).collect(),
            children: children?,
            first,
        })
    }
}

impl<'a> Leaf<'a> {
    fn read(class: NodeClass, state: Value<'a>) -> Result<Self, String> {
        let (items, next) = head(state)?;
        if !class.is_mapping {
            return Ok(Self {
                keys: items,
                values: Vec::new(),
                next,
            });
        }
        if items.len() % 2 != 0 {
            return Err(format!(
                "keys and values are an even number, not {}",
                items.len()
            ));
        }
        Ok(Self {
            keys: items.iter().step_by(2).copied().collect(),
            values: items.into_iter().skip(1).step_by(2).collect(),
            next,
        })
    }

    /// The first key or value that its class cannot hold.
    pub(super) fn foreign(&self, class: NodeClass) -> Option<String> {
        let find = |values: &[Value<'a>], domain: Domain, what: &str| {
            let found = values.iter().find(|value| !domain.holds(**value))?;
            Some(format!("the {what} {} is not {domain}", Key::read(*found)))
        };
        find(&self.keys, class.keys, "key").or_else(|| find(&self.values, class.values, "value"))
    }
}

/// A tuple of a tuple, and perhaps a reference.
fn head(state: Value<'_>) -> Result<(Vec<Value<'_>>, Option<Oid>), String> {
    let odd = || "the state has another form than that of a node".to_owned();
    let Kind::Tuple(mut parts) = state.kind() else {
        return Err(odd());
    };
    let (Some(items), next, None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(odd());
    };
    let Kind::Tuple(items) = items.kind() else {
        return Err(odd());
    };
    let next = match next {
        Some(next) => Some(strong(next).ok_or_else(odd)?),
        None => None,
    };
    Ok((items.collect(), next))
}

fn strong(value: Value<'_>) -> Option<Oid> {
    value.persistent_id()?;
    match Reference::read(value)? {
        Reference::Strong { oid, .. } => Some(oid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_by_their_names() {
        let class = NodeClass::parse;
        let tree = class("BTrees.OOBTree.OOBTree").unwrap();
        assert!(tree.is_tree && tree.is_mapping);
        assert_eq!(class("BTrees.OOBTree.OOBucket"), Some(tree.leaf()));
        assert_ne!(class("BTrees.OOBTree.OOBucketPy"), Some(tree.leaf()));
        let set = class("BTrees.fsBTree.fsTreeSet").unwrap();
        assert!(set.is_tree && !set.is_mapping && set.keys == Domain::Bytes(2));
        for family in [
            "OO", "OI", "OU", "OL", "OQ", "II", "IO", "IF", "IU", "LL", "LO", "LF", "LQ", "UU",
            "UO", "UF", "UI", "QQ", "QO", "QF", "QL",
        ] {
            let name = format!("BTrees.{family}BTree.{family}TreeSet");
            assert!(class(&name).is_some_and(|class| class.is_tree), "{name}");
        }
        for other in [
            "BTrees.Length.Length",
            "BTrees.OOBTree.IIBTree",
            "BTrees.ZZBTree.ZZBTree",
            "OFS.Folder.Folder",
            "BTrees.OOBTree.OOTreeIterator",
        ] {
            assert_eq!(class(other), None, "{other}");
        }
    }
}
