//! Making and changing values.

use crate::integer;
use crate::node::{Construction, InstanceNode, Node, NodeId, Run};
use crate::pickles::{Pickles, small};
use crate::text::{TextKind, text_kind};

impl Pickles {
    /// `None`.
    pub fn none(&mut self) -> NodeId {
        NodeId::NONE
    }

    /// `True` or `False`.
    pub fn bool(&mut self, value: bool) -> NodeId {
        NodeId::bool(value)
    }

    /// An integer.
    pub fn int(&mut self, value: i64) -> NodeId {
        self.add(Node::Int(value))
    }

    /// An integer of any size from two's complement, little-endian.
    pub fn big_int(&mut self, bytes: &[u8]) -> NodeId {
        if let Some(value) = integer::to_i64(bytes) {
            return self.int(value);
        }
        let span = self.add_bytes(integer::shortest(bytes));
        self.add(Node::BigInt(span))
    }

    /// A float.
    pub fn float(&mut self, value: f64) -> NodeId {
        self.add(Node::Float(value))
    }

    /// A `str`. Each call makes another object; use one id twice where Python would share the object.
    pub fn str(&mut self, value: &str) -> NodeId {
        let span = self.add_bytes(value.as_bytes());
        self.add(Node::Str(span))
    }

    /// A `str` from UTF-8 in which lone surrogates may occur; `None` if the bytes are neither.
    pub fn str_surrogates(&mut self, bytes: &[u8]) -> Option<NodeId> {
        let make = match text_kind(bytes) {
            TextKind::Utf8 => Node::Str,
            TextKind::Surrogates => Node::Surrogates,
            TextKind::Invalid => return None,
        };
        let span = self.add_bytes(bytes);
        Some(self.add(make(span)))
    }

    /// A `bytes` object.
    pub fn bytes(&mut self, value: &[u8]) -> NodeId {
        let span = self.add_bytes(value);
        self.add(Node::Bytes(span))
    }

    /// A `str` of Python 2.
    pub fn byte_string(&mut self, value: &[u8]) -> NodeId {
        let span = self.add_bytes(value);
        self.add(Node::ByteString(span))
    }

    /// A tuple.
    pub fn tuple(&mut self, items: Vec<NodeId>) -> NodeId {
        self.tuple_from(&items)
    }

    pub(crate) fn tuple_from(&mut self, items: &[NodeId]) -> NodeId {
        if items.is_empty() {
            return NodeId::EMPTY_TUPLE;
        }
        let run = self.add_run(items);
        self.add(Node::Tuple(run))
    }

    /// A list.
    pub fn list(&mut self, items: Vec<NodeId>) -> NodeId {
        let run = self.add_run(&items);
        self.add(Node::List(run))
    }

    /// A dict of the pairs in this order. Keys must differ.
    pub fn dict(&mut self, pairs: Vec<(NodeId, NodeId)>) -> NodeId {
        let flat: Vec<NodeId> = pairs
            .into_iter()
            .flat_map(|(key, value)| [key, value])
            .collect();
        let run = self.add_run(&flat);
        self.add(Node::Dict(run))
    }

    /// A `set`, in the form that protocol 3 has for it: a call of `builtins.set` with a list.
    pub fn set(&mut self, items: Vec<NodeId>) -> NodeId {
        self.called_with_list("set", &items)
    }

    /// A `frozenset`, in the form that protocol 3 has for it: a call of `builtins.frozenset` with a list.
    pub fn frozen_set(&mut self, items: Vec<NodeId>) -> NodeId {
        self.called_with_list("frozenset", &items)
    }

    pub(crate) fn called_with_list(&mut self, name: &str, items: &[NodeId]) -> NodeId {
        let class = self.global("builtins", name);
        let run = self.add_run(items);
        let list = self.add(Node::List(run));
        let args = self.tuple_from(&[list]);
        self.reduce(class, args, None)
    }

    /// A class or function by name; the same name gives the same node, as a class is one object in Python.
    ///
    /// Panics if a name holds a line break: no Python identifier does, and the pickle would be read as something else.
    pub fn global(&mut self, module: &str, name: &str) -> NodeId {
        assert!(
            !module.contains('\n') && !name.contains('\n'),
            "the class name {module:?} {name:?} holds a line break"
        );
        let known = self
            .globals
            .iter()
            .copied()
            .find(|id| match self.node(*id) {
                Node::Global {
                    start,
                    module_len,
                    name_len,
                } => {
                    self.global_names(start, module_len, name_len)
                        == (module.as_bytes(), name.as_bytes())
                }
                _ => false,
            });
        if let Some(id) = known {
            return id;
        }
        let start = self.add_bytes(module.as_bytes()).start;
        self.add_bytes(b"\n");
        self.add_bytes(name.as_bytes());
        self.add_global(start, small(module.len()), small(name.len()))
    }

    /// A reference to a persistent object, by its persistent id.
    ///
    /// Panics if the id is itself such a reference.
    pub fn persistent(&mut self, id: NodeId) -> NodeId {
        assert!(
            !matches!(self.node(id), Node::Persistent(_)),
            "a reference is no persistent id"
        );
        self.add(Node::Persistent(id))
    }

    /// An instance as `object.__reduce_ex__` makes it: `class.__new__(class, *args)`, then its state.
    ///
    /// Panics if `args` is not a tuple.
    pub fn new_object(&mut self, class: NodeId, args: NodeId, state: Option<NodeId>) -> NodeId {
        self.instance(Construction::NewObject, class, args, state)
    }

    /// The result of a call, then its state.
    ///
    /// Panics if `args` is not a tuple.
    pub fn reduce(&mut self, callable: NodeId, args: NodeId, state: Option<NodeId>) -> NodeId {
        self.instance(Construction::Reduce, callable, args, state)
    }

    fn instance(
        &mut self,
        construction: Construction,
        class: NodeId,
        args: NodeId,
        state: Option<NodeId>,
    ) -> NodeId {
        assert!(
            matches!(self.node(args), Node::Tuple(_)),
            "arguments are a tuple"
        );
        self.add_instance(InstanceNode {
            construction,
            class,
            args,
            state,
            items: Run::default(),
            pairs: Run::default(),
        })
    }

    /// Adds a pickle with this value.
    pub fn push_root(&mut self, value: NodeId) {
        self.roots.push(value);
    }

    /// Makes these the pickles, in place of those that there were.
    pub fn set_roots(&mut self, roots: &[NodeId]) {
        self.roots.clear();
        self.roots.extend_from_slice(roots);
    }

    /// Replaces the value of the pickle with number `index`, which must exist.
    pub fn set_root(&mut self, index: usize, value: NodeId) {
        self.roots[index] = value;
    }

    /// Sets `dict[key]`: in its place where the key is there, else at the end. False if `dict` is no dict.
    pub fn dict_set(&mut self, dict: NodeId, key: &str, value: NodeId) -> bool {
        let Node::Dict(mut run) = self.node(dict) else {
            return false;
        };
        match self.position(run, key) {
            Some(position) => self.children[run.start as usize + position + 1] = value,
            None => {
                let key = self.str(key);
                self.extend_run(&mut run, &[key, value]);
                self.nodes[dict.index()] = Node::Dict(run);
            }
        }
        true
    }

    /// Removes `dict[key]`, and tells whether it was there.
    pub fn dict_remove(&mut self, dict: NodeId, key: &str) -> bool {
        let Node::Dict(mut run) = self.node(dict) else {
            return false;
        };
        let before = run.len;
        // A damaged pickle may hold a key twice; afterwards it must be gone.
        while let Some(position) = self.position(run, key) {
            let start = run.start as usize;
            let end = start + run.len as usize;
            self.children
                .copy_within(start + position + 2..end, start + position);
            run.len -= 2;
        }
        self.nodes[dict.index()] = Node::Dict(run);
        run.len < before
    }

    /// Appends to a list. False if `list` is no list.
    pub fn list_push(&mut self, list: NodeId, value: NodeId) -> bool {
        let Node::List(mut run) = self.node(list) else {
            return false;
        };
        self.extend_run(&mut run, &[value]);
        self.nodes[list.index()] = Node::List(run);
        true
    }

    /// Replaces the state of an instance. False if `instance` is none.
    pub fn set_state(&mut self, instance: NodeId, state: Option<NodeId>) -> bool {
        let Node::Instance(index) = self.node(instance) else {
            return false;
        };
        self.instances[index as usize].state = state;
        true
    }

    /// Replaces the persistent id of a reference. False if `reference` is none.
    ///
    /// Panics if the id is itself a reference.
    pub fn set_persistent(&mut self, reference: NodeId, id: NodeId) -> bool {
        assert!(
            !matches!(self.node(id), Node::Persistent(_)),
            "a reference is no persistent id"
        );
        let is_reference = matches!(self.node(reference), Node::Persistent(_));
        if is_reference {
            self.nodes[reference.index()] = Node::Persistent(id);
        }
        is_reference
    }

    /// Where the last entry with this key stands in the run of a dict.
    pub(crate) fn position(&self, run: Run, key: &str) -> Option<usize> {
        let pair = self
            .run(run)
            .chunks_exact(2)
            .rposition(|pair| self.is_key(pair[0], key))?;
        Some(pair * 2)
    }

    fn is_key(&self, id: NodeId, key: &str) -> bool {
        match self.node(id) {
            Node::Str(span) | Node::ByteString(span) => self.span(span) == key.as_bytes(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    #[test]
    fn dict_is_edited_in_place() {
        let mut pickles = Pickles::new();
        let dict = pickles.dict(Vec::new());
        for (number, key) in ["a", "b", "c"].into_iter().enumerate() {
            let value = pickles.int(i64::try_from(number).unwrap());
            assert!(pickles.dict_set(dict, key, value));
        }
        let nine = pickles.int(9);
        pickles.dict_set(dict, "b", nine);
        assert!(pickles.dict_remove(dict, "a"));
        assert!(!pickles.dict_remove(dict, "a"));
        pickles.push_root(dict);
        assert_eq!(pickles.root(0).unwrap().to_string(), "{'b': 9, 'c': 2}");
    }

    #[test]
    fn of_a_key_twice_the_last_counts() {
        let mut pickles = Pickles::decode(b"}(X\x01\0\0\0aK\x01X\x01\0\0\0aK\x02u.").unwrap();
        let dict = pickles.root(0).unwrap();
        assert_eq!(dict.get("a").and_then(Value::as_int), Some(2));
        let dict = dict.id();
        assert!(pickles.dict_remove(dict, "a"));
        assert_eq!(pickles.value(dict).entries().len(), 0);
    }

    #[test]
    fn a_class_is_one_node() {
        let mut pickles = Pickles::new();
        let first = pickles.global("a", "B");
        assert_eq!(first, pickles.global("a", "B"));
        assert_ne!(first, pickles.global("a", "C"));
    }

    #[test]
    #[should_panic(expected = "line break")]
    fn a_line_break_in_a_class_name_is_refused() {
        Pickles::new().global("os\nsystem", "x");
    }
}
