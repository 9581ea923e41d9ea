//! The structures of a Data.fs, byte for byte. All integers are big-endian.
//!
//! The file is a magic number of four bytes ([`MAGIC_NEW`], [`MAGICS`]) and then transactions, one
//! behind the other. A transaction is a header, its texts, its data records, and its length once
//! more, so that the file can be walked backwards.
//!
//! | offset | bytes | [`TransactionHeader`] |
//! |---|---|---|
//! | 0 | 8 | transaction id, a time stamp |
//! | 8 | 8 | length of the whole transaction without the 8 bytes of the closing length |
//! | 16 | 1 | [`Status`] |
//! | 17 | 2 | length of the user |
//! | 19 | 2 | length of the description |
//! | 21 | 2 | length of the extension |
//! | 23 | | user, description, extension; data records; 8 bytes: the length again |
//!
//! | offset | bytes | [`DataHeader`] |
//! |---|---|---|
//! | 0 | 8 | object id |
//! | 8 | 8 | transaction id, the same as in the transaction's header |
//! | 16 | 8 | offset of the previous record of the same object, or 0 |
//! | 24 | 8 | offset of the transaction's header |
//! | 32 | 2 | zero (was the length of a version's name) |
//! | 34 | 8 | length of the data |
//! | 42 | | the data; or, where the length is 0, 8 bytes: the back pointer |
//!
//! A back pointer is the offset of the record that holds the data, so that an undo copies nothing;
//! 0 says that the object does not exist from here on: its creation was undone.

use std::fmt;
use std::ops::{Add, Sub};

use storage::{Oid, Tid};

/// What a new file begins with: what ZODB writes on Python 3.
pub(crate) const MAGIC_NEW: &[u8; 4] = b"FS30";
/// What a file may begin with. `FS21` is what ZODB wrote on Python 2; the structure is the same.
pub(crate) const MAGICS: [&[u8; 4]; 2] = [MAGIC_NEW, b"FS21"];
/// Where the first transaction begins.
pub(crate) const LOG_START: Offset = Offset::new(4);
/// The length of back pointers and of the closing length of a transaction.
pub(crate) const LENGTH_LEN: u64 = 8;
/// The longest user, description or extension: their lengths are kept in two bytes.
pub(crate) const TEXT_BYTES_MAX: u64 = u16::MAX as u64;
/// The longest data of one record, so that a broken length cannot ask for all memory.
pub(crate) const RECORD_BYTES_MAX: u64 = 1 << 31;

/// A place in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Offset(u64);

impl Offset {
    /// What pointers to nothing say.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// The offset itself, or nothing where it points to nothing.
    pub(crate) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }

    pub(crate) fn checked_add(self, length: u64) -> Option<Self> {
        self.0.checked_add(length).map(Self)
    }

    pub(crate) fn checked_sub(self, length: u64) -> Option<Self> {
        self.0.checked_sub(length).map(Self)
    }
}

impl Add<u64> for Offset {
    type Output = Self;

    fn add(self, length: u64) -> Self {
        Self(self.0 + length)
    }
}

impl Sub for Offset {
    type Output = u64;

    fn sub(self, earlier: Self) -> u64 {
        self.0 - earlier.0
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u8);

impl Status {
    /// Finished.
    pub const COMPLETE: Self = Self(b' ');
    /// Finished, and written by a pack.
    pub const PACKED: Self = Self(b'p');
    /// Voted and not finished: at the end of the file only, and cut off when it is opened.
    pub const UNFINISHED: Self = Self(b'c');
    /// Undone by a ZODB of long ago: skipped.
    pub const UNDONE: Self = Self(b'u');
    /// A header whose sector never reached the disk.
    pub const NEVER_WRITTEN: Self = Self(0);

    /// The byte in the file.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Whether the byte is one that finished transactions have.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::COMPLETE | Self::PACKED | Self::UNDONE)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status('{}')", self.0.escape_ascii())
    }
}

/// The fixed part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransactionHeader {
    pub(crate) tid: Tid,
    pub(crate) length: u64,
    pub(crate) status: Status,
    pub(crate) user_length: u16,
    pub(crate) description_length: u16,
    pub(crate) extension_length: u16,
}

impl TransactionHeader {
    pub(crate) const LEN: usize = 23;
    /// Where the length is in it.
    pub(crate) const LENGTH_OFFSET: u64 = 8;
    /// Where the status byte is in it.
    pub(crate) const STATUS_OFFSET: u64 = 16;

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Self {
        Self {
            tid: Tid::new(be64(bytes, 0)),
            length: be64(bytes, 8),
            status: Status(bytes[16]),
            user_length: be16(bytes, 17),
            description_length: be16(bytes, 19),
            extension_length: be16(bytes, 21),
        }
    }

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..8].copy_from_slice(&self.tid.to_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_be_bytes());
        bytes[16] = self.status.byte();
        bytes[17..19].copy_from_slice(&self.user_length.to_be_bytes());
        bytes[19..21].copy_from_slice(&self.description_length.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.extension_length.to_be_bytes());
        bytes
    }

    /// The bytes before the first data record.
    pub(crate) fn records_start(&self) -> u64 {
        Self::LEN as u64
            + u64::from(self.user_length)
            + u64::from(self.description_length)
            + u64::from(self.extension_length)
    }
}

/// The fixed part of a data record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataHeader {
    pub(crate) oid: Oid,
    pub(crate) tid: Tid,
    pub(crate) previous: Offset,
    pub(crate) transaction: Offset,
    pub(crate) version_length: u16,
    /// 0 where a back pointer follows.
    pub(crate) data_length: u64,
}

impl DataHeader {
    pub(crate) const LEN: usize = 42;

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Self {
        Self {
            oid: Oid::new(be64(bytes, 0)),
            tid: Tid::new(be64(bytes, 8)),
            previous: Offset(be64(bytes, 16)),
            transaction: Offset(be64(bytes, 24)),
            version_length: be16(bytes, 32),
            data_length: be64(bytes, 34),
        }
    }

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..8].copy_from_slice(&self.oid.to_bytes());
        bytes[8..16].copy_from_slice(&self.tid.to_bytes());
        bytes[16..24].copy_from_slice(&self.previous.number().to_be_bytes());
        bytes[24..32].copy_from_slice(&self.transaction.number().to_be_bytes());
        bytes[32..34].copy_from_slice(&self.version_length.to_be_bytes());
        bytes[34..42].copy_from_slice(&self.data_length.to_be_bytes());
        bytes
    }

    /// The length of the whole record; the largest number where that has no meaning.
    pub(crate) fn record_length(&self) -> u64 {
        let body = if self.data_length == 0 {
            LENGTH_LEN
        } else {
            self.data_length
        };
        body.saturating_add(Self::LEN as u64)
    }
}

/// The number at that place, which the caller's array type guarantees to exist.
fn be64(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(number)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_transaction_header_survives_the_round_trip(bytes: [u8; 16], rest: [u8; 7]) {
            let mut whole = [0; TransactionHeader::LEN];
            whole[..16].copy_from_slice(&bytes);
            whole[16..].copy_from_slice(&rest);
            prop_assert_eq!(TransactionHeader::decode(&whole).encode(), whole);
        }

        #[test]
        fn any_data_header_survives_the_round_trip(bytes: [u8; 32], rest: [u8; 10]) {
            let mut whole = [0; DataHeader::LEN];
            whole[..32].copy_from_slice(&bytes);
            whole[32..].copy_from_slice(&rest);
            prop_assert_eq!(DataHeader::decode(&whole).encode(), whole);
        }
    }
}
