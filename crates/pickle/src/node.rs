//! What the arena is made of: 16-byte nodes that point into two shared vectors.

/// Names a node of one [`Pickles`](crate::Pickles). The same id means the same Python object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    // Every arena begins with these; the pickler never memoises them, so one node each is enough.
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const FALSE: Self = Self(1);
    pub(crate) const TRUE: Self = Self(2);
    pub(crate) const EMPTY_TUPLE: Self = Self(3);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn bool(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }
}

/// One inert Python object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Two's complement, little-endian, shortest form, beyond 64 bits.
    BigInt(Span),
    Float(f64),
    /// UTF-8, checked when the node was made.
    Str(Span),
    /// UTF-8 except for lone surrogates (Python's "surrogatepass").
    Surrogates(Span),
    Bytes(Span),
    /// A Python 2 `str`.
    ByteString(Span),
    Tuple(Run),
    List(Run),
    /// Key, value, key, value.
    Dict(Run),
    /// `module`, one byte, `name`; both UTF-8 without line breaks, checked when the node was made.
    Global {
        start: u32,
        module_len: u32,
        name_len: u32,
    },
    Extension(u32),
    Persistent(NodeId),
    /// Index into the instance table.
    Instance(u32),
}

/// A range of the arena's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// A range of the arena's children with room to grow in place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) capacity: u32,
}

/// How Python makes an instance before its state is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Construction {
    /// REDUCE: calls the class, or any other callable, with the arguments.
    Reduce,
    /// NEWOBJ: `class.__new__(class, *arguments)`.
    NewObject,
    /// OBJ and INST of Python 2's old-style classes.
    OldStyle,
}

/// An object that is made by a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InstanceNode {
    pub(crate) construction: Construction,
    pub(crate) class: NodeId,
    /// Always a tuple.
    pub(crate) args: NodeId,
    pub(crate) state: Option<NodeId>,
    /// Items of a list subclass, appended after the call.
    pub(crate) items: Run,
    /// Pairs of a dict subclass, set after the call.
    pub(crate) pairs: Run,
}
