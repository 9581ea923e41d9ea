//! The `M` encoding: msgpack.

use std::borrow::Cow;
use std::io::{self, Read};

use rmpv::ValueRef;
use rmpv::decode::value_ref::BorrowRead;

use super::{Value, WIRE_DEPTH_MAX, WIRE_VALUES_MAX};
use crate::ProtocolError;

pub(super) fn encode(value: &Value<'_>, out: &mut Vec<u8>) {
    rmpv::encode::write_value_ref(out, &borrowed(value)).expect("writing into memory succeeds");
}

fn borrowed<'v>(value: &'v Value<'_>) -> ValueRef<'v> {
    match value {
        Value::None => ValueRef::Nil,
        Value::Bool(value) => ValueRef::Boolean(*value),
        Value::Int(value) => ValueRef::Integer((*value).into()),
        Value::Float(value) => ValueRef::F64(*value),
        Value::Bytes(bytes) => ValueRef::Binary(bytes),
        Value::Text(text) => ValueRef::String((&**text).into()),
        Value::Tuple(values) | Value::List(values) => {
            ValueRef::Array(values.iter().map(borrowed).collect())
        }
        Value::Map(pairs) => ValueRef::Map(
            pairs
                .iter()
                .map(|(key, value)| (borrowed(key), borrowed(value)))
                .collect(),
        ),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Value<'_>, ProtocolError> {
    let mut reader = Counted {
        rest: bytes,
        reads_left: 2 * WIRE_VALUES_MAX,
    };
    // rmpv counts an array and its reading as levels of their own.
    let value = rmpv::decode::read_value_ref_with_max_depth(&mut reader, 2 * WIRE_DEPTH_MAX + 2)
        .map_err(|error| {
            ProtocolError::undecodable(bytes.len() - reader.rest.len(), error.to_string())
        })?;
    if !reader.rest.is_empty() {
        let offset = bytes.len() - reader.rest.len();
        return Err(ProtocolError::undecodable(offset, "bytes after the value"));
    }
    inert(value).map_err(|what| ProtocolError::undecodable(0, what))
}

fn inert(value: ValueRef<'_>) -> Result<Value<'_>, &'static str> {
    Ok(match value {
        ValueRef::Nil => Value::None,
        ValueRef::Boolean(value) => Value::Bool(value),
        ValueRef::Integer(value) => {
            Value::Int(value.as_i64().ok_or("an integer of more than 64 bits")?)
        }
        ValueRef::F32(value) => Value::Float(value.into()),
        ValueRef::F64(value) => Value::Float(value),
        ValueRef::Binary(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        ValueRef::String(text) => Value::Text(Cow::Borrowed(
            text.into_str().ok_or("text that is not UTF-8")?,
        )),
        ValueRef::Array(values) => {
            Value::Tuple(values.into_iter().map(inert).collect::<Result<_, _>>()?)
        }
        ValueRef::Map(pairs) => Value::Map(
            pairs
                .into_iter()
                .map(|(key, value)| Ok((inert(key)?, inert(value)?)))
                .collect::<Result<_, &'static str>>()?,
        ),
        ValueRef::Ext(..) => return Err("an extension type"),
    })
}

/// A slice that stops a message of millions of tiny values before they fill the memory.
struct Counted<'a> {
    rest: &'a [u8],
    reads_left: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads_left = self
            .reads_left
            .checked_sub(1)
            .ok_or_else(|| io::Error::other("too many values"))?;
        self.rest.read(buffer)
    }
}

impl<'a> BorrowRead<'a> for Counted<'a> {
    fn fill_buf(&self) -> &'a [u8] {
        self.rest
    }

    fn consume(&mut self, length: usize) {
        self.rest = &self.rest[length..];
    }
}
