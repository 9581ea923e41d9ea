//! The files of blobs beside a Data.fs: how many there are, and whether each belongs to a record.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use filestorage::{Step, Survey, Walk};
use pickle::Inflater;
use serde::Serialize;
use storage::{StorageError, Tid, is_blob_record};
use vfs::{Disk, OpenMode};

use crate::backup::blobs::{BlobId, Directory, LAYOUT_MARKER};
use crate::line::{Line, counted};
use crate::listener::{Listener, ToolError, Verdict};

/// A directory of blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlobDirectoryLine {
    /// Where it is.
    pub path: String,
    /// How ids become paths: `bushy` or `lawn`.
    pub layout: &'static str,
    /// Files, one for each revision of a blob.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was found of blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlobsVerifiedLine {
    /// Records of blobs.
    pub records: u64,
    /// Files of blobs.
    pub files: u64,
    /// Records whose file is missing.
    pub absent: u64,
    /// Files without a record.
    pub stray: u64,
    /// Files of later transactions than the last one of the file, which a server may be writing.
    pub later: u64,
}

/// The directory of blobs of that Data.fs where nobody names one: `blobs` beside it, if it is one. Such
/// a directory has its `.layout`, or directories of blobs, or nothing in it.
///
/// # Errors
/// It cannot be read.
pub fn blobs_beside(disk: &dyn Disk, data: &Path) -> Result<Option<PathBuf>, ToolError> {
    let path = data.with_file_name(BESIDE);
    let entries = match disk.list_directory(&path) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(StorageError::io(path, "list", error).into()),
    };
    let names = || entries.iter().map(|entry| entry.name.to_string_lossy());
    let is_one = names().any(|name| name == LAYOUT_MARKER || name.starts_with("0x"))
        || names().all(|name| name.starts_with('.') || name == "tmp");
    Ok(is_one.then_some(path))
}

/// Makes sure that there are no blobs in that Data.fs, where no directory for their files is known.
///
/// # Errors
/// [`ToolError::BlobsUnknown`] where there are, and where the file cannot be read.
pub fn check_no_blobs(survey: &Survey, listener: &mut dyn Listener) -> Result<(), ToolError> {
    check_no_blobs_from(survey, 0, listener)
}

/// The same for what is behind that offset, where a transaction begins.
pub(crate) fn check_no_blobs_from(
    survey: &Survey,
    start: u64,
    listener: &mut dyn Listener,
) -> Result<(), ToolError> {
    let mut records = Records::new(survey);
    let mut walk = if start == 0 {
        survey.walk()
    } else {
        survey.walk_from(start)
    };
    listener.begins(survey.size());
    while let Some(step) = walk.next_step()? {
        if let Step::Transaction(_) = step {
            records.transaction(&mut walk)?;
        }
        if let Some(blob) = records.found.first() {
            let path = survey.path().to_owned();
            return Err(ToolError::BlobsUnknown {
                path,
                oid: blob.oid,
            });
        }
        listener.reached(walk.next_offset());
    }
    Ok(())
}

/// The revisions of blobs that have a record in that file from that offset on, where a transaction
/// begins, up to that transaction.
pub(crate) fn recorded(
    survey: &Survey,
    start: u64,
    last: Tid,
    listener: &mut dyn Listener,
) -> Result<BTreeSet<BlobId>, ToolError> {
    let mut records = Records::new(survey);
    let mut walk = if start == 0 {
        survey.walk()
    } else {
        survey.walk_from(start)
    };
    listener.begins(survey.size());
    while let Some(step) = walk.next_step()? {
        if let Step::Transaction(transaction) = step {
            if transaction.tid > last {
                break;
            }
            records.transaction(&mut walk)?;
        }
        listener.reached(walk.next_offset());
    }
    Ok(records.found.into_iter().collect())
}

/// Tells what is in a directory of blobs.
///
/// # Errors
/// It cannot be read, or is no directory of blobs.
pub fn blob_directory(
    disk: &dyn Disk,
    path: &Path,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let directory = Directory::open(disk, path, Tid::MAX)?;
    let total = u64::try_from(directory.blobs.len()).ok();
    listener.counts("files of blobs", total);
    let mut bytes = 0;
    for (done, blob) in (1..).zip(&directory.blobs) {
        let file = directory.file(*blob);
        let measure = |error| StorageError::io(&*file, "measure", error);
        let opened = disk.open(&file, OpenMode::Read).map_err(measure)?;
        bytes += opened.len().map_err(measure)?;
        listener.reached(done);
    }
    listener.tell(Line::BlobDirectory(BlobDirectoryLine {
        path: path.display().to_string(),
        layout: directory.layout.name(),
        files: directory.blobs.len() as u64,
        bytes,
    }))?;
    Ok(Verdict::Sound)
}

/// Tells of every record of a blob, old revisions included, that has no file in the directory, and of
/// every file there that has no record. A file of a transaction that is not in the Data.fs yet may be one
/// that a server is just writing: where it is of the last hour before `now`, since 1970, it is counted and
/// no more.
///
/// # Errors
/// The file or the directory cannot be read.
pub fn verify_blobs(
    survey: &Survey,
    disk: &dyn Disk,
    path: &Path,
    now: Duration,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let (records, last) = Records::of(survey, listener)?;
    let mut directory = Directory::open(disk, path, Tid::MAX)?;
    let files = directory.blobs.len() as u64;
    // The first transaction of all makes the root, and no blob.
    let may_be_written = |tid: Tid| {
        last > Tid::ZERO && tid > last && tid.to_unix_time().saturating_add(WRITTEN_WITHIN) > now
    };
    directory.blobs.retain(|blob| !may_be_written(blob.tid));
    let mut found = BlobsVerifiedLine {
        records: records.len() as u64,
        files: directory.blobs.len() as u64,
        later: files - directory.blobs.len() as u64,
        ..BlobsVerifiedLine::default()
    };
    let (mut records, mut files) = (
        records.into_iter().peekable(),
        directory.blobs.iter().copied().peekable(),
    );
    loop {
        let order = match (records.peek(), files.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(record), Some(file)) => record.cmp(file),
        };
        let record = records.next_if(|_| order.is_le());
        let file = files.next_if(|_| order.is_ge());
        match (record, file) {
            (Some(BlobId { oid, tid }), None) => {
                found.absent += 1;
                let file = directory.file(BlobId { oid, tid });
                let what = format!("its file {} is missing", file.display());
                listener.tell(Line::BlobAbsent { oid, tid, what })?;
            }
            (None, Some(blob)) => {
                found.stray += 1;
                let what = match blob.tid > last {
                    true => {
                        "a file of a blob of a later transaction than the last one of the Data.fs"
                    }
                    false => "a file of a blob to which no record belongs",
                };
                let what = what.to_owned();
                listener.tell((directory.file(blob), what).into())?;
            }
            _ => {}
        }
    }
    let wrong = found.absent + found.stray;
    listener.tell(Line::BlobsVerified(found))?;
    Ok(Verdict::of(wrong))
}

/// Finds the records of blobs.
struct Records<'a> {
    survey: &'a Survey,
    inflater: Inflater,
    found: Vec<BlobId>,
}

impl<'a> Records<'a> {
    fn new(survey: &'a Survey) -> Self {
        Self {
            survey,
            inflater: Inflater::default(),
            found: Vec::new(),
        }
    }

    /// In the order of ids, and the last transaction. What is damaged is left out: `verify` names it.
    fn of(
        survey: &'a Survey,
        listener: &mut dyn Listener,
    ) -> Result<(Vec<BlobId>, Tid), ToolError> {
        let mut this = Self::new(survey);
        let mut last = Tid::ZERO;
        let mut walk = survey.walk();
        listener.begins(survey.size());
        while let Some(step) = walk.next_step()? {
            if let Step::Transaction(transaction) = step {
                last = transaction.tid;
                this.transaction(&mut walk)?;
            }
            listener.reached(walk.next_offset());
        }
        this.found.sort_unstable();
        this.found.dedup();
        Ok((this.found, last))
    }

    fn transaction(&mut self, walk: &mut Walk<'_>) -> Result<(), StorageError> {
        loop {
            let record = match walk.next_record() {
                Ok(Some(record)) => record,
                Ok(None) | Err(StorageError::Corrupt { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            // An undo of a blob refers to the old record, and has a file of its own.
            let is_blob = match walk.own_data(&record) {
                Ok(Some(data)) => self.is_blob(data),
                Ok(None) => match self.survey.data(&record) {
                    Ok(data) => data.record.is_some_and(|data| self.is_blob(&data)),
                    Err(_) => false,
                },
                Err(_) => false,
            };
            if is_blob {
                let (oid, tid) = (record.oid, record.tid);
                self.found.push(BlobId { oid, tid });
            }
        }
    }

    fn is_blob(&mut self, data: &[u8]) -> bool {
        self.inflater.plain(data).is_ok_and(is_blob_record)
    }
}

/// A transaction that takes longer is none.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3600);
/// What Zope calls the directory of blobs.
pub(crate) const BESIDE: &str = "blobs";

impl fmt::Display for BlobDirectoryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "blobs         {}: {}, {} bytes, layout {}",
            self.path,
            counted(self.files, "file", "files"),
            self.bytes,
            self.layout
        )
    }
}

impl fmt::Display for BlobsVerifiedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {}: ",
            counted(self.records, "record of a blob", "records of blobs"),
            counted(self.files, "file", "files")
        )?;
        match (self.absent, self.stray) {
            (0, 0) => f.write_str("each has the other"),
            (absent, stray) => write!(
                f,
                "files missing: {absent}, files without a record: {stray}"
            ),
        }?;
        if self.later > 0 {
            let later = counted(self.later, "file", "files");
            write!(
                f,
                "; not looked at: {later} of later transactions, which a server may be writing"
            )?;
        }
        if self.stray > 0 {
            f.write_str(
                "; what a pack left that was killed is removed by the next pack or start of a server",
            )?;
        }
        Ok(())
    }
}
