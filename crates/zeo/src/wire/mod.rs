//! The values of messages, and the two encodings they travel in.
//!
//! `Z` is Python's pickle, protocol 3, written without a memo as ZEO does; `M` is msgpack. Nothing
//! that arrives is ever executed: a pickle that names a class is refused, but for the few names
//! which the protocol knows.

mod general;
mod packed;
mod pickled;
mod quick;

use std::borrow::Cow;

use crate::ProtocolError;

pub(crate) use quick::LoadCall;

/// How deep values nest at most.
pub const WIRE_DEPTH_MAX: usize = 64;
/// How many values one message holds at most.
pub const WIRE_VALUES_MAX: usize = 4 << 20;

/// An encoding of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Pickles: `Z`.
    Pickle,
    /// Msgpack: `M`.
    Msgpack,
}

/// A value of a message. Bytes and text borrow from the frame they were read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A byte string.
    Bytes(Cow<'a, [u8]>),
    /// A text.
    Text(Cow<'a, str>),
    /// A tuple; msgpack knows no difference to a list and reads every array as a tuple.
    Tuple(Vec<Self>),
    /// A list.
    List(Vec<Self>),
    /// A dict, in the order of its keys.
    Map(Vec<(Self, Self)>),
}

impl Encoding {
    /// The frame that announces this encoding and version 5 of the protocol.
    pub fn announcement(self) -> &'static [u8; 2] {
        match self {
            Self::Pickle => b"Z5",
            Self::Msgpack => b"M5",
        }
    }

    /// The encoding that a handshake of version 5 names.
    pub fn from_handshake(frame: &[u8]) -> Result<Self, ProtocolError> {
        match frame {
            b"Z5" => Ok(Self::Pickle),
            b"M5" => Ok(Self::Msgpack),
            other => Err(ProtocolError::Handshake {
                found: String::from_utf8_lossy(&other[..other.len().min(16)]).into_owned(),
            }),
        }
    }

    /// Appends one encoded value.
    pub fn encode(self, value: &Value<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Pickle => pickled::encode(value, out),
            Self::Msgpack => packed::encode(value, out),
        }
    }

    /// Reads the one value that `bytes` holds.
    ///
    /// # Errors
    /// [`ProtocolError::Undecodable`] for anything else, for too many or too deep values, and for
    /// names of classes.
    pub fn decode(self, bytes: &[u8]) -> Result<Value<'_>, ProtocolError> {
        match self {
            Self::Pickle => pickled::decode(bytes),
            Self::Msgpack => packed::decode(bytes),
        }
    }
}

/// Reads a pickled dict, such as a transaction's extension; empty input is an empty dict.
pub(crate) fn decode_extension(bytes: &[u8]) -> Result<Value<'_>, ProtocolError> {
    if bytes.is_empty() {
        return Ok(Value::Map(Vec::new()));
    }
    pickled::decode(bytes)
}

/// Pickles a dict as ZODB does, with a memo; an empty one becomes no bytes at all.
pub(crate) fn encode_extension(value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::Map(pairs) if pairs.is_empty() => Vec::new(),
        value => pickled::encode_with_memo(value),
    }
}

impl<'a> Value<'a> {
    /// Bytes that borrow.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }

    /// Eight bytes of an object or transaction id.
    pub fn id(bytes: [u8; 8]) -> Self {
        Self::Bytes(Cow::Owned(bytes.to_vec()))
    }

    /// Text that borrows.
    pub fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// The value without a borrow.
    pub fn into_owned(self) -> Value<'static> {
        let all = |values: Vec<Self>| values.into_iter().map(Self::into_owned).collect();
        match self {
            Self::None => Value::None,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Tuple(values) => Value::Tuple(all(values)),
            Self::List(values) => Value::List(all(values)),
            Self::Map(pairs) => Value::Map(
                pairs
                    .into_iter()
                    .map(|(key, value)| (key.into_owned(), value.into_owned()))
                    .collect(),
            ),
        }
    }

    /// The bytes of a byte string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The characters of a text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// An integer; `True` and `False` count, as in Python.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The elements of a tuple or list.
    pub fn elements(&self) -> Option<&[Self]> {
        match self {
            Self::Tuple(values) | Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// Looks a text key up in a dict.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs
                .iter()
                .find(|(name, _)| name.as_text() == Some(key))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// What Python's `bool()` says.
    pub fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::Text(text) => !text.is_empty(),
            Self::Tuple(values) | Self::List(values) => !values.is_empty(),
            Self::Map(pairs) => !pairs.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests;
