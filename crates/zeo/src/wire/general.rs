//! Pickles that ZEO's own writer would not make: read and written by the `pickle` crate.

use std::borrow::Cow;
use std::collections::HashMap;

use pickle::{Kind, NodeId, Pickles};

use super::{Value, WIRE_DEPTH_MAX, WIRE_VALUES_MAX};
use crate::ProtocolError;

/// Reads any pickle of plain values.
pub(super) fn decode(bytes: &[u8]) -> Result<Value<'static>, ProtocolError> {
    let limits = pickle::Limits {
        nodes: WIRE_VALUES_MAX,
        ..pickle::Limits::default()
    };
    let pickles = Pickles::decode_with(bytes, &limits)
        .map_err(|error| ProtocolError::undecodable(0, error.to_string()))?;
    let (Some(root), None) = (pickles.root(0), pickles.root(1)) else {
        return Err(ProtocolError::undecodable(0, "not exactly one value"));
    };
    let mut reader = Reader {
        values_left: WIRE_VALUES_MAX.min(bytes.len() + MEMO_VALUES_MAX),
        bytes_left: bytes.len() + MEMO_BYTES_MAX,
    };
    reader
        .read(root, 0)
        .map_err(|what| ProtocolError::undecodable(0, what))
}

/// How many values and how many bytes of strings a pickle may stand for beyond its own length, by
/// naming them again. ZEO's own messages have no memo; what is left are repetitions in a small
/// dict, such as a transaction's extension.
const MEMO_VALUES_MAX: usize = 64 << 10;
const MEMO_BYTES_MAX: usize = 1 << 20;

/// A memo makes a small pickle a large value, and every reference is copied here, so values, bytes
/// and depth are all counted.
struct Reader {
    values_left: usize,
    bytes_left: usize,
}

impl Reader {
    fn read(&mut self, value: pickle::Value<'_>, depth: usize) -> Result<Value<'static>, String> {
        let values_left = self.values_left.checked_sub(1);
        self.values_left = values_left.ok_or("the value is much larger than its pickle")?;
        if depth > WIRE_DEPTH_MAX {
            return Err("values nest too deep".to_owned());
        }
        let below = depth + 1;
        Ok(match value.kind() {
            Kind::None => Value::None,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Int(value) => Value::Int(value),
            Kind::Float(value) => Value::Float(value),
            Kind::Bytes(bytes) | Kind::ByteString(bytes) => {
                self.charge(bytes.len())?;
                Value::Bytes(Cow::Owned(bytes.to_vec()))
            }
            Kind::Str(text) => {
                self.charge(text.len())?;
                Value::Text(Cow::Owned(text.to_owned()))
            }
            Kind::Tuple(elements) => Value::Tuple(self.read_all(elements, below)?),
            Kind::List(elements) => Value::List(self.read_all(elements, below)?),
            Kind::Dict(entries) => {
                let pairs = entries
                    .map(|(key, value)| Ok((self.read(key, below)?, self.read(value, below)?)));
                Value::Map(pairs.collect::<Result<_, String>>()?)
            }
            Kind::Instance(instance) => self.read_object(&instance, below)?,
            Kind::Global { module, name } => {
                return Err(format!("the name {module}.{name} is not allowed"));
            }
            // The printed value is bounded, the bytes of a kind are not.
            _ => return Err(format!("not allowed: {value}")),
        })
    }

    /// Counts a copy, before it is made.
    fn charge(&mut self, bytes: usize) -> Result<(), String> {
        let bytes_left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = bytes_left.ok_or("the value is much larger than its pickle")?;
        Ok(())
    }

    fn read_all<'p>(
        &mut self,
        elements: impl Iterator<Item = pickle::Value<'p>>,
        depth: usize,
    ) -> Result<Vec<Value<'static>>, String> {
        elements.map(|element| self.read(element, depth)).collect()
    }

    /// The kinds of objects that messages hold: `undoInfo` filters by a path with a `Prefix`, the errors of
    /// an undo have other errors inside, and a transaction's extension may be a subclass of `dict`. The
    /// state stands for the object.
    fn read_object(
        &mut self,
        instance: &pickle::Instance<'_>,
        depth: usize,
    ) -> Result<Value<'static>, String> {
        match (instance.class.as_global(), instance.state) {
            (Some(("ZopeUndo.Prefix", "Prefix")), Some(state)) => self.read(state, depth),
            (Some(("ZODB.POSException", "_recon")), _) => {
                // `_recon(class, state)`
                let state = instance.args.and_then(|args| args.elements().nth(1));
                self.read(state.ok_or("an error without a state")?, depth)
            }
            (Some(("builtins" | "__builtin__", "dict")), None) => self.read_dict(instance, depth),
            (Some((module, name)), _) => Err(format!("the class {module}.{name} is not allowed")),
            (None, _) => Err("an object without a class".to_owned()),
        }
    }

    /// What `dict(pairs)` makes.
    fn read_dict(
        &mut self,
        instance: &pickle::Instance<'_>,
        depth: usize,
    ) -> Result<Value<'static>, String> {
        let pairs = match instance.args.and_then(|args| args.elements().next()) {
            None => return Ok(Value::Map(Vec::new())),
            Some(pairs) => self.read(pairs, depth)?,
        };
        let (Value::Tuple(pairs) | Value::List(pairs)) = pairs else {
            return Err("a dict that is made of no pairs".to_owned());
        };
        let pairs = pairs.into_iter().map(|pair| match pair {
            Value::Tuple(pair) => <[Value<'static>; 2]>::try_from(pair)
                .map(|[key, value]| (key, value))
                .map_err(|_| "a dict that is made of no pairs".to_owned()),
            _ => Err("a dict that is made of no pairs".to_owned()),
        });
        pairs.collect::<Result<_, _>>().map(Value::Map)
    }
}

/// Pickles with a memo, as ZODB pickles a transaction's extension after it has unpickled it.
pub(super) fn encode(value: &Value<'_>) -> Vec<u8> {
    let mut writer = Writer::default();
    let root = writer.write(value);
    writer.pickles.push_root(root);
    writer.pickles.encode()
}

#[derive(Default)]
struct Writer {
    pickles: Pickles,
    /// Python keeps one object for each text and each byte string of at most one (latin-1)
    /// character, and its pickler writes a second occurrence as a reference.
    short_texts: HashMap<String, NodeId>,
    short_bytes: HashMap<Vec<u8>, NodeId>,
}

impl Writer {
    fn write(&mut self, value: &Value<'_>) -> NodeId {
        match value {
            Value::None => self.pickles.none(),
            Value::Bool(value) => self.pickles.bool(*value),
            Value::Int(value) => self.pickles.int(*value),
            Value::Float(value) => self.pickles.float(*value),
            Value::Bytes(bytes) if bytes.len() <= 1 => {
                let pickles = &mut self.pickles;
                let known = self.short_bytes.entry(bytes.to_vec());
                *known.or_insert_with(|| pickles.bytes(bytes))
            }
            Value::Bytes(bytes) => self.pickles.bytes(bytes),
            Value::Text(text) if is_short(text) => {
                let pickles = &mut self.pickles;
                let known = self.short_texts.entry(text.clone().into_owned());
                *known.or_insert_with(|| pickles.str(text))
            }
            Value::Text(text) => self.pickles.str(text),
            Value::Tuple(values) => {
                let nodes = self.write_all(values);
                self.pickles.tuple(nodes)
            }
            Value::List(values) => {
                let nodes = self.write_all(values);
                self.pickles.list(nodes)
            }
            Value::Map(pairs) => {
                let nodes = pairs
                    .iter()
                    .map(|(key, value)| (self.write(key), self.write(value)))
                    .collect();
                self.pickles.dict(nodes)
            }
        }
    }

    fn write_all(&mut self, values: &[Value<'_>]) -> Vec<NodeId> {
        values.iter().map(|value| self.write(value)).collect()
    }
}

fn is_short(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_none_or(|first| first <= '\u{ff}') && characters.next().is_none()
}
