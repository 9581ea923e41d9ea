//! The bytes of a pickle with a place in them: the arguments of opcodes.

use crate::error::Reason;
use crate::node::Span;
use crate::opcode as op;
use crate::pickles::small;

/// Input that is at most [`INPUT_BYTES_MAX`](crate::INPUT_BYTES_MAX) long.
pub(crate) struct Input<'i> {
    pub(crate) bytes: &'i [u8],
    pub(crate) position: usize,
}

impl<'i> Input<'i> {
    pub(crate) fn new(bytes: &'i [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Reason> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let Some(bytes) = self.bytes[self.position..].first_chunk() else {
            return Err(self.truncated(N as u64));
        };
        self.position += N;
        Ok(*bytes)
    }

    #[cold]
    fn truncated(&self, needed: u64) -> Reason {
        Reason::Truncated {
            needed,
            left: self.bytes.len() - self.position,
        }
    }

    /// The next bytes, and where they are.
    pub(crate) fn take(&mut self, len: u64) -> Result<(&'i [u8], Span), Reason> {
        let taken = usize::try_from(len)
            .ok()
            .and_then(|len| self.bytes[self.position..].get(..len));
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
    pub(crate) fn line(&mut self) -> Result<(&'i [u8], Span), Reason> {
        let rest = &self.bytes[self.position..];
        let len = memchr::memchr(b'\n', rest).ok_or(Reason::Unterminated)?;
        let line = self.take(len as u64)?;
        self.position += 1;
        Ok(line)
    }

    /// The length that the value of a counted opcode begins with.
    pub(crate) fn length(&mut self, opcode: u8) -> Result<u64, Reason> {
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

    /// The argument of PROTO.
    pub(crate) fn protocol(&mut self) -> Result<(), Reason> {
        let protocol = self.byte()?;
        if protocol > op::PROTOCOL_READ_MAX {
            return Err(Reason::Protocol(protocol));
        }
        Ok(())
    }

    /// The argument of FRAME.
    pub(crate) fn frame(&mut self) -> Result<(), Reason> {
        let needed = u64::from_le_bytes(self.array()?);
        let left = self.bytes.len() - self.position;
        if usize::try_from(needed).is_ok_and(|needed| needed <= left) {
            return Ok(());
        }
        Err(Reason::Truncated { needed, left })
    }

    /// The argument of GET and PUT.
    pub(crate) fn decimal_slot(&mut self) -> Result<u64, Reason> {
        let (line, _) = self.line()?;
        std::str::from_utf8(line)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .ok_or(Reason::BadText("a memo slot"))
    }

    /// The argument of EXT1, EXT2 and EXT4.
    pub(crate) fn extension(&mut self, opcode: u8) -> Result<u32, Reason> {
        let code = match opcode {
            op::EXT1 => i64::from(self.byte()?),
            op::EXT2 => i64::from(u16::from_le_bytes(self.array()?)),
            _ => i64::from(i32::from_le_bytes(self.array()?)),
        };
        match u32::try_from(code) {
            Ok(code) if code > 0 => Ok(code),
            _ => Err(Reason::OutOfRange(code)),
        }
    }

    /// The two lines of GLOBAL and INST: the module and the name.
    pub(crate) fn global(&mut self) -> Result<(Span, Span), Reason> {
        let (module, module_place) = self.line()?;
        let (name, name_place) = self.line()?;
        for part in [module, name] {
            std::str::from_utf8(part).map_err(|_| Reason::NotUtf8)?;
        }
        Ok((module_place, name_place))
    }
}
