//! Values from one arena to another.

use crate::node::{InstanceNode, Node, NodeId, Run, Span};
use crate::pickles::{Pickles, small};
use crate::value::Value;

impl Pickles {
    /// Copies a value, with everything it refers to, from another arena. Sharing and cycles within the value are
    /// kept; two copies share nothing but classes.
    pub fn copy_from(&mut self, value: Value<'_>) -> NodeId {
        let source = value.pickles;
        let mut copy = Copy {
            source,
            target: self,
            copies: vec![None; source.nodes.len()],
            todo: Vec::new(),
        };
        let id = copy.node(value.id);
        while let Some((node, id)) = copy.todo.pop() {
            copy.fill(node, id);
        }
        id
    }
}

/// First makes a node without its parts, later fills them in: so cycles and depth are no danger.
struct Copy<'a> {
    source: &'a Pickles,
    target: &'a mut Pickles,
    copies: Vec<Option<NodeId>>,
    todo: Vec<(Node, NodeId)>,
}

impl Copy<'_> {
    fn node(&mut self, id: NodeId) -> NodeId {
        if id <= NodeId::EMPTY_TUPLE {
            return id;
        }
        if let Some(copy) = self.copies[id.index()] {
            return copy;
        }
        let node = self.source.node(id);
        let copy = match node {
            Node::BigInt(span) => self.text(Node::BigInt, span),
            Node::Str(span) => self.text(Node::Str, span),
            Node::Surrogates(span) => self.text(Node::Surrogates, span),
            Node::Bytes(span) => self.text(Node::Bytes, span),
            Node::ByteString(span) => self.text(Node::ByteString, span),
            Node::Global {
                start,
                module_len,
                name_len,
            } => {
                let (module, name) = self.source.global_names(start, module_len, name_len);
                self.target.global(
                    &String::from_utf8_lossy(module),
                    &String::from_utf8_lossy(name),
                )
            }
            Node::Tuple(_) | Node::List(_) | Node::Dict(_) | Node::Persistent(_) => {
                let copy = self.target.add(node);
                self.todo.push((node, copy));
                copy
            }
            Node::Instance(index) => {
                let copy = self
                    .target
                    .add_instance(self.source.instances[index as usize]);
                self.todo.push((node, copy));
                copy
            }
            _ => self.target.add(node),
        };
        self.copies[id.index()] = Some(copy);
        copy
    }

    fn text(&mut self, make: fn(Span) -> Node, span: Span) -> NodeId {
        let span = self.target.add_bytes(self.source.span(span));
        self.target.add(make(span))
    }

    fn fill(&mut self, node: Node, copy: NodeId) {
        let filled = match node {
            Node::Tuple(run) => Node::Tuple(self.run(run)),
            Node::List(run) => Node::List(self.run(run)),
            Node::Dict(run) => Node::Dict(self.run(run)),
            Node::Persistent(id) => Node::Persistent(self.node(id)),
            Node::Instance(index) => {
                let instance = self.source.instances[index as usize];
                let filled = InstanceNode {
                    construction: instance.construction,
                    class: self.node(instance.class),
                    args: self.node(instance.args),
                    state: instance.state.map(|state| self.node(state)),
                    items: self.run(instance.items),
                    pairs: self.run(instance.pairs),
                };
                if let Node::Instance(index) = self.target.node(copy) {
                    self.target.instances[index as usize] = filled;
                }
                return;
            }
            _ => return,
        };
        self.target.nodes[copy.index()] = filled;
    }

    fn run(&mut self, run: Run) -> Run {
        let items: Vec<NodeId> = self
            .source
            .run(run)
            .iter()
            .map(|id| self.node(*id))
            .collect();
        let copied = self.target.add_run(&items);
        debug_assert_eq!(copied.len, small(items.len()));
        copied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_sharing_and_cycles() {
        let bytes = b"\x80\x03]q\x00(X\x01\x00\x00\x00aq\x01h\x01h\x00\x85q\x02e.";
        let source = Pickles::decode(bytes).unwrap();
        let mut target = Pickles::new();
        let copy = target.copy_from(source.root(0).unwrap());
        target.push_root(copy);
        assert_eq!(target.encode(), bytes);
    }
}
