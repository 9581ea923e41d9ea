//! Making a Data.fs from its backup again.
//!
//! The file is made under the name `<path>.part` and renamed when it is whole and durable, so that
//! under its own name there is always a whole one, or none. What was begun earlier is continued, and
//! a Data.fs that is the beginning of the backup is extended: under the other name meanwhile.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::StorageError;
use vfs::{Disk, DiskLock, File, LockError, OpenMode, SequentialWriter};

use crate::backup::catalog::{Piece, Repository, RepositoryError, Settled};
use crate::backup::chunk::{self, Checksum};
use crate::backup::lines::{BlobsLine, RestoreLine};
use crate::backup::names::{self, BackupDate};
use crate::backup::store;
use crate::blobs::BESIDE;
use crate::line::Line;
use crate::listener::{Listener, ToolError, Verdict};

/// What is restored, and how.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// The newest state that is not later than that; the newest of all by default.
    pub until: Option<BackupDate>,
    /// Begin anew, and replace whatever is there.
    pub full: bool,
    /// Believe that a file is the beginning of the backup when the part that was backed up last
    /// before its end is the same.
    pub quick: bool,
    /// Where the blobs go.
    pub blobs: Option<PathBuf>,
    /// Where nothing is said, they go into `blobs` beside the file, if the backup has any.
    pub blobs_beside: bool,
}

/// Where a Data.fs goes.
pub enum Target<'a> {
    /// A file. Its index comes with it.
    File(&'a Path),
    /// Bytes.
    Stream(&'a mut dyn Write),
}

/// Restores a Data.fs. Every piece is held against its checksum on the way.
///
/// [`Verdict::Wrong`] says that a piece is damaged: the listener was told, and what could be restored
/// before it is in `<path>.part`. It says so too, with the file in place, when no list tells whether
/// the pieces are what was written.
///
/// # Errors
/// There is no backup, another Data.fs is in the way, or something cannot be read or written.
pub fn restore(
    repository: &Repository,
    target: Target<'_>,
    options: &RestoreOptions,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let until = options.until.as_ref();
    let chain = repository
        .chain(until)?
        .ok_or_else(|| RepositoryError::Empty {
            path: repository.path().to_owned(),
            until: options.until.clone(),
            oldest: repository
                .data_files()
                .ok()
                .and_then(|files| Some(files.into_iter().next()?.date)),
        })?;
    let settled = chain.settle(repository)?;
    if tell_wrong(&settled.wrong, listener)? || settled.pieces.is_empty() {
        return Ok(Verdict::Wrong);
    }
    let is_unproven = tell_wrong(&settled.unproven, listener)?;
    listener.begins(settled.end());
    let mut job = Job {
        repository,
        settled: &settled,
        options,
        listener,
    };
    let verdict = match target {
        Target::File(path) => job.write_file(path),
        Target::Stream(out) => job.write_stream(out),
    }?;
    Ok(if is_unproven { Verdict::Wrong } else { verdict })
}

fn tell_wrong(wrong: &[(PathBuf, String)], listener: &mut dyn Listener) -> io::Result<bool> {
    for wrong in wrong {
        listener.tell(wrong.clone().into())?;
    }
    Ok(!wrong.is_empty())
}

struct Job<'a> {
    repository: &'a Repository,
    settled: &'a Settled,
    options: &'a RestoreOptions,
    listener: &'a mut dyn Listener,
}

impl Job<'_> {
    fn write_stream(&mut self, out: &mut dyn Write) -> Result<Verdict, ToolError> {
        let Some(blobs) = self.blobs(None)? else {
            return Ok(Verdict::Wrong);
        };
        for piece in &self.settled.pieces {
            if !self.pour(piece, 0, out)? {
                return Ok(Verdict::Wrong);
            }
        }
        out.flush()?;
        self.done(None, 0, false, blobs)
    }

    fn write_file(&mut self, path: &Path) -> Result<Verdict, ToolError> {
        self.refuse_own_files(path)?;
        let lock_path = with_suffix(path, ".lock");
        let is_new = !exists(&*self.repository.disk, &lock_path)?;
        let lock = lock(&*self.repository.disk, path)?;
        let written = self.write_locked(path);
        let is_done = matches!(written, Ok(Verdict::Sound));
        if !is_done && is_new && matches!(self.repository.disk.exists(path), Ok(false)) {
            // Nobody can use what is not there, so no lock need stay. Removed while it is held.
            let _ = self.repository.disk.remove(&lock_path);
        }
        drop(lock);
        written
    }

    /// The files of the backup are no place for what is made of them, not even with `--full`.
    fn refuse_own_files(&self, path: &Path) -> Result<(), ToolError> {
        let disk = &*self.repository.disk;
        for piece in &self.settled.pieces {
            let own = self.repository.file(piece.file.name());
            if disk.is_same_file(path, &own).unwrap_or(false) {
                let path = path.to_owned();
                let what = "it is a file of this backup".to_owned();
                return Err(RepositoryError::InTheWay { path, what }.into());
            }
        }
        Ok(())
    }

    fn write_locked(&mut self, path: &Path) -> Result<Verdict, ToolError> {
        let disk = &*self.repository.disk;
        let part = with_suffix(path, ".part");
        let kept = self.keep(path, &part)?;
        let Some(blobs) = self.blobs(Some(path))? else {
            return Ok(Verdict::Wrong);
        };
        let end = self.settled.end();
        let is_whole = kept == end && !exists(disk, &part)?;
        if !is_whole {
            if kept > 0 && !exists(disk, &part)? {
                // While it grows it must not be taken for a whole one.
                rename(disk, path, &part)?;
                sync_parent(disk, path)?;
            }
            let mode = if kept > 0 {
                OpenMode::Write
            } else {
                OpenMode::Truncate
            };
            let file = disk
                .open(&part, mode)
                .map_err(|error| StorageError::io(&*part, "open", error))?;
            let written = self.write(&part, &file, kept);
            if !matches!(written, Ok(true)) {
                self.leave(&part, &*file)?;
            }
            if !written? {
                return Ok(Verdict::Wrong);
            }
            self.remove_sidecars(path)?;
            rename(disk, &part, path)?;
            sync_parent(disk, path)?;
        }
        let index = self.restore_index(path)?;
        self.done(Some(path), kept, index, blobs)
    }

    /// What was written stays for the next attempt, which is told; nothing is left of nothing.
    fn leave(&mut self, part: &Path, file: &dyn File) -> Result<(), ToolError> {
        if file.is_empty().unwrap_or(false) {
            return remove(&*self.repository.disk, part);
        }
        let what =
            "what was restored up to here: the same restore goes on there, --full begins anew";
        self.listener
            .tell((part.to_owned(), what.to_owned()).into())?;
        Ok(())
    }

    /// How many bytes of what is there already can stay; whatever else is there may go.
    fn keep(&mut self, path: &Path, part: &Path) -> Result<u64, ToolError> {
        let disk = &*self.repository.disk;
        if self.options.full {
            return Ok(0);
        }
        let Some(file) = open_if_there(disk, path)? else {
            return match open_if_there(disk, part)? {
                Some(file) => {
                    let same = self.same_bytes(&*file, part)?;
                    file.set_len(same)
                        .map_err(|error| StorageError::io(part, "cut", error))?;
                    Ok(same)
                }
                None => Ok(0),
            };
        };
        let len = length(&file, path)?;
        let same = if len > self.settled.end() {
            0
        } else if self.options.quick && len > 0 {
            self.ends_with_same_piece(&*file, path, len)?
        } else {
            self.same_bytes(&*file, path)?
        };
        if same < len {
            let what = "it is there, and not the beginning of this backup".to_owned();
            let path = path.to_owned();
            return Err(RepositoryError::InTheWay { path, what }.into());
        }
        // A part of another attempt would be taken for this file's.
        remove(disk, part)?;
        Ok(same)
    }

    /// Where the file and the backup begin to differ.
    fn same_bytes(&mut self, file: &dyn File, path: &Path) -> Result<u64, ToolError> {
        let mut stored = vec![0; chunk::BUFFER_BYTES];
        let mut found = vec![0; chunk::BUFFER_BYTES];
        for piece in &self.settled.pieces {
            let source = self.repository.file(piece.file.name());
            let failed = |error| StorageError::io(&*source, "read", error);
            let disk = &*self.repository.disk;
            let mut reader =
                chunk::reader(disk, &source, piece.file.is_compressed).map_err(failed)?;
            let mut at = piece.start;
            loop {
                let filled = chunk::fill(&mut *reader, &mut stored).map_err(failed)?;
                if filled == 0 {
                    break;
                }
                let count = file
                    .read_most_at(&mut found[..filled], at)
                    .map_err(|error| StorageError::io(path, "read", error))?;
                let pairs = found[..count].iter().zip(&stored[..count]);
                let same = pairs.take_while(|(found, stored)| found == stored).count();
                at += same as u64;
                if same < filled {
                    return Ok(at);
                }
                self.listener.reached(at);
            }
        }
        Ok(self.settled.end())
    }

    /// The length of the file, if a piece of the backup ends there and its bytes are in the file.
    fn ends_with_same_piece(
        &self,
        file: &dyn File,
        path: &Path,
        len: u64,
    ) -> Result<u64, ToolError> {
        let Some(piece) = self.settled.pieces.iter().find(|piece| piece.end == len) else {
            return Ok(0);
        };
        let mut checksum = Checksum::default();
        let mut buffer = vec![0; chunk::BUFFER_BYTES];
        let mut at = piece.start;
        while at < len {
            let rest = usize::try_from(len - at).unwrap_or(usize::MAX);
            let part = &mut buffer[..rest.min(chunk::BUFFER_BYTES)];
            file.read_exact_at(part, at)
                .map_err(|error| StorageError::io(path, "read", error))?;
            checksum.update(part);
            at += part.len() as u64;
        }
        let same = checksum.finish() == piece.checksum;
        Ok(if same { len } else { 0 })
    }

    /// Writes the file from there on; whether all pieces were sound.
    fn write(&mut self, path: &Path, file: &Arc<dyn File>, from: u64) -> Result<bool, ToolError> {
        let mut out = SequentialWriter::new(file.clone(), from);
        let later = |piece: &&Piece| piece.end > from;
        for piece in self.settled.pieces.iter().filter(later) {
            let skip = from.saturating_sub(piece.start);
            if !self.pour(piece, skip, &mut out)? {
                return Ok(false);
            }
        }
        file.sync_data()
            .map_err(|error| StorageError::io(path, "sync", error))?;
        Ok(true)
    }

    /// Hands the bytes of a piece behind the first `skip` to the writer; whether they are what was
    /// backed up. All of them are weighed, also those that are skipped.
    fn pour(&mut self, piece: &Piece, skip: u64, out: &mut dyn Write) -> Result<bool, ToolError> {
        let path = self.repository.file(piece.file.name());
        let disk = &*self.repository.disk;
        let mut checksum = Checksum::default();
        let (mut skip, mut at) = (skip, piece.start);
        let mut output = Ok(());
        let reader = chunk::reader(disk, &path, piece.file.is_compressed);
        let poured = reader.and_then(|mut reader| {
            chunk::pour::<io::Error>(&mut *reader, &mut Vec::new(), |part| {
                checksum.update(part);
                let skipped = skip.min(part.len() as u64);
                skip -= skipped;
                at += part.len() as u64;
                let rest = &part[usize::try_from(skipped).unwrap_or(part.len())..];
                self.listener.reached(at);
                output = out.write_all(rest);
                match &output {
                    Ok(()) => Ok(()),
                    Err(error) => Err(error.kind().into()),
                }
            })
        });
        output?;
        let expected = piece.end - piece.start;
        let what = match poured {
            Ok(bytes) if bytes != expected => {
                format!("it holds {bytes} bytes instead of {expected}")
            }
            Ok(_) => {
                let found = checksum.finish();
                if found == piece.checksum {
                    return Ok(true);
                }
                format!("its checksum is {found} instead of {}", piece.checksum)
            }
            Err(error) => format!("it cannot be read: {error}"),
        };
        self.listener.tell((path, what).into())?;
        Ok(false)
    }

    /// Restores the blobs, where there is a place for them; `None` where some are damaged.
    fn blobs(&mut self, path: Option<&Path>) -> Result<Option<Option<BlobsLine>>, ToolError> {
        let named = self.options.blobs.clone();
        let is_named = named.is_some();
        let directory = match (named, path) {
            (None, Some(path)) if self.options.blobs_beside => self.place_beside(path)?,
            (named, _) => named,
        };
        let Some(directory) = &directory else {
            return Ok(Some(None));
        };
        let mut wrong = Vec::new();
        // What nobody named is not emptied: it may belong to another Data.fs beside this one.
        let full = self.options.full && is_named;
        let restored = store::restore(self.repository, self.settled, directory, full, &mut wrong);
        let line = restored.map_err(|error| match error {
            ToolError::Repository(RepositoryError::InTheWay { path, what }) if !is_named => {
                RepositoryError::BlobsInTheWay { path, what }.into()
            }
            error => error,
        })?;
        let is_wrong = tell_wrong(&wrong, self.listener)?;
        Ok((!is_wrong).then_some(Some(line)))
    }

    /// The directory `blobs` beside the file, where the backup has blobs.
    fn place_beside(&self, path: &Path) -> Result<Option<PathBuf>, ToolError> {
        let disk = &*self.repository.disk;
        if store::count(self.repository, self.settled)?.is_none() {
            return Ok(None);
        }
        let directory = path.with_file_name(BESIDE);
        let is_begun = exists(disk, path)? || exists(disk, &with_suffix(path, ".part"))?;
        if !is_begun && exists(disk, &directory)? {
            let listed = disk.list_directory(&directory);
            let listed = listed.map_err(|error| StorageError::io(&*directory, "list", error))?;
            if !listed.is_empty() {
                let what = "it is there, and perhaps another Data.fs's".to_owned();
                return Err(RepositoryError::BlobsInTheWay {
                    path: directory,
                    what,
                }
                .into());
            }
        }
        if !is_begun {
            self.mark_begun(path)?;
        }
        Ok(Some(directory))
    }

    /// Blobs come before the file: without a sign of it the same restore, begun again after it was
    /// killed, would take them for another Data.fs's.
    fn mark_begun(&self, path: &Path) -> Result<(), ToolError> {
        let disk = &*self.repository.disk;
        let part = with_suffix(path, ".part");
        disk.open(&part, OpenMode::Create)
            .map_err(|error| StorageError::io(&*part, "make", error))?;
        sync_parent(disk, path)
    }

    /// What was made for the file that had this name before.
    fn remove_sidecars(&self, path: &Path) -> Result<(), ToolError> {
        for suffix in SIDECARS {
            remove(&*self.repository.disk, &with_suffix(path, suffix))?;
        }
        Ok(())
    }

    /// Copies the index of the last piece, if it has one. Without, the first open reads the file.
    fn restore_index(&self, path: &Path) -> Result<bool, ToolError> {
        let Some(last) = self.settled.pieces.last() else {
            return Ok(false);
        };
        let disk = &*self.repository.disk;
        let source = self.repository.file(names::index(&last.file.date));
        if !exists(disk, &source)? {
            return Ok(false);
        }
        let target = with_suffix(path, ".index");
        let draft = with_suffix(path, ".index_tmp");
        let copy = || -> io::Result<()> {
            let mut writer = chunk::Writer::create(disk, &draft, false)?;
            let mut reader = chunk::reader(disk, &source, false)?;
            chunk::pour(&mut *reader, &mut Vec::new(), |part| writer.write(part))?;
            writer.finish()?;
            disk.rename(&draft, &target)
        };
        copy().map_err(|error| StorageError::io(&*target, "write", error))?;
        sync_parent(disk, path)?;
        Ok(true)
    }

    fn done(
        &mut self,
        path: Option<&Path>,
        kept_bytes: u64,
        index: bool,
        blobs: Option<BlobsLine>,
    ) -> Result<Verdict, ToolError> {
        let pieces = &self.settled.pieces;
        let last = &pieces[pieces.len() - 1];
        let blobs_in_backup = store::count(self.repository, self.settled)?;
        self.listener.tell(Line::Restored(RestoreLine {
            path: path.map(|path| path.display().to_string()),
            date: last.file.date.clone(),
            bytes: last.end,
            kept_bytes,
            files: pieces.len() as u64,
            index,
            blobs,
            blobs_in_backup,
        }))?;
        Ok(Verdict::Sound)
    }
}

/// Keeps servers away, and notices one that is at work.
fn lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskLock>, ToolError> {
    let lock = with_suffix(path, ".lock");
    disk.lock(&lock).map_err(|error| match error {
        LockError::Held { pid } => {
            let path = path.to_owned();
            StorageError::Locked { path, pid }.into()
        }
        LockError::Io(error) => filestorage::lock_failed(&lock, error).into(),
    })
}

fn open_if_there(disk: &dyn Disk, path: &Path) -> Result<Option<Arc<dyn File>>, ToolError> {
    match disk.open(path, OpenMode::Write) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io(path, "open", error).into()),
    }
}

fn length(file: &Arc<dyn File>, path: &Path) -> Result<u64, ToolError> {
    Ok(file
        .len()
        .map_err(|error| StorageError::io(path, "measure", error))?)
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool, ToolError> {
    let exists = disk.exists(path);
    Ok(exists.map_err(|error| StorageError::io(path, "look for", error))?)
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), ToolError> {
    let renamed = disk.rename(from, to);
    Ok(renamed.map_err(|error| StorageError::io(to, "replace", error))?)
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<(), ToolError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StorageError::io(path, "remove", error).into())
        }
        _ => Ok(()),
    }
}

fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), ToolError> {
    let parent = path.parent().unwrap_or(path);
    let synced = disk.sync_directory(parent);
    Ok(synced.map_err(|error| StorageError::io(parent, "sync", error))?)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Indexes of the file that had the name before: Python's and ours.
const SIDECARS: [&str; 2] = [".index", ".zidx"];
