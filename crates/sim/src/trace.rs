//! All that power losses may leave of what a program did.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::medium::{Change, Fate, Image, Medium, NameChange};

/// What was done on a [`crate::SimDisk`], from [`crate::SimDisk::record`] on.
#[derive(Clone, Default)]
pub struct Trace {
    start: Medium,
    events: Vec<Event>,
}

#[derive(Clone)]
pub(crate) enum Event {
    NewFile,
    ChangeFile(usize, Change),
    ChangeNames(NameChange),
    SyncFile(usize),
    SyncDirectory(PathBuf),
    TopDirectory(PathBuf),
    Note(u64),
}

/// One thing that a power loss may leave.
#[derive(Debug)]
pub struct Crash<'a> {
    /// The number of operations that had begun.
    pub operation: usize,
    /// What became of those that were not synced.
    pub loss: &'a Loss,
    /// What is on the disk.
    pub image: Image,
    /// The remarks made before.
    pub notes: &'a [u64],
}

impl fmt::Display for Crash<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}, {:?}", self.operation, self.loss)
    }
}

/// How many crashes there were to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashCount {
    /// Operations after which the power went off.
    pub operations: usize,
    /// What was tried there.
    pub losses: usize,
    /// How many disks differed, or promised more.
    pub distinct: usize,
}

/// What becomes of the changes that were not synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    writes: WriteLoss,
    names: NameLoss,
    /// Whether files are as long as their lost writes would have made them.
    lengths_stay: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteLoss {
    KeepAll,
    LoseAll,
    /// Those from that one on.
    LoseFrom(usize),
    Lose(usize),
    KeepOnly(usize),
    /// All are kept but that sector of that write, or all sectors of it from there on.
    Tear(usize, Tear),
    /// Any subset of sectors.
    Random(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tear {
    LoseFirst,
    LoseLast,
    KeepFirst,
    KeepLast,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NameLoss {
    KeepAll,
    LoseAll,
    /// In each directory those behind so many.
    LoseBehind(usize),
    LoseIn(PathBuf),
    KeepIn(PathBuf),
    Random(u64),
}

impl Trace {
    pub(crate) fn new(start: Medium) -> Self {
        Self {
            start,
            events: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.events.push(event);
    }

    /// How many operations there were.
    pub fn operations(&self) -> usize {
        let counts = |event: &&Event| !matches!(event, Event::Note(_));
        self.events.iter().filter(counts).count()
    }

    /// Lets the power go off after each operation, with everything lost, nothing lost, each single
    /// change lost or kept or torn, and `random` random subsets; shows every disk that this leaves
    /// once, and again where more remarks were made.
    ///
    /// A sync takes place as a whole or not at all: what is left while it runs is what may be left
    /// before it.
    pub fn crashes(&self, random: u64, mut visit: impl FnMut(&Crash<'_>)) -> CrashCount {
        let mut medium = self.start.clone();
        let mut notes = Vec::new();
        let mut seen: HashMap<(u64, u64), usize> = HashMap::new();
        let mut count = CrashCount::default();
        for event in std::iter::once(None).chain(self.events.iter().map(Some)) {
            if let Some(event) = event {
                count.operations += usize::from(!matches!(event, Event::Note(_)));
                event.apply(&mut medium, &mut notes);
            }
            for loss in losses(&medium, random, count.operations as u64) {
                let image = loss.of(&medium);
                count.losses += 1;
                let promised = seen.entry(fingerprint(&image)).or_insert(usize::MAX);
                if *promised != usize::MAX && *promised >= notes.len() {
                    continue;
                }
                *promised = notes.len();
                count.distinct += 1;
                visit(&Crash {
                    operation: count.operations,
                    loss: &loss,
                    image,
                    notes: &notes,
                });
            }
        }
        count
    }
}

impl Event {
    fn apply(&self, medium: &mut Medium, notes: &mut Vec<u64>) {
        match self {
            Self::NewFile => {
                medium.add_file(b"");
            }
            Self::ChangeFile(file, change) => medium.change_file(*file, change.clone()),
            Self::ChangeNames(change) => medium.change_names(change.clone()),
            Self::SyncFile(file) => medium.sync_file(*file),
            Self::SyncDirectory(directory) => medium.sync_directory(directory),
            Self::TopDirectory(directory) => medium.bind_directories([directory.clone()].into()),
            Self::Note(remark) => notes.push(*remark),
        }
    }
}

/// The losses worth a look while that waits.
fn losses(medium: &Medium, random: u64, seed: u64) -> Vec<Loss> {
    let parts = medium.waiting_parts();
    let waiting_names = medium.waiting_names();
    let mut writes = vec![WriteLoss::KeepAll];
    if !parts.is_empty() {
        writes.push(WriteLoss::LoseAll);
    }
    for (number, parts) in parts.iter().enumerate() {
        writes.extend([
            WriteLoss::LoseFrom(number),
            WriteLoss::Lose(number),
            WriteLoss::KeepOnly(number),
        ]);
        if *parts > 1 {
            let tears = [
                Tear::LoseFirst,
                Tear::LoseLast,
                Tear::KeepFirst,
                Tear::KeepLast,
            ];
            writes.extend(tears.map(|tear| WriteLoss::Tear(number, tear)));
        }
    }
    let mut names = vec![NameLoss::KeepAll];
    if !waiting_names.is_empty() {
        names.push(NameLoss::LoseAll);
        let most = waiting_names.values().copied().max().unwrap_or(0);
        names.extend((1..most).map(NameLoss::LoseBehind));
    }
    if waiting_names.len() > 1 {
        for directory in waiting_names.keys() {
            names.push(NameLoss::LoseIn(directory.clone()));
            names.push(NameLoss::KeepIn(directory.clone()));
        }
    }
    let mut losses = combine(&writes, &names);
    if parts.iter().sum::<usize>() + waiting_names.len() > 1 {
        losses.extend((0..random).map(|coin| Loss {
            writes: WriteLoss::Random(seed * 1_000 + coin),
            names: NameLoss::Random(seed * 1_000 + coin),
            lengths_stay: coin % 2 == 0,
        }));
    }
    losses
}

/// Each with each, or, where these are too many, each with all and nothing of the others.
fn combine(writes: &[WriteLoss], names: &[NameLoss]) -> Vec<Loss> {
    let is_small = writes.len() * names.len() <= COMBINATIONS_MAX;
    let mut losses = Vec::new();
    for write in writes {
        for (number, name) in names.iter().enumerate() {
            let is_plain = matches!(write, WriteLoss::KeepAll | WriteLoss::LoseAll);
            if !(is_small || is_plain || number < 2) {
                continue;
            }
            for lengths_stay in [false, true] {
                if *write != WriteLoss::KeepAll || !lengths_stay {
                    losses.push(Loss {
                        writes: *write,
                        names: name.clone(),
                        lengths_stay,
                    });
                }
            }
        }
    }
    losses
}

impl Loss {
    fn of(&self, medium: &Medium) -> Image {
        let mut medium = medium.clone();
        medium.lose_power(&mut Decided(self));
        medium.image()
    }
}

struct Decided<'a>(&'a Loss);

impl Fate for Decided<'_> {
    fn keeps(&mut self, change: usize, part: usize, parts: usize) -> bool {
        match self.0.writes {
            WriteLoss::KeepAll => true,
            WriteLoss::LoseAll => false,
            WriteLoss::LoseFrom(first) => change < first,
            WriteLoss::Lose(lost) => change != lost,
            WriteLoss::KeepOnly(kept) => change == kept,
            WriteLoss::Tear(torn, _) if change != torn => true,
            WriteLoss::Tear(_, tear) => match tear {
                Tear::LoseFirst => part > 0,
                Tear::LoseLast => part + 1 < parts,
                Tear::KeepFirst => part == 0,
                Tear::KeepLast => part + 1 == parts,
            },
            WriteLoss::Random(seed) => coin(&(seed, change, part)) % 2 == 0,
        }
    }

    fn keeps_length(&mut self) -> bool {
        self.0.lengths_stay
    }

    fn kept_names(&mut self, directory: &Path, waiting: usize) -> usize {
        match &self.0.names {
            NameLoss::KeepAll => waiting,
            NameLoss::LoseAll => 0,
            NameLoss::LoseBehind(count) => waiting.min(*count),
            NameLoss::LoseIn(lost) if lost == directory => 0,
            NameLoss::LoseIn(_) => waiting,
            NameLoss::KeepIn(kept) if kept == directory => waiting,
            NameLoss::KeepIn(_) => 0,
            NameLoss::Random(seed) => {
                let coin = coin(&(seed, directory)) % (waiting as u64 + 1);
                usize::try_from(coin).unwrap_or(waiting)
            }
        }
    }
}

/// The same number for the same thing, and another one for another.
fn coin(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// So many bits that two disks share them only by a wonder.
fn fingerprint(image: &Image) -> (u64, u64) {
    (coin(&(0, image)), coin(&(1, image)))
}

const COMBINATIONS_MAX: usize = 150;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vfs::{Disk, OpenMode};

    use super::*;
    use crate::SimDisk;

    /// What the crashes leave of the files in `paths`, and how many remarks there were.
    fn left(disk: &SimDisk, paths: [&str; 2]) -> BTreeSet<(usize, [Option<Vec<u8>>; 2])> {
        let mut left = BTreeSet::new();
        disk.trace().crashes(4, |crash| {
            let content = |path| crash.image.files.get(Path::new(path));
            let found = paths.map(|path| content(path).map(|bytes| bytes.to_vec()));
            left.insert((crash.notes.len(), found));
        });
        left
    }

    #[test]
    fn a_rename_before_the_sync_may_keep_the_name_and_lose_the_data() {
        let (old, new) = (Path::new("d/old"), Path::new("d/new"));
        let disk = SimDisk::new();
        disk.put(new, b"before");
        disk.record();
        let file = disk.open(old, OpenMode::Create).unwrap();
        file.write_at(b"after", 0).unwrap();
        disk.rename(old, new).unwrap();
        let found = left(&disk, ["d/old", "d/new"]);
        let new_name = |bytes: &[u8]| (0, [None, Some(bytes.to_vec())]);
        let both = |bytes: &[u8]| (0, [Some(bytes.to_vec()), Some(b"before".to_vec())]);
        let expected = [
            new_name(b"before"),
            new_name(b""),
            new_name(b"after"),
            new_name(&[0; 5]),
            both(b""),
            both(b"after"),
            both(&[0; 5]),
        ];
        assert_eq!(found, BTreeSet::from(expected));
    }

    #[test]
    fn a_promise_after_the_syncs_is_kept_in_every_crash() {
        let path = Path::new("d/f");
        let disk = SimDisk::new();
        disk.record();
        let file = disk.open(path, OpenMode::Create).unwrap();
        file.write_at(b"kept", 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_directory(Path::new("d")).unwrap();
        disk.note(1);
        disk.open(Path::new("d/g"), OpenMode::Create).unwrap();
        let found = left(&disk, ["d/f", "d/f"]);
        assert!(found.iter().any(|(_, found)| found[0].is_none()));
        for (_, found) in found.iter().filter(|(notes, _)| *notes == 1) {
            assert_eq!(found[0].as_deref(), Some(&b"kept"[..]));
        }
    }

    #[test]
    fn each_directory_is_synced_for_itself() {
        let disk = SimDisk::new();
        disk.create_directory(Path::new("/a/new")).unwrap();
        disk.sync_directory(Path::new("/a")).unwrap();
        disk.record();
        disk.open(Path::new("/a/f"), OpenMode::Create).unwrap();
        disk.open(Path::new("/a/new/f"), OpenMode::Create).unwrap();
        disk.sync_directory(Path::new("/a/new")).unwrap();
        disk.note(1);
        let found = left(&disk, ["/a/f", "/a/new/f"]);
        let after: Vec<_> = found.iter().filter(|(notes, _)| *notes == 1).collect();
        assert_eq!(after.len(), 2, "{after:?}");
        assert!(after.iter().all(|(_, found)| found[1].is_some()));
    }

    #[test]
    fn with_a_directory_all_in_it_is_lost() {
        let disk = SimDisk::new();
        disk.put(Path::new("/a/f"), b"");
        disk.record();
        disk.create_directory(Path::new("/a/new/er")).unwrap();
        disk.open(Path::new("/a/new/er/f"), OpenMode::Create)
            .unwrap();
        disk.sync_directory(Path::new("/a/new/er")).unwrap();
        disk.note(1);
        disk.sync_directory(Path::new("/a/new")).unwrap();
        disk.sync_directory(Path::new("/a")).unwrap();
        disk.note(2);
        let found = left(&disk, ["/a/f", "/a/new/er/f"]);
        assert!(found.contains(&(1, [Some(Vec::new()), None])));
        assert!(!found.contains(&(2, [Some(Vec::new()), None])));
    }
}
