//! Writes what ZODB's C pickler writes.
//!
//! The pickler recurses; this encoder keeps its own stack of steps, so depth is no danger. Whatever the pickler
//! memoises gets a PUT, in the same order, whether or not a GET ever asks for it.

use crate::error::EncodeError;
use crate::limits::ENCODED_BYTES_MAX;
use crate::node::{Construction, Node, NodeId, Run};
use crate::opcode as op;
use crate::pickles::Pickles;
use crate::write::Writer;

/// How to encode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncodeOptions {
    /// Write no memo opcodes, as Python's `Pickler.fast` does. Shared objects are then written each time they occur.
    pub fast: bool,
    /// Longest output: sharing multiplies without a memo.
    pub bytes_max: usize,
}

impl EncodeOptions {
    /// Without a memo, as ZEO sends its messages.
    pub const FAST: Self = Self {
        fast: true,
        bytes_max: ENCODED_BYTES_MAX,
    };
}

impl Default for EncodeOptions {
    /// With a memo, as ZODB stores its records.
    fn default() -> Self {
        Self {
            fast: false,
            ..Self::FAST
        }
    }
}

/// Items per APPENDS or SETITEMS.
const BATCH_ITEMS: u32 = 1000;

const NO_SLOT: u32 = u32::MAX;

pub(crate) fn encode(pickles: &Pickles) -> Vec<u8> {
    let options = EncodeOptions {
        fast: false,
        bytes_max: usize::MAX,
    };
    encode_with(pickles, options).expect("with a memo every value has an end")
}

pub(crate) fn encode_with(
    pickles: &Pickles,
    options: EncodeOptions,
) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = Encoder {
        pickles,
        writer: Writer::with_capacity(pickles.bytes.len() + 16),
        slots: vec![NO_SLOT; pickles.nodes.len()],
        slots_used: 0,
        options,
        steps: Vec::with_capacity(32),
    };
    for root in &pickles.roots {
        encoder.writer.begin();
        encoder.save(*root)?;
        while let Some(step) = encoder.steps.pop() {
            encoder.step(step)?;
        }
        encoder.writer.stop();
    }
    Ok(encoder.writer.into_bytes())
}

struct Encoder<'a> {
    pickles: &'a Pickles,
    writer: Writer,
    /// The memo: a slot for each node. In fast mode: `OPEN_SLOT` while a node is being written.
    slots: Vec<u32>,
    slots_used: u32,
    options: EncodeOptions,
    /// What is left to do, the next step last.
    steps: Vec<Step>,
}

/// Marks a node that is being written in fast mode.
const OPEN_SLOT: u32 = 0;

#[derive(Clone, Copy)]
enum Step {
    Save(NodeId),
    Op(u8),
    /// The items of a tuple from `next` on.
    Items {
        run: Run,
        next: u32,
    },
    CloseTuple(NodeId, u32),
    /// Decides how the rest of a collection is written.
    Rest {
        batches: Batches,
        run: Run,
        next: u32,
        first: bool,
    },
    /// One batch of a collection.
    Batch {
        batches: Batches,
        run: Run,
        next: u32,
        end: u32,
        full: bool,
    },
    /// Class and arguments are written.
    Construct(NodeId, u32),
    /// The node is complete (fast mode).
    Leave(NodeId),
}

/// The pickler batches in four slightly different ways.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Batches {
    List,
    Dict,
    /// `listitems` of `__reduce__`, an iterator.
    ListIterator,
    DictIterator,
}

impl Batches {
    /// Nodes per item.
    fn width(self) -> u32 {
        match self {
            Self::List | Self::ListIterator => 1,
            Self::Dict | Self::DictIterator => 2,
        }
    }

    fn single(self) -> u8 {
        if self.width() == 1 {
            op::APPEND
        } else {
            op::SETITEM
        }
    }

    fn several(self) -> u8 {
        if self.width() == 1 {
            op::APPENDS
        } else {
            op::SETITEMS
        }
    }
}

impl Encoder<'_> {
    fn step(&mut self, step: Step) -> Result<(), EncodeError> {
        match step {
            Step::Save(id) => self.save(id)?,
            Step::Op(opcode) => self.writer.op(opcode),
            Step::Items { run, next } => self.items(run, next)?,
            Step::CloseTuple(id, len) => self.close_tuple(id, len),
            Step::Rest {
                batches,
                run,
                next,
                first,
            } => self.rest(batches, run, next, first),
            Step::Batch {
                batches,
                run,
                next,
                end,
                full,
            } => {
                if next < end {
                    self.steps.push(Step::Batch {
                        batches,
                        run,
                        next: end,
                        end,
                        full,
                    });
                    return self.items(Run { len: end, ..run }, next);
                }
                self.end_batch(batches, run, end, full);
            }
            Step::Construct(id, index) => self.construct(id, index),
            Step::Leave(id) => self.slots[id.index()] = NO_SLOT,
        }
        Ok(())
    }

    /// Writes a node, or its beginning; the rest is left on `steps`.
    fn save(&mut self, id: NodeId) -> Result<(), EncodeError> {
        if self.writer.len() > self.options.bytes_max {
            return Err(EncodeError::TooLong {
                limit: self.options.bytes_max,
            });
        }
        if let Some(slot) = self.slot(id) {
            self.writer.get(slot);
            return Ok(());
        }
        match self.pickles.node(id) {
            Node::None => self.writer.none(),
            Node::Bool(value) => self.writer.bool(value),
            Node::Int(value) => self.writer.int(value),
            Node::BigInt(span) => self.writer.big_int(self.pickles.span(span)),
            Node::Float(value) => self.writer.float(value),
            Node::Extension(code) => self.writer.extension(code),
            Node::Str(span) | Node::Surrogates(span) => {
                self.writer.text(self.pickles.span(span));
                self.memoise(id);
            }
            Node::Bytes(span) => {
                self.writer.bytes_object(self.pickles.span(span));
                self.memoise(id);
            }
            Node::ByteString(span) => {
                self.writer.byte_string(self.pickles.span(span));
                self.memoise(id);
            }
            Node::Global {
                start,
                module_len,
                name_len,
            } => {
                let (module, name) = self.pickles.global_names(start, module_len, name_len);
                self.writer.global_names(module, name);
                self.memoise(id);
            }
            Node::Tuple(run) if run.len == 0 => self.writer.empty_tuple(),
            node => {
                self.enter(id)?;
                self.begin(id, node);
            }
        }
        Ok(())
    }

    /// Writes the beginning of a node that holds others.
    fn begin(&mut self, id: NodeId, node: Node) {
        match node {
            Node::Tuple(run) => {
                self.writer.tuple_begin(run.len as usize);
                self.steps.push(Step::CloseTuple(id, run.len));
                self.steps.push(Step::Items { run, next: 0 });
            }
            Node::List(run) => {
                self.writer.empty_list();
                self.memoise(id);
                self.push_rest(Batches::List, run);
            }
            Node::Dict(run) => {
                self.writer.empty_dict();
                self.memoise(id);
                self.push_rest(Batches::Dict, run);
            }
            Node::Persistent(persistent_id) => {
                // The pickler asks for the persistent id at each occurrence: nothing is memoised here.
                self.steps.push(Step::Op(op::BINPERSID));
                self.steps.push(Step::Save(persistent_id));
            }
            Node::Instance(index) => {
                let instance = self.pickles.instances[index as usize];
                self.steps.push(Step::Construct(id, index));
                if instance.construction == Construction::OldStyle {
                    self.writer.mark();
                    if let Node::Tuple(run) = self.pickles.node(instance.args) {
                        self.steps.push(Step::Items { run, next: 0 });
                    }
                } else {
                    self.steps.push(Step::Save(instance.args));
                }
                self.steps.push(Step::Save(instance.class));
            }
            _ => unreachable!("`save` writes all nodes that hold no others"),
        }
    }

    /// Writes items until one of them leaves steps to do first.
    fn items(&mut self, run: Run, next: u32) -> Result<(), EncodeError> {
        let todo = self.steps.len();
        for (position, id) in (next..run.len).zip(&self.pickles.run(run)[next as usize..]) {
            // Pushed before the item's own steps, so that it runs after them.
            self.steps.push(Step::Items {
                run,
                next: position + 1,
            });
            self.save(*id)?;
            if self.steps.len() > todo + 1 {
                return Ok(());
            }
            self.steps.pop();
        }
        Ok(())
    }

    fn close_tuple(&mut self, id: NodeId, len: u32) {
        if let Some(slot) = self.slot(id) {
            // The tuple contains itself: writing an item wrote all of it. Drop the items and fetch it.
            if len <= 3 {
                (0..len).for_each(|_| self.writer.op(op::POP));
            } else {
                self.writer.op(op::POP_MARK);
            }
            self.writer.get(slot);
            return;
        }
        self.writer.tuple_end(len as usize);
        self.memoise(id);
    }

    fn push_rest(&mut self, batches: Batches, run: Run) {
        if run.len > 0 {
            self.steps.push(Step::Rest {
                batches,
                run,
                next: 0,
                first: true,
            });
        }
    }

    fn rest(&mut self, batches: Batches, run: Run, next: u32, first: bool) {
        let width = batches.width();
        let left = run.len - next;
        let exact = matches!(batches, Batches::List | Batches::Dict);
        // A dict whose length is a multiple of the batch size ends with an empty batch; nothing else does.
        if left == 0 && batches != Batches::Dict {
            return;
        }
        if left == width && (first || !exact) {
            self.steps.push(Step::Op(batches.single()));
            self.steps.push(Step::Items {
                run: Run {
                    len: next + width,
                    ..run
                },
                next,
            });
            return;
        }
        self.writer.mark();
        let batch = BATCH_ITEMS * width;
        let full = left >= batch;
        let end = if full { next + batch } else { run.len };
        self.steps.push(Step::Batch {
            batches,
            run,
            next,
            end,
            full,
        });
    }

    fn end_batch(&mut self, batches: Batches, run: Run, end: u32, full: bool) {
        self.writer.op(batches.several());
        if full {
            self.steps.push(Step::Rest {
                batches,
                run,
                next: end,
                first: false,
            });
        }
    }

    /// Writes the call, and leaves what follows it on `steps`.
    fn construct(&mut self, id: NodeId, index: u32) {
        let instance = self.pickles.instances[index as usize];
        self.writer.op(match instance.construction {
            Construction::Reduce => op::REDUCE,
            Construction::NewObject => op::NEWOBJ,
            Construction::OldStyle => op::OBJ,
        });
        if let Some(slot) = self.slot(id) {
            // The arguments contain the instance itself, which is complete by now.
            self.writer.op(op::POP);
            self.writer.get(slot);
            return;
        }
        self.memoise(id);
        if let Some(state) = instance.state {
            self.steps.push(Step::Op(op::BUILD));
            self.steps.push(Step::Save(state));
        }
        self.push_rest(Batches::DictIterator, instance.pairs);
        self.push_rest(Batches::ListIterator, instance.items);
    }

    /// Where the memo has the node.
    fn slot(&self, id: NodeId) -> Option<u32> {
        let slot = self.slots[id.index()];
        (!self.options.fast && slot != NO_SLOT).then_some(slot)
    }

    fn memoise(&mut self, id: NodeId) {
        if !self.options.fast {
            self.writer.put(self.slots_used);
            self.slots[id.index()] = self.slots_used;
            self.slots_used += 1;
        }
    }

    /// Without a memo, a node inside itself would have no end.
    fn enter(&mut self, id: NodeId) -> Result<(), EncodeError> {
        if self.options.fast {
            if self.slots[id.index()] == OPEN_SLOT {
                return Err(EncodeError::Cyclic);
            }
            self.slots[id.index()] = OPEN_SLOT;
            self.steps.push(Step::Leave(id));
        }
        Ok(())
    }
}
