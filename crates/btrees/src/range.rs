//! Iterating within bounds, from either end.

use std::cmp::Ordering;
use std::iter::FusedIterator;
use std::ops::Bound;
use std::sync::Arc;

use pickle::{NodeId, Value};
use zodb::{Data, FromData, Object};

use crate::error::TreeError;
use crate::node::{DEPTH_MAX, Inner, Leaf, Node};
use crate::probe::Probe;
use crate::tree::Tree;

/// A key with its value. It keeps the record they are in.
#[derive(Clone, Debug)]
pub struct Entry {
    object: Arc<Object>,
    key: NodeId,
    value: Option<NodeId>,
}

impl Entry {
    pub(crate) fn of(leaf: &Leaf, at: usize) -> Option<Self> {
        Some(Self {
            object: leaf.object.clone(),
            key: leaf.key(at)?.id(),
            value: leaf.value(at).map(Value::id),
        })
    }

    pub(crate) fn damaged(&self, what: &'static str) -> TreeError {
        crate::node::damaged(&self.object, what)
    }

    /// The key.
    pub fn key(&self) -> Data {
        Data::read(self.raw_key())
    }

    /// The value; `None` for a set.
    pub fn value(&self) -> Data {
        self.raw_value().map_or(Data::None, Data::read)
    }

    /// The key as a Rust type; nothing where it is something else.
    pub fn key_as<T: FromData>(&self) -> Option<T> {
        T::from_value(self.raw_key())
    }

    /// The value as a Rust type; nothing where it is something else, or there are no values.
    pub fn value_as<T: FromData>(&self) -> Option<T> {
        self.raw_value().and_then(T::from_value)
    }

    /// The key as it is in the record.
    pub fn raw_key(&self) -> Value<'_> {
        self.object.pickles().value(self.key)
    }

    /// The value as it is in the record; nothing for a set.
    pub fn raw_value(&self) -> Option<Value<'_>> {
        Some(self.object.pickles().value(self.value?))
    }
}

/// Keys with their values, in order; from [`Tree::range`] and [`Tree::iter`].
#[derive(Debug)]
pub struct Range<'c> {
    tree: Tree<'c>,
    bounds: [Bound<Data>; 2],
    /// Where each end is, once it was asked for.
    ends: [Option<Cursor>; 2],
    is_done: bool,
}

/// A place in a tree: the way down to a bucket, and the key in it.
#[derive(Debug)]
struct Cursor {
    way: Vec<(Inner, usize)>,
    leaf: Leaf,
    /// The key that comes next.
    at: usize,
    /// Where the bound in the other direction was found to lie beyond this bucket, it is not
    /// compared with its keys.
    is_within: bool,
    probe: Option<Probe>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl<'c> Range<'c> {
    pub(crate) fn new(tree: Tree<'c>, low: Bound<Data>, high: Bound<Data>) -> Self {
        Self {
            tree,
            bounds: [low, high],
            ends: [None, None],
            is_done: false,
        }
    }

    pub(crate) fn count_keys(mut self) -> Result<usize, TreeError> {
        let mut keys = 0;
        let Some(mut cursor) = self.locate(End::Front)? else {
            return Ok(0);
        };
        loop {
            keys += cursor.leaf.len();
            cursor.at = cursor.leaf.len();
            if !self.step_leaf(&mut cursor, End::Front)? {
                return Ok(keys);
            }
        }
    }

    fn bound(&self, end: End) -> &Bound<Data> {
        &self.bounds[usize::from(end == End::Back)]
    }

    fn probe(&self, end: End) -> Result<Option<Probe>, TreeError> {
        match self.bound(end) {
            Bound::Included(data) | Bound::Excluded(data) => {
                Probe::new(data, self.tree.kind().key, "the bound").map(Some)
            }
            Bound::Unbounded => Ok(None),
        }
    }

    /// The first key within the bounds, seen from this end.
    fn locate(&mut self, end: End) -> Result<Option<Cursor>, TreeError> {
        let probe = self.probe(end)?;
        let mut way: Vec<(Inner, usize)> = Vec::new();
        let mut node = self.tree.root().clone();
        let leaf = loop {
            match node {
                Node::Empty => return Ok(None),
                Node::Leaf(leaf) => break leaf,
                Node::Inner(inner) => {
                    let child = match (&probe, end) {
                        (Some(probe), _) => inner.search(probe)?,
                        (None, End::Front) => 0,
                        (None, End::Back) => inner.len() - 1,
                    };
                    node = self.tree.child(&inner, child)?;
                    way.push((inner, child));
                }
            }
            if way.len() > DEPTH_MAX {
                return Err(self.tree.too_deep());
            }
        };
        // Seen from the back, the place counts from behind the key.
        let at = match (&probe, end) {
            (None, End::Front) => 0,
            (None, End::Back) => leaf.len(),
            (Some(probe), end) => {
                let is_excluded = matches!(self.bound(end), Bound::Excluded(_));
                match leaf.search(probe)? {
                    Ok(at) => at + usize::from((end == End::Front) == is_excluded),
                    Err(at) => at,
                }
            }
        };
        let other = match end {
            End::Front => End::Back,
            End::Back => End::Front,
        };
        Ok(Some(Cursor {
            way,
            leaf,
            at,
            is_within: false,
            probe: self.probe(other)?,
        }))
    }

    /// Goes to the next bucket that has keys; false where there is none.
    fn step_leaf(&self, cursor: &mut Cursor, end: End) -> Result<bool, TreeError> {
        while let Some((inner, at)) = cursor.way.pop() {
            let next = match end {
                End::Front => Some(at + 1).filter(|next| *next < inner.len()),
                End::Back => at.checked_sub(1),
            };
            let Some(next) = next else {
                continue;
            };
            let mut node = self.tree.child(&inner, next)?;
            cursor.way.push((inner, next));
            while let Node::Inner(inner) = node {
                let at = match end {
                    End::Front => 0,
                    End::Back => inner.len() - 1,
                };
                node = self.tree.child(&inner, at)?;
                cursor.way.push((inner, at));
                if cursor.way.len() > DEPTH_MAX {
                    return Err(self.tree.too_deep());
                }
            }
            if let Node::Leaf(leaf) = node
                && leaf.len() > 0
            {
                cursor.at = match end {
                    End::Front => 0,
                    End::Back => leaf.len(),
                };
                cursor.leaf = leaf;
                cursor.is_within = false;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn advance(&mut self, end: End) -> Result<Option<Entry>, TreeError> {
        let place = usize::from(end == End::Back);
        let mut cursor = match self.ends[place].take() {
            Some(cursor) => cursor,
            None => match self.locate(end)? {
                Some(cursor) => cursor,
                None => return Ok(None),
            },
        };
        let is_at_end = match end {
            End::Front => cursor.at >= cursor.leaf.len(),
            End::Back => cursor.at == 0,
        };
        if is_at_end && !self.step_leaf(&mut cursor, end)? {
            return Ok(None);
        }
        let key = match end {
            End::Front => cursor.at,
            End::Back => cursor.at - 1,
        };
        if self.has_met(&cursor, key, end) || !self.is_within(&mut cursor, key, end)? {
            return Ok(None);
        }
        cursor.at = match end {
            End::Front => key + 1,
            End::Back => key,
        };
        let entry = Entry::of(&cursor.leaf, key);
        self.ends[place] = Some(cursor);
        Ok(entry)
    }

    /// Whether the other end has been at this key.
    fn has_met(&self, cursor: &Cursor, key: usize, end: End) -> bool {
        let Some(other) = &self.ends[usize::from(end == End::Front)] else {
            return false;
        };
        let steps = |way: &[(Inner, usize)]| way.iter().map(|(_, at)| *at).collect::<Vec<_>>();
        match (steps(&cursor.way).cmp(&steps(&other.way)), end) {
            (Ordering::Equal, End::Front) => key >= other.at,
            (Ordering::Equal, End::Back) => key < other.at,
            (order, End::Front) => order == Ordering::Greater,
            (order, End::Back) => order == Ordering::Less,
        }
    }

    /// Whether a key is within the bound of the other end.
    fn is_within(&self, cursor: &mut Cursor, key: usize, end: End) -> Result<bool, TreeError> {
        let Some(probe) = cursor.probe.as_ref().filter(|_| !cursor.is_within) else {
            return Ok(true);
        };
        let (bound, far) = match end {
            End::Front => (self.bound(End::Back), cursor.leaf.len() - 1),
            End::Back => (self.bound(End::Front), 0),
        };
        let reaches = |at: usize| -> Result<bool, TreeError> {
            // Where the bound is, and what lies before it: both as the search has them.
            let bounded = match cursor.leaf.search(probe)? {
                Ok(found) if matches!(bound, Bound::Included(_)) => found..found + 1,
                Ok(found) if end == End::Front => found..found,
                Ok(found) => found + 1..found + 1,
                Err(place) => place..place,
            };
            Ok(match end {
                End::Front => at < bounded.end,
                End::Back => at >= bounded.start,
            })
        };
        if reaches(far)? {
            cursor.is_within = true;
            return Ok(true);
        }
        reaches(key)
    }

    fn next_from(&mut self, end: End) -> Option<Result<Entry, TreeError>> {
        if self.is_done {
            return None;
        }
        let entry = self.advance(end).transpose();
        self.is_done = !matches!(entry, Some(Ok(_)));
        entry
    }
}

impl Iterator for Range<'_> {
    type Item = Result<Entry, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_from(End::Front)
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_from(End::Back)
    }
}

/// After an error nothing comes any more.
impl FusedIterator for Range<'_> {}
