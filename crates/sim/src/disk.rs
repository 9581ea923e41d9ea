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
//! removals in it, and of the directories made in it: file systems journal the names of a directory in
//! order. What is done in one directory says nothing of another; a rename takes place whole, and is
//! durable with the directory of the new name. With a directory all that is in it is lost. Those at
//! the top of the tree are there from the beginning.
//!
//! What was synced stays. A sector is never torn, and no bit flips: checksums are for that. A lock
//! ends with the process that held it.
//!
//! # Two ways to use it
//!
//! [`SimDisk::fail_at`] lets a program meet a fault and [`SimDisk::restart`] shows one thing that a
//! power loss may leave, chosen by a seed. [`SimDisk::record`] writes down what a program does, from
//! which [`crate::Trace`] tells all that power losses may leave, without running it again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use vfs::{DirectoryEntry, Disk, DiskLock, File, LockError, OpenMode};

use crate::medium::{Change, Fate, Image, Medium, NameChange, Names};
use crate::trace::{Event, Trace};

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
    forbids_links: bool,
    medium: Medium,
    /// What those see who read the files now.
    contents: Vec<Vec<u8>>,
    names: Names,
    trace: Option<Trace>,
    before_sync: Option<Box<dyn FnOnce() + Send>>,
    locks: Vec<PathBuf>,
    operations: u64,
    syncs: u64,
    fault: Option<(u64, Fault)>,
    power_is_off: bool,
    room: Option<u64>,
    /// Counts restarts: handles of an earlier life are dead.
    life: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk with that on it, durably.
    pub fn with(image: &Image) -> Self {
        let disk = Self::new();
        for (path, bytes) in &image.files {
            disk.put(path, bytes);
        }
        let mut state = disk.state.lock();
        let directories = &image.directories;
        state.medium.bind_directories(directories.clone());
        state.names.directories.clone_from(directories);
        drop(state);
        disk
    }

    /// How many operations that change something there were so far: writes, changes of length,
    /// syncs, and changes of names.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Says of room beyond that many bytes of a file that there is none, where somebody reserves it.
    /// Until this is called, nothing can be reserved.
    pub fn limit_room(&self, bytes: u64) {
        self.state.lock().room = Some(bytes);
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

    /// Lets something happen when a file is about to be synced next: what others do at that moment.
    pub fn before_next_sync(&self, act: impl FnOnce() + Send + 'static) {
        self.state.lock().before_sync = Some(Box::new(act));
    }

    /// Begins to write down every operation from now on.
    pub fn record(&self) {
        let mut state = self.state.lock();
        state.trace = Some(Trace::new(state.medium.clone()));
    }

    /// Writes a remark into the record: of something that was promised, say.
    pub fn note(&self, remark: u64) {
        self.state.lock().trace_event(|| Event::Note(remark));
    }

    /// What was written down since [`SimDisk::record`].
    pub fn trace(&self) -> Trace {
        self.state.lock().trace.clone().unwrap_or_default()
    }

    /// The power goes off, if it is not, and on again. The seed decides what is left of changes
    /// that were not synced.
    pub fn restart(&self, seed: u64) {
        let mut state = self.state.lock();
        let mut rng = fastrand::Rng::with_seed(seed);
        // Uniform coins would hardly ever keep all or drop all, and those are the common cases.
        let keep = [0.0, 0.5, 1.0, rng.f64()][rng.usize(..4)];
        state.medium.lose_power(&mut Coins { keep, rng });
        let State {
            medium,
            contents,
            names,
            ..
        } = &mut *state;
        names.clone_from(medium.durable_names());
        for (file, content) in contents.iter_mut().enumerate() {
            *content = medium.durable_content(file).to_vec();
        }
        state.end_life();
    }

    /// The process ends and another one starts; the power stayed on, so nothing is lost.
    pub fn restart_process(&self) {
        self.state.lock().end_life();
    }

    /// The bytes of a file as a reader sees them.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let file = *state.names.files.get(path)?;
        Some(state.contents[file].clone())
    }

    /// Everything that a reader sees.
    pub fn image(&self) -> Image {
        let state = self.state.lock();
        let files = state.names.files.iter();
        Image {
            files: files
                .map(|(path, file)| (path.clone(), state.contents[*file].as_slice().into()))
                .collect(),
            directories: state.names.directories.clone(),
        }
    }

    /// From now on files have one name only, as on some file systems.
    pub fn forbid_links(&self) {
        self.state.lock().forbids_links = true;
    }

    /// Puts a file on the disk, durably and without counting an operation.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.lock();
        let file = state.medium.add_file(bytes);
        state.medium.bind(path.to_owned(), file);
        state.contents.push(bytes.to_vec());
        state.names.files.insert(path.to_owned(), file);
    }
}

/// A fate by a generator of random numbers.
struct Coins {
    keep: f64,
    rng: fastrand::Rng,
}

impl Fate for Coins {
    fn keeps(&mut self, _change: usize, _part: usize, _parts: usize) -> bool {
        self.rng.f64() < self.keep
    }

    fn keeps_length(&mut self) -> bool {
        self.rng.bool()
    }

    fn kept_names(&mut self, _directory: &Path, waiting: usize) -> usize {
        match self.rng.u8(..3) {
            0 => 0,
            1 => waiting,
            _ => self.rng.usize(..=waiting),
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        state.check_power()?;
        let found = state.names.files.get(path).copied();
        let creates = matches!(mode, OpenMode::Create | OpenMode::Truncate);
        let file = match found {
            Some(file) => {
                if mode == OpenMode::Truncate {
                    state.change_file(file, Change::SetLen(0))?;
                }
                file
            }
            None if creates => {
                let file = state.medium.add_file(b"");
                state.contents.push(Vec::new());
                state.trace_event(|| Event::NewFile);
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
        Ok(state.names.files.contains_key(path) || state.names.directories.contains(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        let file = *state.names.files.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned(), file))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        if state.forbids_links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if state.names.files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = *state.names.files.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change_names(NameChange::Bind(to.to_owned(), file))
    }

    fn is_same_file(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        state.check_power()?;
        let file = |path| state.names.files.get(path).ok_or(io::ErrorKind::NotFound);
        Ok(file(one)? == file(other)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        if !state.names.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::Remove(path.to_owned()))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        if let Some(fault) = state.next_operation() {
            return Err(fault.into_error());
        }
        state.medium.sync_directory(path);
        state.trace_event(|| Event::SyncDirectory(path.to_owned()));
        Ok(())
    }

    fn list_directory(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let state = self.state.lock();
        state.check_power()?;
        let files = state.names.files.keys().map(|name| (name, false));
        let directories = state.names.directories.iter().map(|name| (name, true));
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
        if found.is_empty() && !state.names.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(found.into_iter().collect())
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        let missing: Vec<PathBuf> = path
            .ancestors()
            .take_while(|directory| directory.parent().is_some())
            .take_while(|directory| !state.names.has_directory(directory))
            .map(Path::to_owned)
            .collect();
        for directory in missing.into_iter().rev() {
            if is_at_the_top(&directory) {
                state.medium.bind_directories([directory.clone()].into());
                state.names.directories.insert(directory.clone());
                state.trace_event(|| Event::TopDirectory(directory));
            } else {
                state.change_names(NameChange::MakeDirectory(directory))?;
            }
        }
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_power()?;
        let inside = |name: &PathBuf| name != path && name.starts_with(path);
        if state.names.files.keys().any(inside) || state.names.directories.iter().any(inside) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if !state.names.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_names(NameChange::RemoveDirectory(path.to_owned()))
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
                Change::Write { bytes, .. } => *bytes = bytes[..bytes.len() / 2].into(),
                Change::SetLen(_) => return Err(fault.into_error()),
            }
        }
        change.apply(&mut self.contents[file]);
        self.trace_event(|| Event::ChangeFile(file, change.clone()));
        self.medium.change_file(file, change);
        fault.map_or(Ok(()), |fault| Err(fault.into_error()))
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let fault = self.next_operation();
        if matches!(fault, None | Some(Fault::PowerLoss)) {
            change.apply(&mut self.names);
            self.trace_event(|| Event::ChangeNames(change.clone()));
            self.medium.change_names(change);
        }
        fault.map_or(Ok(()), |fault| Err(fault.into_error()))
    }

    fn trace_event(&mut self, event: impl FnOnce() -> Event) {
        if let Some(trace) = &mut self.trace {
            trace.push(event());
        }
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
        self.with(|state| Ok(state.contents[self.file].len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state| {
            let content = &state.contents[self.file];
            let start = content.len().min(position(offset)?);
            let count = buffer.len().min(content.len() - start);
            buffer[..count].copy_from_slice(&content[start..start + count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = position(offset)?;
        let bytes = bytes.into();
        self.with(|state| state.change_file(self.file, Change::Write { offset, bytes }))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = position(len)?;
        self.with(|state| state.change_file(self.file, Change::SetLen(len)))
    }

    fn reserve(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.with(|state| match state.room {
            None => Ok(false),
            Some(room) if offset.saturating_add(length) <= room => Ok(true),
            Some(_) => Err(io::ErrorKind::StorageFull.into()),
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let act = self.disk.state.lock().before_sync.take();
        if let Some(act) = act {
            act();
        }
        self.with(|state| {
            if let Some(fault) = state.next_operation() {
                return Err(fault.into_error());
            }
            state.syncs += 1;
            state.medium.sync_file(self.file);
            state.trace_event(|| Event::SyncFile(self.file));
            Ok(())
        })
    }
}

/// Whether the directory that holds it is the root, or the one where bare names are.
fn is_at_the_top(directory: &Path) -> bool {
    directory
        .parent()
        .is_none_or(|parent| parent.parent().is_none())
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

/// The files are in memory.
const FILE_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    /// Neither a file in it that was removed nor one that was moved away is in its way later.
    #[test]
    fn a_directory_that_is_gone_takes_nothing_with_it() {
        let [removed, moved, elsewhere] = ["/d/e/f", "/d/e/g", "/h/g"].map(Path::new);
        for seed in 0..100 {
            let disk = SimDisk::new();
            disk.create_directory(Path::new("/d/e")).unwrap();
            disk.create_directory(Path::new("/h")).unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            disk.put(removed, b"");
            disk.put(moved, b"kept");
            disk.remove(removed).unwrap();
            disk.rename(moved, elsewhere).unwrap();
            disk.remove_directory(Path::new("/d/e")).unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
            disk.restart(seed);
            assert_eq!(disk.contents(removed), None, "{seed}");
            assert_eq!(
                disk.contents(elsewhere).as_deref(),
                Some(&b"kept"[..]),
                "{seed}"
            );
        }
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
