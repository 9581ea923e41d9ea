//! Backups of a Data.fs, full and incremental, in the repository format of ZODB's `repozo`: either
//! program continues, restores and verifies what the other wrote.
//!
//! # What a crash leaves
//!
//! Every file is written under the name `tmp.tmp`, synced, and renamed. The name of a data file is
//! what makes a backup count, and it is given last, when everything that it needs has a durable name:
//! its index, its blobs, and for a full backup its list (`.dat`). An incremental backup has its line
//! added to the list after that, by putting a new list in place of the old one: between the two the
//! data file is whole but not listed, `repozo --verify` does not look at it, a restore uses it, and
//! the next backup adds the line.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use filestorage::{Positions, Survey};
use storage::{StorageError, Tid};

use crate::blobs::{check_no_blobs_from, recorded};
use crate::current::{of_file, tell_beside};
use crate::line::Line;
use crate::listener::{Listener, ToolError, Verdict};

pub(crate) mod blobs;
pub(crate) mod catalog;
pub(crate) mod chunk;
pub(crate) mod compare;
pub(crate) mod lines;
pub(crate) mod manifest;
pub(crate) mod names;
mod old;
pub(crate) mod records;
pub(crate) mod store;

use catalog::{Repository, RepositoryError, Settled};
use chunk::{Checksum, Writer};
use compare::Base;
use lines::{BackupLine, BlobsLine};
use names::{BackupDate, DataFile};

/// How a backup is made.
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    /// Copy the whole Data.fs, also where the changes would do.
    pub full: bool,
    /// Compress what is copied.
    pub compress: bool,
    /// Look only at the part that was backed up last to find out whether the rest still is the same.
    pub quick: bool,
    /// After a full backup, remove all older ones.
    pub kill_old: bool,
    /// The directory of blobs that belongs to the Data.fs.
    pub blobs: Option<PathBuf>,
    /// Do without the files of blobs, where there are blobs and no directory of them is given.
    pub without_blobs: bool,
    /// Give blobs a second name in the repository instead of copying them, where the file system
    /// can. Such a backup does not survive damage to the blob itself.
    pub link_blobs: bool,
    /// The time since 1970, UTC; the name of the backup.
    pub now: Duration,
}

/// Backs up a Data.fs as far as it consists of finished transactions. A server may use it meanwhile.
///
/// [`Verdict::Wrong`] says that files of blobs are missing, or that the Data.fs lost transactions: the
/// listener was told. What is there was backed up all the same, and no older backup was removed.
///
/// # Errors
/// The Data.fs is damaged, or something cannot be read or written. The repository is as it was
/// before, and the next backup works.
pub fn backup(
    source: &Path,
    repository: &Repository,
    options: &BackupOptions,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let _lock = repository.lock()?;
    let survey = Survey::open(source, repository.disk.clone())?;
    let positions = survey.positions()?;
    if let Some(longer) = survey.longer(positions.end())? {
        return Err(longer.refusal(source).into());
    }
    listener.begins(positions.end());
    let by_file;
    let mut job = Job {
        repository,
        options,
        survey: &survey,
        positions: &positions,
        listener,
        is_wrong: false,
    };
    let base = job.base()?;
    // A full backup is read from front to back anyhow, and its index is what a restored file begins with.
    let mut wrong = 0;
    if matches!(base, Base::None(_)) {
        by_file = of_file(&survey, job.listener)?;
        if let Some(by_file) = by_file.as_ref() {
            wrong = tell_beside(&survey, by_file, job.listener)?;
            job.positions = by_file;
        }
    }
    let line = match base {
        Base::Unchanged(settled) => job.unchanged(&settled)?,
        Base::After(settled) => job.incremental(&settled)?,
        Base::None(reason) => job.full(reason)?,
    };
    wrong += u64::from(job.is_wrong);
    listener.tell(Line::Backup(line))?;
    Ok(Verdict::of(wrong))
}

struct Job<'a> {
    repository: &'a Repository,
    options: &'a BackupOptions,
    survey: &'a Survey,
    positions: &'a Positions,
    listener: &'a mut dyn Listener,
    /// Something is missing that was there: nothing old is removed.
    is_wrong: bool,
}

impl Job<'_> {
    /// What the new backup builds on.
    fn base(&mut self) -> Result<Base, ToolError> {
        let Some(chain) = self.repository.chain(None)? else {
            return Ok(Base::None("it is the first".to_owned()));
        };
        if self.options.full {
            return Ok(Base::None("asked for".to_owned()));
        }
        let settled = chain.settle(self.repository)?;
        if let Some((path, what)) = settled.wrong.iter().chain(&settled.unproven).next() {
            return Ok(Base::None(format!("{}: {what}", path.display())));
        }
        let end = self.positions.end();
        if end < settled.end() {
            let what = "the file is shorter than its backup: packed, probably";
            return self.base_of_another(&settled, what);
        }
        let same = if self.options.quick {
            compare::last_piece(self.survey, &settled)?
        } else {
            compare::all_pieces(self.survey, self.repository, &settled, self.listener)?
        };
        Ok(match same {
            Some(what) => return self.base_of_another(&settled, &what),
            None if end == settled.end() => Base::Unchanged(settled),
            None => Base::After(settled),
        })
    }

    /// A pack keeps what is newest. A file that ends before its backup has lost transactions, and the
    /// backup may be all that is left of them.
    fn base_of_another(&mut self, settled: &Settled, what: &str) -> Result<Base, ToolError> {
        let Some(piece) = settled.pieces.last() else {
            return Ok(Base::None(what.to_owned()));
        };
        let Some(backed_up) = compare::last_tid(self.repository, piece) else {
            return Ok(Base::None(what.to_owned()));
        };
        let last = self.positions.last_tid().unwrap_or(Tid::ZERO);
        if last >= backed_up {
            return Ok(Base::None(what.to_owned()));
        }
        self.is_wrong = true;
        let what = format!(
            "it ends with transaction {last}, its backup of {date} with {backed_up}: cut off, or an \
             older file, not packed. The older backups stay; zodiac fs restore --date {date} has what \
             is lost",
            date = piece.file.date
        );
        let told = (self.survey.path().to_owned(), what);
        self.listener.tell(told.into())?;
        Ok(Base::None("the file ends before its backup".to_owned()))
    }

    fn unchanged(&mut self, settled: &Settled) -> Result<BackupLine, ToolError> {
        self.clear_up(settled)?;
        self.check_blobs_known(settled)?;
        let blobs = match (&self.options.blobs, settled.pieces.last()) {
            // The newest backup gets the blobs that it was made without.
            (Some(directory), Some(last)) => {
                let blobs = self.back_up_blobs(directory, settled, &last.file.date)?;
                self.repository.sync()?;
                Some(blobs)
            }
            _ => None,
        };
        Ok(BackupLine {
            file: None,
            full: false,
            reason: None,
            start: settled.end(),
            end: settled.end(),
            tid: self.positions.last_tid(),
            removed: 0,
            blobs,
        })
    }

    fn incremental(&mut self, settled: &Settled) -> Result<BackupLine, ToolError> {
        self.clear_up(settled)?;
        let file = self.new_file(false)?;
        let start = settled.end();
        let blobs = self.prepare(settled, &file)?;
        let checksum = self.copy(start)?;
        self.repository.sync()?;
        self.publish(&file)?;
        let mut list = settled.list(self.repository.path());
        list.extend(self.line(&file, start, checksum));
        self.write_list(&settled.pieces[0].file.date, &list)?;
        self.repository.sync()?;
        Ok(self.report(&file, start, None, blobs))
    }

    fn full(&mut self, reason: String) -> Result<BackupLine, ToolError> {
        let file = self.new_file(true)?;
        let blobs = self.prepare(&Settled::default(), &file)?;
        let checksum = self.copy(0)?;
        // The list goes under another draft name: the data has its own until it is published.
        let line = self.line(&file, 0, checksum);
        self.write_list(&file.date, &line)?;
        self.repository.sync()?;
        self.publish(&file)?;
        let mut line = self.report(&file, 0, Some(reason), blobs);
        if self.options.kill_old && self.is_wrong {
            let what = "nothing older was removed: see above".to_owned();
            let told = (self.repository.path().to_owned(), what);
            self.listener.tell(told.into())?;
        } else if self.options.kill_old {
            line.removed = old::remove(self.repository, &file)?;
        }
        Ok(line)
    }

    /// Puts right what an interrupted backup left, so that the original understands it as well.
    fn clear_up(&mut self, settled: &Settled) -> Result<(), ToolError> {
        for file in &settled.debris {
            self.repository.remove(&file.name())?;
            self.repository.remove(&names::index(&file.date))?;
            self.repository.remove(&names::blobs(&file.date))?;
        }
        if settled.pieces.iter().any(|piece| !piece.is_listed) {
            let list = settled.list(self.repository.path());
            self.write_list(&settled.pieces[0].file.date, &list)?;
            self.repository.sync()?;
        }
        Ok(())
    }

    /// The file to be written. Names order the pieces, so it has to come last.
    fn new_file(&self, is_full: bool) -> Result<DataFile, ToolError> {
        let now = BackupDate::at(self.options.now);
        let newest = self.repository.data_files()?.into_iter().next_back();
        if let Some(DataFile { date: newest, .. }) = newest.filter(|newest| newest.date >= now) {
            return Err(RepositoryError::NotLater { newest, now }.into());
        }
        Ok(DataFile {
            date: now,
            is_full,
            is_compressed: self.options.compress,
        })
    }

    /// Writes what belongs to the data file: its index and its blobs.
    fn prepare(
        &mut self,
        settled: &Settled,
        file: &DataFile,
    ) -> Result<Option<BlobsLine>, ToolError> {
        let draft = self.repository.file(DRAFT);
        let index = self.repository.file(names::index(&file.date));
        let disk = &*self.repository.disk;
        self.positions.save(disk, &draft)?;
        disk.rename(&draft, &index)
            .map_err(|error| StorageError::io(index, "replace", error))?;
        self.check_blobs_known(settled)?;
        let directory = self.options.blobs.as_ref();
        directory
            .map(|directory| self.back_up_blobs(directory, settled, &file.date))
            .transpose()
    }

    /// Where there are blobs and nothing says where their files are, nobody goes on without a word.
    fn check_blobs_known(&mut self, settled: &Settled) -> Result<(), ToolError> {
        if self.options.blobs.is_some() || self.options.without_blobs {
            return Ok(());
        }
        let state = manifest::State::of(self.repository, settled)?;
        if let Some(blob) = state.blobs.keys().next() {
            let path = self.survey.path().to_owned();
            return Err(ToolError::BlobsUnknown {
                path,
                oid: blob.oid,
            });
        }
        check_no_blobs_from(self.survey, settled.end(), self.listener)
    }

    /// The blobs that records need. To be quick, those of the backup before are not looked for again.
    fn recorded_blobs(
        &mut self,
        settled: &Settled,
        last: Tid,
    ) -> Result<BTreeSet<blobs::BlobId>, ToolError> {
        let newest = settled.pieces.last().map(|piece| &piece.file.date);
        let before = manifest::State::of(self.repository, settled)?;
        let is_known =
            newest.is_some() && before.date.as_ref() == newest && before.wrong.is_empty();
        if !(self.options.quick && is_known) {
            return recorded(self.survey, 0, last, self.listener);
        }
        let mut found = recorded(self.survey, settled.end(), last, self.listener)?;
        found.extend(before.blobs.keys());
        Ok(found)
    }

    /// Says which files of blobs are missing.
    fn tell_absent(&mut self, absent: &[store::Absent]) -> Result<(), ToolError> {
        if absent.is_empty() {
            return Ok(());
        }
        self.is_wrong = true;
        for store::Absent { blob, is_kept } in absent.iter().take(ABSENT_TOLD_MAX) {
            let what = match is_kept {
                true => "its file is missing; the copy in the repository stays in the backup",
                false => "its file is missing, and no earlier backup has it",
            };
            self.listener.tell(Line::BlobAbsent {
                oid: blob.oid,
                tid: blob.tid,
                what: what.to_owned(),
            })?;
        }
        if let Some(directory) = &self.options.blobs {
            let lost = absent.iter().filter(|absent| !absent.is_kept).count();
            let what = format!(
                "files of blobs missing: {}, of which no backup has {lost}; is the disk there?",
                absent.len()
            );
            self.listener.tell((directory.clone(), what).into())?;
        }
        Ok(())
    }

    fn back_up_blobs(
        &mut self,
        directory: &Path,
        settled: &Settled,
        date: &BackupDate,
    ) -> Result<BlobsLine, ToolError> {
        let last = self.positions.last_tid().unwrap_or(Tid::ZERO);
        let recorded = self.recorded_blobs(settled, last)?;
        let disk = &*self.repository.disk;
        let source = blobs::Directory::open(disk, directory, last)?;
        let backed_up = store::back_up(
            self.repository,
            &source,
            &recorded,
            settled,
            date,
            self.options.link_blobs,
        );
        // A pack removes blobs that this state of the Data.fs still needs.
        if compare::was_replaced(self.survey, disk, self.positions.end())? {
            return Err(RepositoryError::Packed(self.survey.path().to_owned()).into());
        }
        let (line, absent) = backed_up?;
        self.tell_absent(&absent)?;
        Ok(line)
    }

    /// Copies the Data.fs from there on into the draft; its checksum.
    fn copy(&mut self, start: u64) -> Result<String, ToolError> {
        let path = self.repository.file(DRAFT);
        let disk = &*self.repository.disk;
        let written = |result: io::Result<()>| {
            result.map_err(|error| StorageError::io(&*path, "write", error))
        };
        let writer = Writer::create(disk, &path, self.options.compress);
        let mut writer = writer.map_err(|error| StorageError::io(&*path, "make", error))?;
        let mut checksum = Checksum::default();
        let mut buffer = vec![0; chunk::BUFFER_BYTES];
        let (mut at, end) = (start, self.positions.end());
        while at < end {
            let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
            let piece = &mut buffer[..rest.min(chunk::BUFFER_BYTES)];
            self.survey.read_exact(at, piece)?;
            checksum.update(piece);
            written(writer.write(piece))?;
            at += piece.len() as u64;
            self.listener.reached(at);
        }
        written(writer.finish())?;
        Ok(checksum.finish())
    }

    /// From here on the backup counts.
    fn publish(&self, file: &DataFile) -> Result<(), ToolError> {
        let path = self.repository.file(file.name());
        let renamed = self
            .repository
            .disk
            .rename(&self.repository.file(DRAFT), &path);
        renamed.map_err(|error| StorageError::io(path, "replace", error))?;
        self.repository.sync()
    }

    fn line(&self, file: &DataFile, start: u64, checksum: String) -> Vec<u8> {
        let piece = catalog::Piece {
            file: file.clone(),
            start,
            end: self.positions.end(),
            checksum,
            is_listed: true,
        };
        catalog::List::line(self.repository.path(), &piece)
    }

    fn write_list(&self, full: &BackupDate, text: &[u8]) -> Result<(), ToolError> {
        let path = self.repository.file(names::dat(full));
        let draft = self.repository.file(SMALL_DRAFT);
        let written = chunk::replace(&*self.repository.disk, &draft, &path, text);
        Ok(written.map_err(|error| StorageError::io(path, "write", error))?)
    }

    fn report(
        &self,
        file: &DataFile,
        start: u64,
        reason: Option<String>,
        blobs: Option<BlobsLine>,
    ) -> BackupLine {
        BackupLine {
            file: Some(file.name()),
            full: file.is_full,
            reason,
            start,
            end: self.positions.end(),
            tid: self.positions.last_tid(),
            removed: 0,
            blobs,
        }
    }
}

/// So many missing files are named; a disk that is not there lacks them all.
pub(crate) const ABSENT_TOLD_MAX: usize = 20;
/// The name that the original gives what it is writing; each backup begins it anew.
const DRAFT: &str = "tmp.tmp";
/// The same for a list or a manifest, which is written while the draft waits for its name.
pub(crate) const SMALL_DRAFT: &str = "list.tmp";
