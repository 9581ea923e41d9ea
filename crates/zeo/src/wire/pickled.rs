//! The `Z` encoding: pickle protocol 3.
//!
//! ZEO writes its messages in the pickler's "fast" mode: no memo, and a dozen opcodes. That subset
//! is read here in one pass that borrows from the frame, because every load of every client goes
//! through it. A pickle with any other opcode (memo, names of classes, protocols 0 to 2) goes to
//! the `pickle` crate.

use std::borrow::Cow;

use super::{Value, WIRE_DEPTH_MAX, WIRE_VALUES_MAX, general};
use crate::ProtocolError;

const MARK: u8 = b'(';
const STOP: u8 = b'.';
const NONE: u8 = b'N';
const NEW_TRUE: u8 = 0x88;
const NEW_FALSE: u8 = 0x89;
const BIN_INT: u8 = b'J';
const BIN_INT_1: u8 = b'K';
const BIN_INT_2: u8 = b'M';
const LONG_1: u8 = 0x8a;
const BIN_FLOAT: u8 = b'G';
const BIN_BYTES: u8 = b'B';
const SHORT_BIN_BYTES: u8 = b'C';
const BIN_UNICODE: u8 = b'X';
const EMPTY_TUPLE: u8 = b')';
const TUPLE: u8 = b't';
const TUPLE_1: u8 = 0x85;
const TUPLE_2: u8 = 0x86;
const TUPLE_3: u8 = 0x87;
const EMPTY_LIST: u8 = b']';
const APPEND: u8 = b'a';
const APPENDS: u8 = b'e';
const EMPTY_DICT: u8 = b'}';
const SET_ITEM: u8 = b's';
const SET_ITEMS: u8 = b'u';
const PROTOCOL: [u8; 2] = [0x80, 3];

/// How many elements the C pickler puts behind one mark.
const BATCH: usize = 1000;

pub(super) fn encode(value: &Value<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&PROTOCOL);
    write(value, out);
    out.push(STOP);
}

fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::None => out.push(NONE),
        Value::Bool(true) => out.push(NEW_TRUE),
        Value::Bool(false) => out.push(NEW_FALSE),
        Value::Int(value) => write_int(*value, out),
        Value::Float(value) => {
            out.push(BIN_FLOAT);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Bytes(bytes) => {
            match u8::try_from(bytes.len()) {
                Ok(length) => out.extend_from_slice(&[SHORT_BIN_BYTES, length]),
                Err(_) => write_length(BIN_BYTES, bytes.len(), out),
            }
            out.extend_from_slice(bytes);
        }
        Value::Text(text) => {
            write_length(BIN_UNICODE, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Tuple(values) => write_tuple(values, out),
        Value::List(values) => {
            out.push(EMPTY_LIST);
            write_batches(values, APPEND, APPENDS, out, |value, out| write(value, out));
        }
        Value::Map(pairs) => {
            out.push(EMPTY_DICT);
            write_batches(pairs, SET_ITEM, SET_ITEMS, out, |(key, value), out| {
                write(key, out);
                write(value, out);
            });
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each cast is guarded by its range"
)]
#[expect(clippy::cast_sign_loss, reason = "each cast is guarded by its range")]
fn write_int(value: i64, out: &mut Vec<u8>) {
    match value {
        0..=0xff => out.extend_from_slice(&[BIN_INT_1, value as u8]),
        0x100..=0xffff => {
            out.push(BIN_INT_2);
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        -0x8000_0000..=0x7fff_ffff => {
            out.push(BIN_INT);
            out.extend_from_slice(&(value as i32).to_le_bytes());
        }
        _ => {
            let bytes = value.to_le_bytes();
            let fill = if value < 0 { 0xff } else { 0 };
            // Two's complement, as short as keeps the sign.
            let mut length = bytes.len();
            while bytes[length - 1] == fill && (bytes[length - 2] ^ fill) & 0x80 == 0 {
                length -= 1;
            }
            out.extend_from_slice(&[LONG_1, length as u8]);
            out.extend_from_slice(&bytes[..length]);
        }
    }
}

fn write_length(opcode: u8, length: usize, out: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("records and texts stay below the frame limit");
    out.push(opcode);
    out.extend_from_slice(&length.to_le_bytes());
}

fn write_tuple(values: &[Value<'_>], out: &mut Vec<u8>) {
    let close = match values.len() {
        0 => EMPTY_TUPLE,
        1 => TUPLE_1,
        2 => TUPLE_2,
        3 => TUPLE_3,
        _ => {
            out.push(MARK);
            TUPLE
        }
    };
    for value in values {
        write(value, out);
    }
    out.push(close);
}

fn write_batches<T>(
    items: &[T],
    one: u8,
    many: u8,
    out: &mut Vec<u8>,
    write: impl Fn(&T, &mut Vec<u8>),
) {
    for batch in items.chunks(BATCH) {
        if let [item] = batch {
            write(item, out);
            out.push(one);
        } else {
            out.push(MARK);
            batch.iter().for_each(|item| write(item, out));
            out.push(many);
        }
    }
}

/// Pickles with a memo, as ZODB does.
pub(super) fn encode_with_memo(value: &Value<'_>) -> Vec<u8> {
    general::encode(value)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Value<'_>, ProtocolError> {
    let mut reader = Reader {
        bytes,
        position: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        values_left: WIRE_VALUES_MAX,
    };
    match reader.run() {
        Ok(value) => Ok(value),
        Err(Stop::General) => general::decode(bytes),
        Err(Stop::Bad(what)) => Err(ProtocolError::undecodable(reader.position, what)),
    }
}

/// Why the one pass ends early.
enum Stop {
    /// An opcode outside of the subset.
    General,
    Bad(&'static str),
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Values with their depth.
    stack: Vec<(Value<'a>, usize)>,
    marks: Vec<usize>,
    values_left: usize,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<Value<'a>, Stop> {
        if self.take(2)? != PROTOCOL {
            return Err(Stop::General);
        }
        loop {
            let opcode = self.take(1)?[0];
            if opcode == STOP {
                break;
            }
            self.step(opcode)?;
        }
        match (
            self.stack.pop(),
            self.stack.is_empty() && self.marks.is_empty(),
        ) {
            (Some((value, _)), true) if self.position == self.bytes.len() => Ok(value),
            _ => Err(Stop::Bad("not exactly one value")),
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), Stop> {
        match opcode {
            MARK => self.marks.push(self.stack.len()),
            NONE => self.push(Value::None)?,
            NEW_TRUE => self.push(Value::Bool(true))?,
            NEW_FALSE => self.push(Value::Bool(false))?,
            BIN_INT_1 => {
                let value = self.take(1)?[0];
                self.push(Value::Int(value.into()))?;
            }
            BIN_INT_2 => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            BIN_INT => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            LONG_1 => {
                let value = self.long()?;
                self.push(Value::Int(value))?;
            }
            BIN_FLOAT => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(value))?;
            }
            SHORT_BIN_BYTES => {
                let length = usize::from(self.take(1)?[0]);
                let bytes = self.take(length)?;
                self.push(Value::bytes(bytes))?;
            }
            BIN_BYTES => {
                let bytes = self.sized()?;
                self.push(Value::bytes(bytes))?;
            }
            BIN_UNICODE => {
                let bytes = self.sized()?;
                // Lone surrogates are legal in Python and left to the general reader to judge.
                let text = std::str::from_utf8(bytes).map_err(|_| Stop::General)?;
                self.push(Value::Text(Cow::Borrowed(text)))?;
            }
            EMPTY_LIST => self.push(Value::List(Vec::new()))?,
            EMPTY_DICT => self.push(Value::Map(Vec::new()))?,
            EMPTY_TUPLE => self.push(Value::Tuple(Vec::new()))?,
            TUPLE_1 => self.tuple(1)?,
            TUPLE_2 => self.tuple(2)?,
            TUPLE_3 => self.tuple(3)?,
            TUPLE => {
                let count = self.above_mark()?;
                self.tuple(count)?;
            }
            APPEND => self.append(1)?,
            APPENDS => {
                let count = self.above_mark()?;
                self.append(count)?;
            }
            SET_ITEM => self.set(2)?,
            SET_ITEMS => {
                let count = self.above_mark()?;
                self.set(count)?;
            }
            _ => return Err(Stop::General),
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.position..];
        let taken = rest
            .get(..length)
            .ok_or(Stop::Bad("the pickle ends early"))?;
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let taken = self.take(N)?;
        taken
            .try_into()
            .map_err(|_| Stop::Bad("the pickle ends early"))
    }

    fn sized(&mut self) -> Result<&'a [u8], Stop> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn long(&mut self) -> Result<i64, Stop> {
        let length = usize::from(self.take(1)?[0]);
        let bytes = self.take(length)?;
        let Some(&last) = bytes.last() else {
            return Ok(0);
        };
        if bytes.len() > 8 {
            return Err(Stop::Bad("an integer of more than 64 bits"));
        }
        let mut filled = [if last & 0x80 == 0 { 0 } else { 0xff }; 8];
        filled[..bytes.len()].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(filled))
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), Stop> {
        self.push_deep(value, 0)
    }

    fn push_deep(&mut self, value: Value<'a>, depth: usize) -> Result<(), Stop> {
        self.values_left = self
            .values_left
            .checked_sub(1)
            .ok_or(Stop::Bad("too many values"))?;
        self.stack.push((value, depth));
        Ok(())
    }

    fn above_mark(&mut self) -> Result<usize, Stop> {
        let mark = self.marks.pop().ok_or(Stop::Bad("no mark"))?;
        self.stack
            .len()
            .checked_sub(mark)
            .ok_or(Stop::Bad("the stack is empty"))
    }

    /// The `count` values on top, and how deep a value that holds them is.
    fn pop(&mut self, count: usize) -> Result<(Vec<Value<'a>>, usize), Stop> {
        let start = self.stack.len().checked_sub(count);
        let start = start.ok_or(Stop::Bad("the stack is empty"))?;
        let mut depth = 0;
        let values = self.stack.drain(start..);
        let values = values
            .map(|(value, below)| {
                depth = depth.max(below + 1);
                value
            })
            .collect();
        if depth > WIRE_DEPTH_MAX {
            return Err(Stop::Bad("values nest too deep"));
        }
        Ok((values, depth))
    }

    fn tuple(&mut self, count: usize) -> Result<(), Stop> {
        let (values, depth) = self.pop(count)?;
        self.push_deep(Value::Tuple(values), depth)
    }

    fn append(&mut self, count: usize) -> Result<(), Stop> {
        let (values, below) = self.pop(count)?;
        match self.stack.last_mut() {
            Some((Value::List(list), depth)) => {
                list.extend(values);
                *depth = below.max(*depth);
                Ok(())
            }
            _ => Err(Stop::Bad("no list to append to")),
        }
    }

    fn set(&mut self, count: usize) -> Result<(), Stop> {
        let (values, below) = self.pop(count)?;
        if !count.is_multiple_of(2) {
            return Err(Stop::Bad("a key without a value"));
        }
        match self.stack.last_mut() {
            Some((Value::Map(pairs), depth)) => {
                *depth = below.max(*depth);
                let mut values = values.into_iter();
                while let (Some(key), Some(value)) = (values.next(), values.next()) {
                    pairs.push((key, value));
                }
                Ok(())
            }
            _ => Err(Stop::Bad("no dict to fill")),
        }
    }
}
