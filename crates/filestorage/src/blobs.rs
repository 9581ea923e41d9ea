//! The directory of blobs: files beside the Data.fs, one for each revision of each blob.
//!
//! A file is named after the object and the transaction that wrote it and never changes. It gets
//! that name just before the transaction counts; until then it lies in `tmp/`. See
//! `docs/formats/data-fs.md` for the names, and `staged` for what a crash may leave.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use storage::{Oid, StorageError, Tid};
use vfs::{DirectoryEntry, Disk, OpenMode};

use crate::open::with_suffix;

mod kept;
mod layout;
mod removed;
mod staged;
mod walk;

pub use layout::BlobLayout;
pub(crate) use removed::{Needs, RemovedList};
pub(crate) use staged::{StagedBlobs, StagedFile};

/// A directory of blobs, open.
pub struct BlobDirectory {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    temporary: PathBuf,
    layout: BlobLayout,
    /// Held while a directory is removed, and while one is made, until it is durable: nobody counts on
    /// one that a power loss could take, or puts a file into one that is going.
    tree: Mutex<()>,
    /// How many names in `tmp/` were given away.
    names: AtomicU64,
}

impl BlobDirectory {
    /// Opens the directory for writing, and makes it where it is missing.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where its `.layout` names none that is known.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, StorageError> {
        let layout = layout::prepare(&*disk, root)?;
        let blobs = Self::assemble(disk, root, layout);
        if layout == BlobLayout::Lawn {
            let path = blobs.root.display();
            tracing::warn!(%path, "the blobs are in the layout `lawn`, which puts all of them into \
                one directory; some file systems become slow there");
        }
        Ok(blobs)
    }

    /// Opens the directory for a look, and makes nothing.
    ///
    /// # Errors
    /// As [`BlobDirectory::open`]. A directory that is missing is empty.
    pub fn open_read_only(disk: Arc<dyn Disk>, root: &Path) -> Result<Self, StorageError> {
        let layout = layout::detect(&*disk, root)?.0;
        Ok(Self::assemble(disk, root, layout))
    }

    fn assemble(disk: Arc<dyn Disk>, root: &Path, layout: BlobLayout) -> Self {
        Self {
            disk,
            root: root.to_owned(),
            temporary: root.join(TEMPORARY),
            layout,
            tree: Mutex::new(()),
            names: AtomicU64::new(0),
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How its directories are named.
    pub fn layout(&self) -> BlobLayout {
        self.layout
    }

    /// `tmp/`, where files are made that are to become blobs.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// A name in `tmp/` that nobody else uses. What is left there under such a name is removed at
    /// the next open for writing.
    pub fn temporary_file(&self) -> PathBuf {
        self.temporary_name(STAGED)
    }

    /// The file of a revision, whether it is there or not.
    pub fn path(&self, oid: Oid, tid: Tid) -> PathBuf {
        self.directory_of(oid).join(layout::file_name(tid))
    }

    /// The directory with the files of an object, whether it is there or not.
    pub fn directory_of(&self, oid: Oid) -> PathBuf {
        self.root.join(self.layout.directory(oid))
    }

    /// The files of an object, oldest first. Other files beside them are passed over.
    ///
    /// # Errors
    /// The directory could not be read.
    pub fn revisions(&self, oid: Oid) -> Result<Vec<Tid>, StorageError> {
        let entries = list(&*self.disk, &self.directory_of(oid))?;
        let mut found: Vec<_> = entries
            .iter()
            .filter(|entry| !entry.is_directory)
            .filter_map(|entry| layout::parse_file_name(entry.name.to_str()?))
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    fn temporary_name(&self, suffix: &str) -> PathBuf {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        self.temporary.join(format!("{OURS}{number}{suffix}"))
    }

    fn exists(&self, path: &Path) -> Result<bool, StorageError> {
        self.disk
            .exists(path)
            .map_err(|error| StorageError::io(path, "look for", error))
    }

    fn sync_directory(&self, path: &Path) -> Result<(), StorageError> {
        self.disk
            .sync_directory(path)
            .map_err(|error| StorageError::io(path, "sync", error))
    }

    /// Makes the names in these directories durable.
    pub(crate) fn sync_directories(&self, touched: &BTreeSet<PathBuf>) -> Result<(), StorageError> {
        touched
            .iter()
            .try_for_each(|path| self.sync_directory(path))
    }

    /// Makes the directory of an object, durably, where it is missing.
    fn make_directory(&self, directory: &Path) -> Result<(), StorageError> {
        let _nobody_else = self.tree.lock();
        self.make_directory_locked(directory)
    }

    /// As [`Self::make_directory`], with the lock of the tree held.
    fn make_directory_locked(&self, directory: &Path) -> Result<(), StorageError> {
        let mut missing = Vec::new();
        for path in directory.ancestors() {
            if path == self.root || self.exists(path)? {
                break;
            }
            missing.push(path);
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.disk
            .create_directory(directory)
            .map_err(|error| StorageError::io(directory, "make", error))?;
        for path in missing.iter().rev() {
            self.sync_directory(path.parent().unwrap_or(path))?;
        }
        Ok(())
    }

    /// Gives a file another name. On another file system that is a copy.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.disk.rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                self.copy(from, to)?;
                self.disk.remove(from)
            }
            result => result,
        }
    }

    /// Copies a file durably, piece by piece.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let source = self.disk.open(from, OpenMode::Read)?;
        let target = self.disk.open(to, OpenMode::Truncate)?;
        let mut reader = vfs::SequentialReader::new(source, 0);
        let writer = vfs::SequentialWriter::new(target.clone(), 0);
        let mut writer = io::BufWriter::with_capacity(COPY_BYTES, writer);
        let copied = io::copy(&mut reader, &mut writer).and_then(|_| writer.flush());
        copied.and_then(|()| target.sync_data()).inspect_err(|_| {
            self.disk.remove(to).ok();
        })
    }

    /// Removes a file that may be gone already.
    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io(path, "remove", error))
            }
            _ => Ok(()),
        }
    }
}

/// What is in a directory; nothing in one that is missing.
fn list(disk: &dyn Disk, path: &Path) -> Result<Vec<DirectoryEntry>, StorageError> {
    match disk.list_directory(path) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StorageError::io(path, "list", error)),
    }
}

/// Reads a small text file; nothing where there is none.
fn read_text(disk: &dyn Disk, path: &Path, bytes_max: u64) -> Result<Option<String>, StorageError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io(path, "open", error)),
    };
    let read = |error| StorageError::io(path, "read", error);
    let length = file.len().map_err(read)?.min(bytes_max);
    let length = usize::try_from(length).expect("a small limit");
    let mut bytes = vec![0; length];
    let filled = file.read_most_at(&mut bytes, 0).map_err(read)?;
    bytes.truncate(filled);
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a small file durably; its name is durable when the directory is synced.
fn write_text(disk: &dyn Disk, path: &Path, text: &str) -> Result<(), StorageError> {
    let file = disk
        .open(path, OpenMode::Truncate)
        .map_err(|error| StorageError::io(path, "open", error))?;
    file.write_at(text.as_bytes(), 0)
        .map_err(|error| StorageError::io(path, "write", error))?;
    file.sync_data()
        .map_err(|error| StorageError::io(path, "sync", error))
}

/// Whether a name in `tmp/` is one that this program gives.
fn is_ours(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(OURS))
}

const TEMPORARY: &str = "tmp";
/// What names in `tmp/` begin with that are ours. Clients of the original that share the directory
/// keep their own files there.
const OURS: &str = "zodiac-";
const STAGED: &str = ".staged";
const COPY_BYTES: usize = 1 << 20;
