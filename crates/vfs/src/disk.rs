//! The traits.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A place that holds files under paths.
pub trait Disk: Send + Sync {
    /// Opens the file of that path.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where it is missing and `mode` does not create it.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file once more, for writing past the system's cache: nothing waits there to be
    /// written, so that a sync of any file need not wait for it, and the cache keeps what is in it. What
    /// other handles read and write agrees with it. None where the disk cannot do that.
    ///
    /// [`File::write_at`] wants offset, length and address to be multiples of
    /// [`UNCACHED_ALIGNMENT`](crate::UNCACHED_ALIGNMENT) then; see
    /// [`AlignedBuffer`](crate::AlignedBuffer). A disk that asks for more says
    /// [`io::ErrorKind::InvalidInput`], and has written nothing.
    fn open_uncached(&self, _path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        Ok(None)
    }

    /// Whether a file or directory has that path.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Gives the file another name, in place of the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives the file a second name, which must be free.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] or [`io::ErrorKind::PermissionDenied`] where files have one
    /// name only.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Whether both are names of one file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where one of them is missing.
    fn is_same_file(&self, one: &Path, other: &Path) -> io::Result<bool>;

    /// Takes the right to write away from everybody, and lets those read the file who may list its
    /// directory (what ZODB does with blobs). A disk without permissions does nothing.
    fn make_read_only(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Removes the name of a file; handles that are open keep working.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable: creations, links, renames and removals so far.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// What is in a directory, in no order. The whole list is in memory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is no such directory.
    fn list_directory(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>>;

    /// Makes a directory and those above it, where they are missing. Their names are durable when
    /// the directories that hold them are synced.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory that has nothing in it.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;

    /// Takes the exclusive lock that the lock file of that path stands for, or fails at once. The
    /// file stays when the lock is released: removing it would let two owners in.
    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockError>;
}

/// Something in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// Its name, without the directory.
    pub name: OsString,
    /// Whether it is a directory, and no link to one.
    pub is_directory: bool,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// For reading and writing; an empty file is made where there is none.
    Create,
    /// For reading and writing, emptied or made.
    Truncate,
}

/// An open file. Offsets are given with each call, so that threads share a handle.
pub trait File: Send + Sync {
    /// How many bytes the file has.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads some bytes, fewer than asked for near the end of the file, none behind it.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills the buffer.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file ends earlier.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let filled = self.read_most_at(buffer, offset)?;
        if filled == buffer.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Fills the buffer as far as the file reaches and says how far that was.
    fn read_most_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Writes all bytes, extending the file where they reach beyond its end. After an error any
    /// part of them may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Takes room on the medium for bytes that will be written there, so that those writes do not
    /// find it full. Contents and length stay as they are. False where that cannot be done.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`] where there is no room.
    fn reserve(&self, _offset: u64, _length: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Returns when everything written so far, and the length, are on the medium.
    ///
    /// After an error the state of the medium is unknown, and a second call that succeeds proves
    /// nothing: the system may have dropped the pages that it failed to write.
    fn sync_data(&self) -> io::Result<()>;
}

/// An exclusive lock between processes, released when dropped.
pub trait DiskLock: Send + Sync {}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("held by another process")]
    Held {
        /// The process id that the lock file names, where it is readable.
        pid: Option<u32>,
    },
    /// The lock file could not be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}
