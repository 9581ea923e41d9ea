//! The blobs in a repository: `blobs/`, itself a directory of blobs in the layout `bushy`. A blob
//! is never changed, so each is copied once, and the manifests say which backup had it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use storage::{StorageError, Tid};
use vfs::{Disk, OpenMode};

use super::blobs::{BlobId, Directory, LAYOUT_MARKER, Layout};
use super::catalog::{Repository, RepositoryError, Settled};
use super::chunk::{self, Checksum, Writer};
use super::lines::BlobsLine;
use super::manifest::{Content, State};
use super::names::{BackupDate, DataFile};
use crate::listener::ToolError;

/// A blob that has a record and no file.
pub(super) struct Absent {
    pub(super) blob: BlobId,
    /// Whether an earlier backup copied the file, so that this one has it as well.
    pub(super) is_kept: bool,
}

/// Copies what is new, and writes the manifest of the backup of that date. The names of the blobs are
/// durable then, the manifest's is not.
///
/// A blob of `recorded` stays in the backup also where its file is gone: only a pack ends a blob, and
/// that takes its record away. What became of such blobs is returned.
pub(super) fn back_up(
    repository: &Repository,
    source: &Directory,
    recorded: &BTreeSet<BlobId>,
    settled: &Settled,
    date: &BackupDate,
    link: bool,
) -> Result<(BlobsLine, Vec<Absent>), ToolError> {
    refuse_store_as_source(repository, &source.path)?;
    let earlier = settled.pieces.iter().map(|piece| &piece.file.date);
    let before = State::load(repository, earlier.filter(|earlier| *earlier != date))?;
    // A full backup counts on nothing, but what was copied for an earlier one need not be copied
    // again.
    let known = match repository.chain(None)? {
        Some(chain) if settled.pieces.is_empty() => {
            State::load(repository, chain.files.iter().map(|file| &file.date))?
        }
        // Where nothing changed, the newest one has its blobs already.
        _ => State::of(repository, settled)?,
    };
    let mut copier = Copier::new(&*repository.disk, repository.file(STORE), Layout::Bushy);
    copier.begin()?;
    let mut line = BlobsLine::default();
    let mut next = State::default();
    for &blob in &source.blobs {
        let content = match known.blobs.get(&blob) {
            Some(content) if copier.has(blob, content)? => content.clone(),
            _ => {
                let content = copier.copy(&source.file(blob), blob, link)?;
                line.new_files += 1;
                line.new_bytes += content.bytes;
                content
            }
        };
        line.files += 1;
        line.bytes += content.bytes;
        next.blobs.insert(blob, content);
    }
    let mut absent = Vec::new();
    for &blob in recorded {
        if next.blobs.contains_key(&blob) {
            continue;
        }
        let content = copier.kept(blob, known.blobs.get(&blob))?;
        absent.push(Absent {
            blob,
            is_kept: content.is_some(),
        });
        if let Some(content) = content {
            line.files += 1;
            line.bytes += content.bytes;
            next.blobs.insert(blob, content);
        }
    }
    copier.sync()?;
    // An empty directory, such as a disk that is not there, tells nothing of the layout.
    let layout = match known.layout {
        Some(layout) if source.blobs.is_empty() => layout,
        _ => source.layout,
    };
    before.write_changes(&next, layout, repository, date)?;
    Ok((line, absent))
}

/// The blobs in the repository are copies, also where somebody keeps backups beside the Data.fs: taken
/// for the originals, they would be removed with the backups.
fn refuse_store_as_source(repository: &Repository, source: &Path) -> Result<(), ToolError> {
    let store = repository.file(STORE);
    let disk = &*repository.disk;
    if exists(disk, &store)? && disk.is_same_file(&store, source).unwrap_or(store == source) {
        let path = source.to_owned();
        let what = "the repository keeps its own blobs there".to_owned();
        return Err(RepositoryError::NoBlobDirectory { path, what }.into());
    }
    Ok(())
}

/// Removes blobs that no backup from that full one on has.
pub(super) fn forget_old(repository: &Repository, keep: &DataFile) -> Result<(), ToolError> {
    let disk = &*repository.disk;
    let state = State::load(repository, [&keep.date].into_iter())?;
    let store = repository.file(STORE);
    if state.date.is_none() || !exists(disk, &store)? {
        return Ok(());
    }
    let store = Directory::open(disk, &store, Tid::new(u64::MAX))?;
    for &blob in &store.blobs {
        if !state.blobs.contains_key(&blob) {
            let path = store.file(blob);
            disk.remove(&path)
                .map_err(|error| StorageError::io(path, "remove", error))?;
        }
    }
    Ok(())
}

/// Brings the blobs of a backup into a directory.
///
/// What is there already stays if it is right; other blobs are in the way, unless they may be
/// replaced.
pub(crate) fn restore(
    repository: &Repository,
    settled: &Settled,
    directory: &Path,
    replace: bool,
    wrong: &mut Vec<(PathBuf, String)>,
) -> Result<BlobsLine, ToolError> {
    let disk = &*repository.disk;
    let state = State::of(repository, settled)?;
    let newest = settled.pieces.last().map(|piece| piece.file.date.clone());
    let (Some(layout), true) = (state.layout, state.date == newest) else {
        return match (state.wrong.into_iter().next(), newest) {
            (Some(broken), _) => {
                wrong.push(broken);
                Ok(BlobsLine::default())
            }
            (None, Some(newest)) => Err(RepositoryError::WithoutBlobs(newest).into()),
            (None, None) => Ok(BlobsLine::default()),
        };
    };
    wrong.extend(state.wrong);
    make_room(disk, directory, layout, &state.blobs, replace)?;
    let store = repository.file(STORE);
    let mut copier = Copier::new(disk, directory.to_owned(), layout);
    copier.begin()?;
    let mut line = BlobsLine::default();
    for (&blob, content) in &state.blobs {
        line.files += 1;
        line.bytes += content.bytes;
        if copier.has(blob, content)? && check(disk, &copier.path(blob), content)?.is_none() {
            continue;
        }
        let source = store.join(Layout::Bushy.path(blob));
        if let Some(what) = check(disk, &source, content)? {
            wrong.push((source, what));
            continue;
        }
        copier.copy(&source, blob, false)?;
        line.new_files += 1;
        line.new_bytes += content.bytes;
    }
    copier.sync()?;
    Ok(line)
}

/// How many blobs the newest backup has; nothing where it was made without. What is broken is told by
/// who restores or verifies them.
pub(crate) fn count(repository: &Repository, settled: &Settled) -> Result<Option<u64>, ToolError> {
    let state = State::of(repository, settled)?;
    let newest = settled.pieces.last().map(|piece| &piece.file.date);
    let has_some = !state.wrong.is_empty() || (newest.is_some() && state.date.as_ref() == newest);
    Ok(has_some.then_some(state.blobs.len() as u64))
}

/// Removes what does not belong to the backup, if that is allowed.
fn make_room(
    disk: &dyn Disk,
    directory: &Path,
    layout: Layout,
    wanted: &std::collections::BTreeMap<BlobId, Content>,
    replace: bool,
) -> Result<(), ToolError> {
    if !exists(disk, directory)? {
        return Ok(());
    }
    let found = Directory::open(disk, directory, Tid::new(u64::MAX))?;
    let in_the_way = |what: String| RepositoryError::InTheWay {
        path: directory.to_owned(),
        what,
    };
    if found.layout != layout && !found.blobs.is_empty() {
        let (found, wanted) = (found.layout.name(), layout.name());
        let what = format!("its layout is {found}, that of the backup {wanted}");
        return Err(RepositoryError::NoBlobDirectory {
            path: directory.to_owned(),
            what,
        }
        .into());
    }
    for &blob in found.blobs.iter().filter(|blob| !wanted.contains_key(blob)) {
        let path = found.file(blob);
        if !replace {
            let what = format!("{} is not in the backup", path.display());
            return Err(in_the_way(what).into());
        }
        disk.remove(&path)
            .map_err(|error| StorageError::io(path, "remove", error))?;
    }
    Ok(())
}

/// Checks the blobs of a backup: their sizes, and unless that shall do, every byte.
pub(crate) fn verify(
    repository: &Repository,
    settled: &Settled,
    quick: bool,
    wrong: &mut Vec<(PathBuf, String)>,
) -> Result<Option<BlobsLine>, ToolError> {
    // A blob that an earlier backup of the chain had is checked as well: it can be restored.
    let dates = settled.pieces.iter().map(|piece| &piece.file.date);
    let mut all = State::union(repository, dates)?;
    wrong.append(&mut all.wrong);
    if all.date.is_none() {
        return Ok(None);
    }
    let mut line = BlobsLine::default();
    for (&blob, content) in &all.blobs {
        line.files += 1;
        line.bytes += content.bytes;
        let path = repository.file(STORE).join(Layout::Bushy.path(blob));
        let disk = &*repository.disk;
        let what = if quick {
            check_size(disk, &path, content)?
        } else {
            check(disk, &path, content)?
        };
        wrong.extend(what.map(|what| (path, what)));
    }
    Ok(Some(line))
}

/// What is wrong with the file of a blob.
fn check(disk: &dyn Disk, path: &Path, content: &Content) -> Result<Option<String>, ToolError> {
    let wrong_size = check_size(disk, path, content)?;
    if wrong_size.is_some() {
        return Ok(wrong_size);
    }
    let checksum = weigh(disk, path)
        .map_err(|error| StorageError::io(path, "read", error))?
        .checksum;
    let expected = &content.checksum;
    let what = format!("its checksum is {checksum} instead of {expected}");
    Ok((checksum != *expected).then_some(what))
}

fn check_size(
    disk: &dyn Disk,
    path: &Path,
    content: &Content,
) -> Result<Option<String>, ToolError> {
    let bytes = match disk.open(path, OpenMode::Read).and_then(|file| file.len()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("missing".to_owned()));
        }
        Err(error) => return Err(StorageError::io(path, "open", error).into()),
    };
    let expected = content.bytes;
    let what = format!("it has {bytes} bytes instead of {expected}");
    Ok((bytes != expected).then_some(what))
}

fn weigh(disk: &dyn Disk, path: &Path) -> io::Result<Content> {
    let mut checksum = Checksum::default();
    let mut reader = chunk::reader(disk, path, false)?;
    let bytes = chunk::pour::<io::Error>(&mut *reader, &mut Vec::new(), |piece| {
        checksum.update(piece);
        Ok(())
    })?;
    let checksum = checksum.finish();
    Ok(Content { bytes, checksum })
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool, ToolError> {
    let exists = disk.exists(path);
    Ok(exists.map_err(|error| StorageError::io(path, "look for", error))?)
}

/// Fills a directory of blobs.
struct Copier<'a> {
    disk: &'a dyn Disk,
    top: PathBuf,
    layout: Layout,
    /// Directories with names that are not durable yet.
    touched: BTreeSet<PathBuf>,
}

impl<'a> Copier<'a> {
    fn new(disk: &'a dyn Disk, top: PathBuf, layout: Layout) -> Self {
        Self {
            disk,
            top,
            layout,
            touched: BTreeSet::new(),
        }
    }

    /// Makes the directory, with the marker of its layout.
    fn begin(&mut self) -> Result<(), ToolError> {
        self.make_directory(&self.top.join(DRAFTS))?;
        let marker = self.top.join(LAYOUT_MARKER);
        if !exists(self.disk, &marker)? {
            let draft = self.top.join(DRAFTS).join(DRAFT);
            let name = self.layout.name().as_bytes();
            chunk::replace(self.disk, &draft, &marker, name)
                .map_err(|error| StorageError::io(marker, "write", error))?;
            self.touched.insert(self.top.clone());
        }
        Ok(())
    }

    fn path(&self, blob: BlobId) -> PathBuf {
        self.top.join(self.layout.path(blob))
    }

    fn has(&self, blob: BlobId, content: &Content) -> Result<bool, ToolError> {
        Ok(check_size(self.disk, &self.path(blob), content)?.is_none())
    }

    /// What the file of a blob holds that is there already. It got its name when it was whole, so that it
    /// counts also where no manifest knows it any more.
    fn kept(&self, blob: BlobId, known: Option<&Content>) -> Result<Option<Content>, ToolError> {
        if let Some(content) = known {
            return Ok(self.has(blob, content)?.then(|| content.clone()));
        }
        let path = self.path(blob);
        if !exists(self.disk, &path)? {
            return Ok(None);
        }
        let content = weigh(self.disk, &path);
        Ok(Some(
            content.map_err(|error| StorageError::io(path, "read", error))?,
        ))
    }

    /// Brings a blob there. Its bytes are durable before it has its name.
    fn copy(&mut self, source: &Path, blob: BlobId, link: bool) -> Result<Content, ToolError> {
        let path = self.path(blob);
        let parent = path.parent().unwrap_or(&self.top).to_owned();
        self.make_directory(&parent)?;
        if link && self.disk.link(source, &path).is_ok() {
            self.touched.insert(parent);
            let content = self
                .disk
                .open(&path, OpenMode::Read)
                .and_then(|file| file.sync_data())
                .and_then(|()| weigh(self.disk, &path));
            return Ok(content.map_err(|error| StorageError::io(path, "read", error))?);
        }
        let mut reader = chunk::reader(self.disk, source, false)
            .map_err(|error| StorageError::io(source, "open", error))?;
        let draft = self.top.join(DRAFTS).join(DRAFT);
        let failed = |error| StorageError::io(draft.as_path(), "write", error);
        let mut writer = Writer::create(self.disk, &draft, false).map_err(failed)?;
        let mut checksum = Checksum::default();
        let bytes = chunk::pour(&mut *reader, &mut Vec::new(), |piece| {
            checksum.update(piece);
            writer.write(piece)
        });
        let bytes = bytes.map_err(|error| StorageError::io(source, "copy", error))?;
        writer.finish().map_err(failed)?;
        self.disk
            .rename(&draft, &path)
            .map_err(|error| StorageError::io(path, "replace", error))?;
        self.touched.insert(parent);
        let checksum = checksum.finish();
        Ok(Content { bytes, checksum })
    }

    /// Makes a directory and those above it; all their names will be synced.
    fn make_directory(&mut self, path: &Path) -> Result<(), ToolError> {
        let mut missing = path;
        let mut made = false;
        while !exists(self.disk, missing)? {
            made = true;
            let Some(parent) = missing.parent() else {
                break;
            };
            self.touched.insert(parent.to_owned());
            missing = parent;
        }
        if made {
            let created = self.disk.create_directory(path);
            created.map_err(|error| StorageError::io(path, "make", error))?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), ToolError> {
        for path in std::mem::take(&mut self.touched) {
            let synced = self.disk.sync_directory(&path);
            synced.map_err(|error| StorageError::io(path, "sync", error))?;
        }
        Ok(())
    }
}

/// The directory of blobs in a repository.
const STORE: &str = "blobs";
/// Where ZODB keeps what has no final name yet.
const DRAFTS: &str = "tmp";
const DRAFT: &str = "zodiac.tmp";
