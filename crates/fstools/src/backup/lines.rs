//! What the tools say of backups.

use std::fmt;

use serde::Serialize;
use storage::Tid;

use super::names::BackupDate;
use crate::line::{counted, shown_some};

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupLine {
    /// The new file, without the directory; nothing where nothing had changed.
    pub file: Option<String>,
    /// Whether the new file holds the whole Data.fs.
    pub full: bool,
    /// Why a full backup was made.
    pub reason: Option<String>,
    /// Where the new file begins in the Data.fs.
    pub start: u64,
    /// Up to where the Data.fs is backed up.
    pub end: u64,
    /// The last transaction that is backed up.
    #[serde(serialize_with = "shown_some")]
    pub tid: Option<Tid>,
    /// Files of older backups that were removed.
    pub removed: u64,
    /// The blobs, where they were asked for.
    pub blobs: Option<BlobsLine>,
}

/// Blobs that were backed up, restored or verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlobsLine {
    /// All blobs of the backup.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were copied now.
    pub new_files: u64,
    /// Their bytes.
    pub new_bytes: u64,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreLine {
    /// The file; nothing where it went to standard output.
    pub path: Option<String>,
    /// The backup that it is the state of.
    pub date: BackupDate,
    /// Its length.
    pub bytes: u64,
    /// How many of these were there already.
    pub kept_bytes: u64,
    /// How many files of the repository it was made of.
    pub files: u64,
    /// Whether the index of that backup was put beside it.
    pub index: bool,
    /// The blobs that were restored.
    pub blobs: Option<BlobsLine>,
    /// How many blobs the backup has; nothing where it was made without.
    pub blobs_in_backup: Option<u64>,
}

/// What was verified in a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupVerifyLine {
    /// The newest backup.
    pub date: BackupDate,
    /// Files with pieces of the Data.fs.
    pub files: u64,
    /// The length of the Data.fs that they make.
    pub bytes: u64,
    /// How many things are wrong.
    pub damages: u64,
    /// The blobs, where there are any.
    pub blobs: Option<BlobsLine>,
}

impl fmt::Display for BackupLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            None => write!(
                f,
                "nothing changed since the last backup, of {} bytes",
                self.end
            )?,
            Some(file) => {
                let kind = if self.full { "full" } else { "incremental" };
                let bytes = self.end - self.start;
                write!(f, "{kind} backup {file}: {bytes} bytes, up to {}", self.end)?;
                if let Some(reason) = &self.reason {
                    write!(f, " ({reason})")?;
                }
            }
        }
        if let Some(tid) = self.tid {
            write!(f, ", transaction {tid}")?;
        }
        match &self.blobs {
            Some(blobs) => write!(f, "; {blobs}")?,
            // What the backup before it has is not looked at.
            None if self.file.is_none() => {}
            None => f.write_str("; no blobs")?,
        }
        match self.removed {
            0 => Ok(()),
            1 => f.write_str("; one old file removed"),
            removed => write!(f, "; {removed} old files removed"),
        }
    }
}

impl fmt::Display for BlobsLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            files,
            bytes,
            new_files,
            new_bytes,
        } = self;
        write!(
            f,
            "{} of {bytes} bytes, new among them: {new_files} of {new_bytes} bytes",
            counted(*files, "blob", "blobs")
        )
    }
}

impl fmt::Display for RestoreLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().unwrap_or("standard output");
        let (bytes, date) = (self.bytes, &self.date);
        let files = counted(self.files, "file", "files");
        write!(f, "{path}: {bytes} bytes as of {date}, from {files}")?;
        if self.kept_bytes > 0 {
            write!(f, ", {} bytes were there already", self.kept_bytes)?;
        }
        match (&self.blobs, self.blobs_in_backup) {
            (Some(blobs), _) => write!(f, "; {blobs}"),
            (None, None) => f.write_str("; no blobs in this backup"),
            (None, Some(0)) => Ok(()),
            (None, Some(blobs)) => {
                let blobs = counted(blobs, "blob", "blobs");
                write!(
                    f,
                    "; {blobs} of the backup NOT restored: --blobs DIR does that"
                )
            }
        }
    }
}

impl fmt::Display for BackupVerifyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, bytes) = (&self.date, self.bytes);
        let files = counted(self.files, "file", "files");
        write!(f, "backup of {date}: {files}, {bytes} bytes")?;
        match &self.blobs {
            Some(blobs) => {
                let files = counted(blobs.files, "blob", "blobs");
                write!(f, ", {files} of {} bytes", blobs.bytes)?;
            }
            None => f.write_str(", no blobs")?,
        }
        match self.damages {
            0 => f.write_str(": no damage"),
            1 => f.write_str(": one thing is wrong"),
            damages => write!(f, ": {damages} things are wrong"),
        }
    }
}
