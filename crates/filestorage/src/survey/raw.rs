//! The fixed parts of transactions and records as values, for tools that take a file apart and put it
//! together again.

use storage::{Oid, Tid, TransactionMeta};

use crate::format::{DataHeader, LENGTH_LEN, Offset, Status, TransactionHeader};

/// The header of a transaction. Nothing in it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTransaction {
    /// Its id.
    pub tid: Tid,
    /// Its length without the closing length.
    pub length: u64,
    /// What became of it.
    pub status: Status,
    /// The lengths of user, description and extension.
    pub texts: [u16; 3],
}

/// The header of a record. Nothing in it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The object.
    pub oid: Oid,
    /// The transaction.
    pub tid: Tid,
    /// Where the previous record of the object is; 0 for nowhere.
    pub previous: u64,
    /// Where the transaction begins.
    pub transaction: u64,
    /// The length of a version's name, which is always 0 nowadays.
    pub version_bytes: u16,
    /// The length of the data; 0 where a back pointer is there instead.
    pub data_bytes: u64,
}

impl RawTransaction {
    /// The length of the header itself.
    pub const LEN: usize = TransactionHeader::LEN;
    /// The same.
    pub const BYTES: u64 = Self::LEN as u64;

    /// Where the records begin, from the beginning of the transaction on.
    pub fn records_start(&self) -> u64 {
        Self::BYTES + self.texts.iter().copied().map(u64::from).sum::<u64>()
    }

    /// Reads the header.
    pub fn decode(bytes: &[u8; TransactionHeader::LEN]) -> Self {
        let header = TransactionHeader::decode(bytes);
        Self {
            tid: header.tid,
            length: header.length,
            status: header.status,
            texts: [
                header.user_length,
                header.description_length,
                header.extension_length,
            ],
        }
    }

    /// The bytes of the header, and of the texts behind it.
    ///
    /// # Panics
    /// A text is longer than its length says, or shorter.
    pub fn encode(&self, meta: &TransactionMeta) -> Vec<u8> {
        let texts = [&meta.user, &meta.description, &meta.extension];
        let lengths = texts.map(Vec::len);
        assert_eq!(
            lengths,
            self.texts.map(usize::from),
            "the texts are as long as said"
        );
        let [user_length, description_length, extension_length] = self.texts;
        let header = TransactionHeader {
            tid: self.tid,
            length: self.length,
            status: self.status,
            user_length,
            description_length,
            extension_length,
        };
        let mut bytes = header.encode().to_vec();
        for text in texts {
            bytes.extend(text);
        }
        bytes
    }
}

impl RawRecord {
    /// The length of the header itself.
    pub const LEN: usize = DataHeader::LEN;
    /// The same, as a distance in a file.
    pub const BYTES: u64 = Self::LEN as u64;

    /// The length of the whole record; the largest number where that has no meaning.
    pub fn bytes(&self) -> u64 {
        let body = if self.data_bytes == 0 {
            LENGTH_LEN
        } else {
            self.data_bytes
        };
        body.saturating_add(Self::BYTES)
    }

    /// Reads the header.
    pub fn decode(bytes: &[u8; DataHeader::LEN]) -> Self {
        let header = DataHeader::decode(bytes);
        Self {
            oid: header.oid,
            tid: header.tid,
            previous: header.previous.number(),
            transaction: header.transaction.number(),
            version_bytes: header.version_length,
            data_bytes: header.data_length,
        }
    }

    /// The bytes of the header.
    pub fn encode(&self) -> [u8; DataHeader::LEN] {
        let header = DataHeader {
            oid: self.oid,
            tid: self.tid,
            previous: Offset::new(self.previous),
            transaction: Offset::new(self.transaction),
            version_length: self.version_bytes,
            data_length: self.data_bytes,
        };
        header.encode()
    }
}
