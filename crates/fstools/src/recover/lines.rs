//! What a recovery says.

use std::fmt;

use serde::Serialize;
use storage::{Oid, Tid};

use crate::line::{counted, shown, shown_some};

/// Bytes of a damaged file that were not copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostLine {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
    /// The transaction, where it can be read.
    #[serde(serialize_with = "shown_some")]
    pub tid: Option<Tid>,
    /// How many of its records were copied all the same.
    pub kept_records: u64,
    /// What is wrong.
    pub what: String,
}

/// An object whose newest revision is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostObjectLine {
    /// The object.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// Where its newest record was.
    pub offset: u64,
    /// The revision that it has in the new file; nothing where it has none.
    #[serde(serialize_with = "shown_some")]
    pub left: Option<Tid>,
}

/// A broken field that was put right in the new file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MendedLine {
    /// Where the header with the field begins.
    pub offset: u64,
    /// The transaction.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// The object, as it is in the new file, where it is a record's header.
    #[serde(serialize_with = "shown_some")]
    pub oid: Option<Oid>,
    /// What is right, and what was found.
    pub what: String,
}

/// A record of which nobody can say whose it is. It was not copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoubtfulLine {
    /// Where it begins.
    pub offset: u64,
    /// The transaction.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// The object in its header.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// The object that it may be as well.
    #[serde(serialize_with = "shown_some")]
    pub likely: Option<Oid>,
}

/// A record with a pickle that cannot be read. It was copied as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadableLine {
    /// Where it begins.
    pub offset: u64,
    /// The transaction.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// The object.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// What is wrong with it.
    pub what: String,
}

/// What a recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecoverLine {
    /// Transactions that were copied whole.
    pub transactions: u64,
    /// Transactions of which a part was copied.
    pub partial: u64,
    /// Records that were copied.
    pub records: u64,
    /// The length of the new file.
    pub bytes: u64,
    /// Places where something was lost.
    pub lost_spans: u64,
    /// Their bytes.
    pub lost_bytes: u64,
    /// Transactions that got a later id, because theirs was not later than the one before.
    pub retimed: u64,
    /// Objects whose newest revision is known to be lost.
    pub lost_objects: u64,
    /// Broken fields that were put right from what the rest of the file says.
    pub mended: u64,
    /// Records that were set aside because nobody can say whose they are.
    pub doubtful: u64,
    /// Records that were copied as they are, though they cannot be read.
    pub unreadable: u64,
}

impl fmt::Display for LostLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = counted(self.bytes, "byte", "bytes");
        write!(f, "lost: {bytes} at offset {}", self.offset)?;
        if let Some(tid) = self.tid {
            write!(f, ", transaction {tid}")?;
        }
        write!(f, ": {}", self.what)?;
        match self.kept_records {
            0 => Ok(()),
            1 => f.write_str("; one record before that is kept"),
            kept => write!(f, "; {kept} records before that are kept"),
        }
    }
}

impl fmt::Display for LostObjectLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "object {}: its newest record, at {}, is lost; ",
            self.oid, self.offset
        )?;
        match self.left {
            Some(tid) => write!(f, "it is as of {tid}"),
            None => f.write_str("nothing is left of it"),
        }
    }
}

impl fmt::Display for MendedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, tid, .. } = self;
        write!(f, "mended: offset {offset}, transaction {tid}")?;
        if let Some(oid) = self.oid {
            write!(f, ", object {oid}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl fmt::Display for DoubtfulLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset, tid, oid, ..
        } = self;
        write!(
            f,
            "doubtful: the record at {offset}, transaction {tid}, says that it is of object {oid}, "
        )?;
        match self.likely {
            Some(likely) => write!(f, "but other records or the index say {likely}")?,
            None => f.write_str("but its pointers or other records contradict that")?,
        }
        f.write_str("; it is not copied")
    }
}

impl fmt::Display for UnreadableLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            offset,
            tid,
            oid,
            what,
        } = self;
        write!(
            f,
            "unreadable: object {oid}, transaction {tid}, offset {offset}: {what}; the record is copied as \
             it is"
        )
    }
}

impl fmt::Display for RecoverLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transactions = counted(self.transactions, "transaction", "transactions");
        let records = counted(self.records, "record", "records");
        write!(
            f,
            "{transactions}, {records}, {} bytes recovered",
            self.bytes
        )?;
        if self.partial > 0 {
            let partial = counted(self.partial, "transaction", "transactions");
            write!(f, "; {partial} in part")?;
        }
        if self.retimed > 0 {
            write!(f, "; {} got later ids", self.retimed)?;
        }
        if self.mended > 0 {
            let mended = counted(self.mended, "broken field", "broken fields");
            write!(f, "; {mended} mended")?;
        }
        if self.doubtful > 0 {
            write!(f, "; {} doubtful records set aside", self.doubtful)?;
        }
        if self.unreadable > 0 {
            let unreadable = counted(self.unreadable, "record", "records");
            write!(f, "; {unreadable} copied as they are, which cannot be read")?;
        }
        match self.lost_spans {
            0 if self.unreadable > 0 => f.write_str("; nothing else is lost"),
            0 => f.write_str("; nothing is lost"),
            spans => write!(
                f,
                "; lost: {} in {}, the newest revision of {}",
                counted(self.lost_bytes, "byte", "bytes"),
                counted(spans, "place", "places"),
                counted(self.lost_objects, "object", "objects")
            ),
        }
    }
}
