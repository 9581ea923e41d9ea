//! The arena.

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
