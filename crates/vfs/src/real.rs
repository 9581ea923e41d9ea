//! The disk and the clock of the machine.

use std::fs::{self, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

use crate::{DirectoryEntry, Disk, DiskLock, File, LockError, OpenMode};

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::Read)
            .create(matches!(mode, OpenMode::Create | OpenMode::Truncate))
            .truncate(mode == OpenMode::Truncate)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open_uncached(&self, path: &Path) -> io::Result<Option<Arc<dyn File>>> {
        let Ok(flags) = i32::try_from(OFlags::DIRECT.bits()) else {
            return Ok(None);
        };
        let opened = fs::OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path);
        match opened {
            Ok(file) => Ok(Some(Arc::new(RealFile(file)))),
            // That is how file systems say that they always have a cache.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn is_same_file(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
        Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        let mode = |path: &Path| Ok::<_, io::Error>(fs::metadata(path)?.permissions().mode());
        let parent = path.parent().unwrap_or(path);
        let readers = mode(directory(parent))? & ANYBODY_READS;
        let permissions = mode(path)? & !ANYBODY_WRITES | readers;
        fs::set_permissions(path, fs::Permissions::from_mode(permissions))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        fs::File::open(directory(path))?.sync_all()
    }

    fn list_directory(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let entries = fs::read_dir(directory(path))?;
        entries
            .map(|entry| {
                let entry = entry?;
                Ok(DirectoryEntry {
                    name: entry.file_name(),
                    is_directory: entry.file_type()?.is_dir(),
                })
            })
            .collect()
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(directory(path))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    /// As `zc.lockfile` does it, so that both exclude each other: `flock` on the file, which then
    /// holds a space, the process id and a line end.
    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockError> {
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    pid: written_pid(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let text = format!(" {}\n", std::process::id());
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        Ok(Box::new(RealLock(file)))
    }
}

/// The parent of a bare file name is the empty path.
fn directory(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

/// The process id in a lock file. Its owner may just be writing it, hence the option.
fn written_pid(file: &mut fs::File) -> Option<u32> {
    let mut text = String::new();
    file.take(LOCK_TEXT_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    text.split_whitespace().next()?.parse().ok()
}

struct RealLock(fs::File);

impl DiskLock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing would release it too, unless a child process inherited the handle.
        self.0.unlock().ok();
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn reserve(&self, offset: u64, length: u64) -> io::Result<bool> {
        match fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, length) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// The time since 1970, UTC, by the machine's clock; zero on a machine that believes to live
/// earlier.
#[allow(
    clippy::disallowed_methods,
    reason = "the real world is this module's purpose; others take a clock as a parameter"
)]
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// A clock that never goes back, to see how long something takes.
#[allow(
    clippy::disallowed_methods,
    reason = "the real world is this module's purpose; it decides nothing, it is told to people"
)]
pub fn instant() -> Instant {
    Instant::now()
}

/// How much of a lock file is read to find the owner's process id.
const LOCK_TEXT_BYTES_MAX: u64 = 64;
const ANYBODY_READS: u32 = 0o444;
const ANYBODY_WRITES: u32 = 0o222;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlignedBuffer, UNCACHED_ALIGNMENT};

    /// Where the file system can do it at all.
    #[test]
    fn what_is_written_past_the_cache_agrees_with_other_handles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = RealDisk.open(&path, OpenMode::Truncate).unwrap();
        file.write_at(&[1; UNCACHED_ALIGNMENT], 0).unwrap();
        let Some(uncached) = RealDisk.open_uncached(&path).unwrap() else {
            return;
        };
        let mut buffer = AlignedBuffer::new(2 * UNCACHED_ALIGNMENT);
        buffer.fill(&[2; 2 * UNCACHED_ALIGNMENT]);
        match uncached.write_at(&buffer, UNCACHED_ALIGNMENT as u64) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            written => written.unwrap(),
        }
        file.write_at(&[3], 2 * UNCACHED_ALIGNMENT as u64).unwrap();
        file.sync_data().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 * UNCACHED_ALIGNMENT);
        let (front, back) = bytes.split_at(UNCACHED_ALIGNMENT);
        assert!(front.iter().all(|byte| *byte == 1));
        assert_eq!(back[UNCACHED_ALIGNMENT], 3);
        assert_eq!(
            back.iter().filter(|byte| **byte == 2).count(),
            back.len() - 1
        );
    }

    #[test]
    fn a_lock_excludes_a_second_owner_and_names_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs.lock");
        let lock = RealDisk.lock(&path).unwrap();
        let held = RealDisk.lock(&path).err().unwrap();
        assert!(
            matches!(held, LockError::Held { pid: Some(pid) } if pid == std::process::id()),
            "{held:?}"
        );
        drop(lock);
        assert!(path.exists());
        RealDisk.lock(&path).unwrap();
    }

    #[test]
    fn a_lock_file_holds_what_zc_lockfile_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Data.fs.lock");
        fs::write(&path, " 123456789012 left behind by somebody\n").unwrap();
        let _lock = RealDisk.lock(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!(" {}\n", std::process::id())
        );
    }

    #[test]
    fn a_link_is_a_second_name_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        let file = RealDisk.open(&one, OpenMode::Create).unwrap();
        RealDisk.link(&one, &two).unwrap();
        file.write_at(b"both", 0).unwrap();
        assert_eq!(fs::read(&two).unwrap(), b"both");
        assert!(RealDisk.is_same_file(&one, &two).unwrap());
        let three = folder.path().join("three");
        assert!(RealDisk.is_same_file(&one, &three).is_err());
        fs::copy(&one, &three).unwrap();
        assert!(!RealDisk.is_same_file(&one, &three).unwrap());
        let taken = RealDisk.link(&one, &two).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        RealDisk.remove(&one).unwrap();
        assert_eq!(fs::read(&two).unwrap(), b"both");
    }

    #[test]
    fn a_read_only_file_is_readable_for_those_who_may_list_its_directory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        for (directory, file, expected) in [(0o755, 0o640, 0o444), (0o700, 0o600, 0o400)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(directory)).unwrap();
            fs::write(&path, b"x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(file)).unwrap();
            RealDisk.make_read_only(&path).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, expected);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn to_reserve_room_changes_nothing_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let file = RealDisk.open(&path, OpenMode::Create).unwrap();
        file.write_at(b"abc", 0).unwrap();
        file.reserve(3, 1 << 20).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        let far = i64::MAX.cast_unsigned();
        let refused = file.reserve(far - 10, 20);
        assert!(matches!(refused, Ok(false) | Err(_)), "no file is so long");
    }

    #[test]
    fn directories_are_made_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let [top, inner] = ["a", "a/b"].map(|name| folder.path().join(name));
        let missing = RealDisk.list_directory(&top).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        RealDisk.create_directory(&inner).unwrap();
        RealDisk.create_directory(&inner).unwrap();
        RealDisk.open(&top.join("f"), OpenMode::Create).unwrap();
        let mut found = RealDisk.list_directory(&top).unwrap();
        found.sort();
        let expected = [("b", true), ("f", false)].map(|(name, is_directory)| DirectoryEntry {
            name: name.into(),
            is_directory,
        });
        assert_eq!(found, expected);
        RealDisk.remove_directory(&top).unwrap_err();
        RealDisk.remove_directory(&inner).unwrap();
        assert!(!RealDisk.exists(&inner).unwrap());
    }

    #[test]
    fn files_are_read_and_written_at_offsets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let missing = RealDisk.open(&path, OpenMode::Write).err().unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);

        let file = RealDisk.open(&path, OpenMode::Create).unwrap();
        assert!(file.is_empty().unwrap());
        file.write_at(b"abc", 3).unwrap();
        file.set_len(5).unwrap();
        file.sync_data().unwrap();
        let mut buffer = [1; 8];
        assert_eq!(file.read_most_at(&mut buffer, 0).unwrap(), 5);
        assert_eq!(&buffer[..5], b"\0\0\0ab");
        let error = file.read_exact_at(&mut buffer, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);

        let again = RealDisk.open(&path, OpenMode::Truncate).unwrap();
        assert_eq!((again.len().unwrap(), file.len().unwrap()), (0, 0));
    }
}
