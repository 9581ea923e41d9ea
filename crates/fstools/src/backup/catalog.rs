//! A directory of backups, in the form of ZODB's `repozo`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::StorageError;
use vfs::{Disk, DiskLock, LockError};

use super::chunk::{self, Checksum};
use super::names::{self, BackupDate, DataFile};
use crate::ToolError;

/// A directory of backups. Nothing is known of it before a tool reads it.
pub struct Repository {
    pub(crate) disk: Arc<dyn Disk>,
    path: PathBuf,
}

/// Why a repository cannot be used in the way that is asked for.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The directory does not exist. A misspelt name must not become a new repository.
    #[error("{}: no such directory; is that the repository? A new one is made with mkdir, before its first backup", .0.display())]
    Missing(PathBuf),
    /// There is nothing to restore or to verify.
    #[error("{}: no backup{}", .path.display(), none_such(.until.as_ref(), .oldest.as_ref()))]
    Empty {
        /// The repository.
        path: PathBuf,
        /// Where only older ones count.
        until: Option<BackupDate>,
        /// The oldest that there is.
        oldest: Option<BackupDate>,
    },
    /// Names are times, and their order is the order of the pieces.
    #[error(
        "there is a backup of {newest} already, and it is {now} now: wait, or set the clock right"
    )]
    NotLater {
        /// The newest backup.
        newest: BackupDate,
        /// What the new one would be called.
        now: BackupDate,
    },
    /// A pack put another file in place of the one that was read.
    #[error("{}: packed while it was backed up, so blobs may be missing; nothing was kept, run the backup again", .0.display())]
    Packed(PathBuf),
    /// The backup of that date knows nothing of blobs.
    #[error("the backup of {0} was made without blobs")]
    WithoutBlobs(BackupDate),
    /// What is there would be lost.
    #[error("{}: {what}; --full replaces it", .path.display())]
    InTheWay {
        /// The file or directory.
        path: PathBuf,
        /// Why it is not the beginning of what is restored.
        what: String,
    },
    /// Blobs of something else, perhaps, where nobody said that these go there.
    #[error("{}: {what}; --blobs DIR says where the blobs go, and together with --full replaces what is there", .path.display())]
    BlobsInTheWay {
        /// The directory.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// A directory that is given for one of blobs and cannot be one.
    #[error("{}: {what}", .path.display())]
    NoBlobDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

fn none_such(until: Option<&BackupDate>, oldest: Option<&BackupDate>) -> String {
    match (until, oldest) {
        (Some(until), Some(oldest)) => {
            format!(
                " of {until} or before; the oldest is of {oldest} (its files are named by dates, UTC)"
            )
        }
        _ => " in it: no file is named like 2026-01-31-12-00-00.fs; zodiac fs backup makes one"
            .to_owned(),
    }
}

/// The data files that make up the newest state up to some date, oldest first, as their names say it.
pub(crate) struct Chain {
    pub(crate) files: Vec<DataFile>,
    pub(crate) list: List,
}

/// The `.dat` of a full backup.
#[derive(Default)]
pub(crate) struct List {
    /// All lines that make sense, as they are in the file.
    pub(crate) text: Vec<u8>,
    lines: BTreeMap<String, Line>,
    /// What does not make sense.
    pub(crate) broken: Option<String>,
}

#[derive(Clone)]
struct Line {
    start: u64,
    end: u64,
    checksum: String,
}

/// A data file, with the bytes of the Data.fs that it holds.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) file: DataFile,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) checksum: String,
    /// Whether the list names it. A backup that was interrupted at its very end leaves one that is
    /// whole and not listed.
    pub(crate) is_listed: bool,
}

/// A chain whose files were held against the list.
#[derive(Default)]
pub(crate) struct Settled {
    pub(crate) pieces: Vec<Piece>,
    /// What an interrupted backup left, and a later one made again.
    pub(crate) debris: Vec<DataFile>,
    /// What does not fit together.
    pub(crate) wrong: Vec<(PathBuf, String)>,
    /// What can be used, but nothing says whether it is what was written.
    pub(crate) unproven: Vec<(PathBuf, String)>,
}

impl Repository {
    /// The directory, which has to exist.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`] where it does not.
    pub fn open(path: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Result<Self, ToolError> {
        let path = path.into();
        match disk.list_directory(&path) {
            Ok(_) => Ok(Self { disk, path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(RepositoryError::Missing(path).into())
            }
            Err(error) => Err(StorageError::io(path, "list", error).into()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Keeps a second backup away while one is made.
    pub(crate) fn lock(&self) -> Result<Box<dyn DiskLock>, ToolError> {
        let path = self.file(LOCK);
        self.disk.lock(&path).map_err(|error| match error {
            LockError::Held { pid } => StorageError::Locked { path, pid }.into(),
            LockError::Io(error) => StorageError::io(path, "lock", error).into(),
        })
    }

    pub(crate) fn sync(&self) -> Result<(), ToolError> {
        let synced = self.disk.sync_directory(&self.path);
        Ok(synced.map_err(|error| StorageError::io(self.path.as_path(), "sync", error))?)
    }

    /// Removes a file, if there is one.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ToolError> {
        let path = self.file(name);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io(path, "remove", error).into())
            }
            _ => Ok(()),
        }
    }

    /// The names of all files in it, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>, ToolError> {
        let entries = self.disk.list_directory(&self.path);
        let entries =
            entries.map_err(|error| StorageError::io(self.path.as_path(), "list", error))?;
        let names = entries.into_iter().filter(|entry| !entry.is_directory);
        let mut names: Vec<String> = names
            .filter_map(|entry| entry.name.into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// All data files, oldest first.
    pub(crate) fn data_files(&self) -> Result<Vec<DataFile>, ToolError> {
        let names = self.names()?;
        Ok(names
            .iter()
            .filter_map(|name| DataFile::parse(name))
            .collect())
    }

    /// What is needed for the newest state of that date or before: a full backup and what follows it.
    pub(crate) fn chain(&self, until: Option<&BackupDate>) -> Result<Option<Chain>, ToolError> {
        let mut files = self.data_files()?;
        if let Some(until) = until {
            files.retain(|file| file.date <= *until);
        }
        if let Some(full) = files.iter().rposition(|file| file.is_full) {
            files.drain(..full);
        }
        let Some(first) = files.first() else {
            return Ok(None);
        };
        let path = self.file(names::dat(&first.date));
        let list = match chunk::read_small(&*self.disk, &path) {
            Ok(text) => List::parse(&text, until),
            Err(error) if error.kind() == io::ErrorKind::NotFound => List::default(),
            Err(error) => return Err(StorageError::io(path, "read", error).into()),
        };
        Ok(Some(Chain { files, list }))
    }

    /// The length and checksum of what a data file holds.
    pub(crate) fn weigh(&self, file: &DataFile) -> io::Result<(u64, String)> {
        let mut reader = chunk::reader(&*self.disk, &self.file(file.name()), file.is_compressed)?;
        let mut checksum = Checksum::default();
        let bytes = chunk::pour::<io::Error>(&mut *reader, &mut Vec::new(), |piece| {
            checksum.update(piece);
            Ok(())
        })?;
        Ok((bytes, checksum.finish()))
    }
}

impl List {
    /// Each line is the path, start, end and checksum of a data file. Only the name in the path
    /// counts, so that a repository may be moved.
    fn parse(text: &[u8], until: Option<&BackupDate>) -> Self {
        let mut list = Self::default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let shown = String::from_utf8_lossy(line);
            match Line::parse(&shown) {
                Some((name, line)) => {
                    let later = |file: DataFile| until.is_some_and(|until| file.date > *until);
                    if !DataFile::parse(&name).is_some_and(later) {
                        list.lines.insert(name, line);
                    }
                }
                None => {
                    let shown = shown.trim_end();
                    list.broken = Some(format!("a line makes no sense: {shown:?}"));
                    continue;
                }
            }
            list.text.extend(line);
        }
        list
    }

    /// The line that says where the file belongs.
    pub(crate) fn line(repository: &Path, piece: &Piece) -> Vec<u8> {
        let name = piece.file.name();
        // The original splits at spaces and looks at the last part of the path only.
        let path = match repository.to_str() {
            Some(text) if !text.contains(char::is_whitespace) => {
                repository.join(&name).to_string_lossy().into_owned()
            }
            _ => name,
        };
        format!("{path} {} {} {}\n", piece.start, piece.end, piece.checksum).into_bytes()
    }
}

impl Line {
    fn parse(text: &str) -> Option<(String, Self)> {
        // A line without its end was being written when the power went off.
        let mut parts = text.strip_suffix('\n')?.trim_end().rsplitn(4, ' ');
        let checksum = parts.next()?.to_owned();
        let end = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        let path = parts.next()?;
        let name = path.rsplit('/').next()?.to_owned();
        let sound = start <= end && checksum.len() == 32;
        sound.then_some((
            name,
            Self {
                start,
                end,
                checksum,
            },
        ))
    }
}

impl Chain {
    /// Holds the files against the list. A file that is not listed was left by an interrupted
    /// backup: it belongs to the chain unless a later one holds the same bytes.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn settle(mut self, repository: &Repository) -> Result<Settled, ToolError> {
        let mut settled = Settled::default();
        let list_path = repository.file(names::dat(&self.files[0].date));
        if let Some(what) = self.list.broken.take() {
            settled.wrong.push((list_path.clone(), what));
        }
        let first = &self.files[0];
        if !first.is_full {
            let what = "the full backup before it is missing".to_owned();
            settled.wrong.push((repository.file(first.name()), what));
        }
        for (at, file) in self.files.iter().enumerate() {
            let end = settled.end();
            let piece = match self.list.lines.remove(&file.name()) {
                Some(line) => Some(Piece {
                    file: file.clone(),
                    start: line.start,
                    end: line.end,
                    checksum: line.checksum,
                    is_listed: true,
                }),
                None => self.unlisted(at, repository, &list_path, &mut settled)?,
            };
            let Some(piece) = piece else {
                continue;
            };
            if piece.start != end {
                let start = piece.start;
                let what = format!("it begins at {start}, but the files before it end at {end}");
                settled.wrong.push((repository.file(file.name()), what));
            }
            settled.pieces.push(piece);
        }
        for name in self.list.lines.keys() {
            let what = format!("missing; {} names it", list_path.display());
            settled.wrong.push((repository.file(name), what));
        }
        Ok(settled)
    }

    /// What to make of a file that the list does not name: a piece behind those that are settled, or
    /// nothing.
    fn unlisted(
        &self,
        at: usize,
        repository: &Repository,
        list_path: &Path,
        settled: &mut Settled,
    ) -> Result<Option<Piece>, ToolError> {
        let file = &self.files[at];
        let (start, next) = (settled.end(), self.next_start(at + 1));
        if next == Some(start) {
            settled.debris.push(file.clone());
            return Ok(None);
        }
        let is_last = at > 0 && at + 1 == self.files.len();
        let path = repository.file(file.name());
        match repository.weigh(file) {
            Ok((bytes, checksum)) => {
                let end = start + bytes;
                let is_alone = settled.pieces.iter().all(|piece| !piece.is_listed);
                if next != Some(end) && (!is_last || is_alone) {
                    let what = format!("{} does not name it", list_path.display());
                    settled.unproven.push((path, what));
                }
                Ok(Some(Piece {
                    file: file.clone(),
                    start,
                    end,
                    checksum,
                    is_listed: false,
                }))
            }
            Err(error) if is_cut_off(&error) && is_last => {
                settled.debris.push(file.clone());
                Ok(None)
            }
            Err(error) if is_cut_off(&error) => {
                let what = format!("not listed, and unreadable: {error}");
                settled.wrong.push((path, what));
                Ok(None)
            }
            Err(error) => Err(StorageError::io(path, "read", error).into()),
        }
    }

    /// Where the first listed file from there on begins.
    fn next_start(&self, from: usize) -> Option<u64> {
        let mut later = self.files[from..].iter();
        later.find_map(|file| Some(self.list.lines.get(&file.name())?.start))
    }
}

impl Settled {
    /// How much of the Data.fs the pieces hold.
    pub(crate) fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.end)
    }

    /// The list as it should be; also what interrupted backups left is in it.
    pub(crate) fn list(&self, repository: &Path) -> Vec<u8> {
        let lines = self
            .pieces
            .iter()
            .map(|piece| List::line(repository, piece));
        lines.flatten().collect()
    }
}

/// Whether a compressed file has no end, as the original leaves it when it is killed.
fn is_cut_off(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
    )
}

const LOCK: &str = "zodiac.lock";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(repository: &str) -> String {
        let piece = Piece {
            file: DataFile::parse("2026-01-31-12-00-00.deltafsz").unwrap(),
            start: 5,
            end: 7,
            checksum: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            is_listed: true,
        };
        String::from_utf8(List::line(Path::new(repository), &piece)).unwrap()
    }

    #[test]
    fn a_line_is_understood_wherever_the_repository_is() {
        let rest = "2026-01-31-12-00-00.deltafsz 5 7 d41d8cd98f00b204e9800998ecf8427e\n";
        assert_eq!(line("/backup"), format!("/backup/{rest}"));
        assert_eq!(line("/back up"), rest, "the original would read five words");
        for path in ["", "/elsewhere/", "/back up/"] {
            let list = List::parse(format!("{path}{rest}").as_bytes(), None);
            assert_eq!(list.broken, None);
            assert_eq!(list.lines["2026-01-31-12-00-00.deltafsz"].end, 7);
        }
    }

    #[test]
    fn a_line_that_was_not_written_to_its_end_is_noticed() {
        let whole = line("/backup");
        for end in 1..whole.len() {
            let list = List::parse(&whole.as_bytes()[..end], None);
            assert!(list.broken.is_some() && list.lines.is_empty(), "{end}");
        }
    }
}
