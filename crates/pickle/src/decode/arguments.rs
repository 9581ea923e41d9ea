//! Opcodes whose argument follows them in the input.

use super::Decoder;
use crate::error::Reason;
use crate::integer;
use crate::limits::LONG_DIGITS_MAX;
use crate::node::{Node, NodeId, Span};
use crate::opcode as op;
use crate::pickles::small;
use crate::text::{self, TextKind};

impl<'i> Decoder<'i> {
    pub(super) fn byte(&mut self) -> Result<u8, Reason> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let Some(bytes) = self.input[self.position..].first_chunk() else {
            return Err(self.truncated(N as u64));
        };
        self.position += N;
        Ok(*bytes)
    }

    fn truncated(&self, needed: u64) -> Reason {
        Reason::Truncated {
            needed,
            left: self.input.len() - self.position,
        }
    }

    /// The next bytes, which the arena's copy of the input holds at the same place.
    fn take(&mut self, len: u64) -> Result<(&'i [u8], Span), Reason> {
        let input: &'i [u8] = self.input;
        let taken = usize::try_from(len)
            .ok()
            .and_then(|len| input[self.position..].get(..len));
        let Some(bytes) = taken else {
            return Err(self.truncated(len));
        };
        let span = Span {
            start: small(self.position),
            len: small(bytes.len()),
        };
        self.position += bytes.len();
        Ok((bytes, span))
    }

    /// The argument up to the next line break.
    pub(super) fn line(&mut self) -> Result<(&'i [u8], Span), Reason> {
        let rest = &self.input[self.position..];
        let len = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(Reason::Unterminated)?;
        let line = self.take(len as u64)?;
        self.position += 1;
        Ok(line)
    }

    /// Values that begin with their length.
    pub(super) fn counted(&mut self, opcode: u8) -> Result<(), Reason> {
        let len = self.length(opcode)?;
        if matches!(opcode, op::LONG1 | op::LONG4) && len > self.limits.long_bytes as u64 {
            let limit = self.limits.long_bytes;
            return Err(Reason::LimitReached {
                what: "bytes of an integer",
                limit,
            });
        }
        let (bytes, span) = self.take(len)?;
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

    fn length(&mut self, opcode: u8) -> Result<u64, Reason> {
        match opcode {
            op::SHORT_BINUNICODE | op::SHORT_BINBYTES | op::SHORT_BINSTRING | op::LONG1 => {
                self.byte().map(u64::from)
            }
            op::BINUNICODE | op::BINBYTES => self.array().map(u32::from_le_bytes).map(u64::from),
            // These two are signed, for no better reason than their age.
            op::BINSTRING | op::LONG4 => {
                let len = i32::from_le_bytes(self.array()?);
                u64::try_from(len).map_err(|_| Reason::OutOfRange(i64::from(len)))
            }
            _ => self.array().map(u64::from_le_bytes),
        }
    }

    /// Values of protocol 0, written out in a line of text.
    pub(super) fn text_value(&mut self, opcode: u8) -> Result<(), Reason> {
        let (line, span) = self.line()?;
        match opcode {
            op::INT if line == b"00" => self.push(NodeId::FALSE),
            op::INT if line == b"01" => self.push(NodeId::TRUE),
            op::INT | op::LONG => {
                let node = self.decimal(line.strip_suffix(b"L").unwrap_or(line))?;
                self.push_node(node)
            }
            op::FLOAT => {
                let value = std::str::from_utf8(line)
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                    .ok_or(Reason::BadText("a float"))?;
                self.push_node(Node::Float(value))
            }
            op::STRING => {
                let span = self.quoted(line)?;
                self.push_node(Node::ByteString(span))
            }
            op::UNICODE => {
                let node = self.escaped(line, span)?;
                self.push_node(node)
            }
            _ => {
                let id = text_node(line, span)?;
                let id = self.add(id)?;
                self.push_node(Node::Persistent(id))
            }
        }
    }

    fn decimal(&mut self, text: &[u8]) -> Result<Node, Reason> {
        let text = text.trim_ascii();
        if text.len() > LONG_DIGITS_MAX {
            let limit = LONG_DIGITS_MAX;
            return Err(Reason::LimitReached {
                what: "digits of an integer",
                limit,
            });
        }
        let bytes = integer::from_decimal(text).ok_or(Reason::BadText("an integer"))?;
        match integer::to_i64(&bytes) {
            Some(value) => Ok(Node::Int(value)),
            None => self.add_text(&bytes).map(Node::BigInt),
        }
    }

    /// A string literal of Python 2.
    fn quoted(&mut self, line: &[u8]) -> Result<Span, Reason> {
        let bad = || Reason::BadText("a quoted string");
        let literal = line.trim_ascii_end();
        let (open, rest) = literal.split_first().ok_or_else(bad)?;
        let (close, inside) = rest.split_last().ok_or_else(bad)?;
        if open != close || !matches!(open, b'\'' | b'"') {
            return Err(bad());
        }
        let mut bytes = Vec::with_capacity(inside.len());
        text::unescape_string(inside, &mut bytes).ok_or_else(bad)?;
        self.add_text(&bytes)
    }

    fn escaped(&mut self, line: &[u8], span: Span) -> Result<Node, Reason> {
        if line.is_ascii() && !line.contains(&b'\\') {
            return Ok(Node::Str(span));
        }
        let mut bytes = Vec::with_capacity(line.len() * 2);
        text::unescape_unicode(line, &mut bytes).ok_or(Reason::BadText("escaped text"))?;
        let span = self.add_text(&bytes)?;
        text_node(&bytes, span)
    }

    /// The argument of GET and PUT.
    pub(super) fn decimal_slot(&mut self) -> Result<u64, Reason> {
        let (line, _) = self.line()?;
        std::str::from_utf8(line)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or(Reason::BadText("a memo slot"))
    }

    pub(super) fn extension(&mut self, opcode: u8) -> Result<(), Reason> {
        let code = match opcode {
            op::EXT1 => i64::from(self.byte()?),
            op::EXT2 => i64::from(u16::from_le_bytes(self.array()?)),
            _ => i64::from(i32::from_le_bytes(self.array()?)),
        };
        match u32::try_from(code) {
            Ok(code) if code > 0 => self.push_node(Node::Extension(code)),
            _ => Err(Reason::OutOfRange(code)),
        }
    }

    pub(super) fn global_line(&mut self) -> Result<(), Reason> {
        let (module, place) = self.line()?;
        let (name, _) = self.line()?;
        for part in [module, name] {
            std::str::from_utf8(part).map_err(|_| Reason::NotUtf8)?;
        }
        self.check_nodes()?;
        // The arena's copy holds both names with one byte between them, as a global needs.
        let id = self
            .pickles
            .add_global(place.start, place.len, small(name.len()));
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
