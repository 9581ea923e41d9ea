//! Files, locks and directories as traits, with the real disk as one implementation.
//!
//! A [`Disk`] opens [`File`]s, which are read and written at offsets by any number of threads, and
//! takes [`DiskLock`]s. [`RealDisk`] is the operating system's; the crate `sim` has one in memory
//! that loses power. Whoever stores bytes through these traits can be tested on both.
//!
//! Two rules of real disks are part of the contract, because a database stands on them:
//!
//! * What was written is on the medium only after [`File::sync_data`]; until then a power loss may
//!   keep any part of it.
//! * A name is on the medium only after [`Disk::sync_directory`] on the directory that holds it.
//!
//! ```
//! use vfs::{Disk, OpenMode, RealDisk};
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("note");
//! let file = RealDisk.open(&path, OpenMode::Create)?;
//! file.write_at(b"hello", 0)?;
//! file.sync_data()?;
//! RealDisk.sync_directory(folder.path())?;
//!
//! let mut bytes = [0; 5];
//! file.read_exact_at(&mut bytes, 0)?;
//! assert_eq!(&bytes, b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

mod disk;
mod real;
mod sequential;
mod uncached;

pub use disk::{DirectoryEntry, Disk, DiskLock, File, LockError, OpenMode};
pub use real::{RealDisk, instant, unix_time};
pub use sequential::{SequentialReader, SequentialWriter};
pub use uncached::{AlignedBuffer, UNCACHED_ALIGNMENT};
