//! Python values as Rust owns them: for what goes into a state, and comes out.

use std::sync::Arc;

use pickle::{Kind, NodeId, Pickles, Value};
use storage::Oid;

use crate::Reference;

/// A value of Python's built-in types, a reference to a persistent object, or anything else as it
/// is in its record.
///
/// ```
/// use pickle::Pickles;
/// use zodb::Data;
///
/// let mut pickles = Pickles::new();
/// let node = Data::from(vec![Data::from("a"), Data::from(1)]).write(&mut pickles);
/// assert_eq!(pickles.value(node).to_string(), "['a', 1]");
/// assert_eq!(Data::read(pickles.value(node)), Data::List(vec!["a".into(), 1.into()]));
/// ```
#[derive(Clone, Debug)]
pub enum Data {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An `int`.
    Int(i128),
    /// A `float`.
    Float(f64),
    /// A `str`.
    Str(String),
    /// A `bytes`.
    Bytes(Vec<u8>),
    /// A `tuple`.
    Tuple(Vec<Self>),
    /// A `list`.
    List(Vec<Self>),
    /// A `dict`, in its order.
    Dict(Vec<(Self, Self)>),
    /// A reference to a persistent object.
    Reference(Reference),
    /// Something else: an instance, a class, a set, or what is nested too deep.
    Other(Opaque),
}

/// A value that is kept as it was found, with all that it holds.
#[derive(Clone, Debug)]
pub struct Opaque(Arc<Pickles>);

/// Deepest nesting that is taken apart.
const DEPTH_MAX: u32 = 32;

/// Most values that one is taken apart to: what is shared is repeated.
const VALUES_MAX: u32 = 100_000;

impl Data {
    /// Takes a value out of its record. What is shared within it is repeated.
    pub fn read(value: Value<'_>) -> Self {
        let mut left = VALUES_MAX;
        Self::read_within(value, DEPTH_MAX, &mut left).unwrap_or_else(|| Self::opaque(value))
    }

    fn read_within(value: Value<'_>, depth: u32, left: &mut u32) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        *left = left.checked_sub(1)?;
        let mut all = |items: pickle::Elements<'_>| -> Option<Vec<Self>> {
            items
                .map(|item| Self::read_within(item, depth, left))
                .collect()
        };
        Some(match value.kind() {
            Kind::None => Self::None,
            Kind::Bool(value) => Self::Bool(value),
            Kind::Int(value) => Self::Int(i128::from(value)),
            Kind::BigInt(bytes) => match int(bytes) {
                Some(value) => Self::Int(value),
                None => Self::opaque(value),
            },
            Kind::Float(value) => Self::Float(value),
            Kind::Str(text) => Self::Str(text.to_owned()),
            Kind::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            Kind::Tuple(items) => Self::Tuple(all(items)?),
            Kind::List(items) => Self::List(all(items)?),
            Kind::Dict(pairs) => {
                let mut found = Vec::with_capacity(pairs.len());
                for (key, item) in pairs {
                    let key = Self::read_within(key, depth, left)?;
                    found.push((key, Self::read_within(item, depth, left)?));
                }
                Self::Dict(found)
            }
            Kind::Persistent(_) => match Reference::read(value) {
                Some(reference) => Self::Reference(reference),
                None => Self::opaque(value),
            },
            _ => Self::opaque(value),
        })
    }

    fn opaque(value: Value<'_>) -> Self {
        let mut pickles = Pickles::new();
        let root = pickles.copy_from(value);
        pickles.push_root(root);
        Self::Other(Opaque(Arc::new(pickles)))
    }

    /// Adds the value to a record.
    pub fn write(&self, pickles: &mut Pickles) -> NodeId {
        match self {
            Self::None => pickles.none(),
            Self::Bool(value) => pickles.bool(*value),
            Self::Int(value) => pickles.big_int(&value.to_le_bytes()),
            Self::Float(value) => pickles.float(*value),
            Self::Str(text) => pickles.str(text),
            Self::Bytes(bytes) => pickles.bytes(bytes),
            Self::Tuple(items) => {
                let items = items.iter().map(|item| item.write(pickles)).collect();
                pickles.tuple(items)
            }
            Self::List(items) => {
                let items = items.iter().map(|item| item.write(pickles)).collect();
                pickles.list(items)
            }
            Self::Dict(pairs) => {
                let pairs = pairs
                    .iter()
                    .map(|(key, item)| (key.write(pickles), item.write(pickles)))
                    .collect();
                pickles.dict(pairs)
            }
            Self::Reference(reference) => reference.write(pickles),
            Self::Other(opaque) => pickles.copy_from(opaque.value()),
        }
    }
}

impl Opaque {
    /// A look at it.
    pub fn value(&self) -> Value<'_> {
        self.0.root(0).expect("it was made with one root")
    }
}

/// Both look the same when they are written.
impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.encode() == other.0.encode()
    }
}

/// Equal kinds with equal parts: `1` and `1.0` differ here.
impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Int(left), Self::Int(right)) => left == right,
            (Self::Float(left), Self::Float(right)) => left.to_bits() == right.to_bits(),
            (Self::Str(left), Self::Str(right)) => left == right,
            (Self::Bytes(left), Self::Bytes(right)) => left == right,
            (Self::Tuple(left), Self::Tuple(right)) | (Self::List(left), Self::List(right)) => {
                left == right
            }
            (Self::Dict(left), Self::Dict(right)) => left == right,
            (Self::Reference(left), Self::Reference(right)) => left == right,
            (Self::Other(left), Self::Other(right)) => left == right,
            _ => false,
        }
    }
}

/// Two's complement, little-endian, of at most 16 bytes.
fn int(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.last()? & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 16];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i128::from_le_bytes(wide))
}

macro_rules! from {
    ($($from:ty => $name:ident with $make:expr;)*) => {$(
        impl From<$from> for Data {
            fn from($name: $from) -> Self {
                $make
            }
        }
    )*};
}

from! {
    bool => value with Self::Bool(value);
    i32 => value with Self::Int(value.into());
    i64 => value with Self::Int(value.into());
    u32 => value with Self::Int(value.into());
    u64 => value with Self::Int(value.into());
    f64 => value with Self::Float(value);
    &str => text with Self::Str(text.to_owned());
    String => text with Self::Str(text);
    &[u8] => bytes with Self::Bytes(bytes.to_vec());
    Vec<u8> => bytes with Self::Bytes(bytes);
    Reference => reference with Self::Reference(reference);
    Oid => oid with Self::Reference(Reference::Strong { oid, class: None });
    Vec<Self> => items with Self::List(items);
}

impl<T: Into<Self>> From<Option<T>> for Data {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// A Rust type that a Python value may be read as.
pub trait FromData: Sized {
    /// What is expected, for messages: "an int".
    const EXPECTED: &'static str;

    /// The value; nothing where it is of another kind.
    fn from_value(value: Value<'_>) -> Option<Self>;
}

macro_rules! from_data {
    ($($to:ty: $expected:literal, $value:ident => $read:expr;)*) => {$(
        impl FromData for $to {
            const EXPECTED: &'static str = $expected;

            fn from_value($value: Value<'_>) -> Option<Self> {
                $read
            }
        }
    )*};
}

from_data! {
    bool: "True or False", value => value.as_bool();
    i64: "an int of 64 bits", value => value.as_int();
    u64: "a natural number of 64 bits", value => match Data::read(value) {
        Data::Int(int) => int.try_into().ok(),
        _ => None,
    };
    f64: "a float", value => value.as_float();
    String: "a str", value => value.as_text().map(std::borrow::Cow::into_owned);
    Vec<u8>: "bytes", value => value.as_bytes().map(<[u8]>::to_vec);
    Reference: "a reference to a persistent object",
        value => value.persistent_id().and_then(|_| Self::read(value));
    Oid: "a reference to a persistent object",
        value => Reference::from_value(value).map(|reference| reference.oid());
    Data: "anything", value => Some(Self::read(value));
}

impl<T: FromData> FromData for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: Value<'_>) -> Option<Self> {
        if value.is_none() {
            return Some(None);
        }
        T::from_value(value).map(Some)
    }
}
