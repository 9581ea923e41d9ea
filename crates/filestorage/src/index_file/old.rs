//! The index in one pickle, `{'index': ..., 'pos': ...}`, as it was written before ZODB 3.10 and still
//! is when ZODB converts one.
//!
//! What `index` is has changed over the years: a dict of offsets by ids; an `fsIndex` whose `_data`
//! is a dict or an `OOBTree`, from the first six bytes of ids to a tree or bucket of the last two;
//! and an `fsIndex` whose `_data` is a list of pairs, as they are in today's file.

use std::collections::HashSet;

use storage::Oid;

use super::unpickle::{Broken, Node, NodeId, Pickle};
use super::{decode_bucket, enter, insert, prefix_of};
use crate::format::Offset;
use crate::index::Index;

pub(super) fn decode(pickle: &Pickle) -> Result<(Index, Offset), Broken> {
    let root = pickle.root();
    let end = pickle
        .get(root, b"pos")
        .and_then(|pos| pickle.int(pos))
        .ok_or(Broken("no pos"))?;
    let source = pickle.get(root, b"index").ok_or(Broken("no index"))?;
    let old = Old {
        pickle,
        end: Offset::new(end),
        index: Index::default(),
    };
    match pickle.node(source) {
        Node::Dict(entries) => old.plain(entries)?,
        Node::Object(Some(state)) => {
            let data = pickle
                .get(*state, b"_data")
                .ok_or(Broken("the state of an fsIndex was expected"))?;
            old.by_prefix(data)?;
        }
        _ => return Err(Broken("an fsIndex or a dict was expected")),
    }
    Ok((old.index, old.end))
}

struct Old<'a> {
    pickle: &'a Pickle,
    end: Offset,
    index: Index,
}

impl Old<'_> {
    /// Offsets by ids.
    fn plain(&self, entries: &[(NodeId, NodeId)]) -> Result<(), Broken> {
        for &(key, value) in entries {
            let oid = self
                .pickle
                .bytes(key)
                .and_then(|bytes| Oid::try_from(bytes).ok())
                .ok_or(Broken("an object id was expected"))?;
            let offset = self
                .pickle
                .int(value)
                .ok_or(Broken("an offset was expected"))?;
            insert(&self.index, oid, Offset::new(offset), self.end)?;
        }
        Ok(())
    }

    /// The `_data` of an `fsIndex`.
    fn by_prefix(&self, data: NodeId) -> Result<(), Broken> {
        if let Node::List(pairs) = self.pickle.node(data) {
            for &pair in pairs {
                let Node::Tuple(pair) = self.pickle.node(pair) else {
                    return Err(Broken("a pair was expected"));
                };
                decode_bucket(self.pickle, pair, self.end, &self.index)?;
            }
            return Ok(());
        }
        for (prefix, tree) in self.pairs(data)? {
            let prefix = prefix_of(self.pickle, prefix)?;
            for (suffix, offset) in self.pairs(tree)? {
                let (suffix, offset) = (self.pickle.bytes(suffix), self.pickle.bytes(offset));
                match (suffix, offset) {
                    (Some(suffix), Some(offset)) if suffix.len() == 2 && offset.len() == 6 => {
                        enter(&self.index, prefix, suffix, offset, self.end)?;
                    }
                    _ => return Err(Broken("two bytes and six bytes were expected")),
                }
            }
        }
        Ok(())
    }

    /// The entries of a dict, a bucket or a tree of the package BTrees.
    ///
    /// The state of a bucket is `(items,)` or `(items, next bucket)`, where `items` are keys and
    /// values by turns. The state of a tree is `None`, or `((state of its only bucket,),)`, or
    /// `(children, first bucket)`.
    fn pairs(&self, id: NodeId) -> Result<Vec<(NodeId, NodeId)>, Broken> {
        let mut pairs = Vec::new();
        let mut seen = HashSet::new();
        let mut next = Some(id);
        while let Some(id) = next.take() {
            if !seen.insert(id) {
                return Err(Broken("a chain of buckets is a ring"));
            }
            let mut state = match self.pickle.node(id) {
                Node::Dict(entries) => return Ok(entries.clone()),
                Node::Object(None) => return Ok(pairs),
                Node::Object(Some(state)) => *state,
                _ => return Err(Broken("a dict or a tree was expected")),
            };
            if let Some(bucket_state) = self.only_bucket(state) {
                state = bucket_state;
            }
            let Node::Tuple(state) = self.pickle.node(state) else {
                return Ok(pairs);
            };
            let items = state.first().map(|items| self.pickle.node(*items));
            let Some(Node::Tuple(items)) = items else {
                return Err(Broken("a bucket was expected"));
            };
            next = state.get(1).copied();
            let is_bucket = items
                .first()
                .is_none_or(|key| self.pickle.bytes(*key).is_some());
            if is_bucket {
                pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
        }
        Ok(pairs)
    }

    /// The state of the bucket, where that is the state of a tree with one bucket.
    fn only_bucket(&self, state: NodeId) -> Option<NodeId> {
        let only = |id| match self.pickle.node(id) {
            Node::Tuple(items) if items.len() == 1 => Some(items[0]),
            _ => None,
        };
        let bucket = only(only(state)?)?;
        matches!(self.pickle.node(bucket), Node::Tuple(_)).then_some(bucket)
    }
}
