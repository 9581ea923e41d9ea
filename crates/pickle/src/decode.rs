//! Runs pickles on a stack of node ids.

mod arguments;
mod objects;

use crate::error::{Reason, UnpickleError};
use crate::input::Input;
use crate::limits::{INPUT_BYTES_MAX, Limits, NODES_MAX};
use crate::memo::Memo;
use crate::node::{Construction, Node, NodeId, Run, Span};
use crate::opcode as op;
use crate::pickles::Pickles;

pub(crate) fn decode(input: &[u8], limits: &Limits) -> Result<Pickles, UnpickleError> {
    decode_parts(input, &[], limits)
}

/// Decodes pickles of several memos: a new one begins at each of the offsets.
pub(crate) fn decode_parts(
    input: &[u8],
    starts: &[usize],
    limits: &Limits,
) -> Result<Pickles, UnpickleError> {
    let refuse = |reason| UnpickleError {
        offset: 0,
        opcode: None,
        reason,
    };
    let limit = limits.input_bytes.min(INPUT_BYTES_MAX);
    if input.len() > limit {
        return Err(refuse(Reason::InputTooLong {
            limit,
            found: input.len(),
        }));
    }
    if input.is_empty() {
        return Err(refuse(Reason::Empty));
    }
    let mut decoder = Decoder {
        input: Input::new(input),
        // Typical records take a node for each 8 bytes.
        pickles: Pickles::with_bytes(input.to_vec(), (input.len() / 8 + 8).min(NODES_GUESS_MAX)),
        stack: Vec::with_capacity(32),
        marks: Vec::with_capacity(8),
        memo: Memo::default(),
        builtins: Builtins::default(),
        limits: Limits {
            nodes: limits.nodes.min(NODES_MAX),
            ..*limits
        },
    };
    let mut opcode = op::STOP;
    let mut starts = starts.iter().peekable();
    while decoder.input.position < input.len() {
        let start = decoder.input.position;
        if starts.peek().is_some_and(|next| **next <= start) {
            // A part must not go on where the last one stopped in the middle of a pickle.
            if starts.next() != Some(&start) || opcode != op::STOP {
                return Err(refuse(Reason::Truncated { needed: 1, left: 0 }));
            }
            decoder.memo.clear();
        }
        opcode = input[start];
        decoder.input.position += 1;
        decoder.step(opcode).map_err(|reason| UnpickleError {
            offset: start,
            opcode: Some(opcode),
            reason,
        })?;
    }
    if opcode == op::STOP {
        return Ok(decoder.pickles);
    }
    let reason = Reason::Truncated { needed: 1, left: 0 };
    Err(UnpickleError {
        offset: input.len(),
        opcode: None,
        reason,
    })
}

/// What is reserved before the first node; the rest grows as it comes.
const NODES_GUESS_MAX: usize = 1 << 16;
/// Names in STACK_GLOBAL may be repeated by two bytes each; so much of them is written out for each byte of input.
const TEXT_PER_INPUT_BYTE_MAX: usize = 16;
/// The arena's offsets are 32 bits wide.
const TEXT_BYTES_MAX: usize = 3 << 30;
/// Children may outnumber nodes, since the memo hands out nodes again.
const CHILDREN_PER_NODE_MAX: usize = 8;

struct Decoder<'i> {
    input: Input<'i>,
    pickles: Pickles,
    stack: Vec<NodeId>,
    /// Heights of the stack where a MARK was set.
    marks: Vec<usize>,
    memo: Memo<NodeId>,
    builtins: Builtins,
    limits: Limits,
}

/// Classes of built-in types that newer protocols do not name, written out as protocol 3 does.
#[derive(Default)]
struct Builtins {
    set: Option<NodeId>,
    frozen_set: Option<NodeId>,
    byte_array: Option<NodeId>,
    new_object_ex: Option<NodeId>,
}

impl Decoder<'_> {
    /// Opcodes for atoms, the stack and the memo.
    fn step(&mut self, opcode: u8) -> Result<(), Reason> {
        match opcode {
            op::PROTO => self.input.protocol(),
            op::FRAME => self.input.frame(),
            op::STOP => self.stop(),
            op::NONE => self.push(NodeId::NONE),
            op::NEWTRUE => self.push(NodeId::TRUE),
            op::NEWFALSE => self.push(NodeId::FALSE),
            op::BININT1 => {
                let value = self.input.byte()?;
                self.push_node(Node::Int(i64::from(value)))
            }
            op::BININT2 => {
                let value = u16::from_le_bytes(self.input.array()?);
                self.push_node(Node::Int(i64::from(value)))
            }
            op::BININT => {
                let value = i32::from_le_bytes(self.input.array()?);
                self.push_node(Node::Int(i64::from(value)))
            }
            op::BINFLOAT => {
                let value = f64::from_be_bytes(self.input.array()?);
                self.push_node(Node::Float(value))
            }
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
            op::MEMOIZE => self.put(self.memo.len() as u64),
            op::MARK => self.mark(),
            op::POP => self.pop_any(),
            op::POP_MARK => self.take_mark().map(|height| self.stack.truncate(height)),
            op::DUP => {
                let top = self.top()?;
                self.push(top)
            }
            op::BINUNICODE
            | op::SHORT_BINUNICODE
            | op::BINUNICODE8
            | op::BINBYTES
            | op::SHORT_BINBYTES
            | op::BINBYTES8
            | op::BINSTRING
            | op::SHORT_BINSTRING
            | op::BYTEARRAY8
            | op::LONG1
            | op::LONG4 => self.counted(opcode),
            _ => self.step_object(opcode),
        }
    }

    /// Opcodes that make or change objects, and the rare ones of old protocols.
    fn step_object(&mut self, opcode: u8) -> Result<(), Reason> {
        match opcode {
            op::EMPTY_TUPLE => self.push(NodeId::EMPTY_TUPLE),
            op::EMPTY_LIST => self.push_node(Node::List(Run::default())),
            op::EMPTY_DICT => self.push_node(Node::Dict(Run::default())),
            op::TUPLE1 => self.tuple(1),
            op::TUPLE2 => self.tuple(2),
            op::TUPLE3 => self.tuple(3),
            op::TUPLE | op::LIST | op::DICT | op::FROZENSET => self.collection(opcode),
            op::APPEND => self.append(1),
            op::SETITEM => self.set_items(2),
            op::APPENDS | op::SETITEMS | op::ADDITEMS => self.extend(opcode),
            op::EMPTY_SET => self.empty_set(),
            op::GLOBAL => self.global_line(),
            op::STACK_GLOBAL => self.stack_global(),
            op::REDUCE => self.call(Construction::Reduce),
            op::NEWOBJ => self.call(Construction::NewObject),
            op::NEWOBJ_EX => self.new_object_ex(),
            op::OBJ | op::INST => self.old_style(opcode),
            op::BUILD => self.build(),
            op::BINPERSID => self.persistent(),
            op::EXT1 | op::EXT2 | op::EXT4 => {
                let code = self.input.extension(opcode)?;
                self.push_node(Node::Extension(code))
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

    /// Ends a pickle. Like Python, forgets what else is on the stack and keeps the memo.
    fn stop(&mut self) -> Result<(), Reason> {
        let value = self.pop()?;
        self.pickles.roots.push(value);
        self.stack.clear();
        self.marks.clear();
        Ok(())
    }

    // The stack.

    fn push(&mut self, id: NodeId) -> Result<(), Reason> {
        if self.stack.len() >= self.limits.stack_depth {
            let limit = self.limits.stack_depth;
            return Err(Reason::LimitReached {
                what: "values on the stack",
                limit,
            });
        }
        self.stack.push(id);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<(), Reason> {
        let id = self.add(node)?;
        self.push(id)
    }

    fn add(&mut self, node: Node) -> Result<NodeId, Reason> {
        self.check_nodes()?;
        Ok(self.pickles.add(node))
    }

    /// Adds text that does not stand in the input as it is.
    fn add_text(&mut self, bytes: &[u8]) -> Result<Span, Reason> {
        let limit = (self.input.bytes.len() + 64).saturating_mul(TEXT_PER_INPUT_BYTE_MAX);
        let limit = limit.min(TEXT_BYTES_MAX);
        if self.pickles.bytes.len() + bytes.len() > limit {
            return Err(Reason::LimitReached {
                what: "bytes of text written out",
                limit,
            });
        }
        Ok(self.pickles.add_bytes(bytes))
    }

    fn check_nodes(&self) -> Result<(), Reason> {
        let limit = self.limits.nodes;
        if self.pickles.nodes.len() >= limit {
            return Err(Reason::LimitReached {
                what: "nodes",
                limit,
            });
        }
        if self.pickles.children.len() / CHILDREN_PER_NODE_MAX >= limit {
            return Err(Reason::LimitReached {
                what: "items of collections per node",
                limit,
            });
        }
        Ok(())
    }

    /// Below this height the stack belongs to the values before the last MARK.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    /// Where the last `count` values begin.
    fn last(&self, count: usize) -> Result<usize, Reason> {
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .ok_or(Reason::StackUnderflow)?;
        if start < self.floor() {
            Err(Reason::StackUnderflow)
        } else {
            Ok(start)
        }
    }

    fn top(&self) -> Result<NodeId, Reason> {
        self.last(1).map(|index| self.stack[index])
    }

    fn pop(&mut self) -> Result<NodeId, Reason> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn mark(&mut self) -> Result<(), Reason> {
        let limit = self.limits.mark_depth;
        if self.marks.len() >= limit {
            return Err(Reason::LimitReached {
                what: "nested marks",
                limit,
            });
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn take_mark(&mut self) -> Result<usize, Reason> {
        self.marks.pop().ok_or(Reason::NoMark)
    }

    /// POP takes a mark if that is the last thing set.
    fn pop_any(&mut self) -> Result<(), Reason> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    // The memo.

    fn put(&mut self, slot: u64) -> Result<(), Reason> {
        let top = self.top()?;
        self.memo.put(slot, top);
        let limit = self.limits.memo_entries;
        if self.memo.len() > limit {
            return Err(Reason::LimitReached {
                what: "memo slots in use",
                limit,
            });
        }
        Ok(())
    }

    fn get(&mut self, slot: u64) -> Result<(), Reason> {
        let id = self.memo.get(slot).ok_or(Reason::MemoEmpty(slot))?;
        self.push(id)
    }
}
