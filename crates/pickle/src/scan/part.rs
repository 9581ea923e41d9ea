//! What is kept of values, and the view of it.

use super::Scanner;
use crate::node::Span;
use crate::text::{self, TextKind};

/// A value, as far as a scanner knows it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    None,
    Bool,
    Int,
    Float,
    /// UTF-8, checked when the item was made.
    Str(Span),
    /// UTF-8 except for lone surrogates.
    Surrogates,
    Bytes(Span),
    ByteString(Span),
    /// Index into the groups.
    Tuple(u32),
    /// Index into the groups.
    List(u32),
    Dict,
    /// Index into the globals.
    Global(u32),
    Extension,
    Persistent,
    /// Index into the instances.
    Instance(u32),
}

/// The first elements of a tuple or list, more than any persistent id has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Few {
    len: usize,
    first: [Item; FEW],
}

const FEW: usize = 3;

impl Few {
    pub(super) const EMPTY: Self = Self {
        len: 0,
        first: [Item::None; FEW],
    };

    pub(super) fn of(items: &[Item]) -> Self {
        let mut few = Self::EMPTY;
        few.extend(items);
        few
    }

    pub(super) fn extend(&mut self, items: &[Item]) {
        let held = self.len.min(FEW);
        for (place, item) in self.first[held..].iter_mut().zip(items) {
            *place = *item;
        }
        self.len += items.len();
    }
}

/// What a persistent id, or an element of one, is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Part<'a> {
    /// `None`.
    None,
    /// A `bytes`.
    Bytes(&'a [u8]),
    /// A `str` of Python 2.
    ByteString(&'a [u8]),
    /// A `str`.
    Str(&'a str),
    /// A `tuple`.
    Tuple(Parts<'a>),
    /// A `list`, as it was when the reference was read.
    List(Parts<'a>),
    /// A class or function by name.
    Global {
        /// The module's dotted name.
        module: &'a str,
        /// The name in the module.
        name: &'a str,
    },
    /// Something else, which has no place in a persistent id.
    Other,
}

/// The elements of a tuple or list.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    scanner: &'a Scanner,
    input: &'a [u8],
    few: &'a Few,
}

impl<'a> Parts<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.few.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.few.len == 0
    }

    /// The element with that number, of the first three: the scanner forgets the others.
    pub fn get(&self, index: usize) -> Option<Part<'a>> {
        let held = &self.few.first[..self.few.len.min(FEW)];
        let item = *held.get(index)?;
        Some(self.scanner.part(item, self.input))
    }
}

/// Not what the parts are: a list may contain itself.
impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parts({})", self.len())
    }
}

impl Scanner {
    pub(super) fn part<'a>(&'a self, item: Item, input: &'a [u8]) -> Part<'a> {
        let parts = |index: u32| Parts {
            scanner: self,
            input,
            few: &self.groups[index as usize],
        };
        match item {
            Item::None => Part::None,
            Item::Bytes(span) => Part::Bytes(self.span(span, input)),
            Item::ByteString(span) => Part::ByteString(self.span(span, input)),
            Item::Str(span) => Part::Str(utf8(self.span(span, input))),
            Item::Tuple(index) => Part::Tuple(parts(index)),
            Item::List(index) => Part::List(parts(index)),
            Item::Global(index) => {
                let (module, name) = self.globals[index as usize];
                Part::Global {
                    module: utf8(self.span(module, input)),
                    name: utf8(self.span(name, input)),
                }
            }
            _ => Part::Other,
        }
    }

    /// Text that was written out lies behind the input, so to speak.
    pub(super) fn span<'a>(&'a self, span: Span, input: &'a [u8]) -> &'a [u8] {
        let (start, len) = (span.start as usize, span.len as usize);
        match start.checked_sub(input.len()) {
            None => &input[start..][..len],
            // An empty value at the end of the input belongs to either.
            Some(start) => &self.text[start..][..len],
        }
    }
}

impl Item {
    /// Text that was found at that place.
    pub(super) fn text(bytes: &[u8], span: Span) -> Option<Self> {
        if bytes.is_ascii() {
            return Some(Self::Str(span));
        }
        match text::text_kind(bytes) {
            TextKind::Utf8 => Some(Self::Str(span)),
            TextKind::Surrogates => Some(Self::Surrogates),
            TextKind::Invalid => None,
        }
    }

    pub(super) fn kind_name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a bool",
            Self::Int => "an int",
            Self::Float => "a float",
            Self::Str(_) | Self::Surrogates => "a str",
            Self::Bytes(_) => "bytes",
            Self::ByteString(_) => "a Python 2 str",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict => "a dict",
            Self::Global(_) => "a class or function",
            Self::Extension => "an extension code",
            Self::Persistent => "a persistent reference",
            Self::Instance(_) => "an instance",
        }
    }
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("checked when the item was made")
}
