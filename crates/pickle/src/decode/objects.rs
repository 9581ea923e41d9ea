//! Opcodes that make collections and instances from the stack.

use super::Decoder;
use crate::error::Reason;
use crate::node::{Construction, InstanceNode, Node, NodeId, Run, Span};
use crate::opcode as op;
use crate::value::Value;

impl Decoder<'_> {
    /// Turns the last values into a tuple.
    pub(super) fn tuple(&mut self, len: usize) -> Result<(), Reason> {
        let start = self.last(len)?;
        self.tuple_at(start)?;
        Ok(())
    }

    fn tuple_at(&mut self, start: usize) -> Result<(), Reason> {
        self.check_nodes()?;
        let id = self.pickles.tuple_from(&self.stack[start..]);
        self.stack.truncate(start);
        self.push(id)
    }

    /// Turns the values since the mark into a collection.
    pub(super) fn collection(&mut self, opcode: u8) -> Result<(), Reason> {
        let start = self.take_mark()?;
        if opcode == op::TUPLE {
            return self.tuple_at(start);
        }
        self.check_nodes()?;
        let items = &self.stack[start..];
        if opcode == op::DICT && !items.len().is_multiple_of(2) {
            return Err(Reason::OddItems);
        }
        let run = self.pickles.add_run(items);
        self.stack.truncate(start);
        match opcode {
            op::LIST => self.push_node(Node::List(run)),
            op::DICT => self.push_node(Node::Dict(run)),
            _ => {
                let class = self.builtin(|builtins| &mut builtins.frozen_set, "frozenset");
                self.push_set(class, run)
            }
        }
    }

    pub(super) fn empty_set(&mut self) -> Result<(), Reason> {
        let class = self.builtin(|builtins| &mut builtins.set, "set");
        self.push_set(class, Run::default())
    }

    /// A set is a call with a list in protocol 3, and so it is one here.
    fn push_set(&mut self, class: NodeId, items: Run) -> Result<(), Reason> {
        let list = self.add(Node::List(items))?;
        let args = self.pickles.tuple_from(&[list]);
        let id = self.pickles.reduce(class, args, None);
        self.push(id)
    }

    pub(super) fn byte_array(&mut self, span: Span) -> Result<(), Reason> {
        let class = self.builtin(|builtins| &mut builtins.byte_array, "bytearray");
        let args = if span.len == 0 {
            NodeId::EMPTY_TUPLE
        } else {
            let bytes = self.add(Node::Bytes(span))?;
            self.pickles.tuple_from(&[bytes])
        };
        let id = self.pickles.reduce(class, args, None);
        self.push(id)
    }

    /// A class that the opcode only implies: one node for all its uses.
    fn builtin(
        &mut self,
        place: impl Fn(&mut super::Builtins) -> &mut Option<NodeId>,
        name: &str,
    ) -> NodeId {
        if let Some(id) = *place(&mut self.builtins) {
            return id;
        }
        let id = self.pickles.global("builtins", name);
        *place(&mut self.builtins) = Some(id);
        id
    }

    /// APPENDS, SETITEMS and ADDITEMS: what came since the mark goes into the collection before it.
    pub(super) fn extend(&mut self, opcode: u8) -> Result<(), Reason> {
        let start = self.take_mark()?;
        let count = self.stack.len() - start;
        match opcode {
            op::APPENDS => self.append(count),
            op::SETITEMS => self.set_items(count),
            _ => self.add_items(count),
        }
    }

    /// Appends the last `count` values to the list, or list subclass, before them.
    pub(super) fn append(&mut self, count: usize) -> Result<(), Reason> {
        let (target, start) = self.target(count)?;
        match self.pickles.node(target) {
            Node::List(mut run) => {
                self.pickles.extend_run(&mut run, &self.stack[start..]);
                self.pickles.nodes[target.index()] = Node::List(run);
            }
            Node::Instance(index) => {
                let mut run = self.pickles.instances[index as usize].items;
                self.pickles.extend_run(&mut run, &self.stack[start..]);
                self.pickles.instances[index as usize].items = run;
            }
            _ => return Err(self.wrong("a list", target)),
        }
        self.stack.truncate(start);
        Ok(())
    }

    /// Puts the last `count` values, pairs, into the dict, or dict subclass, before them.
    pub(super) fn set_items(&mut self, count: usize) -> Result<(), Reason> {
        let (target, start) = self.target(count)?;
        if !count.is_multiple_of(2) {
            return Err(Reason::OddItems);
        }
        match self.pickles.node(target) {
            Node::Dict(mut run) => {
                self.pickles.extend_run(&mut run, &self.stack[start..]);
                self.pickles.nodes[target.index()] = Node::Dict(run);
            }
            Node::Instance(index) => {
                let mut run = self.pickles.instances[index as usize].pairs;
                self.pickles.extend_run(&mut run, &self.stack[start..]);
                self.pickles.instances[index as usize].pairs = run;
            }
            _ => return Err(self.wrong("a dict", target)),
        }
        self.stack.truncate(start);
        Ok(())
    }

    fn add_items(&mut self, count: usize) -> Result<(), Reason> {
        let (target, start) = self.target(count)?;
        let Some(list) = self.list_of_set(target) else {
            return Err(self.wrong("a set", target));
        };
        if let Node::List(mut run) = self.pickles.node(list) {
            self.pickles.extend_run(&mut run, &self.stack[start..]);
            self.pickles.nodes[list.index()] = Node::List(run);
        }
        self.stack.truncate(start);
        Ok(())
    }

    /// The list beneath a set that EMPTY_SET made.
    fn list_of_set(&self, set: NodeId) -> Option<NodeId> {
        let Node::Instance(index) = self.pickles.node(set) else {
            return None;
        };
        let instance = &self.pickles.instances[index as usize];
        if Some(instance.class) != self.builtins.set {
            return None;
        }
        let Node::Tuple(args) = self.pickles.node(instance.args) else {
            return None;
        };
        match self.pickles.run(args) {
            [list] if matches!(self.pickles.node(*list), Node::List(_)) => Some(*list),
            _ => None,
        }
    }

    /// What stands before the last `count` values, and where those begin.
    fn target(&self, count: usize) -> Result<(NodeId, usize), Reason> {
        self.check_nodes()?;
        let below = self.last(count + 1)?;
        Ok((self.stack[below], below + 1))
    }

    fn wrong(&self, expected: &'static str, found: NodeId) -> Reason {
        Reason::WrongKind {
            expected,
            found: Value::new(&self.pickles, found).kind_name(),
        }
    }

    /// Module and name from the stack. Equal names are not looked for: the pickler memoises, and a search would
    /// take quadratic time.
    pub(super) fn stack_global(&mut self) -> Result<(), Reason> {
        let start = self.last(2)?;
        let mut text = Vec::new();
        let mut lens = [0; 2];
        for (len, id) in lens.iter_mut().zip(&self.stack[start..]) {
            let Node::Str(span) = self.pickles.node(*id) else {
                return Err(self.wrong("a str", *id));
            };
            let part = self.pickles.span(span);
            if part.contains(&b'\n') {
                // Protocol 3 ends each name with a line break.
                return Err(Reason::BadText("a class name"));
            }
            text.extend_from_slice(part);
            text.push(b'\n');
            *len = span.len;
        }
        self.check_nodes()?;
        let text = self.add_text(&text)?;
        let id = self.pickles.add_global(text.start, lens[0], lens[1]);
        self.stack.truncate(start);
        self.push(id)
    }

    /// REDUCE and NEWOBJ.
    pub(super) fn call(&mut self, construction: Construction) -> Result<(), Reason> {
        let start = self.last(2)?;
        let (class, args) = (self.stack[start], self.stack[start + 1]);
        if !matches!(self.pickles.node(args), Node::Tuple(_)) {
            return Err(self.wrong("a tuple of arguments", args));
        }
        self.stack.truncate(start);
        self.push_instance(construction, class, args)
    }

    /// Protocol 3 writes a call of `copyreg.__newobj_ex__` instead.
    pub(super) fn new_object_ex(&mut self) -> Result<(), Reason> {
        let start = self.last(3)?;
        let [args, keywords] = [self.stack[start + 1], self.stack[start + 2]];
        if !matches!(self.pickles.node(args), Node::Tuple(_)) {
            return Err(self.wrong("a tuple of arguments", args));
        }
        if !matches!(self.pickles.node(keywords), Node::Dict(_)) {
            return Err(self.wrong("a dict of keyword arguments", keywords));
        }
        self.tuple_at(start)?;
        let all = self.pop()?;
        let class = match self.builtins.new_object_ex {
            Some(id) => id,
            None => self.pickles.global("copyreg", "__newobj_ex__"),
        };
        self.builtins.new_object_ex = Some(class);
        self.push_instance(Construction::Reduce, class, all)
    }

    /// OBJ and INST: the arguments lie on the stack since the mark, behind the class for OBJ.
    pub(super) fn old_style(&mut self, opcode: u8) -> Result<(), Reason> {
        if opcode == op::INST {
            self.global_line()?;
            let class = self.pop()?;
            let start = self.take_mark()?;
            self.tuple_at(start)?;
            let args = self.pop()?;
            return self.push_instance(Construction::OldStyle, class, args);
        }
        let start = self.take_mark()?;
        let Some(class) = self.stack.get(start).copied() else {
            return Err(Reason::StackUnderflow);
        };
        self.tuple_at(start + 1)?;
        let args = self.pop()?;
        self.stack.truncate(start);
        self.push_instance(Construction::OldStyle, class, args)
    }

    fn push_instance(
        &mut self,
        construction: Construction,
        class: NodeId,
        args: NodeId,
    ) -> Result<(), Reason> {
        self.check_nodes()?;
        let id = self.pickles.add_instance(InstanceNode {
            construction,
            class,
            args,
            state: None,
            items: Run::default(),
            pairs: Run::default(),
        });
        self.push(id)
    }

    /// The pickler never writes a persistent id as a reference. A chain of them would be written out in full at each
    /// occurrence, since references are not memoised.
    pub(super) fn persistent(&mut self) -> Result<(), Reason> {
        let id = self.pop()?;
        if matches!(self.pickles.node(id), Node::Persistent(_)) {
            return Err(self.wrong("a persistent id", id));
        }
        self.push_node(Node::Persistent(id))
    }

    pub(super) fn build(&mut self) -> Result<(), Reason> {
        let start = self.last(2)?;
        let (target, state) = (self.stack[start], self.stack[start + 1]);
        let Node::Instance(index) = self.pickles.node(target) else {
            // Python would change the class, or the persistent object, for everybody.
            return Err(self.wrong("an instance", target));
        };
        let instance = &mut self.pickles.instances[index as usize];
        if instance.state.is_some() {
            return Err(Reason::StateTwice);
        }
        instance.state = Some(state);
        self.stack.truncate(start + 1);
        Ok(())
    }
}
