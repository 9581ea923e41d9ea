//! Blobs on their way into the directory, and what a crash leaves of them.
//!
//! A file that is handed over lies in `tmp/` until its transaction has an id: durable, so that
//! nothing but new names is left to do. The vote writes a note of the objects beside it, durably.
//! The finish gives the files their names and syncs the directories, before the byte that makes the
//! transaction count, and removes the note behind it.
//!
//! So a file that has its name while its transaction does not exist belongs to an object that a note
//! names: the next open finds it without looking through the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::{Oid, StorageError, Tid};
use vfs::OpenMode;

use super::{BlobDirectory, Needs, is_ours, layout, list, read_text, write_text};

/// A file that belongs to the storage and has no place yet; removed when dropped.
pub(crate) struct StagedFile {
    blobs: Arc<BlobDirectory>,
    path: Option<PathBuf>,
}

impl StagedFile {
    fn new(blobs: &Arc<BlobDirectory>, path: PathBuf) -> Self {
        Self {
            blobs: Arc::clone(blobs),
            path: Some(path),
        }
    }

    /// Gives the file its final name.
    fn place(&mut self, oid: Oid, tid: Tid) -> Result<(), StorageError> {
        let blobs = &self.blobs;
        let path = self.path.as_deref().expect("it has no place yet");
        let target = blobs.path(oid, tid);
        let placed = match blobs.rename(path, &target) {
            // A pack has removed the directory, which was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _nobody_removes = blobs.tree.lock();
                blobs.make_directory_locked(&blobs.directory_of(oid))?;
                blobs.rename(path, &target)
            }
            result => result,
        };
        placed.map_err(|error| StorageError::io(target, "make", error))?;
        self.path = None;
        Ok(())
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = self.blobs.remove(path)
        {
            tracing::warn!(%error, "the file of an aborted transaction stays until the next open");
        }
    }
}

impl BlobDirectory {
    /// Takes a file over: it is moved into `tmp/` (copied where it comes from another file system),
    /// made read-only, and durable. Where that fails the file is removed.
    pub(crate) fn take(self: &Arc<Self>, path: PathBuf) -> Result<StagedFile, StorageError> {
        let staged = self.temporary_file();
        let mut file = StagedFile::new(self, path);
        if let Some(given) = file.path.replace(staged.clone())
            && let Err(error) = self.rename(&given, &staged)
        {
            self.disk.remove(&given).ok();
            return Err(StorageError::io(given, "move", error));
        }
        self.settle(&staged)?;
        Ok(file)
    }

    /// A second copy of a revision, as the original makes it for an undo. Blobs never change, so
    /// that a second name of the same file does where the file system has such.
    pub(crate) fn take_revision(
        self: &Arc<Self>,
        oid: Oid,
        tid: Tid,
    ) -> Result<StagedFile, StorageError> {
        let (source, staged) = (self.path(oid, tid), self.temporary_file());
        if !self.exists(&source)? {
            return Err(StorageError::NotFound { oid });
        }
        self.copy_of(&source, &staged)?;
        let file = StagedFile::new(self, staged.clone());
        self.settle(&staged)?;
        Ok(file)
    }

    /// Makes a second file of the data of one: by a name alone where it is one of these blobs. What
    /// belongs to others is copied, as its owner may not be ours, and ours changes its rights.
    pub(super) fn copy_of(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        if from.starts_with(&self.root) && self.disk.link(from, to).is_ok() {
            return Ok(());
        }
        self.copy(from, to)
            .map_err(|error| StorageError::io(from, "copy", error))
    }

    /// Makes a file what a committed blob is: read-only, and durable.
    fn settle(&self, path: &Path) -> Result<(), StorageError> {
        self.disk
            .make_read_only(path)
            .map_err(|error| StorageError::io(path, "protect", error))?;
        let sync = || self.disk.open(path, OpenMode::Read)?.sync_data();
        sync().map_err(|error| StorageError::io(path, "sync", error))
    }

    /// Removes what a crash left of transactions that do not exist.
    pub(crate) fn clear_leftovers(&self, needs: &dyn Needs) -> Result<(), StorageError> {
        let entries = list(&*self.disk, &self.temporary)?;
        let ours: Vec<_> = entries
            .into_iter()
            .filter(|entry| !entry.is_directory && is_ours(&entry.name))
            .map(|entry| self.temporary.join(entry.name))
            .collect();
        let is_note = |path: &&PathBuf| path.to_string_lossy().ends_with(NOTE);
        for note in ours.iter().filter(is_note) {
            let text = read_text(&*self.disk, note, NOTE_BYTES_MAX)?.unwrap_or_default();
            // A note that is not whole was not synced, and before that no file gets its name.
            if let Some(note) = Note::parse(&text) {
                self.clear_objects(&note, needs)?;
            }
        }
        // The notes only now, when what they speak of is gone durably.
        ours.iter().try_for_each(|path| self.remove(path))
    }

    fn clear_objects(&self, note: &Note, needs: &dyn Needs) -> Result<(), StorageError> {
        let mut touched = BTreeSet::new();
        for &oid in &note.oids {
            for tid in self.revisions(oid)? {
                if tid <= note.after || needs.needs(oid, tid)? {
                    continue;
                }
                let path = self.path(oid, tid);
                tracing::warn!(path = %path.display(), "a blob is removed whose transaction was not finished");
                self.remove(&path)?;
                touched.insert(self.directory_of(oid));
            }
        }
        self.tidy(touched)
    }

    /// Removes directories that have become empty, and makes that durable.
    pub(super) fn tidy(&self, touched: BTreeSet<PathBuf>) -> Result<(), StorageError> {
        let mut changed = BTreeSet::new();
        for directory in touched {
            // Not for all of them, nor while they are synced: commits may wait for it.
            let _nobody_makes = self.tree.lock();
            let mut at = directory.as_path();
            while at != self.root {
                match self.disk.remove_directory(at) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => break,
                    Err(error) => return Err(StorageError::io(at, "remove", error)),
                }
                changed.remove(at);
                at = at.parent().unwrap_or(&self.root);
            }
            changed.insert(at.to_owned());
        }
        for path in changed {
            match self.disk.sync_directory(&path) {
                // Somebody else has removed it, and makes that durable.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StorageError::io(path, "sync", error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The blobs of a transaction that has passed its vote.
pub(crate) struct StagedBlobs {
    blobs: Arc<BlobDirectory>,
    files: BTreeMap<Oid, StagedFile>,
    note: PathBuf,
    /// The id that the files have names with, or some of them. Where that is left when this is
    /// dropped, it is unknown whether the transaction counts: the next open will know.
    placed_as: Option<Tid>,
}

impl StagedBlobs {
    /// Makes everything ready, durably, so that [`Self::place`] only renames. The id of the
    /// transaction will be larger than `after`. Of several files of one object the last counts.
    pub(crate) fn new(
        blobs: &Arc<BlobDirectory>,
        files: Vec<(Oid, StagedFile)>,
        after: Tid,
    ) -> Result<Self, StorageError> {
        let files: BTreeMap<_, _> = files.into_iter().collect();
        if files.len() > BLOBS_MAX {
            return Err(StorageError::Limit {
                what: "the number of blobs in a transaction",
                found: files.len() as u64,
                max: BLOBS_MAX as u64,
            });
        }
        let staged = Self {
            blobs: Arc::clone(blobs),
            note: blobs.temporary_name(NOTE),
            files,
            placed_as: None,
        };
        for oid in staged.files.keys() {
            blobs.make_directory(&blobs.directory_of(*oid))?;
        }
        let oids = staged.files.keys().copied().collect();
        let text = Note { after, oids }.text();
        write_text(&*blobs.disk, &staged.note, &text)?;
        blobs.sync_directory(&blobs.temporary)?;
        Ok(staged)
    }

    /// Gives the files their names, which are durable when the directories that are added to
    /// `touched` are synced. After an error some of them may have theirs: [`Self::take_back`].
    pub(crate) fn place(
        &mut self,
        tid: Tid,
        touched: &mut BTreeSet<PathBuf>,
    ) -> Result<(), StorageError> {
        self.placed_as = Some(tid);
        for (oid, file) in &mut self.files {
            file.place(*oid, tid)?;
            touched.insert(self.blobs.directory_of(*oid));
        }
        Ok(())
    }

    /// Removes the files again: the transaction does not count, and never will. That need not be
    /// durable, as long as the note is there.
    pub(crate) fn take_back(&mut self) -> Result<(), StorageError> {
        if let Some(tid) = self.placed_as {
            for oid in self.files.keys() {
                self.blobs.remove(&self.blobs.path(*oid, tid))?;
            }
            let touched = self.files.keys().map(|oid| self.blobs.directory_of(*oid));
            self.blobs.tidy(touched.collect())?;
            self.placed_as = None;
        }
        Ok(())
    }

    /// The transaction counts, durably.
    pub(crate) fn complete(&self) {
        self.forget();
    }

    /// Removes the note. That need not be durable: files whose transaction exists stay.
    fn forget(&self) {
        if let Err(error) = self.blobs.remove(&self.note) {
            tracing::warn!(%error, "the note of a transaction stays until the next open");
        }
    }
}

impl Drop for StagedBlobs {
    fn drop(&mut self) {
        if self.placed_as.is_none() {
            self.forget();
        }
    }
}

/// What is written about the blobs of a transaction before they get their names.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    /// The transaction will have a larger id than this one.
    after: Tid,
    oids: Vec<Oid>,
}

impl Note {
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.after);
        for oid in &self.oids {
            writeln!(text, "{oid}").expect("a string takes everything");
        }
        text + END
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix(END)?.lines().map(layout::parse_hex);
        let after = Tid::new(lines.next()??);
        let oids = lines.map(|number| number.map(Oid::new));
        let oids = oids.collect::<Option<_>>()?;
        Some(Self { after, oids })
    }
}

const NOTE: &str = ".placing";
const END: &str = "end\n";
/// A copy of a site in one transaction has fewer.
const BLOBS_MAX: usize = 1 << 20;
/// Enough for the note of that many.
const NOTE_BYTES_MAX: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_only_whole() {
        let note = Note {
            after: Tid::new(0x3f5),
            oids: vec![Oid::ROOT, Oid::new(0x1234)],
        };
        let text = note.text();
        assert_eq!(Note::parse(&text), Some(note));
        for length in 0..text.len() {
            assert_eq!(Note::parse(&text[..length]), None, "{length}");
        }
        assert_eq!(Note::parse(&format!("x{text}")), None);
        let empty = Note {
            after: Tid::ZERO,
            oids: Vec::new(),
        };
        assert_eq!(Note::parse(&empty.text()), Some(empty));
    }
}
