//! Opcodes whose argument follows them in the input.

use super::Decoder;
use crate::error::Reason;
use crate::integer;
use crate::literal;
use crate::node::{Node, NodeId, Span};
use crate::opcode as op;
use crate::pickles::small;
use crate::text::{self, TextKind};

impl Decoder<'_> {
    /// Values that begin with their length.
    pub(super) fn counted(&mut self, opcode: u8) -> Result<(), Reason> {
        let len = self.input.length(opcode)?;
        if matches!(opcode, op::LONG1 | op::LONG4) && len > self.limits.long_bytes as u64 {
            let limit = self.limits.long_bytes;
            return Err(Reason::LimitReached {
                what: "bytes of an integer",
                limit,
            });
        }
        // The arena's copy of the input holds them at the same place.
        let (bytes, span) = self.input.take(len)?;
        match opcode {
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINUNICODE8 => {
                let node = text_node(bytes, span)?;
                self.push_node(node)
            }
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 => self.push_node(Node::Bytes(span)),
            op::BINSTRING | op::SHORT_BINSTRING => self.push_node(Node::ByteString(span)),
            op::BYTEARRAY8 => self.byte_array(span),
            _ => self.push_node(match integer::to_i64(bytes) {
                Some(value) => Node::Int(value),
                None => Node::BigInt(Span {
                    len: small(integer::shortest(bytes).len()),
                    ..span
                }),
            }),
        }
    }

    /// Values of protocol 0, written out in a line of text.
    pub(super) fn text_value(&mut self, opcode: u8) -> Result<(), Reason> {
        let (line, span) = self.input.line()?;
        match opcode {
            op::INT if line == b"00" => self.push(NodeId::FALSE),
            op::INT if line == b"01" => self.push(NodeId::TRUE),
            op::INT | op::LONG => {
                let bytes = literal::integer(line)?;
                let node = match integer::to_i64(&bytes) {
                    Some(value) => Node::Int(value),
                    None => Node::BigInt(self.add_text(&bytes)?),
                };
                self.push_node(node)
            }
            op::FLOAT => {
                let value = literal::float(line)?;
                self.push_node(Node::Float(value))
            }
            op::STRING => {
                let span = self.add_text(&literal::quoted(line)?)?;
                self.push_node(Node::ByteString(span))
            }
            op::UNICODE => {
                let node = match literal::escaped(line)? {
                    None => Node::Str(span),
                    Some(text) => text_node(&text, self.add_text(&text)?)?,
                };
                self.push_node(node)
            }
            _ => {
                let id = text_node(line, span)?;
                let id = self.add(id)?;
                self.push_node(Node::Persistent(id))
            }
        }
    }

    pub(super) fn global_line(&mut self) -> Result<(), Reason> {
        let (module, name) = self.input.global()?;
        self.check_nodes()?;
        // The arena's copy holds both names with one byte between them, as a global needs.
        let id = self.pickles.add_global(module.start, module.len, name.len);
        self.push(id)
    }
}

fn text_node(bytes: &[u8], span: Span) -> Result<Node, Reason> {
    match text::text_kind(bytes) {
        TextKind::Utf8 => Ok(Node::Str(span)),
        TextKind::Surrogates => Ok(Node::Surrogates(span)),
        TextKind::Invalid => Err(Reason::NotUtf8),
    }
}
