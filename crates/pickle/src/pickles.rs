//! The arena.

use std::collections::HashMap;

use crate::decode;
use crate::encode::{self, EncodeOptions};
use crate::node::{InstanceNode, Node, NodeId, Run, Span};
use crate::{EncodeError, Limits, UnpickleError, Value};

/// Several pickles that share one memo, decoded to an arena of inert nodes.
///
/// Nodes are only ever added; lists, dicts and states of instances may be changed in place. Text and bytes stay where
/// they were in the input, of which the arena keeps one copy. Dropping it frees a handful of vectors, however deep or
/// cyclic the values are.
///
/// An arena holds at most 4 GiB of text and 2³² nodes; the building methods panic beyond that. Decoding has its own,
/// smaller [`Limits`] and never panics.
#[derive(Clone, Debug)]
pub struct Pickles {
    pub(crate) bytes: Vec<u8>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) children: Vec<NodeId>,
    pub(crate) instances: Vec<InstanceNode>,
    /// Every `Node::Global`, so that building can reuse them: a class is one object in Python.
    pub(crate) globals: Vec<NodeId>,
    pub(crate) roots: Vec<NodeId>,
}

impl Pickles {
    /// An arena without values.
    pub fn new() -> Self {
        Self::with_bytes(Vec::new(), 16)
    }

    /// Decodes all pickles up to the end of the input, with the default [`Limits`].
    pub fn decode(bytes: &[u8]) -> Result<Self, UnpickleError> {
        Self::decode_with(bytes, &Limits::default())
    }

    /// Decodes all pickles up to the end of the input.
    pub fn decode_with(bytes: &[u8], limits: &Limits) -> Result<Self, UnpickleError> {
        decode::decode(bytes, limits)
    }

    /// Decodes several records to one arena, so that their values can be held against each other and put together.
    /// Each has a memo of its own; the roots follow one another.
    ///
    /// # Errors
    /// The offset of the error counts from the beginning of the first record.
    pub fn decode_records(records: &[&[u8]], limits: &Limits) -> Result<Self, UnpickleError> {
        let mut starts = Vec::with_capacity(records.len());
        let mut length = 0;
        for record in records {
            starts.push(length);
            length += record.len();
        }
        decode::decode_parts(&records.concat(), starts.get(1..).unwrap_or(&[]), limits)
    }

    /// Makes every use of a node a use of the node that stands for it in `instead`, roots included; one step, not along
    /// chains. A reference and its persistent id are told apart by their places: for a reference only another one
    /// should stand, and likewise for tuples of arguments.
    ///
    /// Panics if something else comes to stand where only a tuple of arguments or a persistent id may.
    pub fn substitute(&mut self, instead: &HashMap<NodeId, NodeId>) {
        let replace = |id: &mut NodeId| {
            if let Some(other) = instead.get(id) {
                *id = *other;
            }
        };
        self.children.iter_mut().for_each(replace);
        self.roots.iter_mut().for_each(replace);
        for instance in &mut self.instances {
            replace(&mut instance.class);
            replace(&mut instance.args);
            instance.state.iter_mut().for_each(replace);
            assert!(
                matches!(self.nodes[instance.args.index()], Node::Tuple(_)),
                "arguments are a tuple"
            );
        }
        for index in 0..self.nodes.len() {
            if let Node::Persistent(mut id) = self.nodes[index] {
                replace(&mut id);
                assert!(
                    !matches!(self.node(id), Node::Persistent(_)),
                    "a reference is no persistent id"
                );
                self.nodes[index] = Node::Persistent(id);
            }
        }
    }

    /// All nodes, in the order in which they were made: also what nothing holds any more.
    pub fn values(&self) -> impl Iterator<Item = Value<'_>> {
        let ids = (0u32..).take(self.nodes.len());
        ids.map(|index| Value::new(self, NodeId(index)))
    }

    /// What ZODB writes: protocol 3, the memo numbered as the C pickler does, the roots one after another.
    pub fn encode(&self) -> Vec<u8> {
        encode::encode(self)
    }

    /// Like [`encode`](Self::encode), with options. Fails when the output grows beyond its limit and, without a memo,
    /// on values that contain themselves.
    pub fn encode_with(&self, options: EncodeOptions) -> Result<Vec<u8>, EncodeError> {
        encode::encode_with(self, options)
    }

    /// The values of the pickles, in order.
    pub fn roots(&self) -> impl ExactSizeIterator<Item = Value<'_>> {
        self.roots.iter().map(|id| self.value(*id))
    }

    /// The value of the pickle with number `index`, counted from 0.
    pub fn root(&self, index: usize) -> Option<Value<'_>> {
        self.roots.get(index).map(|id| self.value(*id))
    }

    /// The persistent ids of all references in the pickles, in the order they were read: without walking the values,
    /// so also of what nothing holds any more.
    pub fn persistent_ids(&self) -> impl Iterator<Item = Value<'_>> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Persistent(id) => Some(Value::new(self, *id)),
            _ => None,
        })
    }

    /// All references in the pickles, as [`Pickles::persistent_ids`] has their ids.
    pub fn references(&self) -> impl Iterator<Item = Value<'_>> {
        let nodes = self.nodes.iter().zip(0u32..);
        nodes
            .filter(|(node, _)| matches!(node, Node::Persistent(_)))
            .map(|(_, index)| Value::new(self, NodeId(index)))
    }

    /// A view of a node of this arena.
    ///
    /// Panics if the id was made by a larger arena.
    pub fn value(&self, id: NodeId) -> Value<'_> {
        assert!(
            id.index() < self.nodes.len(),
            "{id:?} belongs to another arena"
        );
        Value::new(self, id)
    }

    pub(crate) fn with_bytes(bytes: Vec<u8>, nodes: usize) -> Self {
        let mut all = Vec::with_capacity(nodes.max(4));
        all.extend([
            Node::None,
            Node::Bool(false),
            Node::Bool(true),
            Node::Tuple(Run::default()),
        ]);
        Self {
            bytes,
            nodes: all,
            children: Vec::new(),
            instances: Vec::new(),
            globals: Vec::new(),
            roots: Vec::with_capacity(2),
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> Node {
        self.nodes[id.index()]
    }

    pub(crate) fn span(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..][..span.len as usize]
    }

    pub(crate) fn run(&self, run: Run) -> &[NodeId] {
        &self.children[run.start as usize..][..run.len as usize]
    }

    /// Module and name of a `Node::Global`.
    pub(crate) fn global_names(&self, start: u32, module: u32, name: u32) -> (&[u8], &[u8]) {
        let text = &self.bytes[start as usize..];
        let (module, rest) = text.split_at(module as usize);
        (module, &rest[1..][..name as usize])
    }

    pub(crate) fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(small(self.nodes.len()));
        self.nodes.push(node);
        id
    }

    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) -> Span {
        let start = small(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        small(self.bytes.len());
        Span {
            start,
            len: small(bytes.len()),
        }
    }

    pub(crate) fn add_run(&mut self, items: &[NodeId]) -> Run {
        let mut run = Run::default();
        self.extend_run(&mut run, items);
        run
    }

    pub(crate) fn add_global(&mut self, start: u32, module_len: u32, name_len: u32) -> NodeId {
        let id = self.add(Node::Global {
            start,
            module_len,
            name_len,
        });
        self.globals.push(id);
        id
    }

    pub(crate) fn add_instance(&mut self, instance: InstanceNode) -> NodeId {
        let index = small(self.instances.len());
        self.instances.push(instance);
        self.add(Node::Instance(index))
    }

    /// Appends to a run in place where there is room or it is the last, else moves it to the end with as much room again.
    pub(crate) fn extend_run(&mut self, run: &mut Run, items: &[NodeId]) {
        let (start, len, capacity) = (run.start as usize, run.len as usize, run.capacity as usize);
        if capacity - len >= items.len() {
            self.children[start + len..][..items.len()].copy_from_slice(items);
        } else if start + capacity == self.children.len() && len > 0 {
            self.children.truncate(start + len);
            self.children.extend_from_slice(items);
            run.capacity = small(len + items.len());
        } else if len == 0 {
            run.start = small(self.children.len());
            self.children.extend_from_slice(items);
            run.capacity = small(items.len());
        } else {
            let room = (len + items.len()).next_power_of_two().max(4);
            run.start = small(self.children.len());
            self.children.extend_from_within(start..start + len);
            self.children.extend_from_slice(items);
            self.children
                .resize(run.start as usize + room, NodeId::NONE);
            run.capacity = small(room);
        }
        run.len = small(len + items.len());
        small(self.children.len());
    }
}

impl Default for Pickles {
    fn default() -> Self {
        Self::new()
    }
}

/// Offsets and counts of an arena are 32 bits wide. Decoding checks its limits first, so only building can get here.
pub(crate) fn small(number: usize) -> u32 {
    u32::try_from(number).expect("an arena holds less than 4 GiB of text and 2^32 nodes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_share_an_arena_and_no_memo() {
        let limits = Limits::default();
        let [one, two] = [
            b"X\x02\0\0\0aaq\0.h\0.".as_slice(),
            b"X\x02\0\0\0bbq\0.h\0.",
        ];
        let mut both = Pickles::decode_records(&[one, two], &limits).unwrap();
        let texts: Vec<_> = both.roots().filter_map(Value::as_str).collect();
        assert_eq!(texts, ["aa", "aa", "bb", "bb"]);
        assert!(Pickles::decode_records(&[one, b"h\0."], &limits).is_err());
        let (cut, rest) = one.split_at(8);
        assert!(Pickles::decode_records(&[cut, rest], &limits).is_err());

        let ids: Vec<_> = both.roots().map(Value::id).collect();
        let pair = both.tuple(vec![ids[2], ids[1]]);
        both.substitute(&HashMap::from([(ids[2], ids[0])]));
        both.set_roots(&[pair]);
        assert_eq!(both.encode(), b"\x80\x03X\x02\0\0\0aaq\0h\0\x86q\x01.");
    }
}
