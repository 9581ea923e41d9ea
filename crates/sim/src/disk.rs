//! A disk in memory that loses power.
//!
//! # What may happen
//!
//! Until a file is synced, a power loss keeps or drops, each for itself,
//!
//! * every sector (512 bytes, at multiples of 512 in the file) of every write,
//! * every change of length; a length may grow although the data that made it grow is dropped, and
//!   what was never written is zero then.
//!
//! Until a directory is synced, a power loss keeps some first part of the creations, links, renames and
//! removals in it: file systems journal names in order. Directories themselves are not lost.
//!
//! What was synced stays. A sector is never torn, and no bit flips: checksums are for that. A lock
//! ends with the process that held it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use vfs::{DirectoryEntry, Disk, DiskLock, File, LockError, OpenMode};

/// The disk; clones are the same disk. What it does follows from the calls and the seed alone.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes off while it runs: it may or may not take place, it reports an error, and so
    /// does everything after it until [`SimDisk::restart`].
    PowerLoss,
    /// It reports an error; of a write, the first half took place.
    Error,
    /// The same, and the error says that the disk is full.
    Full,
}

#[derive(Default)]
struct State {
    files: Vec<FileState>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    /// Those that were made, with or without something in them.
    directories: BTreeSet<PathBuf>,
    locks: Vec<PathBuf>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    power_is_off: bool,
    /// Counts restarts: handles of an earlier life are dead.
    life: u64,
}

#[derive(Default)]
struct FileState {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

#[derive(Clone)]
enum NameChange {
    Bind(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations that change something there were so far: writes, changes of length,
    /// syncs, and changes of names.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Lets a fault happen at the operation with that number; the next one has the number
    /// `operations() + 1`.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state.lock().fault = Some((operation, fault));
    }

    /// Whether a planned fault has happened or is no longer planned.
    pub fn is_faultless(&self) -> bool {
        self.state.lock().fault.is_none()
    }

    /// The power goes off, if it is not, and on again. The seed decides what is left of changes
    /// that were not synced.
    pub fn restart(&self, seed: u64) {
        let mut state = self.state.lock();
        let mut rng = fastrand::Rng::with_seed(seed);
        // Uniform coins would hardly ever keep all or drop all, and those are the common cases.
        let keep = [0.0, 0.5, 1.0, rng.f64()][rng.usize(..4)];
        let kept_names = match rng.u8(..3) {
            0 => 0,
            1 => state.pending_names.len(),
            _ => rng.usize(..=state.pending_names.len()),
        };
        let State {
            files,
            durable_names,
            pending_names,
            ..
        } = &mut *state;
        for change in pending_names.drain(..).take(kept_names) {
            change.apply(durable_names);
        }
        for file in files {
            file.lose_power(keep, &mut rng);
        }
        state.names = state.durable_names.clone();
        state.end_life();
    }

    /// The process ends and another one starts; the power stayed on, so nothing is lost.
    pub fn restart_process(&self) {
        self.state.lock().end_life();
    }

    /// The bytes of a file as a reader sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let file = *state.names.get(path)?;
        Some(state.files[file].current.clone())
    }

    /// Puts a file on the disk, durably and without counting an operation.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.lock();
        let file = state.files.len();
        state.files.push(FileState {
            current: bytes.to_vec(),
            durable: bytes.to_vec(),
            pending: Vec::new(),
        });
        state.names.insert(path.to_owned(), file);
        state.durable_names.insert(path.to_owned(), file);
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        state.check_power()?;
        let found = state.names.get(path).copied();
        let creates = matches!(mode, OpenMode::Create | OpenMode::Truncate);
        let file = match found {
            Some(file) => {
                if mode == OpenMode::Truncate {
                    state.change_file(file, Change::SetLen(0))?;
                }
                file
            }
            None if creates => {
                let file = state.files.len();
                state.files.push(FileState::default());
                state.change_names(NameChange::Bind(path.to_owned(), file))?;
                file
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            file,
            life: state.life,
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        state.check_power()?;
        Ok(state.names.contains_key(path) || state.directories.contains(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_names(NameChange::Bind(to.to_owned(), file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Remove(path.to_owned()))
    }

    /// Syncs all directories: more than was asked for would hide faults, but only where a program
    /// uses several directories.
    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        if let Some(fault) = state.next_operation() {
            return Err(fault.into_error());
        }
        state.pending_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn list_directory(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let state = self.state.lock();
        state.check_power()?;
        let files = state.names.keys().map(|name| (name, false));
        let directories = state.directories.iter().map(|name| (name, true));
        // A file's name implies the directories above it.
        let found: BTreeSet<DirectoryEntry> = files
            .chain(directories)
            .filter_map(|(name, is_directory)| {
                let mut rest = name.strip_prefix(path).ok()?.components();
                let first = rest.next()?;
                Some(DirectoryEntry {
                    name: first.as_os_str().to_owned(),
                    is_directory: is_directory || rest.next().is_some(),
                })
            })
            .collect();
        if found.is_empty() && !state.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(found.into_iter().collect())
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        state.directories.insert(path.to_owned());
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        let inside = |name: &PathBuf| name != path && name.starts_with(path);
        if state.names.keys().any(inside) || state.directories.iter().any(inside) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if !state.directories.remove(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockError> {
        let mut state = self.state.lock();
        state.check_power()?;
        if state.locks.iter().any(|held| held == path) {
            return Err(LockError::Held { pid: None });
        }
        state.locks.push(path.to_owned());
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
            life: state.life,
        }))
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.power_is_off {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    /// Counts an operation; the fault that hits it, if one does.
    fn next_operation(&mut self) -> Option<Fault> {
        self.operations += 1;
        let (at, fault) = self.fault?;
        if at != self.operations {
            return None;
        }
        self.fault = None;
        self.power_is_off = fault == Fault::PowerLoss;
        Some(fault)
    }

    fn change_file(&mut self, file: usize, mut change: Change) -> io::Result<()> {
        let fault = self.next_operation();
        if let Some(fault @ (Fault::Error | Fault::Full)) = fault {
            match &mut change {
                Change::Write { bytes, .. } => bytes.truncate(bytes.len() / 2),
                Change::SetLen(_) => return Err(fault.into_error()),
            }
        }
        let file = &mut self.files[file];
        change.apply(&mut file.current);
        file.pending.push(change);
        fault.map_or(Ok(()), |fault| Err(fault.into_error()))
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let fault = self.next_operation();
        if matches!(fault, None | Some(Fault::PowerLoss)) {
            change.apply(&mut self.names);
            self.pending_names.push(change);
        }
        fault.map_or(Ok(()), |fault| Err(fault.into_error()))
    }

    fn end_life(&mut self) {
        self.locks.clear();
        self.fault = None;
        self.power_is_off = false;
        self.life += 1;
    }
}

impl Fault {
    fn into_error(self) -> io::Error {
        match self {
            Self::PowerLoss => io::Error::other("the power went off"),
            Self::Error => io::Error::other("a fault was planned here"),
            Self::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}

impl FileState {
    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
        debug_assert_eq!(self.durable, self.current);
    }

    fn lose_power(&mut self, keep: f64, rng: &mut fastrand::Rng) {
        for change in self.pending.drain(..) {
            match change {
                Change::SetLen(_) if rng.f64() < keep => change.apply(&mut self.durable),
                Change::SetLen(_) => {}
                Change::Write { offset, bytes } => {
                    let end = offset + bytes.len();
                    let mut at = offset;
                    while at < end {
                        let next = end.min((at / SECTOR_BYTES + 1) * SECTOR_BYTES);
                        if rng.f64() < keep {
                            write(&mut self.durable, at, &bytes[at - offset..next - offset]);
                        }
                        at = next;
                    }
                }
            }
        }
        if self.durable.len() < self.current.len() && rng.bool() {
            self.durable.resize(self.current.len(), 0);
        }
        self.current = self.durable.clone();
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(content, *offset, bytes),
            Self::SetLen(len) => content.resize(*len, 0),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Bind(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

struct SimFile {
    disk: SimDisk,
    file: usize,
    life: u64,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        state.check_power()?;
        if state.life != self.life {
            return Err(io::Error::other("this handle is of an earlier life"));
        }
        act(&mut state)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.files[self.file].current.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            let content = &state.files[self.file].current;
            let start = content.len().min(position(offset)?);
            let count = buffer.len().min(content.len() - start);
            buffer[..count].copy_from_slice(&content[start..start + count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = position(offset)?;
        let bytes = bytes.to_vec();
        self.with(|state| state.change_file(self.file, Change::Write { offset, bytes }))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = position(len)?;
        self.with(|state| state.change_file(self.file, Change::SetLen(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|state| {
            if let Some(fault) = state.next_operation() {
                return Err(fault.into_error());
            }
            state.files[self.file].sync();
            Ok(())
        })
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset)
        .ok()
        .filter(|offset| *offset <= FILE_BYTES_MAX)
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
    life: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life == self.life {
            state.locks.retain(|held| *held != self.path);
        }
    }
}

const SECTOR_BYTES: usize = 512;
/// The files are in memory.
const FILE_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn write_two_sectors(disk: &SimDisk) -> Arc<dyn File> {
        let file = disk.open(Path::new("f"), OpenMode::Create).unwrap();
        file.write_at(b"old", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_directory(Path::new("")).unwrap();
        file.write_at(&[1; 1024], 0).unwrap();
        file
    }

    #[test]
    fn a_power_loss_keeps_any_subset_of_unsynced_sectors() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let disk = SimDisk::new();
            write_two_sectors(&disk);
            disk.restart(seed);
            let content = disk.contents(Path::new("f")).unwrap();
            let second = content.get(512).copied();
            seen.insert((content[0], content.len(), second));
        }
        let expected = [
            (1, 512, None),
            (1, 1024, Some(0)),
            (1, 1024, Some(1)),
            (b'o', 3, None),
            (b'o', 1024, Some(0)),
            (b'o', 1024, Some(1)),
        ];
        assert_eq!(seen, BTreeSet::from(expected));
    }

    #[test]
    fn a_seed_decides_everything() {
        for seed in 0..20 {
            let [first, second] = [(); 2].map(|()| {
                let disk = SimDisk::new();
                write_two_sectors(&disk);
                disk.restart(seed);
                disk.contents(Path::new("f"))
            });
            assert_eq!(first, second);
        }
    }

    #[test]
    fn what_was_synced_stays() {
        for seed in 0..50 {
            let disk = SimDisk::new();
            let file = write_two_sectors(&disk);
            file.sync_data().unwrap();
            disk.restart(seed);
            assert_eq!(disk.contents(Path::new("f")).unwrap(), [1; 1024]);
            assert!(file.len().is_err(), "the handle died with its process");
        }
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_lost() {
        let (old, new) = (Path::new("old"), Path::new("new"));
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let disk = SimDisk::new();
            disk.put(old, b"x");
            disk.rename(old, new).unwrap();
            disk.restart(seed);
            seen.insert((disk.exists(old).unwrap(), disk.exists(new).unwrap()));
        }
        assert_eq!(seen, BTreeSet::from([(true, false), (false, true)]));
    }

    #[test]
    fn a_fault_hits_the_operation_it_was_planned_for() {
        let disk = SimDisk::new();
        let file = disk.open(Path::new("f"), OpenMode::Create).unwrap();
        disk.fail_at(disk.operations() + 2, Fault::Error);
        file.write_at(b"ab", 0).unwrap();
        file.write_at(b"cd", 2).unwrap_err();
        assert_eq!(disk.contents(Path::new("f")).unwrap(), b"abc");

        disk.fail_at(disk.operations() + 1, Fault::PowerLoss);
        file.sync_data().unwrap_err();
        file.len().unwrap_err();
        disk.restart(1);
        disk.open(Path::new("g"), OpenMode::Create).unwrap();
    }

    #[test]
    fn a_directory_lists_what_is_directly_in_it() {
        let disk = SimDisk::new();
        disk.put(Path::new("/d/f"), b"");
        disk.put(Path::new("/d/e/f"), b"");
        disk.put(Path::new("/de"), b"");
        disk.create_directory(Path::new("/d/g")).unwrap();
        let names = disk.list_directory(Path::new("/d")).unwrap();
        let names: Vec<_> = names
            .iter()
            .map(|entry| (entry.name.to_str().unwrap(), entry.is_directory))
            .collect();
        assert_eq!(names, [("e", true), ("f", false), ("g", true)]);
        assert!(disk.list_directory(Path::new("/d/g")).unwrap().is_empty());
        disk.remove_directory(Path::new("/d/g")).unwrap();
        let missing = disk.list_directory(Path::new("/d/g")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_lock_has_one_owner_and_ends_with_the_process() {
        let disk = SimDisk::new();
        let path = Path::new("lock");
        let first = disk.lock(path).unwrap();
        assert!(matches!(disk.lock(path), Err(LockError::Held { .. })));
        disk.restart_process();
        let second = disk.lock(path).unwrap();
        drop(first);
        assert!(disk.lock(path).is_err(), "the second owner still has it");
        drop(second);
        disk.lock(path).unwrap();
    }
}
