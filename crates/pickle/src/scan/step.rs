//! The opcodes, in the order and with the checks of the decoder.

use super::{Few, Instance, Item, Part, Scan, add, limit_reached};
use crate::error::Reason;
use crate::limits::INPUT_BYTES_MAX;
use crate::literal;
use crate::node::Span;
use crate::opcode as op;
use crate::pickles::small;

impl<'i, F: FnMut(Part<'_>)> Scan<'_, 'i, F> {
    /// Opcodes for atoms, the stack and the memo.
    #[inline(always)]
    pub(super) fn step(&mut self, opcode: u8) -> Result<(), Reason> {
        match opcode {
            op::BINPUT => {
                let slot = self.input.byte()?;
                self.put(u64::from(slot))
            }
            op::LONG_BINPUT => {
                let slot = u32::from_le_bytes(self.input.array()?);
                self.put(u64::from(slot))
            }
            op::BINGET => {
                let slot = self.input.byte()?;
                self.get(u64::from(slot))
            }
            op::LONG_BINGET => {
                let slot = u32::from_le_bytes(self.input.array()?);
                self.get(u64::from(slot))
            }
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 => {
                let (bytes, span) = self.counted(opcode)?;
                self.push(Item::text(bytes, span).ok_or(Reason::NotUtf8)?)
            }
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 => {
                let (_, span) = self.counted(opcode)?;
                self.push(Item::Bytes(span))
            }
            op::BINSTRING | op::SHORT_BINSTRING => {
                let (_, span) = self.counted(opcode)?;
                self.push(Item::ByteString(span))
            }
            op::NONE => self.push(Item::None),
            op::NEWTRUE | op::NEWFALSE => self.push(Item::Bool),
            op::BININT1 => self.skip::<1>(Item::Int),
            op::BININT2 => self.skip::<2>(Item::Int),
            op::BININT => self.skip::<4>(Item::Int),
            op::BINFLOAT => self.skip::<8>(Item::Float),
            op::MARK => self.mark(),
            op::TUPLE2 => self.tuple(2),
            op::BINPERSID => self.persistent(),
            op::EMPTY_DICT => self.push(Item::Dict),
            op::SETITEMS => {
                let start = self.take_mark()?;
                self.set_items(self.scanner.stack.len() - start)
            }
            op::STOP => self.stop(),
            _ => self.step_rare(opcode),
        }
    }

    fn step_rare(&mut self, opcode: u8) -> Result<(), Reason> {
        match opcode {
            op::PROTO => self.input.protocol(),
            op::FRAME => self.input.frame(),
            op::MEMOIZE => self.put(self.scanner.memo.len() as u64),
            op::POP => self.pop_any(),
            op::POP_MARK => {
                let start = self.take_mark()?;
                self.scanner.stack.truncate(start);
                Ok(())
            }
            op::DUP => {
                let top = self.top()?;
                self.push(top)
            }
            op::LONG1 | op::LONG4 => self.long(opcode),
            op::BYTEARRAY8 => {
                self.counted(opcode)?;
                self.push_instance(false)
            }
            op::EMPTY_TUPLE => self.tuple(0),
            op::EMPTY_LIST => self.push_list(Few::EMPTY),
            op::TUPLE1 => self.tuple(1),
            op::TUPLE3 => self.tuple(3),
            op::TUPLE | op::LIST | op::DICT | op::FROZENSET => self.collection(opcode),
            op::APPEND => self.append(1),
            op::SETITEM => self.set_items(2),
            op::APPENDS => {
                let start = self.take_mark()?;
                self.append(self.scanner.stack.len() - start)
            }
            op::ADDITEMS => {
                let start = self.take_mark()?;
                self.add_items(self.scanner.stack.len() - start)
            }
            op::EMPTY_SET => self.push_instance(true),
            op::GLOBAL => self.global(),
            op::STACK_GLOBAL => self.stack_global(),
            op::REDUCE | op::NEWOBJ => self.call(),
            op::NEWOBJ_EX => self.new_object_ex(),
            op::OBJ | op::INST => self.old_style(opcode),
            op::BUILD => self.build(),
            op::EXT1 | op::EXT2 | op::EXT4 => {
                self.input.extension(opcode)?;
                self.push(Item::Extension)
            }
            op::INT | op::LONG | op::FLOAT | op::STRING | op::UNICODE | op::PERSID => {
                self.text_value(opcode)
            }
            op::GET => {
                let slot = self.input.decimal_slot()?;
                self.get(slot)
            }
            op::PUT => {
                let slot = self.input.decimal_slot()?;
                self.put(slot)
            }
            op::NEXT_BUFFER | op::READONLY_BUFFER => Err(Reason::OutOfBand),
            _ => Err(Reason::UnknownOpcode),
        }
    }

    fn skip<const N: usize>(&mut self, item: Item) -> Result<(), Reason> {
        self.input.array::<N>()?;
        self.push(item)
    }

    fn counted(&mut self, opcode: u8) -> Result<(&'i [u8], Span), Reason> {
        let len = self.input.length(opcode)?;
        self.input.take(len)
    }

    fn long(&mut self, opcode: u8) -> Result<(), Reason> {
        let len = self.input.length(opcode)?;
        let limit = self.scanner.limits.long_bytes;
        if len > limit as u64 {
            return Err(limit_reached("bytes of an integer", limit));
        }
        self.input.take(len)?;
        self.push(Item::Int)
    }

    fn text_value(&mut self, opcode: u8) -> Result<(), Reason> {
        let (line, span) = self.input.line()?;
        match opcode {
            op::INT if matches!(line, b"00" | b"01") => self.push(Item::Bool),
            op::INT | op::LONG => {
                literal::integer(line)?;
                self.push(Item::Int)
            }
            op::FLOAT => {
                literal::float(line)?;
                self.push(Item::Float)
            }
            op::STRING => {
                let span = self.written_out(&literal::quoted(line)?)?;
                self.push(Item::ByteString(span))
            }
            op::UNICODE => {
                let item = match literal::escaped(line)? {
                    None => Some(Item::Str(span)),
                    Some(text) => Item::text(&text, self.written_out(&text)?),
                };
                self.push(item.ok_or(Reason::NotUtf8)?)
            }
            _ => {
                let id = Item::text(line, span).ok_or(Reason::NotUtf8)?;
                self.tell(id)
            }
        }
    }

    /// Keeps text that the input has in another form.
    fn written_out(&mut self, bytes: &[u8]) -> Result<Span, Reason> {
        let start = self.input.bytes.len() + self.scanner.text.len();
        if self.scanner.text.len() + bytes.len() > WRITTEN_OUT_MAX {
            return Err(limit_reached("bytes of text written out", WRITTEN_OUT_MAX));
        }
        self.scanner.text.extend_from_slice(bytes);
        Ok(Span {
            start: small(start),
            len: small(bytes.len()),
        })
    }

    // Collections.

    fn tuple(&mut self, len: usize) -> Result<(), Reason> {
        let start = self.last(len)?;
        self.tuple_at(start)
    }

    fn tuple_at(&mut self, start: usize) -> Result<(), Reason> {
        let group = self.group(start)?;
        self.scanner.stack.truncate(start);
        self.push(Item::Tuple(group))
    }

    /// The values from there on, taken as one.
    fn group(&mut self, start: usize) -> Result<u32, Reason> {
        let few = Few::of(&self.scanner.stack[start..]);
        let limit = self.scanner.limits.nodes;
        add(&mut self.scanner.groups, few, limit)
    }

    fn push_list(&mut self, few: Few) -> Result<(), Reason> {
        let limit = self.scanner.limits.nodes;
        let list = add(&mut self.scanner.groups, few, limit)?;
        self.push(Item::List(list))
    }

    fn collection(&mut self, opcode: u8) -> Result<(), Reason> {
        let start = self.take_mark()?;
        let count = self.scanner.stack.len() - start;
        if opcode == op::TUPLE {
            return self.tuple_at(start);
        }
        if opcode == op::DICT && !count.is_multiple_of(2) {
            return Err(Reason::OddItems);
        }
        let few = Few::of(&self.scanner.stack[start..]);
        self.scanner.stack.truncate(start);
        match opcode {
            op::LIST => self.push_list(few),
            op::DICT => self.push(Item::Dict),
            _ => self.push_instance(false),
        }
    }

    /// What stands before the last `count` values, and where those begin.
    fn target(&self, count: usize) -> Result<(Item, usize), Reason> {
        let below = self.last(count + 1)?;
        Ok((self.scanner.stack[below], below + 1))
    }

    fn append(&mut self, count: usize) -> Result<(), Reason> {
        let (target, start) = self.target(count)?;
        match target {
            Item::List(index) => {
                let items = &self.scanner.stack[start..];
                self.scanner.groups[index as usize].extend(items);
            }
            Item::Instance(_) => {}
            _ => return Err(wrong("a list", target)),
        }
        self.scanner.stack.truncate(start);
        Ok(())
    }

    fn set_items(&mut self, count: usize) -> Result<(), Reason> {
        let (target, start) = self.target(count)?;
        if !count.is_multiple_of(2) {
            return Err(Reason::OddItems);
        }
        if !matches!(target, Item::Dict | Item::Instance(_)) {
            return Err(wrong("a dict", target));
        }
        self.scanner.stack.truncate(start);
        Ok(())
    }

    fn add_items(&mut self, count: usize) -> Result<(), Reason> {
        let (target, start) = self.target(count)?;
        let is_set = match target {
            Item::Instance(index) => self.scanner.instances[index as usize].is_set,
            _ => false,
        };
        if !is_set {
            return Err(wrong("a set", target));
        }
        self.scanner.stack.truncate(start);
        Ok(())
    }

    // Classes, instances and references.

    fn push_global(&mut self, module: Span, name: Span) -> Result<(), Reason> {
        let limit = self.scanner.limits.nodes;
        let global = add(&mut self.scanner.globals, (module, name), limit)?;
        self.push(Item::Global(global))
    }

    fn global(&mut self) -> Result<(), Reason> {
        let (module, name) = self.input.global()?;
        self.push_global(module, name)
    }

    fn stack_global(&mut self) -> Result<(), Reason> {
        let start = self.last(2)?;
        let mut names = [Span { start: 0, len: 0 }; 2];
        for (place, item) in names.iter_mut().zip(&self.scanner.stack[start..]) {
            let Item::Str(span) = *item else {
                return Err(wrong("a str", *item));
            };
            let part = self.scanner.span(span, self.input.bytes);
            if memchr::memchr(b'\n', part).is_some() {
                return Err(Reason::BadText("a class name"));
            }
            *place = span;
        }
        self.scanner.stack.truncate(start);
        let [module, name] = names;
        self.push_global(module, name)
    }

    fn push_instance(&mut self, is_set: bool) -> Result<(), Reason> {
        let instance = Instance {
            is_set,
            has_state: false,
        };
        let limit = self.scanner.limits.nodes;
        let index = add(&mut self.scanner.instances, instance, limit)?;
        self.push(Item::Instance(index))
    }

    fn call(&mut self) -> Result<(), Reason> {
        let start = self.last(2)?;
        let args = self.scanner.stack[start + 1];
        if !matches!(args, Item::Tuple(_)) {
            return Err(wrong("a tuple of arguments", args));
        }
        self.scanner.stack.truncate(start);
        self.push_instance(false)
    }

    fn new_object_ex(&mut self) -> Result<(), Reason> {
        let start = self.last(3)?;
        let [args, keywords] = [self.scanner.stack[start + 1], self.scanner.stack[start + 2]];
        if !matches!(args, Item::Tuple(_)) {
            return Err(wrong("a tuple of arguments", args));
        }
        if !matches!(keywords, Item::Dict) {
            return Err(wrong("a dict of keyword arguments", keywords));
        }
        self.scanner.stack.truncate(start);
        self.push_instance(false)
    }

    fn old_style(&mut self, opcode: u8) -> Result<(), Reason> {
        if opcode == op::INST {
            self.input.global()?;
        }
        let start = self.take_mark()?;
        if opcode == op::OBJ && self.scanner.stack.len() == start {
            return Err(Reason::StackUnderflow);
        }
        self.scanner.stack.truncate(start);
        self.push_instance(false)
    }

    fn build(&mut self) -> Result<(), Reason> {
        let start = self.last(2)?;
        let target = self.scanner.stack[start];
        let Item::Instance(index) = target else {
            return Err(wrong("an instance", target));
        };
        let instance = &mut self.scanner.instances[index as usize];
        if std::mem::replace(&mut instance.has_state, true) {
            return Err(Reason::StateTwice);
        }
        self.scanner.stack.truncate(start + 1);
        Ok(())
    }

    fn persistent(&mut self) -> Result<(), Reason> {
        let id = self.pop()?;
        if matches!(id, Item::Persistent) {
            return Err(wrong("a persistent id", id));
        }
        self.tell(id)
    }

    fn tell(&mut self, id: Item) -> Result<(), Reason> {
        (self.found)(self.scanner.part(id, self.input.bytes));
        self.push(Item::Persistent)
    }
}

#[cold]
fn wrong(expected: &'static str, found: Item) -> Reason {
    Reason::WrongKind {
        expected,
        found: found.kind_name(),
    }
}

/// Offsets are 32 bits wide, and such text lies behind the input.
const WRITTEN_OUT_MAX: usize = INPUT_BYTES_MAX * 2;
