//! What a power loss leaves: the durable side of files and names, and the changes that wait.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything on a disk at one moment, without what waited for a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    /// The files by their names.
    pub files: BTreeMap<PathBuf, Arc<[u8]>>,
    /// The directories that were made.
    pub directories: BTreeSet<PathBuf>,
}

/// Decides what a power loss leaves of what waited.
pub(crate) trait Fate {
    /// Whether this part of a change of a file takes place. Changes are counted through all files
    /// in the order they were made; a change of length has one part, a write one for each sector.
    fn keeps(&mut self, change: usize, part: usize, parts: usize) -> bool;

    /// Whether a file has the length that its last change gave it, even if that change was lost.
    fn keeps_length(&mut self) -> bool;

    /// How many of the changes of names that wait in this directory take place: file systems
    /// journal the names of a directory in order.
    fn kept_names(&mut self, directory: &Path, waiting: usize) -> usize;
}

#[derive(Clone, Default)]
pub(crate) struct Medium {
    files: Vec<Arc<[u8]>>,
    names: Names,
    waiting: Vec<FileChange>,
    waiting_names: Vec<NameChange>,
    /// How long each file is for those who use it now.
    lengths: Vec<usize>,
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Names {
    pub(crate) files: BTreeMap<PathBuf, usize>,
    pub(crate) directories: BTreeSet<PathBuf>,
}

#[derive(Clone)]
struct FileChange {
    file: usize,
    change: Change,
}

#[derive(Clone)]
pub(crate) enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

#[derive(Clone)]
pub(crate) enum NameChange {
    Bind(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
    MakeDirectory(PathBuf),
    RemoveDirectory(PathBuf),
}

impl Medium {
    /// A file that is durable, with nothing in it and no name.
    pub(crate) fn add_file(&mut self, bytes: &[u8]) -> usize {
        self.files.push(bytes.into());
        self.lengths.push(bytes.len());
        self.files.len() - 1
    }

    /// Gives a file a name that is durable at once.
    pub(crate) fn bind(&mut self, path: PathBuf, file: usize) {
        self.names.files.insert(path, file);
    }

    /// Makes directories that are durable at once.
    pub(crate) fn bind_directories(&mut self, directories: BTreeSet<PathBuf>) {
        self.names.directories.extend(directories);
    }

    pub(crate) fn durable_names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn durable_content(&self, file: usize) -> &[u8] {
        &self.files[file]
    }

    pub(crate) fn change_file(&mut self, file: usize, change: Change) {
        self.lengths[file] = change.length(self.lengths[file]);
        self.waiting.push(FileChange { file, change });
    }

    pub(crate) fn sync_file(&mut self, file: usize) {
        let (now, later) = self
            .waiting
            .drain(..)
            .partition(|waiting| waiting.file == file);
        self.waiting = later;
        let now: Vec<FileChange> = now;
        if now.is_empty() {
            return;
        }
        let mut content = self.files[file].to_vec();
        for waiting in now {
            waiting.change.apply(&mut content);
        }
        debug_assert_eq!(content.len(), self.lengths[file]);
        self.files[file] = content.into();
    }

    pub(crate) fn change_names(&mut self, change: NameChange) {
        self.waiting_names.push(change);
    }

    /// Makes the names in that directory durable, and those elsewhere that they rest on.
    pub(crate) fn sync_directory(&mut self, directory: &Path) {
        let waiting = std::mem::take(&mut self.waiting_names);
        let wanted = waiting
            .iter()
            .map(|change| change.directory() == directory)
            .collect();
        let taken = with_those_before(&waiting, wanted);
        for (change, taken) in waiting.into_iter().zip(taken) {
            if taken {
                change.apply(&mut self.names);
            } else {
                self.waiting_names.push(change);
            }
        }
    }

    /// How many parts each change of a file that waits has.
    pub(crate) fn waiting_parts(&self) -> Vec<usize> {
        let parts = self.waiting.iter().map(|waiting| waiting.change.parts());
        parts.map(|parts| parts.len()).collect()
    }

    /// The directories in which names wait, and how many.
    pub(crate) fn waiting_names(&self) -> BTreeMap<PathBuf, usize> {
        let mut found = BTreeMap::new();
        for change in &self.waiting_names {
            *found.entry(change.directory().to_owned()).or_default() += 1;
        }
        found
    }

    /// The power goes off and on again: nothing waits any more.
    pub(crate) fn lose_power(&mut self, fate: &mut dyn Fate) {
        let mut budget: BTreeMap<PathBuf, usize> = self.waiting_names();
        for (directory, waiting) in &mut budget {
            *waiting = fate.kept_names(directory, *waiting);
        }
        let changes = std::mem::take(&mut self.waiting_names);
        let kept = changes.iter().map(|change| {
            let left = budget.get_mut(change.directory());
            left.is_some_and(|left| {
                let is_kept = *left > 0;
                *left = left.saturating_sub(1);
                is_kept
            })
        });
        let kept = kept.collect();
        let mut lost_directories = Vec::new();
        for (change, kept) in changes.iter().zip(with_those_before(&changes, kept)) {
            match change {
                _ if kept => change.apply(&mut self.names),
                NameChange::MakeDirectory(path) => lost_directories.push(path),
                _ => {}
            }
        }
        for directory in lost_directories {
            self.names.lose_directory(directory);
        }
        let touched: BTreeSet<usize> = self.waiting.iter().map(|waiting| waiting.file).collect();
        let waiting = std::mem::take(&mut self.waiting);
        for file in touched {
            let mut content = self.files[file].to_vec();
            for (number, waiting) in waiting.iter().enumerate() {
                if waiting.file == file {
                    waiting.change.apply_in_part(&mut content, number, fate);
                }
            }
            if content.len() < self.lengths[file] && fate.keeps_length() {
                content.resize(self.lengths[file], 0);
            }
            self.lengths[file] = content.len();
            self.files[file] = content.into();
        }
    }

    /// What is durable, as nothing waits.
    pub(crate) fn image(&self) -> Image {
        let files = self.names.files.iter();
        Image {
            files: files
                .map(|(path, file)| (path.clone(), self.files[*file].clone()))
                .collect(),
            directories: self.names.directories.clone(),
        }
    }
}

/// The wanted changes and all earlier ones that they rest on: nothing is renamed that was never made.
fn with_those_before(changes: &[NameChange], mut wanted: Vec<bool>) -> Vec<bool> {
    for later in (0..changes.len())
        .rev()
        .filter(|later| wanted[*later])
        .collect::<Vec<_>>()
    {
        take_before(changes, later, &mut wanted);
    }
    wanted
}

fn take_before(changes: &[NameChange], later: usize, wanted: &mut Vec<bool>) {
    for earlier in (0..later).rev() {
        if !wanted[earlier] && changes[later].rests_on(&changes[earlier]) {
            wanted[earlier] = true;
            take_before(changes, earlier, wanted);
        }
    }
}

impl Change {
    pub(crate) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(content, *offset, bytes),
            Self::SetLen(len) => content.resize(*len, 0),
        }
    }

    /// How long a file is behind it.
    fn length(&self, before: usize) -> usize {
        match self {
            Self::Write { offset, bytes } => before.max(offset + bytes.len()),
            Self::SetLen(len) => *len,
        }
    }

    /// The parts of which a power loss keeps any: the sectors of a write, by their place in it.
    fn parts(&self) -> Vec<std::ops::Range<usize>> {
        let Self::Write { offset, bytes } = self else {
            return std::iter::once(0..0).collect();
        };
        let mut parts = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let sector_end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
            let next = sector_end.min(bytes.len());
            parts.push(at..next);
            at = next;
        }
        parts
    }

    fn apply_in_part(&self, content: &mut Vec<u8>, number: usize, fate: &mut dyn Fate) {
        let parts = self.parts();
        let count = parts.len();
        for (place, part) in parts.into_iter().enumerate() {
            if fate.keeps(number, place, count) {
                match self {
                    Self::SetLen(_) => self.apply(content),
                    Self::Write { offset, bytes } => {
                        write(content, offset + part.start, &bytes[part]);
                    }
                }
            }
        }
    }
}

impl NameChange {
    pub(crate) fn apply(&self, names: &mut Names) {
        match self {
            Self::Bind(path, file) => {
                names.files.insert(path.clone(), *file);
            }
            Self::Rename(from, to, file) => {
                names.files.remove(from);
                names.files.insert(to.clone(), *file);
            }
            Self::Remove(path) => {
                names.files.remove(path);
            }
            Self::MakeDirectory(path) => {
                names.directories.insert(path.clone());
            }
            Self::RemoveDirectory(path) => {
                names.directories.remove(path);
            }
        }
    }

    /// The directory whose sync makes it durable: of a rename the one with the new name.
    fn directory(&self) -> &Path {
        let path = match self {
            Self::Bind(path, _)
            | Self::Rename(_, path, _)
            | Self::Remove(path)
            | Self::MakeDirectory(path)
            | Self::RemoveDirectory(path) => path,
        };
        path.parent().unwrap_or_else(|| Path::new(""))
    }

    /// Whether this change cannot take place without that earlier one: they share a name, or a
    /// directory goes, which has to be empty.
    fn rests_on(&self, earlier: &Self) -> bool {
        let goes =
            |path: &Path| matches!(self, Self::RemoveDirectory(gone) if path.starts_with(gone));
        earlier
            .paths()
            .any(|path| goes(path) || self.paths().any(|own| own == path))
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let (first, second) = match self {
            Self::Bind(path, _)
            | Self::Remove(path)
            | Self::MakeDirectory(path)
            | Self::RemoveDirectory(path) => (path, None),
            Self::Rename(from, to, _) => (from, Some(to)),
        };
        std::iter::once(first.as_path()).chain(second.map(PathBuf::as_path))
    }
}

impl Names {
    /// Whether a directory was made, or something in it has a name.
    pub(crate) fn has_directory(&self, directory: &Path) -> bool {
        let inside = |path: &PathBuf| path.starts_with(directory);
        self.directories.iter().any(inside) || self.files.keys().any(inside)
    }

    /// What is durable in a directory is lost with it, unless it was there before.
    fn lose_directory(&mut self, directory: &Path) {
        if !self.directories.contains(directory) {
            self.files.retain(|path, _| !path.starts_with(directory));
            self.directories.retain(|path| !path.starts_with(directory));
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

pub(crate) const SECTOR_BYTES: usize = 512;
