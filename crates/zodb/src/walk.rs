//! Walking every value of a record once, however shared or cyclic.

use std::collections::HashSet;

use pickle::{Kind, NodeId, Pickles, Value};

/// The distinct values reachable from all roots, each once, parents before children. Persistent
/// nodes are visited; what lies in their ids is not.
pub(crate) struct Walk<'a> {
    seen: HashSet<NodeId>,
    pending: Vec<Value<'a>>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(pickles: &'a Pickles) -> Self {
        let mut walk = Self {
            seen: HashSet::new(),
            pending: Vec::new(),
        };
        pickles.roots().for_each(|root| walk.meet(root));
        walk
    }

    fn meet(&mut self, value: Value<'a>) {
        if self.seen.insert(value.id()) {
            self.pending.push(value);
        }
    }

    fn meet_children(&mut self, value: Value<'a>) {
        if let Some(instance) = value.instance() {
            self.meet(instance.class);
            instance.args.into_iter().for_each(|args| self.meet(args));
            instance
                .state
                .into_iter()
                .for_each(|state| self.meet(state));
            instance.items.for_each(|item| self.meet(item));
            instance.pairs.for_each(|(key, item)| {
                self.meet(key);
                self.meet(item);
            });
            return;
        }
        match value.kind() {
            Kind::Tuple(items) | Kind::List(items) => items.for_each(|item| self.meet(item)),
            Kind::Dict(pairs) => pairs.for_each(|(key, item)| {
                self.meet(key);
                self.meet(item);
            }),
            _ => {}
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let value = self.pending.pop()?;
        self.meet_children(value);
        Some(value)
    }
}
