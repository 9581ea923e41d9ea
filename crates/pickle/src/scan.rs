//! Finding the references of a record without decoding it.
//!
//! The scanner runs the opcodes as the decoder does, and refuses what that refuses with the same
//! error. But it keeps of each value only its kind, and of bytes, text, tuples and lists where they
//! are, since persistent ids are made of those. No value is built, and nothing is allocated from the
//! second record on.

use crate::error::{Reason, UnpickleError};
use crate::input::Input;
use crate::limits::{INPUT_BYTES_MAX, Limits, NODES_MAX};
use crate::memo::Memo;
use crate::node::Span;
use crate::opcode as op;

mod part;
mod step;

pub use part::{Part, Parts};

use part::{Few, Item};

/// Reads the persistent ids of records, one record after the other; reuse it.
///
/// ```
/// use pickle::{Part, Scanner};
///
/// let record = b"\x80\x03cmy.site\nPage\n.}X\x04\x00\x00\x00nextC\x08\0\0\0\0\0\0\0\x07Qs.";
/// let mut scanner = Scanner::default();
/// let mut found = Vec::new();
/// let pickles = scanner.scan(record, |id| {
///     if let Part::Bytes(oid) = id {
///         found.push(oid.to_vec());
///     }
/// })?;
/// assert_eq!(pickles, 2, "the class and the state");
/// assert_eq!(found, [b"\0\0\0\0\0\0\0\x07"]);
/// # Ok::<(), pickle::UnpickleError>(())
/// ```
#[derive(Default)]
pub struct Scanner {
    limits: Limits,
    stack: Vec<Item>,
    /// Heights of the stack where a MARK was set.
    marks: Vec<usize>,
    memo: Memo<Item>,
    /// Tuples and lists.
    groups: Vec<Few>,
    /// Modules and names.
    globals: Vec<(Span, Span)>,
    instances: Vec<Instance>,
    /// Text that does not stand in the input as it is.
    text: Vec<u8>,
}

/// What opcodes ask about an instance.
#[derive(Clone, Copy)]
struct Instance {
    is_set: bool,
    has_state: bool,
}

impl Scanner {
    /// A scanner with other limits than [`Limits::default`]. [`Limits::nodes`] counts tuples, lists,
    /// classes and instances here, each for themselves.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Limits {
                nodes: limits.nodes.min(NODES_MAX),
                ..limits
            },
            ..Self::default()
        }
    }

    /// Reads all pickles up to the end of the input, which share one memo, and tells every persistent
    /// id in the order they come, also of what nothing holds any more. Says how many pickles there
    /// were.
    ///
    /// # Errors
    /// What [`Pickles::decode`](crate::Pickles::decode) refuses is refused in the same words, except
    /// that limits on nodes and on text written out are reached later.
    pub fn scan(
        &mut self,
        input: &[u8],
        found: impl FnMut(Part<'_>),
    ) -> Result<usize, UnpickleError> {
        let refuse = |reason| UnpickleError {
            offset: 0,
            opcode: None,
            reason,
        };
        let limit = self.limits.input_bytes.min(INPUT_BYTES_MAX);
        if input.len() > limit {
            return Err(refuse(Reason::InputTooLong {
                limit,
                found: input.len(),
            }));
        }
        if input.is_empty() {
            return Err(refuse(Reason::Empty));
        }
        self.clear();
        Scan {
            scanner: self,
            input: Input::new(input),
            found,
            floor: 0,
            pickles: 0,
        }
        .run()
    }

    fn clear(&mut self) {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        self.groups.clear();
        self.globals.clear();
        self.instances.clear();
        self.text.clear();
    }
}

/// One record being scanned.
struct Scan<'s, 'i, F> {
    scanner: &'s mut Scanner,
    input: Input<'i>,
    found: F,
    /// Below this height the stack belongs to the values before the last MARK.
    floor: usize,
    pickles: usize,
}

impl<F: FnMut(Part<'_>)> Scan<'_, '_, F> {
    fn run(mut self) -> Result<usize, UnpickleError> {
        let bytes = self.input.bytes;
        let mut opcode = op::STOP;
        while let Some(next) = bytes.get(self.input.position) {
            let start = self.input.position;
            opcode = *next;
            self.input.position += 1;
            self.step(opcode).map_err(|reason| UnpickleError {
                offset: start,
                opcode: Some(opcode),
                reason,
            })?;
        }
        if opcode == op::STOP {
            return Ok(self.pickles);
        }
        let reason = Reason::Truncated { needed: 1, left: 0 };
        Err(UnpickleError {
            offset: bytes.len(),
            opcode: None,
            reason,
        })
    }

    // The stack.

    fn push(&mut self, item: Item) -> Result<(), Reason> {
        if self.scanner.stack.len() >= self.scanner.limits.stack_depth {
            return Err(limit_reached(
                "values on the stack",
                self.scanner.limits.stack_depth,
            ));
        }
        self.scanner.stack.push(item);
        Ok(())
    }

    /// Where the last `count` values begin.
    fn last(&self, count: usize) -> Result<usize, Reason> {
        let start = self.scanner.stack.len().checked_sub(count);
        start
            .filter(|start| *start >= self.floor)
            .ok_or(Reason::StackUnderflow)
    }

    fn top(&self) -> Result<Item, Reason> {
        self.last(1).map(|index| self.scanner.stack[index])
    }

    fn pop(&mut self) -> Result<Item, Reason> {
        let top = self.top()?;
        self.scanner.stack.pop();
        Ok(top)
    }

    fn mark(&mut self) -> Result<(), Reason> {
        let limit = self.scanner.limits.mark_depth;
        if self.scanner.marks.len() >= limit {
            return Err(limit_reached("nested marks", limit));
        }
        self.floor = self.scanner.stack.len();
        self.scanner.marks.push(self.floor);
        Ok(())
    }

    fn take_mark(&mut self) -> Result<usize, Reason> {
        let start = self.scanner.marks.pop().ok_or(Reason::NoMark)?;
        self.floor = self.scanner.marks.last().copied().unwrap_or(0);
        Ok(start)
    }

    /// POP takes a mark if that is the last thing set.
    fn pop_any(&mut self) -> Result<(), Reason> {
        if self.scanner.marks.last() == Some(&self.scanner.stack.len()) {
            return self.take_mark().map(|_| ());
        }
        self.pop().map(|_| ())
    }

    /// Ends a pickle. Like Python, forgets what else is on the stack and keeps the memo.
    fn stop(&mut self) -> Result<(), Reason> {
        self.pop()?;
        self.pickles += 1;
        self.scanner.stack.clear();
        self.scanner.marks.clear();
        self.floor = 0;
        Ok(())
    }

    // The memo.

    fn put(&mut self, slot: u64) -> Result<(), Reason> {
        let top = self.top()?;
        self.scanner.memo.put(slot, top);
        let limit = self.scanner.limits.memo_entries;
        if self.scanner.memo.len() > limit {
            return Err(limit_reached("memo slots in use", limit));
        }
        Ok(())
    }

    fn get(&mut self, slot: u64) -> Result<(), Reason> {
        let item = self.scanner.memo.get(slot).ok_or(Reason::MemoEmpty(slot))?;
        self.push(item)
    }
}

/// Adds to a table and says where.
fn add<T>(table: &mut Vec<T>, entry: T, limit: usize) -> Result<u32, Reason> {
    let index = table.len();
    if index >= limit {
        return Err(limit_reached("nodes", limit));
    }
    table.push(entry);
    Ok(u32::try_from(index).expect("the limit is at most NODES_MAX"))
}

#[cold]
fn limit_reached(what: &'static str, limit: usize) -> Reason {
    Reason::LimitReached { what, limit }
}

const _: () = assert!(NODES_MAX < u32::MAX as usize);
