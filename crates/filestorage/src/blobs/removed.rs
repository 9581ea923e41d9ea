//! Removing the blobs whose records a pack has dropped.
//!
//! While a pack writes the new Data.fs it lists what it drops in the file `.removed`, in the form
//! of the original: hexadecimal lines, an object with a transaction, or an object alone. The list is
//! durable before the new Data.fs takes the place of the old one, and the files are removed behind
//! that. Whoever finds a list, be it the pack itself, the next open after a crash, or one left by
//! the original, looks each file up and removes only those that no record needs. So a list does no
//! harm where the new Data.fs never took its place.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::{Oid, StorageError, Tid};
use vfs::{File, OpenMode, SequentialReader, SequentialWriter};

use super::layout::{MARKER, SUFFIX};
use super::{BlobDirectory, list, with_suffix, write_text};

/// What the storage knows of blobs that may have to go.
pub(crate) trait Needs {
    /// Whether the object has a record.
    fn has_object(&self, oid: Oid) -> Result<bool, StorageError>;
    /// Whether a record of that transaction, or one that refers to it, needs the revision.
    fn needs(&self, oid: Oid, tid: Tid) -> Result<bool, StorageError>;
    /// The last finished transaction. Files of later ones are just being placed.
    fn last_tid(&self) -> Tid;
}

/// The list while a pack writes it; removed when dropped unfinished.
pub(crate) struct RemovedList<'a> {
    blobs: &'a BlobDirectory,
    file: Arc<dyn File>,
    writer: BufWriter<SequentialWriter>,
    last: Option<(Oid, Tid)>,
    is_kept: bool,
}

impl<'a> RemovedList<'a> {
    /// Begins the list. There must not be an older one: see [`BlobDirectory::remove_listed`].
    pub(crate) fn begin(blobs: &'a BlobDirectory) -> Result<Self, StorageError> {
        let path = blobs.removed_path();
        let file = blobs
            .disk
            .open(&path, OpenMode::Truncate)
            .map_err(|error| StorageError::io(path, "open", error))?;
        Ok(Self {
            blobs,
            writer: BufWriter::with_capacity(BUFFER_BYTES, SequentialWriter::new(file.clone(), 0)),
            file,
            last: None,
            is_kept: false,
        })
    }

    /// Adds a revision.
    pub(crate) fn push(&mut self, oid: Oid, tid: Tid) -> Result<(), StorageError> {
        if self.last.replace((oid, tid)) == Some((oid, tid)) {
            return Ok(());
        }
        let (oid, tid) = (oid.number(), tid.number());
        writeln!(self.writer, "{oid:016x}{tid:016x}").map_err(|error| self.failed("write", error))
    }

    /// Makes the list durable.
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        self.writer
            .flush()
            .map_err(|error| self.failed("write", error))?;
        self.file
            .sync_data()
            .map_err(|error| self.failed("sync", error))?;
        self.blobs.sync_directory(&self.blobs.root)
    }

    /// The list stays until its files are gone: from now on the new Data.fs may be in place.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }

    fn failed(&self, operation: &'static str, error: io::Error) -> StorageError {
        StorageError::io(self.blobs.removed_path(), operation, error)
    }
}

impl Drop for RemovedList<'_> {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = self.blobs.remove(&self.blobs.removed_path())
        {
            tracing::warn!(%error, "the list of an abandoned pack stays until the next one");
        }
    }
}

impl BlobDirectory {
    /// Empties `<directory>.old`, and makes it anew where a pack keeps the old file: what the pack
    /// removes is moved there.
    ///
    /// # Errors
    /// Above all where the directory of blobs is a file system of its own, so that nothing can be moved
    /// out of it.
    pub(crate) fn prepare_old(&self, keep_old: bool) -> Result<(), StorageError> {
        let old = self.old_path();
        if self.exists(&old)? {
            self.remove_tree(&old)?;
        }
        if !keep_old {
            return Ok(());
        }
        self.disk
            .create_directory(&old)
            .map_err(|error| StorageError::io(&old, "make", error))?;
        let draft = self.temporary_file();
        write_text(&*self.disk, &draft, &self.layout.to_string())?;
        if let Err(error) = self.disk.rename(&draft, &old.join(MARKER)) {
            self.remove(&draft)?;
            self.disk.remove_directory(&old).ok();
            let operation = "keep removed blobs (try a pack that keeps no old file) in";
            return Err(StorageError::io(&old, operation, error));
        }
        self.sync_directory(&old)?;
        self.sync_directory(old.parent().unwrap_or(&old))
    }

    /// Removes the blobs that the list names and that nobody needs, and then the list. Does nothing
    /// where there is none. Where `<directory>.old` is prepared they are moved there. Tells how many.
    pub(crate) fn remove_listed(&self, needs: &dyn Needs) -> Result<u64, StorageError> {
        let path = self.removed_path();
        let file = match self.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(StorageError::io(path, "open", error)),
        };
        let old = self.old_path();
        let old = self
            .exists(&old.join(MARKER))?
            .then(|| Self::assemble(Arc::clone(&self.disk), &old, self.layout));
        let mut lines = BufReader::with_capacity(BUFFER_BYTES, SequentialReader::new(file, 0));
        let (mut listed, mut removed) = (BTreeSet::new(), 0);
        loop {
            let line =
                read_line(&mut lines).map_err(|error| StorageError::io(&path, "read", error))?;
            let Some(line) = line else { break };
            // Where the original was killed the last line may be a part of one.
            if let Some(entry) = parse_line(&line) {
                listed.insert(entry);
            }
            if listed.len() == ENTRIES_MAX {
                removed += self.remove_some(&std::mem::take(&mut listed), needs, old.as_ref())?;
            }
        }
        removed += self.remove_some(&listed, needs, old.as_ref())?;
        self.remove(&path)?;
        Ok(removed)
    }

    /// Gives every blob a second name in `<directory>.old`, so that it fits the old Data.fs.
    ///
    /// # Errors
    /// Where the file system knows no second names, only what the pack removed is there.
    pub(crate) fn link_old(&self) -> Result<(), StorageError> {
        let old = Self::assemble(Arc::clone(&self.disk), &self.old_path(), self.layout);
        let mut made = None;
        self.each(&mut |oid, tid, path| {
            if made.replace(oid) != Some(oid) {
                let directory = old.directory_of(oid);
                self.disk
                    .create_directory(&directory)
                    .map_err(|error| StorageError::io(directory, "make", error))?;
            }
            let target = old.path(oid, tid);
            match self.disk.link(path, &target) {
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                    ) =>
                {
                    Err(StorageError::io(target, "make the link", error))
                }
                _ => Ok(()),
            }
        })
    }

    fn remove_some(
        &self,
        listed: &BTreeSet<(Oid, Option<Tid>)>,
        needs: &dyn Needs,
        old: Option<&Self>,
    ) -> Result<u64, StorageError> {
        let mut removed = 0;
        let (mut touched, mut touched_old) = (BTreeSet::new(), BTreeSet::new());
        // Asked before any directory is read: what is placed later has a larger id.
        let last_tid = needs.last_tid();
        for &(oid, tid) in listed {
            let revisions = match tid {
                Some(tid) if needs.has_object(oid)? => vec![tid],
                // The object is gone with all it had.
                _ => self.revisions(oid)?,
            };
            for tid in revisions {
                if tid > last_tid || needs.needs(oid, tid)? {
                    continue;
                }
                match old {
                    Some(old) => {
                        self.move_to_old(old, oid, tid)?;
                        touched_old.insert(old.directory_of(oid));
                    }
                    None => self.remove(&self.path(oid, tid))?,
                }
                removed += 1;
                touched.insert(self.directory_of(oid));
            }
        }
        touched_old
            .iter()
            .try_for_each(|path| self.sync_directory(path))?;
        self.tidy(touched)?;
        Ok(removed)
    }

    fn move_to_old(&self, old: &Self, oid: Oid, tid: Tid) -> Result<(), StorageError> {
        old.make_directory(&old.directory_of(oid))?;
        let path = self.path(oid, tid);
        match self.disk.rename(&path, &old.path(oid, tid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io(path, "move", error))
            }
            _ => Ok(()),
        }
    }

    /// Removes blobs, markers, and the directories that are empty then. Other files stay.
    fn remove_tree(&self, directory: &Path) -> Result<(), StorageError> {
        for entry in list(&*self.disk, directory)? {
            let path = directory.join(&entry.name);
            let name = entry.name.to_string_lossy();
            if entry.is_directory {
                // As deep as the names of directories can be.
                self.remove_tree(&path)?;
            } else if name.ends_with(SUFFIX) || name == MARKER {
                self.remove(&path)?;
            }
        }
        match self.disk.remove_directory(directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let path = directory.display();
                tracing::warn!(%path, "what is no blob stays in the directory of removed blobs");
                Ok(())
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io(directory, "remove", error))
            }
            _ => Ok(()),
        }
    }

    fn removed_path(&self) -> PathBuf {
        self.root.join(REMOVED)
    }

    fn old_path(&self) -> PathBuf {
        with_suffix(&self.root, ".old")
    }
}

/// The next line, of which no more is kept than a right one has.
fn read_line(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.take(LINE_BYTES).read_until(b'\n', &mut line)?;
    Ok(Some(line).filter(|line| !line.is_empty()))
}

/// An object and a transaction, or an object alone.
fn parse_line(line: &[u8]) -> Option<(Oid, Option<Tid>)> {
    let digits = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let (oid, tid) = digits.split_at_checked(DIGITS)?;
    let tid = match tid.len() {
        0 => None,
        DIGITS => Some(Tid::new(number(tid)?)),
        _ => return None,
    };
    Some((Oid::new(number(oid)?), tid))
}

const REMOVED: &str = ".removed";
/// The digits of an id.
const DIGITS: usize = 16;
const LINE_BYTES: u64 = 2 * DIGITS as u64 + 1;
/// How many entries are in memory at once. They are sorted, so that a directory is synced once for
/// all of its files among them.
const ENTRIES_MAX: usize = 1 << 16;
const BUFFER_BYTES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_original() {
        let (oid, tid) = (Oid::new(0x12), Tid::new(0x3f5));
        let whole = b"000000000000001200000000000003f5\n";
        assert_eq!(parse_line(whole), Some((oid, Some(tid))));
        assert_eq!(parse_line(b"0000000000000012\n"), Some((oid, None)));
        for wrong in [
            &whole[..32],
            b"0000000000000012",
            b"00000000000000120\n",
            b"000000000000001g\n",
            b"\n",
            b"",
            b"\xff\xff",
        ] {
            assert_eq!(parse_line(wrong), None, "{wrong:?}");
        }
    }
}
