//! Looking at values.

use std::borrow::Cow;
use std::slice;

use crate::integer;
use crate::node::{Construction, Node, NodeId, Run};
use crate::pickles::Pickles;

/// A view of one inert Python object.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pub(crate) pickles: &'a Pickles,
    pub(crate) id: NodeId,
}

/// What an object is.
///
/// `set`, `frozenset` and `bytearray` are calls in protocol 3 and show up here as what they are, not as
/// [`Kind::Instance`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Kind<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An `int` of 64 bits.
    Int(i64),
    /// A larger `int`: two's complement, little-endian, shortest form.
    BigInt(&'a [u8]),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Str(&'a str),
    /// A `str` with lone surrogates: UTF-8 except for those.
    Surrogates(&'a [u8]),
    /// A `bytes`.
    Bytes(&'a [u8]),
    /// A `bytearray`.
    ByteArray(&'a [u8]),
    /// A `str` of Python 2, in a charset unknown to us.
    ByteString(&'a [u8]),
    /// A `tuple`.
    Tuple(Elements<'a>),
    /// A `list`.
    List(Elements<'a>),
    /// A `set`.
    Set(Elements<'a>),
    /// A `frozenset`.
    FrozenSet(Elements<'a>),
    /// A `dict`.
    Dict(Entries<'a>),
    /// A class or function by name.
    Global {
        /// The module's dotted name.
        module: &'a str,
        /// The name in the module.
        name: &'a str,
    },
    /// A class by its number in Python's `copyreg` extension registry.
    Extension(u32),
    /// A reference to a persistent object; the value is its persistent id.
    Persistent(Value<'a>),
    /// An object made by a call.
    Instance(Instance<'a>),
}

/// An object made by a call, and what is done to it afterwards.
#[derive(Clone, Debug)]
pub struct Instance<'a> {
    /// How the class or callable is called.
    pub construction: Construction,
    /// The class, or another callable.
    pub class: Value<'a>,
    /// The arguments, a tuple; `None` where there are none.
    pub args: Option<Value<'a>>,
    /// What `__setstate__` gets; most often the instance's `__dict__`.
    pub state: Option<Value<'a>>,
    /// Items of a list subclass.
    pub items: Elements<'a>,
    /// Pairs of a dict subclass.
    pub pairs: Entries<'a>,
}

impl<'a> Value<'a> {
    pub(crate) fn new(pickles: &'a Pickles, id: NodeId) -> Self {
        Self { pickles, id }
    }

    /// The node; equal ids are the same Python object.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The arena the value lives in.
    pub fn pickles(self) -> &'a Pickles {
        self.pickles
    }

    /// What the object is, to match on.
    pub fn kind(self) -> Kind<'a> {
        match self.node() {
            Node::None => Kind::None,
            Node::Bool(value) => Kind::Bool(value),
            Node::Int(value) => Kind::Int(value),
            Node::BigInt(span) => Kind::BigInt(self.pickles.span(span)),
            Node::Float(value) => Kind::Float(value),
            Node::Str(span) => Kind::Str(utf8(self.pickles.span(span))),
            Node::Surrogates(span) => Kind::Surrogates(self.pickles.span(span)),
            Node::Bytes(span) => Kind::Bytes(self.pickles.span(span)),
            Node::ByteString(span) => Kind::ByteString(self.pickles.span(span)),
            Node::Tuple(run) => Kind::Tuple(self.run(run)),
            Node::List(run) => Kind::List(self.run(run)),
            Node::Dict(run) => Kind::Dict(self.pairs(run)),
            Node::Global {
                start,
                module_len,
                name_len,
            } => {
                let (module, name) = self.pickles.global_names(start, module_len, name_len);
                Kind::Global {
                    module: utf8(module),
                    name: utf8(name),
                }
            }
            Node::Extension(code) => Kind::Extension(code),
            Node::Persistent(id) => Kind::Persistent(self.sibling(id)),
            Node::Instance(index) => {
                let instance = self.instance_at(index);
                self.builtin(&instance).unwrap_or(Kind::Instance(instance))
            }
        }
    }

    /// True for `None`.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// The value of a `bool`.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The value of an `int` that fits 64 bits.
    pub fn as_int(self) -> Option<i64> {
        match self.node() {
            Node::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a `float`.
    pub fn as_float(self) -> Option<f64> {
        match self.node() {
            Node::Float(value) => Some(value),
            _ => None,
        }
    }

    /// The text of a `str` without lone surrogates.
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            Node::Str(span) => Some(utf8(self.pickles.span(span))),
            _ => None,
        }
    }

    /// The text of a `str` as UTF-8, lone surrogates included, without a look at it: enough to
    /// compare texts, whose order is that of these bytes.
    pub fn text_bytes(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::Str(span) | Node::Surrogates(span) => Some(self.pickles.span(span)),
            _ => None,
        }
    }

    /// The bytes of a `bytes` object, or of a Python 2 `str`.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::Bytes(span) | Node::ByteString(span) => Some(self.pickles.span(span)),
            _ => None,
        }
    }

    /// Text of a `str`, or of a Python 2 `str`: UTF-8 if it is that, else latin-1. Lone surrogates become U+FFFD.
    pub fn as_text(self) -> Option<Cow<'a, str>> {
        match self.node() {
            Node::Str(span) => Some(Cow::Borrowed(utf8(self.pickles.span(span)))),
            Node::Surrogates(span) => Some(String::from_utf8_lossy(self.pickles.span(span))),
            Node::ByteString(span) => {
                let bytes = self.pickles.span(span);
                Some(match std::str::from_utf8(bytes) {
                    Ok(text) => Cow::Borrowed(text),
                    Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
                })
            }
            _ => None,
        }
    }

    /// Module and name of a class or function.
    pub fn as_global(self) -> Option<(&'a str, &'a str)> {
        match self.kind() {
            Kind::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// The persistent id of a reference to a persistent object.
    pub fn persistent_id(self) -> Option<Self> {
        match self.node() {
            Node::Persistent(id) => Some(self.sibling(id)),
            _ => None,
        }
    }

    /// The value of a dict under a text key (a Python 2 `str` of the same bytes counts as the same key).
    pub fn get(self, key: &str) -> Option<Self> {
        match self.node() {
            Node::Dict(run) => {
                let position = self.pickles.position(run, key)?;
                Some(self.sibling(self.pickles.run(run)[position + 1]))
            }
            _ => None,
        }
    }

    /// The pairs of a dict; nothing for other objects.
    pub fn entries(self) -> Entries<'a> {
        match self.node() {
            Node::Dict(run) => self.pairs(run),
            _ => self.pairs(Run::default()),
        }
    }

    /// The items of a tuple, list, set or frozenset; nothing for other objects.
    pub fn elements(self) -> Elements<'a> {
        match self.kind() {
            Kind::Tuple(items) | Kind::List(items) | Kind::Set(items) | Kind::FrozenSet(items) => {
                items
            }
            _ => self.run(Run::default()),
        }
    }

    /// The parts of an object made by a call (sets and byte arrays of protocol 3 included).
    pub fn instance(self) -> Option<Instance<'a>> {
        match self.node() {
            Node::Instance(index) => Some(self.instance_at(index)),
            _ => None,
        }
    }

    pub(crate) fn node(self) -> Node {
        self.pickles.node(self.id)
    }

    pub(crate) fn sibling(self, id: NodeId) -> Self {
        Self {
            pickles: self.pickles,
            id,
        }
    }

    /// A short name of the kind, for messages.
    pub(crate) fn kind_name(self) -> &'static str {
        match self.node() {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) | Node::BigInt(_) => "an int",
            Node::Float(_) => "a float",
            Node::Str(_) | Node::Surrogates(_) => "a str",
            Node::Bytes(_) => "bytes",
            Node::ByteString(_) => "a Python 2 str",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Dict(_) => "a dict",
            Node::Global { .. } => "a class or function",
            Node::Extension(_) => "an extension code",
            Node::Persistent(_) => "a persistent reference",
            Node::Instance(_) => "an instance",
        }
    }

    fn run(self, run: Run) -> Elements<'a> {
        Elements {
            pickles: self.pickles,
            ids: self.pickles.run(run).iter(),
        }
    }

    fn pairs(self, run: Run) -> Entries<'a> {
        Entries {
            pickles: self.pickles,
            pairs: self.pickles.run(run).chunks_exact(2),
        }
    }

    fn instance_at(self, index: u32) -> Instance<'a> {
        let instance = &self.pickles.instances[index as usize];
        Instance {
            construction: instance.construction,
            class: self.sibling(instance.class),
            args: (instance.args != NodeId::EMPTY_TUPLE).then(|| self.sibling(instance.args)),
            state: instance.state.map(|state| self.sibling(state)),
            items: self.run(instance.items),
            pairs: self.pairs(instance.pairs),
        }
    }

    /// Sees through the calls that protocol 3 writes for built-in types.
    fn builtin(self, instance: &Instance<'a>) -> Option<Kind<'a>> {
        if instance.construction != Construction::Reduce || instance.state.is_some() {
            return None;
        }
        let (module, name) = instance.class.as_global()?;
        if !matches!(module, "builtins" | "__builtin__") {
            return None;
        }
        let only = match instance.args {
            None => None,
            Some(args) => match args.node() {
                Node::Tuple(run) if run.len == 1 => Some(args.elements().next()?.node()),
                _ => return None,
            },
        };
        match (name, only) {
            ("set", Some(Node::List(run))) => Some(Kind::Set(self.run(run))),
            ("frozenset", Some(Node::List(run))) => Some(Kind::FrozenSet(self.run(run))),
            ("bytearray", Some(Node::Bytes(span))) => {
                Some(Kind::ByteArray(self.pickles.span(span)))
            }
            ("bytearray", None) => Some(Kind::ByteArray(&[])),
            _ => None,
        }
    }
}

impl Kind<'_> {
    /// The decimal digits of an integer of any size.
    pub fn decimal(&self) -> Option<String> {
        match self {
            Self::Int(value) => Some(value.to_string()),
            Self::BigInt(bytes) => Some(integer::to_decimal(bytes)),
            _ => None,
        }
    }
}

/// The items of a tuple, list or set.
#[derive(Clone)]
pub struct Elements<'a> {
    pickles: &'a Pickles,
    ids: slice::Iter<'a, NodeId>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.ids.next().map(|id| Value::new(self.pickles, *id))
    }

    /// At once, however far.
    fn nth(&mut self, n: usize) -> Option<Value<'a>> {
        self.ids.nth(n).map(|id| Value::new(self.pickles, *id))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ids.size_hint()
    }
}

impl DoubleEndedIterator for Elements<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.ids.next_back().map(|id| Value::new(self.pickles, *id))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// The pairs of a dict, in its order. A damaged pickle may hold a key twice; the last one counts.
#[derive(Clone)]
pub struct Entries<'a> {
    pickles: &'a Pickles,
    pairs: slice::ChunksExact<'a, NodeId>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Value<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.pairs.next()?;
        Some((
            Value::new(self.pickles, pair[0]),
            Value::new(self.pickles, pair[1]),
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pairs.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text is checked when its node is made")
}
