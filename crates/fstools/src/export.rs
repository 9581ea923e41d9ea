//! An object with all that it holds, as a file: what `exportFile` of ZODB writes.

use std::collections::VecDeque;
use std::fmt;
use std::io::{BufWriter, Write};
use std::path::Path;

use filestorage::References;
use serde::Serialize;
use storage::{Oid, Storage, StorageError, Tid, is_blob_record};
use vfs::{Disk, OpenMode, SequentialReader, SequentialWriter};
use zodb::ExportWriter;

use crate::content::class_of;
use crate::line::{Line, counted, named, shown};
use crate::listener::{Listener, ToolError, Verdict};
use crate::oid_set::OidSet;
use crate::output::NewFile;

/// An export was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportLine {
    /// The object.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// Its class.
    pub class: Option<String>,
    /// How many objects are in the file, blobs included.
    pub objects: u64,
    /// How many of them are blobs.
    pub blobs: u64,
    /// How many were referred to and are not there.
    pub absent: u64,
    /// The length of the file.
    pub bytes: u64,
}

/// Writes the object, and all objects that can be reached from it, as they are before that
/// transaction, to a new file, which has its name when it is whole. Objects that do not exist are told
/// and left out, as the original does it.
///
/// Where files of blobs are missing each is told, and no file is written: nobody could import it.
///
/// # Errors
/// The storage cannot be read or the file not written, the object itself does not exist, or there is a
/// file of that name.
pub fn export(
    storage: &dyn Storage,
    before: Tid,
    oid: Oid,
    disk: &dyn Disk,
    target: &Path,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let new = NewFile::create(disk, target)?;
    let file = new.file().clone();
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, SequentialWriter::new(file.clone(), 0));
    let mut export = Export {
        storage,
        before,
        disk,
        target,
        line: ExportLine {
            oid,
            class: None,
            objects: 0,
            blobs: 0,
            absent: 0,
            bytes: 0,
        },
        unread_blobs: 0,
    };
    export.run(&mut out, listener)?;
    out.flush()
        .map_err(|error| StorageError::io(target, "write", error))?;
    if export.unread_blobs > 0 {
        let missing = counted(export.unread_blobs, "blob has", "blobs have");
        let what = format!("not written: {missing} no file, and without it nobody could import it");
        listener.tell((target.to_owned(), what).into())?;
        return Ok(Verdict::Wrong);
    }
    let mut line = export.line;
    line.bytes = file
        .len()
        .map_err(|error| StorageError::io(target, "measure", error))?;
    new.publish()?;
    let absent = line.absent;
    listener.tell(Line::Exported(line))?;
    Ok(Verdict::of(absent))
}

struct Export<'a> {
    storage: &'a dyn Storage,
    before: Tid,
    disk: &'a dyn Disk,
    target: &'a Path,
    line: ExportLine,
    /// Blobs whose files are not in the export.
    unread_blobs: u64,
}

impl Export<'_> {
    fn run(&mut self, out: &mut dyn Write, listener: &mut dyn Listener) -> Result<(), ToolError> {
        let target = self.target;
        let write = |error| StorageError::io(target, "write", error);
        let mut exporter = ExportWriter::begin(out).map_err(write)?;
        let mut references = References::default();
        // The original has objects that are referred to several times in its list several times, and
        // skips all but the first.
        let mut known = OidSet::default();
        let mut pending = VecDeque::from([self.line.oid]);
        known.insert(self.line.oid);
        listener.counts("objects", None);
        while let Some(oid) = pending.pop_front() {
            let revision = match self.storage.load_before(oid, self.before) {
                Ok(Some(revision)) => revision,
                Ok(None) | Err(StorageError::NotFound { .. }) if self.line.objects > 0 => {
                    self.line.absent += 1;
                    listener.tell(Line::Absent { oid })?;
                    continue;
                }
                Ok(None) => return Err(StorageError::NotFound { oid }.into()),
                Err(error) => return Err(error.into()),
            };
            let record = &*revision.record;
            let (found, _) = references
                .read(record)
                .map_err(|what| StorageError::Corrupt {
                    path: self.storage.name().into(),
                    offset: 0,
                    what: format!("object {oid}: {what}"),
                })?;
            for reference in found {
                if known.insert(*reference) {
                    pending.push_back(*reference);
                }
            }
            if self.line.objects == 0 {
                self.line.class = class_of(record);
            }
            exporter.record(oid, record).map_err(write)?;
            if is_blob_record(record) {
                self.blob(&mut exporter, oid, revision.tid, listener)?;
            }
            self.line.objects += 1;
            listener.reached(self.line.objects);
        }
        Ok(exporter.finish().map_err(write)?)
    }

    fn blob(
        &mut self,
        exporter: &mut ExportWriter<'_>,
        oid: Oid,
        tid: Tid,
        listener: &mut dyn Listener,
    ) -> Result<(), ToolError> {
        self.line.blobs += 1;
        let found = self.storage.blobs().map(|blobs| blobs.load_blob(oid, tid));
        let path = match found {
            Some(Ok(path)) => path,
            Some(Err(error)) if !matches!(error, StorageError::NotFound { .. }) => {
                return Err(error.into());
            }
            nowhere => {
                self.unread_blobs += 1;
                let what = match nowhere {
                    Some(_) => "its file is missing",
                    None => "no directory of blobs is known: --blobs DIR names it",
                };
                let what = what.to_owned();
                listener.tell(Line::BlobAbsent { oid, tid, what })?;
                return Ok(());
            }
        };
        let read = |error| StorageError::io(&*path, "read", error);
        let file = self.disk.open(&path, OpenMode::Read).map_err(read)?;
        let length = file.len().map_err(read)?;
        let mut reader = SequentialReader::new(file, 0);
        let copied = exporter.blob(length, &mut reader);
        Ok(copied.map_err(|error| StorageError::io(&*path, "copy", error))?)
    }
}

impl fmt::Display for ExportLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exported {} {}: {}, {} of them blobs, {} bytes",
            self.oid,
            named(&self.class),
            counted(self.objects, "object", "objects"),
            self.blobs,
            self.bytes
        )?;
        match self.absent {
            0 => Ok(()),
            1 => f.write_str("; one object that is referred to does not exist"),
            absent => write!(f, "; {absent} objects that are referred to do not exist"),
        }
    }
}

const BUFFER_BYTES: usize = 256 << 10;
