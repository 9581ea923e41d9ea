//! What tools find: one thing a line, for people ([`std::fmt::Display`]) or as JSON (`serde`).

use std::fmt;
use std::path::PathBuf;

use filestorage::{Damage, SurveyedRecord, SurveyedTransaction, UnfinishedTail};
use serde::{Serialize, Serializer};
use storage::{Oid, Tid};

use crate::{BTreeLine, BackupLine, BackupVerifyLine, DanglingLine, ExportLine, ImportLine};
use crate::{
    BlobDirectoryLine, BlobsVerifiedLine, CopyLine, DoubtfulLine, IndexLine, LostLine,
    LostObjectLine, MendedLine, RecoverLine, RestoreLine, Stamp, UndoObjectLine, UndoableLine,
    UndoneLine, UnreadableLine,
};

/// One thing that a tool found. As JSON an object whose `kind` says which. Ids are hexadecimal text,
/// since 64 bits are more than JSON numbers hold everywhere; offsets and lengths are numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Line {
    /// The file as a whole.
    Info(InfoLine),
    /// A transaction. Its records follow.
    Transaction(TransactionLine),
    /// A record.
    Record(RecordLine),
    /// An object refers to another.
    Reference {
        /// The one that refers.
        #[serde(serialize_with = "shown")]
        from: Oid,
        /// Its class.
        from_class: Option<String>,
        /// The one referred to.
        #[serde(serialize_with = "shown")]
        to: Oid,
        /// The class that the reference names.
        to_class: Option<String>,
    },
    /// A reference that leads nowhere.
    Dangling(DanglingLine),
    /// An object that was asked for and is not there.
    Absent {
        /// The object.
        #[serde(serialize_with = "shown")]
        oid: Oid,
    },
    /// Something broken.
    Damage {
        /// Where the broken structure begins.
        offset: u64,
        /// The transaction it belongs to.
        #[serde(serialize_with = "shown_some")]
        tid: Option<Tid>,
        /// The object it belongs to.
        #[serde(serialize_with = "shown_some")]
        oid: Option<Oid>,
        /// What was expected and found.
        what: String,
        /// Where reading goes on, when bytes before that are skipped.
        resumed: Option<u64>,
    },
    /// Something is wrong with a BTree.
    Btree(BTreeLine),
    /// Bytes behind the last finished transaction.
    UnfinishedTail {
        /// Where they begin.
        offset: u64,
        /// How many there are.
        bytes: u64,
        /// What they look like.
        why: String,
    },
    /// The records of a class.
    Class(ClassLine),
    /// What was verified.
    Verified(VerifyLine),
    /// A directory of blobs.
    BlobDirectory(BlobDirectoryLine),
    /// What was found of blobs.
    BlobsVerified(BlobsVerifiedLine),
    /// A storage was copied.
    Copied(CopyLine),
    /// Objects were exported.
    Exported(ExportLine),
    /// Objects were imported.
    Imported(ImportLine),
    /// The file of a blob is missing.
    BlobAbsent {
        /// The blob.
        #[serde(serialize_with = "shown")]
        oid: Oid,
        /// The transaction whose revision it is.
        #[serde(serialize_with = "shown")]
        tid: Tid,
        /// What was expected and found.
        what: String,
    },
    /// Files of blobs were not verified, as nobody knows where they are.
    BlobsNotVerified {
        /// Records of blobs.
        records: u64,
    },
    /// The `.index` beside a file.
    Index(IndexLine),
    /// A transaction that may be undone.
    Undoable(UndoableLine),
    /// What an undo does to an object.
    UndoObject(UndoObjectLine),
    /// A transaction cannot be undone at all.
    UndoRefused {
        /// The transaction.
        #[serde(serialize_with = "shown")]
        tid: Tid,
        /// Why not.
        reason: String,
    },
    /// Transactions were taken back.
    Undone(UndoneLine),
    /// Bytes of a damaged file are lost.
    Lost(LostLine),
    /// An object lost its newest revision.
    LostObject(LostObjectLine),
    /// A broken field was put right.
    Mended(MendedLine),
    /// A record was not copied because nobody can say whose it is.
    Doubtful(DoubtfulLine),
    /// A record was copied as it is, though it cannot be read.
    Unreadable(UnreadableLine),
    /// More of the same were not told one by one.
    More {
        /// What they are.
        things: &'static str,
        /// How many.
        count: u64,
    },
    /// A damaged file was recovered.
    Recovered(RecoverLine),
    /// A backup was made.
    Backup(BackupLine),
    /// A backup was restored.
    Restored(RestoreLine),
    /// A repository was verified.
    BackupVerified(BackupVerifyLine),
    /// A file of a repository is not as it should be.
    Broken {
        /// The file.
        path: String,
        /// What was expected and found.
        what: String,
    },
    /// What references were looked at.
    ReferencesChecked {
        /// Objects that were looked at.
        objects: u64,
        /// References that lead nowhere.
        dangling: u64,
        /// Objects that could not be read.
        unreadable: u64,
        /// Broken places where objects may be missed.
        damages: u64,
    },
}

/// The file as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InfoLine {
    /// The file.
    pub path: String,
    /// The four letters it begins with.
    pub magic: String,
    /// Its length.
    pub bytes: u64,
    /// Finished transactions.
    pub transactions: u64,
    /// The first one.
    #[serde(serialize_with = "shown_some")]
    pub first_tid: Option<Tid>,
    /// When it was.
    pub first_time: Option<String>,
    /// The last one.
    #[serde(serialize_with = "shown_some")]
    pub last_tid: Option<Tid>,
    /// When it was.
    pub last_time: Option<String>,
    /// Objects that have a record.
    pub objects: u64,
    /// Records, old revisions included.
    pub records: u64,
    /// Their bytes, headers included.
    pub record_bytes: u64,
    /// What is known of the `.index`.
    pub index: IndexState,
    /// Other files that belong to it: the letters behind its name, and how many bytes they have.
    pub sidecars: Vec<(String, u64)>,
    /// Whether bytes follow the last finished transaction.
    pub unfinished_tail: bool,
    /// How many things are broken.
    pub damages: u64,
}

/// What is known of the `.index` beside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum IndexState {
    /// There is none.
    Missing,
    /// There is one that cannot be read.
    Broken,
    /// It names the current records as of its end. What follows that is read at open.
    Agrees {
        /// Transactions behind its end.
        behind_transactions: u64,
        /// Bytes behind its end.
        behind_bytes: u64,
    },
    /// It names other records than the file: it belongs to another file, or is of use no more.
    Disagrees,
    /// It is of this file, and does not name the newest records of some objects. Nothing speaks against
    /// the file.
    Wrong {
        /// Of how many.
        objects: u64,
    },
    /// It is of this file, and some of its entries lead to records of other objects: what is wrong may be
    /// the file.
    Contradicts {
        /// How many.
        entries: u64,
    },
    /// It is of this file, which was longer.
    Longer {
        /// Up to where it knows the file.
        end: u64,
        /// How many objects have their newest record behind the end of the file.
        objects: u64,
    },
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TransactionLine {
    /// Where it begins.
    pub offset: u64,
    /// All its bytes.
    pub bytes: u64,
    /// Its id.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// When it was.
    pub time: String,
    /// The status byte.
    pub status: char,
    /// Who.
    pub user: String,
    /// What.
    pub description: String,
    /// The length of its extension.
    pub extension_bytes: usize,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordLine {
    /// Where it begins.
    pub offset: u64,
    /// The object.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// The transaction.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// The class; nothing where the object ceases to exist, or the class cannot be read.
    pub class: Option<String>,
    /// The length of the data, also where a back pointer leads to it; nothing where the object
    /// ceases to exist.
    pub data_bytes: Option<usize>,
    /// The transaction whose data a back pointer leads to.
    #[serde(serialize_with = "shown_some")]
    pub back: Option<Tid>,
}

/// The records of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClassLine {
    /// The class.
    pub class: String,
    /// Objects of the class.
    pub objects: u64,
    /// The data of their current records.
    pub bytes: u64,
    /// Old revisions, which a pack may remove.
    pub old_records: u64,
    /// Their data.
    pub old_bytes: u64,
}

/// What was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyLine {
    /// Transactions that were read.
    pub transactions: u64,
    /// Records that were read.
    pub records: u64,
    /// How many things are broken.
    pub damages: u64,
    /// Bytes that were skipped, because no transaction was found in them.
    pub skipped_bytes: u64,
    /// Records that are compressed, as zc.zlibstorage does it.
    pub compressed: u64,
    /// Records of blobs, old revisions included. Those that refer to older records are not counted.
    pub blob_records: u64,
    /// BTrees that were walked through.
    pub btrees: u64,
    /// BTrees with keys whose order only Python knows, so that it was not looked at.
    pub btrees_not_compared: u64,
    /// What is known of the `.index`; nothing where damage hides what it should say.
    pub index: Option<IndexState>,
    /// The same of the checkpoint (`.zidx`).
    pub checkpoint: Option<IndexState>,
}

impl From<(PathBuf, String)> for Line {
    fn from((path, what): (PathBuf, String)) -> Self {
        Self::Broken {
            path: path.display().to_string(),
            what,
        }
    }
}

impl From<Damage> for Line {
    fn from(damage: Damage) -> Self {
        Self::Damage {
            offset: damage.offset,
            tid: damage.tid,
            oid: damage.oid,
            what: damage.what,
            resumed: damage.resumed,
        }
    }
}

impl From<UnfinishedTail> for Line {
    fn from(tail: UnfinishedTail) -> Self {
        Self::UnfinishedTail {
            offset: tail.offset,
            bytes: tail.bytes,
            why: tail.why,
        }
    }
}

impl From<&SurveyedTransaction> for TransactionLine {
    fn from(transaction: &SurveyedTransaction) -> Self {
        let meta = &transaction.meta;
        Self {
            offset: transaction.offset,
            bytes: transaction.bytes,
            tid: transaction.tid,
            time: Stamp(transaction.tid).to_string(),
            status: char::from(transaction.status.byte()),
            user: String::from_utf8_lossy(&meta.user).into_owned(),
            description: String::from_utf8_lossy(&meta.description).into_owned(),
            extension_bytes: meta.extension.len(),
        }
    }
}

impl RecordLine {
    pub(crate) fn new(record: &SurveyedRecord, data: Option<&[u8]>, back: Option<Tid>) -> Self {
        Self {
            offset: record.offset,
            oid: record.oid,
            tid: record.tid,
            class: data.and_then(crate::content::class_of),
            data_bytes: data.map(<[u8]>::len),
            back,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Info(info) => info.fmt(f),
            Self::Transaction(transaction) => transaction.fmt(f),
            Self::Record(record) => record.fmt(f),
            Self::Reference {
                from,
                from_class,
                to,
                to_class,
            } => {
                let (from_class, to_class) = (named(from_class), named(to_class));
                write!(f, "  {from} {from_class} refers to {to} {to_class}")
            }
            Self::Dangling(dangling) => dangling.fmt(f),
            Self::Absent { oid } => write!(f, "object {oid}: the file has no record of it"),
            Self::Damage {
                offset,
                tid,
                oid,
                what,
                resumed,
            } => fmt_damage(f, *offset, (*tid, *oid), what, *resumed),
            Self::UnfinishedTail { offset, bytes, why } => write!(
                f,
                "unfinished tail at offset {offset}, {bytes} bytes: {why}; a server is writing it, \
                 or cuts it off when it opens the file"
            ),
            Self::Btree(btree) => btree.fmt(f),
            Self::Class(class) => class.fmt(f),
            Self::Verified(verified) => verified.fmt(f),
            Self::BlobDirectory(directory) => directory.fmt(f),
            Self::BlobsVerified(verified) => verified.fmt(f),
            Self::BlobsNotVerified { records } => fmt_not_verified(f, *records),
            Self::Copied(copied) => copied.fmt(f),
            Self::Exported(exported) => exported.fmt(f),
            Self::Imported(imported) => imported.fmt(f),
            Self::BlobAbsent { oid, tid, what } => {
                write!(f, "blob {oid} of transaction {tid}: {what}")
            }
            Self::Index(index) => index.fmt(f),
            Self::Undoable(undoable) => undoable.fmt(f),
            Self::UndoObject(object) => object.fmt(f),
            Self::UndoRefused { tid, reason } => {
                write!(f, "transaction {tid} cannot be undone: {reason}")
            }
            Self::Undone(undone) => undone.fmt(f),
            Self::Lost(lost) => lost.fmt(f),
            Self::LostObject(lost) => lost.fmt(f),
            Self::Mended(mended) => mended.fmt(f),
            Self::Doubtful(doubtful) => doubtful.fmt(f),
            Self::Unreadable(unreadable) => unreadable.fmt(f),
            Self::More { things, count } => write!(f, "... and {count} more {things}"),
            Self::Recovered(recovered) => recovered.fmt(f),
            Self::Backup(backup) => backup.fmt(f),
            Self::Restored(restored) => restored.fmt(f),
            Self::BackupVerified(verified) => verified.fmt(f),
            Self::Broken { path, what } => write!(f, "{path}: {what}"),
            Self::ReferencesChecked {
                objects,
                dangling,
                unreadable,
                damages,
            } => fmt_references(f, *objects, [*dangling, *unreadable, *damages]),
        }
    }
}

fn fmt_damage(
    f: &mut fmt::Formatter<'_>,
    offset: u64,
    (tid, oid): (Option<Tid>, Option<Oid>),
    what: &str,
    resumed: Option<u64>,
) -> fmt::Result {
    write!(f, "damaged at offset {offset}")?;
    if let Some(tid) = tid {
        write!(f, ", transaction {tid}")?;
    }
    if let Some(oid) = oid {
        write!(f, ", object {oid}")?;
    }
    write!(f, ": {what}")?;
    match resumed {
        Some(at) => write!(f, "; reading goes on at {at}"),
        None => Ok(()),
    }
}

impl fmt::Display for InfoLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "file          {}", self.path)?;
        writeln!(f, "magic         {}", self.magic)?;
        writeln!(f, "bytes         {}", self.bytes)?;
        writeln!(f, "transactions  {}", self.transactions)?;
        for (name, tid, time) in [
            ("first", self.first_tid, &self.first_time),
            ("last", self.last_tid, &self.last_time),
        ] {
            if let (Some(tid), Some(time)) = (tid, time) {
                writeln!(f, "{name:<13} {tid} {time}")?;
            }
        }
        writeln!(f, "objects       {}", self.objects)?;
        writeln!(
            f,
            "records       {}, {} bytes",
            self.records, self.record_bytes
        )?;
        write!(f, "index         {}{}", self.index, self.index.remedy())?;
        for (suffix, bytes) in &self.sidecars {
            write!(f, "\n{suffix:<13} {bytes} bytes")?;
        }
        if self.damages > 0 {
            write!(
                f,
                "\ndamage        {}; `zodiac fs verify` says more",
                counted(self.damages, "place", "places")
            )?;
        }
        Ok(())
    }
}

impl IndexState {
    /// Whether it tells of the file what the file itself does not.
    pub(crate) fn is_witness(self) -> bool {
        matches!(self, Self::Contradicts { .. } | Self::Longer { .. })
    }

    /// Whether it is of this file, and wrong, so that who believes it is misled.
    pub(crate) fn is_wrong(self) -> bool {
        matches!(self, Self::Wrong { .. })
    }

    /// What to do where it is of no use, and the file is sound.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Broken | Self::Disagrees | Self::Wrong { .. } => {
                "; `zodiac fs index` makes it anew"
            }
            _ => "",
        }
    }
}

impl fmt::Display for IndexState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing: opening the file reads all of it"),
            Self::Broken => f.write_str("broken: opening the file reads all of it"),
            Self::Agrees {
                behind_bytes: 0, ..
            } => f.write_str("agrees, up to the end"),
            Self::Agrees {
                behind_transactions,
                behind_bytes,
            } => write!(
                f,
                "agrees, {} ({behind_bytes} bytes) behind",
                counted(*behind_transactions, "transaction", "transactions")
            ),
            Self::Disagrees => f.write_str(
                "disagrees with the file: it is broken, another file's, or from before a pack, and \
                 opening the file reads all of it",
            ),
            Self::Wrong { objects } => write!(
                f,
                "disagrees with the file about {}, whose newest records it does not name",
                counted(*objects, "object", "objects")
            ),
            Self::Contradicts { entries } => write!(
                f,
                "contradicts the file: {} to another object's record; keep the index, \
                 `zodiac fs verify` says more",
                match entries {
                    1 => "1 entry leads".to_owned(),
                    _ => format!("{entries} entries lead"),
                }
            ),
            Self::Longer { end, objects } => write!(
                f,
                "knows the file up to {end}: the end is missing, with the newest records of {}; keep \
                 the index",
                counted(*objects, "object", "objects")
            ),
        }
    }
}

impl fmt::Display for TransactionLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "transaction {} {} offset={} size={} status={:?} user={:?} description={:?}",
            self.tid, self.time, self.offset, self.bytes, self.status, self.user, self.description
        )
    }
}

impl fmt::Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (oid, tid, offset) = (self.oid, self.tid, self.offset);
        write!(f, "  record {oid} {tid} offset={offset}")?;
        match self.data_bytes {
            Some(bytes) => write!(f, " size={bytes} class={}", named(&self.class))?,
            None => f.write_str(" object creation undone, or object deleted")?,
        }
        match self.back {
            Some(back) => write!(f, " back={back}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ClassLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>14} {:>10} {:>14} {:>10}  {}",
            self.bytes, self.objects, self.old_bytes, self.old_records, self.class
        )
    }
}

impl fmt::Display for VerifyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transactions = counted(self.transactions, "transaction", "transactions");
        let records = counted(self.records, "record", "records");
        write!(f, "{transactions}, {records}: ")?;
        match self.damages {
            0 => f.write_str("no damage")?,
            damages => write!(f, "{damages} damaged, {} bytes skipped", self.skipped_bytes)?,
        }
        if self.compressed > 0 {
            write!(f, "; compressed: {}", self.compressed)?;
        }
        if self.btrees > 0 {
            write!(f, "; {}", counted(self.btrees, "BTree", "BTrees"))?;
        }
        if self.btrees_not_compared > 0 {
            let trees = self.btrees_not_compared;
            write!(
                f,
                ", of {trees} the order of keys was not compared: only their classes know it"
            )?;
        }
        for (name, state) in [
            ("index", self.index),
            ("checkpoint (.zidx)", self.checkpoint),
        ] {
            // What others mean was told.
            if let Some(state) = state
                && !state.remedy().is_empty()
            {
                let remedy = if self.damages == 0 {
                    state.remedy()
                } else {
                    ""
                };
                write!(f, "\n{name}: {state}{remedy}")?;
            }
        }
        Ok(())
    }
}

fn fmt_not_verified(f: &mut fmt::Formatter<'_>, records: u64) -> fmt::Result {
    let records = counted(records, "record of a blob", "records of blobs");
    write!(
        f,
        "{records}: the files were NOT looked at, as there is no directory \"blobs\" beside; \
         --blobs DIR names it"
    )
}

fn fmt_references(f: &mut fmt::Formatter<'_>, objects: u64, wrong: [u64; 3]) -> fmt::Result {
    let [dangling, unreadable, damages] = wrong;
    write!(
        f,
        "{}: {}, {}, {}",
        counted(objects, "object", "objects"),
        counted(dangling, "dangling reference", "dangling references"),
        counted(unreadable, "unreadable object", "unreadable objects"),
        counted(damages, "damaged place", "damaged places"),
    )
}

/// A number of things: `1 object`, `2 objects`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The class, or what stands for none.
pub(crate) fn named(class: &Option<String>) -> &str {
    class.as_deref().unwrap_or("(unknown class)")
}

pub(crate) fn shown<T: fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn shown_some<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
