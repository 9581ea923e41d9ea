//! What can be wrong with a pickle, and where.

use std::fmt;

use crate::opcode;

/// A pickle that was refused: which opcode, where, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("pickle refused at byte {offset} ({}): {reason}", OpcodeName(*.opcode))]
pub struct UnpickleError {
    /// Where the opcode stands in the input.
    pub offset: usize,
    /// The opcode; `None` where the input ended or was refused before one was read.
    pub opcode: Option<u8>,
    /// What is wrong.
    pub reason: Reason,
}

/// Why a pickle was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The input holds no pickle.
    #[error("the input is empty")]
    Empty,
    /// The input ends in the middle of a pickle.
    #[error("{needed} more bytes are needed and {left} are left; the pickle is cut off or damaged")]
    Truncated {
        /// How many bytes the opcode asks for.
        needed: u64,
        /// How many there are.
        left: usize,
    },
    /// A text argument has no line break at its end.
    #[error("the line break after a text argument is missing")]
    Unterminated,
    /// Not an opcode of protocols 0 to 5.
    #[error("there is no such opcode; this is not a pickle, or it is damaged")]
    UnknownOpcode,
    /// A protocol newer than 5.
    #[error("protocol {0} is unknown; 0 to 5 are read")]
    Protocol(u8),
    /// Buffers outside of the pickle (protocol 5) are not supported.
    #[error("the value lies in a buffer outside of the pickle, which a stored record cannot have")]
    OutOfBand,
    /// The opcode takes more values than the stack holds above its last mark.
    #[error("the stack holds too few values")]
    StackUnderflow,
    /// The opcode needs a mark and there is none.
    #[error("no mark is set")]
    NoMark,
    /// A dict needs pairs.
    #[error("keys and values do not pair up")]
    OddItems,
    /// The value on the stack is of another kind than the opcode needs.
    #[error("needs {expected} and found {found}")]
    WrongKind {
        /// What the opcode works on.
        expected: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// BUILD ran twice for one object.
    #[error("the object has its state already")]
    StateTwice,
    /// A GET before its PUT.
    #[error("memo slot {0} is empty")]
    MemoEmpty(u64),
    /// Text is not UTF-8 (lone surrogates are allowed).
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A text argument cannot be read.
    #[error("the argument is not {0}")]
    BadText(&'static str),
    /// A length or extension code that must not be negative (or zero).
    #[error("{0} is out of range")]
    OutOfRange(i64),
    /// The input is longer than the limits allow.
    #[error("{found} bytes are more than the limit of {limit}")]
    InputTooLong {
        /// The limit in bytes.
        limit: usize,
        /// The input's length.
        found: usize,
    },
    /// Something else grew beyond its limit.
    #[error("more than {limit} {what}; raise the limit if the pickle can be trusted")]
    LimitReached {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
}

/// A value that cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The value contains itself.
    #[error("a value that contains itself cannot be pickled without a memo")]
    Cyclic,
    /// The output grew beyond [`EncodeOptions::bytes_max`](crate::EncodeOptions::bytes_max).
    #[error("the pickle would be longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

struct OpcodeName(Option<u8>);

impl fmt::Display for OpcodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("where an opcode is due"),
            Some(code) => match opcode::name(code) {
                Some(name) => f.write_str(name),
                None => write!(f, "opcode {code:#04x}"),
            },
        }
    }
}
