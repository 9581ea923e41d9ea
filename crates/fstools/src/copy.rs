//! From one storage to another: all transactions, with their ids and all they hold.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use storage::{
    CommitError, DataRecord, Iterate, Oid, Storage, StorageError, Tid, TransactionEntry,
    TransactionStream, is_blob_record,
};
use vfs::{Disk, OpenMode, SequentialReader, SequentialWriter};

use crate::line::{Line, counted, shown_some};
use crate::listener::{Listener, ToolError, Verdict};

/// How a storage is copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Go on behind the last transaction of the target. Without it the target has to be empty.
    pub resume: bool,
    /// Copy the records of blobs alone where the source or the target has no place for their files.
    pub without_blobs: bool,
}

/// A storage was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopyLine {
    /// The transaction of the target behind which the copy began.
    #[serde(serialize_with = "shown_some")]
    pub resumed_behind: Option<Tid>,
    /// The last one that was copied.
    #[serde(serialize_with = "shown_some")]
    pub last_tid: Option<Tid>,
    /// Transactions that were copied.
    pub transactions: u64,
    /// Their records.
    pub records: u64,
    /// Files of blobs that were copied.
    pub blobs: u64,
    /// Blobs whose files are missing in the source.
    pub blobs_absent: u64,
    /// Blobs whose files were left out, as was asked for.
    pub blobs_left_out: u64,
}

/// Why storages are not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is something in the target.
    #[error(
        "{name} holds transactions already, up to {last}: resume (--resume), or copy to another place"
    )]
    NotEmpty {
        /// The target.
        name: String,
        /// Its last transaction.
        last: Tid,
    },
    /// The target is not the beginning of the source.
    #[error("{name} is no beginning of the source: {what}")]
    NoPrefix {
        /// The target.
        name: String,
        /// The first difference.
        what: String,
    },
    /// Leaving a blob's file out without a word would lose it.
    #[error(
        "object {oid} of transaction {tid} is a blob, and {name} has no directory of blobs{hint}; --no-blobs copies the records alone, --resume goes on here"
    )]
    BlobsUnknown {
        /// The blob.
        oid: Oid,
        /// Its revision.
        tid: Tid,
        /// The source or the target.
        name: String,
        /// How to name the directory.
        hint: &'static str,
    },
}

/// Copies all transactions of the source that are finished when the copy begins, oldest first. Ids,
/// marks of packs and texts stay; a record that refers to an older one refers to it in the target as
/// well. When it is interrupted, all that was copied is whole, and a copy that resumes goes on there.
///
/// # Errors
/// A storage cannot be read or written, or the target is something else than the beginning of the
/// source.
pub fn copy(
    source: &dyn Storage,
    target: &Arc<dyn Storage>,
    disk: &dyn Disk,
    options: CopyOptions,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let last = target.last_tid();
    let transactions = iterate(source)?;
    let mut line = CopyLine::default();
    let first = if last == Tid::ZERO {
        Tid::ZERO
    } else if options.resume {
        check_prefix(transactions, &**target, last, listener)?;
        line.resumed_behind = Some(last);
        last.next()
    } else {
        let name = target.name();
        return Err(CopyError::NotEmpty { name, last }.into());
    };
    let mut copy = Copy {
        source,
        target,
        disk,
        line,
        without_blobs: options.without_blobs,
        bytes: 0,
    };
    listener.begins(source.stats().bytes);
    for transaction in transactions.iterate_transactions(first, Tid::MAX)? {
        copy.transaction(transaction?, listener)?;
        listener.reached(copy.bytes);
    }
    let absent = copy.line.blobs_absent;
    listener.tell(Line::Copied(copy.line))?;
    Ok(Verdict::of(absent))
}

fn iterate(storage: &dyn Storage) -> Result<&dyn Iterate, StorageError> {
    storage.iterate().ok_or(StorageError::Unsupported {
        operation: "walking through all transactions",
    })
}

/// The target's transactions have to be the first of the source: the same ids and texts, and in the
/// last one the same records.
fn check_prefix(
    source: &dyn Iterate,
    target: &dyn Storage,
    last: Tid,
    listener: &mut dyn Listener,
) -> Result<(), ToolError> {
    let differ = |what: String| CopyError::NoPrefix {
        name: target.name(),
        what,
    };
    let mut ours: TransactionStream = iterate(target)?.iterate_transactions(Tid::ZERO, last)?;
    let mut theirs = source.iterate_transactions(Tid::ZERO, last)?;
    listener.counts("transactions compared", None);
    let mut compared = 0;
    loop {
        let (ours, theirs) = match (ours.next().transpose()?, theirs.next().transpose()?) {
            (None, None) => return Ok(()),
            (Some(ours), Some(theirs)) => (ours, theirs),
            (Some(ours), None) => {
                let what = format!("the source has no transaction {}", ours.tid);
                return Err(differ(what).into());
            }
            (None, Some(theirs)) => {
                let what = format!("it lacks transaction {}", theirs.tid);
                return Err(differ(what).into());
            }
        };
        if ours.tid != theirs.tid {
            let what = format!(
                "transaction {} was expected, there is {}",
                theirs.tid, ours.tid
            );
            return Err(differ(what).into());
        }
        let tid = ours.tid;
        if ours.meta != theirs.meta || ours.is_packed != theirs.is_packed {
            let what = format!("transaction {tid} says something else of itself");
            return Err(differ(what).into());
        }
        if tid == last && !same_records(ours, theirs)? {
            let what = format!("transaction {tid} has other records");
            return Err(differ(what).into());
        }
        compared += 1;
        listener.reached(compared);
    }
}

/// A record may have its own copy of the data in one of them, and refer to it in the other.
fn same_records(ours: TransactionEntry, theirs: TransactionEntry) -> Result<bool, StorageError> {
    let (mut ours, mut theirs) = (ours.records, theirs.records);
    loop {
        match (ours.next().transpose()?, theirs.next().transpose()?) {
            (None, None) => return Ok(true),
            (Some(ours), Some(theirs)) if ours.oid == theirs.oid && ours.data == theirs.data => {}
            _ => return Ok(false),
        }
    }
}

struct Copy<'a> {
    source: &'a dyn Storage,
    target: &'a Arc<dyn Storage>,
    disk: &'a dyn Disk,
    line: CopyLine,
    without_blobs: bool,
    bytes: u64,
}

impl Copy<'_> {
    fn transaction(
        &mut self,
        transaction: TransactionEntry,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        let TransactionEntry {
            tid,
            is_packed,
            meta,
            records,
        } = transaction;
        let texts = meta.user.len() + meta.description.len() + meta.extension.len();
        self.bytes += TRANSACTION_BYTES + texts as u64;
        let mut commit = Arc::clone(self.target).begin_restore(meta, tid, is_packed)?;
        for record in records {
            let record = record?;
            let own = record.data.as_ref().filter(|_| record.data_tid.is_none());
            self.bytes += RECORD_BYTES + own.map_or(0, |data| data.len() as u64);
            self.line.records += 1;
            self.record(&mut *commit, record, listener)?;
            listener.reached(self.bytes);
        }
        let finish = || -> Result<Tid, CommitError> { commit.vote()?.finish(Box::new(|_| {})) };
        finish()?;
        self.line.transactions += 1;
        self.line.last_tid = Some(tid);
        Ok(())
    }

    fn record(
        &mut self,
        commit: &mut dyn storage::Commit,
        record: DataRecord,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        let DataRecord {
            oid,
            tid,
            data,
            data_tid,
        } = record;
        if let Some(data) = data.as_ref().filter(|data| is_blob_record(data)) {
            match self.staged(oid, tid)? {
                Err(Lacking::Place) => self.line.blobs_left_out += 1,
                Ok(path) => {
                    self.line.blobs += 1;
                    return Ok(commit.restore_blob(oid, data.clone(), data_tid, path)?);
                }
                Err(Lacking::File) => {
                    self.line.blobs_absent += 1;
                    let what = "its file is missing in the source".to_owned();
                    listener.tell(Line::BlobAbsent { oid, tid, what })?;
                }
            }
        }
        Ok(commit.restore(oid, data, data_tid)?)
    }

    /// A copy of the blob's file where the target wants it, or what is lacking.
    fn staged(&self, oid: Oid, tid: Tid) -> Result<Result<PathBuf, Lacking>, ToolError> {
        let (Some(from), Some(to)) = (self.source.blobs(), self.target.blobs()) else {
            if self.without_blobs {
                return Ok(Err(Lacking::Place));
            }
            let (name, hint) = match self.source.blobs() {
                None => (self.source.name(), " (--blobs-from DIR names it)"),
                Some(_) => (self.target.name(), " (--blobs-to DIR names it)"),
            };
            let name = name.to_owned();
            let blob = CopyError::BlobsUnknown {
                oid,
                tid,
                name,
                hint,
            };
            return Err(blob.into());
        };
        let path = match from.load_blob(oid, tid) {
            Ok(path) => path,
            Err(StorageError::NotFound { .. }) => {
                return Ok(Err(Lacking::File));
            }
            Err(error) => return Err(error.into()),
        };
        let name = format!("copy-{oid}-{tid}");
        let draft = to.staging_directory().join(name);
        let read = |error| StorageError::io(&*path, "copy", error);
        let input = self.disk.open(&path, OpenMode::Read).map_err(read)?;
        let output = self.disk.open(&draft, OpenMode::Truncate).map_err(read)?;
        let mut writer = SequentialWriter::new(output.clone(), 0);
        std::io::copy(&mut SequentialReader::new(input, 0), &mut writer).map_err(read)?;
        output.sync_data().map_err(read)?;
        Ok(Ok(draft))
    }
}

/// Why a blob's file is not copied.
enum Lacking {
    Place,
    File,
}

impl fmt::Display for CopyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "copied {}, {}, {}",
            counted(self.transactions, "transaction", "transactions"),
            counted(self.records, "record", "records"),
            counted(self.blobs, "blob", "blobs")
        )?;
        if let Some(tid) = self.resumed_behind {
            write!(f, ", behind {tid}")?;
        }
        if let Some(tid) = self.last_tid {
            write!(f, ", up to {tid}")?;
        }
        match self.blobs_absent {
            0 => {}
            1 => f.write_str("; the file of one blob is missing")?,
            absent => write!(f, "; the files of {absent} blobs are missing")?,
        }
        match self.blobs_left_out {
            0 => Ok(()),
            1 => f.write_str("; the file of one blob was left out"),
            files => write!(f, "; the files of {files} blobs were left out"),
        }
    }
}

/// What a transaction and a record have in a Data.fs beside their texts and data; only the line of
/// progress depends on it.
const TRANSACTION_BYTES: u64 = 31;
const RECORD_BYTES: u64 = 42;
