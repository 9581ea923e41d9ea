//! Writing changed nodes, as ZODB does at a commit or savepoint.

use pickle::{NodeId, Pickles};
use storage::Oid;
use zodb::Reference;

use super::TreeMut;
use super::nodes::{At, Live};
use crate::error::TreeError;
use crate::probe::copy_all;
use crate::unify;

impl TreeMut<'_> {
    /// Hands the changed nodes to the connection, with everything that they newly refer to, and
    /// makes its transaction depend on the nodes that were gone through. The object's id.
    ///
    /// # Errors
    /// [`TreeError::Torn`] where an earlier change failed halfway; a storage error where no ids
    /// could be had.
    pub fn save(&mut self) -> Result<Oid, TreeError> {
        if self.is_torn {
            return Err(TreeError::Torn);
        }
        // What is not written by then was not finished.
        self.is_torn = true;
        for oid in std::mem::take(&mut self.nodes.relied_on) {
            self.connection.read_current(oid)?;
        }
        for at in std::mem::take(&mut self.nodes.changed) {
            // As ZODB's writer: what is found to be new comes next, the last first.
            let mut pending = vec![at];
            while let Some(at) = pending.pop() {
                self.write(at, &mut pending)?;
            }
        }
        self.is_torn = false;
        Ok(self.oid())
    }

    fn write(&mut self, at: At, pending: &mut Vec<At>) -> Result<(), TreeError> {
        let mut record = Pickles::new();
        let class = if self.nodes.is_tree(at) {
            self.class
        } else {
            self.class.leaves()
        };
        let name = self.kin.name_of(class);
        let head = record.global(name.module(), name.name());
        let state = match self.nodes.live(at) {
            Live::Bucket(_) => self.bucket_state(at, &mut record, pending)?,
            Live::Tree(_) => self.tree_state(at, &mut record, pending)?,
        };
        record.set_roots(&[head, state]);
        unify::share(&mut record);
        let oid = self.nodes.oid(at).expect("only nodes with ids are written");
        self.connection.store(oid, record)?;
        self.nodes.saved(at);
        Ok(())
    }

    fn bucket_state(
        &mut self,
        at: At,
        record: &mut Pickles,
        pending: &mut Vec<At>,
    ) -> Result<NodeId, TreeError> {
        let has_values = self.class.has_values();
        let bucket = self.nodes.bucket_mut(at);
        let mut items = Vec::with_capacity(bucket.items.len() * 2);
        for (key, value) in &bucket.items {
            items.push(*key);
            items.extend(has_values.then_some(*value));
        }
        copy_all(items.iter_mut(), &mut bucket.arena, record);
        let next = bucket.next;
        let items = items.into_iter().map(|item| item.write(record)).collect();
        let mut state = vec![record.tuple(items)];
        if let Some(next) = next {
            state.push(self.reference(next, record, pending)?);
        }
        Ok(record.tuple(state))
    }

    fn tree_state(
        &mut self,
        at: At,
        record: &mut Pickles,
        pending: &mut Vec<At>,
    ) -> Result<NodeId, TreeError> {
        let children = self.nodes.tree(at).children.clone();
        match children[..] {
            [] => return Ok(record.none()),
            // The original asks in every node. Below the root the bucket has an id by then, from the
            // bucket before it; were it not so, it would be lost to the chain.
            [only] if at == self.nodes.root() && self.is_without_id(only) => {
                let state = self.bucket_state(only, record, pending)?;
                let state = record.tuple(vec![state]);
                return Ok(record.tuple(vec![state]));
            }
            _ => {}
        }
        let tree = self.nodes.tree_mut(at);
        let mut keys = tree.keys.clone();
        copy_all(keys.iter_mut(), &mut tree.arena, record);
        let first = tree.first;
        let mut parts = Vec::with_capacity(children.len() * 2);
        for (place, (child, key)) in children.into_iter().zip(keys).enumerate() {
            if place > 0 {
                parts.push(key.write(record));
            }
            parts.push(self.reference(child, record, pending)?);
        }
        let parts = record.tuple(parts);
        let first = first.ok_or_else(|| self.damaged(at, "it has no first bucket"))?;
        let first = self.reference(first, record, pending)?;
        Ok(record.tuple(vec![parts, first]))
    }

    fn is_without_id(&self, at: At) -> bool {
        self.nodes.oid(at).is_none() && !self.nodes.is_tree(at)
    }

    /// A reference to a node, which gets an id by that where it has none.
    fn reference(
        &mut self,
        to: At,
        record: &mut Pickles,
        pending: &mut Vec<At>,
    ) -> Result<NodeId, TreeError> {
        let oid = match self.nodes.oid(to) {
            Some(oid) => oid,
            None => {
                let oid = self.connection.new_oid()?;
                self.nodes.give_id(to, oid);
                pending.push(to);
                oid
            }
        };
        let class = self.class_at(to)?;
        let class = Some(self.kin.name_of(class));
        Ok(Reference::Strong { oid, class }.write(record))
    }
}
