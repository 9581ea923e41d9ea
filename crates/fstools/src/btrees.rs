//! The invariants of BTrees, checked from their records: what `BTrees.check.check` and `_check` of the
//! original look at, for all trees of a file at once.
//!
//! * Keys rise, within a node and from one node to the next, and lie between the keys that stand to
//!   both sides of the node in the node above.
//! * A node knows its first bucket, and each bucket the next one, so that the chain holds all buckets
//!   of the tree, in their order, and ends with the last one.
//! * No bucket of a tree is empty; the children of a node are of one kind; keys and values are what the
//!   class can hold.
//! * No node is in two places.
//!
//! Which trees there are is noted while the file is read; they are walked afterwards, one node in
//! memory at a time. An old node that no tree holds any more is garbage, and its pointers may lead into
//! trees that live on: only the order of its keys is looked at.

use std::fmt;

use filestorage::{Positions, References, Survey};
use pickle::Inflater;
use serde::Serialize;
use storage::Oid;

use crate::content::class_of;
use crate::line::{Line, shown};
use crate::listener::{Listener, ToolError};
use crate::oid_set::OidSet;
use crate::parents;
use crate::paths::Paths;

mod key;
mod node;
mod walk;

pub(crate) use node::NodeClass;
pub(crate) use walk::children_of;
use walk::{Complaint, TreeWalk};

/// Something that is wrong with a BTree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BTreeLine {
    /// The tree.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// Its class.
    pub class: Option<String>,
    /// The way from the root to the tree, by the names under which objects hold each other; nothing
    /// where the root does not reach it.
    pub path: Option<String>,
    /// The node where it was found.
    #[serde(serialize_with = "shown")]
    pub node: Oid,
    /// Where the current record of that node is.
    pub offset: Option<u64>,
    /// What was expected and found.
    pub what: String,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BTreeCount {
    pub(crate) trees: u64,
    pub(crate) wrong: u64,
    /// Trees with keys whose order only Python knows.
    pub(crate) not_compared: u64,
}

/// The nodes that were met while the file was read.
#[derive(Default)]
pub(crate) struct Nodes {
    trees: OidSet,
    leaves: OidSet,
    inflater: Inflater,
}

impl Nodes {
    /// Notes the object where its record is that of a node.
    pub(crate) fn note(&mut self, oid: Oid, data: &[u8]) {
        let Ok(plain) = self.inflater.plain(data) else {
            return;
        };
        let head = &plain[..plain.len().min(HEAD_BYTES)];
        if !head.windows(PREFIX.len()).any(|bytes| bytes == PREFIX) {
            return;
        }
        if let Some(class) = class_of(plain).and_then(|class| NodeClass::parse(&class)) {
            let set = if class.is_tree {
                &mut self.trees
            } else {
                &mut self.leaves
            };
            set.insert(oid);
        }
    }

    /// Looks at all trees and tells what is wrong with them.
    pub(crate) fn check(
        self,
        survey: &Survey,
        positions: &Positions,
        listener: &mut dyn Listener,
    ) -> Result<BTreeCount, ToolError> {
        let mut check = Check {
            survey,
            positions,
            paths: Paths::new(survey, positions),
            count: BTreeCount::default(),
            visited: OidSet::default(),
            loose: Vec::new(),
        };
        let trees = check.in_file_order(&self.trees);
        let inner = check.inner(&trees, listener)?;
        let total = u64::try_from(trees.len()).ok();
        listener.counts("trees", total);
        for (done, &(_, oid)) in (0..).zip(&trees) {
            listener.reached(done);
            if !inner.contains(oid) {
                check.tree(oid, listener)?;
            }
        }
        for &(_, oid) in &trees {
            if !check.visited.contains(oid) {
                let what = "the tree is inside of itself, and no other one holds it".to_owned();
                check.complain(oid, Complaint { node: oid, what }, listener)?;
                check.visited.insert(oid);
            }
        }
        check.loose_ends(listener)?;
        for (_, oid) in check.in_file_order(&self.leaves) {
            if !check.visited.contains(oid) {
                check.leaf(oid, listener)?;
            }
        }
        Ok(check.count)
    }
}

struct Check<'a> {
    survey: &'a Survey,
    positions: &'a Positions,
    paths: Paths<'a>,
    count: BTreeCount,
    visited: OidSet,
    /// Trees whose last bucket names a next one: wrong, unless the tree is a part that was taken out
    /// of another.
    loose: Vec<(Oid, Complaint)>,
}

impl<'a> Check<'a> {
    /// Those that have a current record, and where it is.
    fn in_file_order(&self, oids: &OidSet) -> Vec<(u64, Oid)> {
        let place = |oid| Some((self.positions.get(oid)?, oid));
        let mut places: Vec<_> = oids.iter().filter_map(place).collect();
        places.sort_unstable();
        places
    }

    /// The trees that are children of trees.
    fn inner(
        &self,
        trees: &[(u64, Oid)],
        listener: &mut dyn Listener,
    ) -> Result<OidSet, ToolError> {
        let mut inner = OidSet::default();
        for &(offset, oid) in trees {
            listener.reached(offset);
            for child in walk::children(self.survey, self.positions, oid)? {
                inner.insert(child);
            }
        }
        Ok(inner)
    }

    fn tree(&mut self, oid: Oid, listener: &mut dyn Listener) -> Result<(), ToolError> {
        let mut walk = TreeWalk::new(self.survey, self.positions, &mut self.visited);
        let end = walk.run(oid)?;
        let (complaints, more) = (walk.complaints, walk.complaints_untold);
        self.count.trees += u64::from(!walk.is_gone);
        self.count.not_compared += u64::from(walk.not_compared);
        for complaint in complaints {
            self.complain(oid, complaint, listener)?;
        }
        if more > 0 {
            let what = format!("{more} more places of this tree are wrong");
            self.complain(oid, Complaint { node: oid, what }, listener)?;
        }
        self.loose.extend(end.map(|complaint| (oid, complaint)));
        Ok(())
    }

    /// A bucket that is in no tree: an object of its own, or garbage.
    fn leaf(&mut self, oid: Oid, listener: &mut dyn Listener) -> Result<(), ToolError> {
        let mut visited = OidSet::default();
        let mut walk = TreeWalk::new(self.survey, self.positions, &mut visited);
        walk.run(oid)?;
        let complaints = walk.complaints;
        self.count.not_compared += u64::from(walk.not_compared);
        for complaint in complaints {
            self.complain(oid, complaint, listener)?;
        }
        Ok(())
    }

    /// Of the trees with loose ends, those are wrong that some object holds. The rest is garbage.
    fn loose_ends(&mut self, listener: &mut dyn Listener) -> Result<(), ToolError> {
        if self.loose.is_empty() {
            return Ok(());
        }
        let mut held = OidSet::default();
        let mut references = References::default();
        listener.begins(self.survey.size());
        for (oid, offset) in self.positions.iter() {
            listener.reached(offset);
            let Some(record) = parents::record(self.survey, self.positions, oid)? else {
                continue;
            };
            if let Ok((found, _)) = references.read(&record) {
                for oid in found {
                    held.insert(*oid);
                }
            }
        }
        for (oid, complaint) in std::mem::take(&mut self.loose) {
            if held.contains(oid) {
                self.complain(oid, complaint, listener)?;
            }
        }
        Ok(())
    }

    fn complain(
        &mut self,
        oid: Oid,
        complaint: Complaint,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        self.count.wrong += 1;
        let content = parents::content(self.survey, self.positions, oid)?;
        let line = BTreeLine {
            oid,
            class: content.and_then(|content| content.class()),
            path: self.paths.path_to(oid, listener)?,
            node: complaint.node,
            offset: self.positions.get(complaint.node),
            what: complaint.what,
        };
        Ok(listener.tell(Line::Btree(line))?)
    }
}

impl fmt::Display for BTreeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = crate::line::named(&self.class);
        write!(f, "BTree {} {class}", self.oid)?;
        match &self.path {
            Some(path) => write!(f, ", path {path}")?,
            None => f.write_str(", which the root does not reach")?,
        }
        if self.node != self.oid {
            write!(f, ", node {}", self.node)?;
        }
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What the name of a node's class begins with, in the first bytes of a record.
const PREFIX: &[u8] = b"BTrees.";
const HEAD_BYTES: usize = 16;
