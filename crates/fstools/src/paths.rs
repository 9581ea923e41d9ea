//! What objects are called: the names under which they hold each other, from the root on.

use filestorage::{Positions, Survey};
use storage::{Oid, StorageError};

use crate::btrees::NodeClass;
use crate::content::Content;
use crate::listener::Listener;
use crate::parents::{self, Parents};

/// Finds the paths of objects. The object graph is gone through when the first one is asked for.
pub(crate) struct Paths<'a> {
    survey: &'a Survey,
    positions: &'a Positions,
    parents: Option<Parents>,
}

impl<'a> Paths<'a> {
    pub(crate) fn new(survey: &'a Survey, positions: &'a Positions) -> Self {
        Self {
            survey,
            positions,
            parents: None,
        }
    }

    /// The objects from the root to this one; nothing where the root does not reach it.
    pub(crate) fn way_to(
        &mut self,
        oid: Oid,
        listener: &mut dyn Listener,
    ) -> Result<Option<Vec<Oid>>, StorageError> {
        let parents = match self.parents.take() {
            Some(parents) => parents,
            None => Parents::find(self.survey, self.positions, |offset| {
                listener.reached(offset);
            })?,
        };
        let way = parents.way_to(oid);
        self.parents = Some(parents);
        Ok(way)
    }

    /// The path of an object; nothing where the root does not reach it.
    pub(crate) fn path_to(
        &mut self,
        oid: Oid,
        listener: &mut dyn Listener,
    ) -> Result<Option<String>, StorageError> {
        let Some(way) = self.way_to(oid, listener)? else {
            return Ok(None);
        };
        let path = self.name(&way, None)?;
        Ok(Some(if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }))
    }

    /// The names on the way, and then to the target; an object's id in brackets where it has none. The
    /// nodes inside of a BTree are no part of it.
    pub(crate) fn name(&self, way: &[Oid], target: Option<Oid>) -> Result<String, StorageError> {
        let mut path = String::new();
        let mut parent: Option<Content> = None;
        for child in way.iter().chain(&target) {
            let content = parents::content(self.survey, self.positions, *child)?;
            if let Some(parent) = &parent
                && !is_inside(parent, content.as_ref())
            {
                path.push('/');
                match parent.name_of(*child) {
                    Some(name) => path.push_str(&name),
                    None => path.push_str(&format!("({child})")),
                }
            }
            parent = content;
        }
        Ok(path)
    }
}

/// Whether the child is a node of the BTree that the parent is the root or a node of. A tiny BTree
/// that holds another of its own class as a value looks the same, and loses that name.
pub(crate) fn is_inside(parent: &Content, child: Option<&Content>) -> bool {
    let class = |content: &Content| NodeClass::parse(&content.class()?);
    let (Some(parent), Some(child)) = (class(parent), child.and_then(class)) else {
        return false;
    };
    parent == child || child == parent.leaf()
}

#[cfg(test)]
mod tests {
    use pickle::Pickles;

    use super::*;

    fn content(module: &str, name: &str) -> Content {
        let mut pickles = Pickles::new();
        let class = pickles.global(module, name);
        let state = pickles.none();
        pickles.push_root(class);
        pickles.push_root(state);
        Content::decode(&pickles.encode()).unwrap()
    }

    #[test]
    fn only_the_nodes_of_a_tree_are_inside_of_it() {
        let inside = |parent, child| {
            let child = content("BTrees.OOBTree", child);
            is_inside(&content("BTrees.OOBTree", parent), Some(&child))
        };
        assert!(inside("OOBTree", "OOBucket"));
        assert!(inside("OOBTree", "OOBTree"));
        assert!(inside("OOBucket", "OOBucket"));
        assert!(inside("OOTreeSet", "OOSet"));
        assert!(inside("OOTreeSet", "OOTreeSet"));
        assert!(!inside("OOBucket", "OOBTree"), "a tree as a value");
        assert!(!inside("OOBTree", "OOTreeSet"), "a set as a value");
        let folder = content("OFS.Folder", "Folder");
        let tree = content("BTrees.OOBTree", "OOBTree");
        assert!(!is_inside(&folder, Some(&tree)));
        assert!(!is_inside(&tree, Some(&folder)));
        assert!(!is_inside(&tree, None));
    }
}
