//! Opcodes one by one: for messages of fixed shape, and beneath the encoder.

use crate::integer;
use crate::opcode as op;

/// Writes single opcodes of protocol 3, in the forms that Python's pickler chooses.
///
/// Nothing is memoised here: used alone this is the pickler's "fast mode", in which ZEO sends its messages.
///
/// ```
/// let mut message = pickle::Writer::new();
/// message.begin();
/// message.tuple_begin(3);
/// message.int(1);
/// message.str("lastTransaction");
/// message.empty_tuple();
/// message.tuple_end(3);
/// message.stop();
/// assert_eq!(message.bytes(), b"\x80\x03K\x01X\x0f\0\0\0lastTransaction)\x87.");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// A writer without output.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
        }
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Starts a pickle.
    pub fn begin(&mut self) {
        self.out.extend([op::PROTO, op::PROTOCOL_WRITTEN]);
    }

    /// Ends a pickle.
    pub fn stop(&mut self) {
        self.op(op::STOP);
    }

    /// `None`.
    pub fn none(&mut self) {
        self.op(op::NONE);
    }

    /// `True` or `False`.
    pub fn bool(&mut self, value: bool) {
        self.op(if value { op::NEWTRUE } else { op::NEWFALSE });
    }

    /// An `int`.
    pub fn int(&mut self, value: i64) {
        if let Ok(byte) = u8::try_from(value) {
            self.out.extend([op::BININT1, byte]);
        } else if let Ok(half) = u16::try_from(value) {
            self.op(op::BININT2);
            self.out.extend(half.to_le_bytes());
        } else if let Ok(word) = i32::try_from(value) {
            self.op(op::BININT);
            self.out.extend(word.to_le_bytes());
        } else {
            self.big_int(integer::shortest(&value.to_le_bytes()));
        }
    }

    /// An `int` in two's complement, little-endian, shortest form.
    pub(crate) fn big_int(&mut self, bytes: &[u8]) {
        self.counted(op::LONG1, op::LONG4, bytes);
    }

    /// A `float`.
    pub fn float(&mut self, value: f64) {
        self.op(op::BINFLOAT);
        self.out.extend(value.to_be_bytes());
    }

    /// A `str`.
    ///
    /// Panics beyond 4 GiB, as `bytes` does: protocol 3 cannot hold it.
    pub fn str(&mut self, value: &str) {
        self.text(value.as_bytes());
    }

    pub(crate) fn text(&mut self, utf8: &[u8]) {
        self.op(op::BINUNICODE);
        self.length(utf8.len());
        self.out.extend_from_slice(utf8);
    }

    /// A `bytes`.
    pub fn bytes_object(&mut self, value: &[u8]) {
        self.counted(op::SHORT_BINBYTES, op::BINBYTES, value);
    }

    /// A Python 2 `str`.
    pub(crate) fn byte_string(&mut self, value: &[u8]) {
        self.counted(op::SHORT_BINSTRING, op::BINSTRING, value);
    }

    /// `()`.
    pub fn empty_tuple(&mut self) {
        self.op(op::EMPTY_TUPLE);
    }

    /// Comes before the items of a tuple of this length.
    pub fn tuple_begin(&mut self, len: usize) {
        if len > 3 {
            self.op(op::MARK);
        }
    }

    /// Comes after the items of a tuple of this length.
    pub fn tuple_end(&mut self, len: usize) {
        self.op(match len {
            0 => op::EMPTY_TUPLE,
            1 => op::TUPLE1,
            2 => op::TUPLE2,
            3 => op::TUPLE3,
            _ => op::TUPLE,
        });
    }

    /// Starts a list; each item is then followed by `append`.
    pub fn empty_list(&mut self) {
        self.op(op::EMPTY_LIST);
    }

    /// Appends the item just written to the list before it.
    pub fn append(&mut self) {
        self.op(op::APPEND);
    }

    /// Comes before the items for `appends`, or the keys and values for `set_items`.
    pub fn mark(&mut self) {
        self.op(op::MARK);
    }

    /// Appends the items since the mark to the list before it. Python writes at most 1,000 at a time.
    pub fn appends(&mut self) {
        self.op(op::APPENDS);
    }

    /// Starts a dict; each key and value is then followed by `set_item`.
    pub fn empty_dict(&mut self) {
        self.op(op::EMPTY_DICT);
    }

    /// Puts the key and value just written into the dict before them.
    pub fn set_item(&mut self) {
        self.op(op::SETITEM);
    }

    /// Puts the pairs since the mark into the dict before it. Python writes at most 1,000 at a time.
    pub fn set_items(&mut self) {
        self.op(op::SETITEMS);
    }

    /// A class or function by name.
    ///
    /// Panics if a name holds a line break.
    pub fn global(&mut self, module: &str, name: &str) {
        assert!(
            !module.contains('\n') && !name.contains('\n'),
            "a class name holds a line break"
        );
        self.global_names(module.as_bytes(), name.as_bytes());
    }

    pub(crate) fn global_names(&mut self, module: &[u8], name: &[u8]) {
        self.op(op::GLOBAL);
        self.out.extend_from_slice(module);
        self.out.push(b'\n');
        self.out.extend_from_slice(name);
        self.out.push(b'\n');
    }

    /// Calls the callable with the tuple of arguments, both just written.
    pub fn reduce(&mut self) {
        self.op(op::REDUCE);
    }

    /// Sets the state just written on the instance before it.
    pub fn build(&mut self) {
        self.op(op::BUILD);
    }

    pub(crate) fn extension(&mut self, code: u32) {
        if let Ok(byte) = u8::try_from(code) {
            self.out.extend([op::EXT1, byte]);
        } else if let Ok(half) = u16::try_from(code) {
            self.op(op::EXT2);
            self.out.extend(half.to_le_bytes());
        } else {
            self.op(op::EXT4);
            self.out.extend(code.to_le_bytes());
        }
    }

    pub(crate) fn put(&mut self, slot: u32) {
        self.slot(op::BINPUT, op::LONG_BINPUT, slot);
    }

    pub(crate) fn get(&mut self, slot: u32) {
        self.slot(op::BINGET, op::LONG_BINGET, slot);
    }

    pub(crate) fn op(&mut self, opcode: u8) {
        self.out.push(opcode);
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    fn slot(&mut self, short: u8, long: u8, slot: u32) {
        if let Ok(byte) = u8::try_from(slot) {
            self.out.extend([short, byte]);
        } else {
            self.op(long);
            self.out.extend(slot.to_le_bytes());
        }
    }

    fn counted(&mut self, short: u8, long: u8, bytes: &[u8]) {
        if let Ok(len) = u8::try_from(bytes.len()) {
            self.out.extend([short, len]);
        } else {
            self.op(long);
            self.length(bytes.len());
        }
        self.out.extend_from_slice(bytes);
    }

    fn length(&mut self, len: usize) {
        let len = u32::try_from(len).expect("protocol 3 holds texts below 4 GiB");
        self.out.extend(len.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i64) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.int(value);
        writer.into_bytes()
    }

    #[test]
    fn integers_take_the_shortest_form() {
        assert_eq!(int(255), b"K\xff");
        assert_eq!(int(256), b"M\x00\x01");
        assert_eq!(int(65_536), b"J\x00\x00\x01\x00");
        assert_eq!(int(-1), b"J\xff\xff\xff\xff");
        assert_eq!(int(1 << 31), b"\x8a\x05\x00\x00\x00\x80\x00");
        assert_eq!(int(-(1 << 31) - 1), b"\x8a\x05\xff\xff\xff\x7f\xff");
        assert_eq!(int(i64::MIN), b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80");
    }
}
