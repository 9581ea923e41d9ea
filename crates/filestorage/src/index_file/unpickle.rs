//! As much of Python's pickle language as index files speak. Anything else is refused.

use std::collections::HashMap;
use std::io::Read;
use std::mem;

/// Why an index was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(pub(super) &'static str);

/// One pickle. Nodes lie in one list and name each other by number, so that depth costs no stack.
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: NodeId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

#[derive(Debug)]
pub(super) enum Node {
    None,
    Int(u64),
    /// Bytes and text alike.
    Bytes(Vec<u8>),
    Tuple(Vec<NodeId>),
    List(Vec<NodeId>),
    Dict(Vec<(NodeId, NodeId)>),
    /// A class; its name does not matter here.
    Global,
    /// An instance and its state.
    Object(Option<NodeId>),
}

impl Pickle {
    /// Reads up to the end of one pickle.
    pub(super) fn read(input: &mut impl Read) -> Result<Self, Broken> {
        Self::read_into(Vec::new(), input)
    }

    /// The same with room for its first long string: that of [the one before](Self::into_room), so that
    /// an index of many buckets leaves no holes in the memory.
    pub(super) fn read_into(room: Vec<u8>, input: &mut impl Read) -> Result<Self, Broken> {
        let mut machine = Machine {
            input,
            room,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        while !machine.step()? {}
        let root = machine.pop()?;
        Ok(Self {
            nodes: machine.nodes,
            root,
        })
    }

    /// The room of its longest string.
    pub(super) fn into_room(self) -> Vec<u8> {
        let strings = self.nodes.into_iter().filter_map(|node| match node {
            Node::Bytes(bytes) => Some(bytes),
            _ => None,
        });
        strings.max_by_key(Vec::capacity).unwrap_or_default()
    }

    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    pub(super) fn int(&self, id: NodeId) -> Option<u64> {
        match self.node(id) {
            Node::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn bytes(&self, id: NodeId) -> Option<&[u8]> {
        match self.node(id) {
            Node::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The value of that key, where `id` is a dict.
    pub(super) fn get(&self, id: NodeId, key: &[u8]) -> Option<NodeId> {
        let Node::Dict(entries) = self.node(id) else {
            return None;
        };
        let entry = entries
            .iter()
            .find(|entry| self.bytes(entry.0) == Some(key));
        entry.map(|entry| entry.1)
    }
}

struct Machine<'a, R> {
    input: &'a mut R,
    room: Vec<u8>,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    marks: Vec<usize>,
    memo: HashMap<u32, NodeId>,
}

impl<R: Read> Machine<'_, R> {
    /// Does one operation; true after the last one.
    fn step(&mut self) -> Result<bool, Broken> {
        let [operation] = self.array()?;
        match operation {
            b'.' => return Ok(true),
            0x80 => {
                let [_protocol] = self.array()?;
            }
            b'N' => self.push(Node::None),
            b'K' | b'M' | b'J' | 0x8a => self.int(operation)?,
            b'I' | b'L' => self.text_int()?,
            b'C' | b'U' => self.short_bytes()?,
            b'B' | b'T' | b'X' => self.long_bytes()?,
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Node::Tuple(Vec::new())),
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }
            b'q' | b'r' | b'h' | b'j' => self.memo(operation)?,
            b'c' => self.global()?,
            // Class and arguments become an instance.
            0x81 | b'R' => {
                self.pop()?;
                self.pop()?;
                self.push(Node::Object(None));
            }
            b'b' => self.build()?,
            _ => return Err(Broken("an operation that no index needs")),
        }
        Ok(false)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let mut bytes = [0; N];
        self.input
            .read_exact(&mut bytes)
            .map_err(|_| Broken("it ends too early"))?;
        Ok(bytes)
    }

    fn push(&mut self, node: Node) {
        self.stack.push(NodeId(self.nodes.len()));
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<NodeId, Broken> {
        self.stack.pop().ok_or(Broken("the stack is empty"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeId>, Broken> {
        self.marks
            .pop()
            .filter(|mark| *mark <= self.stack.len())
            .map(|mark| self.stack.split_off(mark))
            .ok_or(Broken("a mark is missing"))
    }

    /// The container that items are added to.
    fn top(&mut self) -> Result<&mut Node, Broken> {
        let id = *self.stack.last().ok_or(Broken("the stack is empty"))?;
        Ok(&mut self.nodes[id.0])
    }

    fn int(&mut self, operation: u8) -> Result<(), Broken> {
        let mut bytes = [0; 9];
        let length = match operation {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            _ => usize::from(self.array::<1>()?[0]),
        };
        let target = bytes
            .get_mut(..length)
            .ok_or(Broken("a number too large"))?;
        self.input
            .read_exact(target)
            .map_err(|_| Broken("it ends too early"))?;
        let negative = match operation {
            b'J' | 0x8a => target.last().is_some_and(|last| *last >= 0x80),
            _ => false,
        };
        let [low @ .., high] = bytes;
        if negative || high != 0 {
            return Err(Broken("a number out of range"));
        }
        self.push(Node::Int(u64::from_le_bytes(low)));
        Ok(())
    }

    /// A number in decimal digits, with an `L` behind it where Python 2 had a long.
    fn text_int(&mut self) -> Result<(), Broken> {
        let line = self.line()?;
        let digits = line.strip_suffix(b"L").unwrap_or(&line);
        let number = str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok());
        self.push(Node::Int(number.ok_or(Broken("a number out of range"))?));
        Ok(())
    }

    fn short_bytes(&mut self) -> Result<(), Broken> {
        let [length] = self.array()?;
        self.string(u64::from(length), Vec::new())
    }

    fn long_bytes(&mut self) -> Result<(), Broken> {
        let length = u32::from_le_bytes(self.array()?);
        let room = mem::take(&mut self.room);
        self.string(u64::from(length), room)
    }

    /// Memory grows with what is read, not with what is announced.
    fn string(&mut self, length: u64, mut bytes: Vec<u8>) -> Result<(), Broken> {
        bytes.clear();
        let read = self.input.by_ref().take(length).read_to_end(&mut bytes);
        if !matches!(read, Ok(count) if count as u64 == length) {
            return Err(Broken("it ends too early"));
        }
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), Broken> {
        let start = self
            .stack
            .len()
            .checked_sub(count)
            .ok_or(Broken("the stack is empty"))?;
        let items = self.stack.split_off(start);
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<NodeId>) -> Result<(), Broken> {
        let Node::List(list) = self.top()? else {
            return Err(Broken("a list was expected"));
        };
        list.extend(items);
        Ok(())
    }

    fn set_items(&mut self, items: Vec<NodeId>) -> Result<(), Broken> {
        let Node::Dict(entries) = self.top()? else {
            return Err(Broken("a dict was expected"));
        };
        entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn memo(&mut self, operation: u8) -> Result<(), Broken> {
        let number = match operation {
            b'q' | b'h' => u32::from(self.array::<1>()?[0]),
            _ => u32::from_le_bytes(self.array()?),
        };
        if matches!(operation, b'q' | b'r') {
            let id = *self.stack.last().ok_or(Broken("the stack is empty"))?;
            self.memo.insert(number, id);
        } else {
            let id = *self.memo.get(&number).ok_or(Broken("no such memo"))?;
            self.stack.push(id);
        }
        Ok(())
    }

    fn global(&mut self) -> Result<(), Broken> {
        // Module and name.
        self.line()?;
        self.line()?;
        self.push(Node::Global);
        Ok(())
    }

    fn line(&mut self) -> Result<Vec<u8>, Broken> {
        let mut line = Vec::new();
        loop {
            match self.array()? {
                [b'\n'] => return Ok(line),
                [byte] => line.push(byte),
            }
            if line.len() > LINE_BYTES_MAX {
                return Err(Broken("a line too long"));
            }
        }
    }

    fn build(&mut self) -> Result<(), Broken> {
        let state = self.pop()?;
        let Node::Object(object) = self.top()? else {
            return Err(Broken("an instance was expected"));
        };
        *object = Some(state);
        Ok(())
    }
}

const LINE_BYTES_MAX: usize = 200;
