//! What a saved index proves of a Data.fs: that finished transactions were in it which are there no
//! more.
//!
//! An index that was saved when the log was longer says so by its end. It may as well be another
//! file's, or from before a pack, which leaves a shorter file. So most of its entries before the end
//! of the log have to agree with it, and most of those next to its end too, where the records of a
//! packed file lie elsewhere; and it must not fit the file that a pack left beside.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::path::{Path, PathBuf};

use storage::{Oid, StorageError};
use vfs::{Disk, OpenMode};

use crate::format::{DataHeader, Offset, TransactionHeader};
use crate::index::Index;
use crate::kept_index::KEPT_MAX;
use crate::log::Log;
use crate::open::{Options, sync_parent, with_suffix};
use crate::scan::{CheckedLog, UncheckedTail};
use crate::{checkpoint, index_file, saved_index};

/// A Data.fs that was longer once: what an index beside it knows is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Longer {
    /// The index that says so.
    pub index: PathBuf,
    /// Up to where it knows the file.
    pub end: u64,
    /// Where the last finished transaction of the file ends.
    pub found: u64,
    /// How many objects have their newest record behind that.
    pub objects: u64,
    /// Some of these, with the places of their records.
    pub first: Vec<(Oid, u64)>,
}

impl Longer {
    /// What those are told who would write to the file at that path, or keep what they read of it.
    pub fn refusal(&self, path: &Path) -> StorageError {
        let index = self.index.display();
        let what = format!(
            "{self}. Nothing was changed. Restore a backup that `zodiac fs backup-verify` finds sound, \
             or let `zodiac fs recover` copy what is there. If this file was put in place of a longer one \
             on purpose, move {index} away"
        );
        StorageError::Corrupt {
            path: path.to_owned(),
            offset: self.found,
            what,
        }
    }
}

impl fmt::Display for Longer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "finished transactions are missing at the end: {} knows the file up to {}, its last \
             finished transaction ends at {}",
            self.index.display(),
            self.end,
            self.found,
        )?;
        if self.objects == 0 {
            return f.write_str(". No object's newest record is among them");
        }
        let objects = self.objects;
        write!(f, ". Objects whose newest records are missing: {objects}")?;
        for (number, (oid, at)) in self.first.iter().enumerate() {
            let before = if number == 0 { " (" } else { ", " };
            write!(f, "{before}{oid} at {at}")?;
        }
        match self.first.len() as u64 {
            0 => Ok(()),
            told if told < self.objects => f.write_str(", ...)"),
            _ => f.write_str(")"),
        }
    }
}

/// Looks at an index that knows more of a log than there is, before anything is cut or saved.
///
/// Writing goes on behind what is there, and saves a new index over the one that tells of what is
/// missing. So that one is kept under another name; and where the log ends with bytes that would be cut
/// though the index says that they were finished once, nothing is written.
pub(crate) fn check(
    log: &Log,
    options: &Options,
    checked: &CheckedLog,
) -> Result<(), StorageError> {
    let disk = &*options.disk;
    let Some(longer) = longer(log, disk, checked.end)? else {
        return Ok(());
    };
    let path = log.path().display();
    if options.read_only {
        if has_grown(log, checked) {
            return Ok(());
        }
        if options.refuse_missing_end {
            return Err(longer.refusal(log.path()));
        }
        tracing::error!(%path, "{longer}. `zodiac fs verify` says more");
        return Ok(());
    }
    if options.refuse_missing_end || checked.unfinished.is_some() {
        return Err(longer.refusal(log.path()));
    }
    let kept = keep(disk, &longer.index)?;
    tracing::error!(%path, kept = %kept.display(),
        "{longer}. What is written from now on comes behind the last finished transaction. Is there a \
         backup with what is missing, stop the server and restore it before more is written; the index is \
         kept. If this file was put in place of a longer one on purpose, delete {}", kept.display());
    Ok(())
}

/// Looks at an index that was not believed, before a new one is saved over it: what it says against the
/// log may be what is wrong with the log. It is kept then.
pub(crate) fn keep_disbelieved(
    log: &Log,
    options: &Options,
    checked: &CheckedLog,
) -> Result<(), StorageError> {
    let disk = &*options.disk;
    let Some((index, end)) = index_file::load(disk, log.path()) else {
        return Ok(());
    };
    if end > checked.end
        || !knows(log, &index, end)?
        || is_from_before_a_pack(log, disk, &index, end)
    {
        return Ok(());
    }
    let (mut entries, mut first) = (0_u64, None);
    for (oid, at) in index.iter() {
        if checked.index.get(oid) != Some(at)
            && let Some(there) = object_at(log, at)?
            && there != oid
        {
            entries += 1;
            first.get_or_insert_with(|| (oid, at.number(), there));
        }
    }
    let Some((oid, at, there)) = first else {
        return Ok(());
    };
    let path = log.path().display();
    let kept = match options.read_only {
        true => with_suffix(log.path(), ".index"),
        false => keep(disk, &with_suffix(log.path(), ".index"))?,
    };
    tracing::error!(%path, entries, %oid, at, %there, index = %kept.display(),
        "the index leads to records of other objects, the first to one of {there}, at {at}, where one of \
         {oid} should be: the file is damaged, and was read as it is. `zodiac fs verify` says more with \
         that index beside the file");
    Ok(())
}

/// The object of the record there, if there is one, which names the transaction that it is in.
fn object_at(log: &Log, at: Offset) -> Result<Option<Oid>, StorageError> {
    let read = || {
        let record = DataHeader::decode(&log.read_array(at)?);
        // The system refuses offsets that are no lengths of files.
        if record.transaction >= at {
            return Ok(None);
        }
        let transaction = TransactionHeader::decode(&log.read_array(record.transaction)?);
        Ok(Some(record.oid).filter(|_| transaction.tid == record.tid))
    };
    match read() {
        Err(StorageError::Corrupt { .. }) => Ok(None),
        read => read,
    }
}

/// Whether another process has written more meanwhile.
fn has_grown(log: &Log, checked: &CheckedLog) -> bool {
    let now = UncheckedTail {
        index: Index::default(),
        start: checked.end,
        last_tid: checked.last_tid,
    };
    now.check(log).is_ok_and(|now| now.end > checked.end)
}

/// Gives the index another name, the first that is free, so that a new one takes no evidence away.
fn keep(disk: &dyn Disk, index: &Path) -> Result<PathBuf, StorageError> {
    for number in 0..KEPT_MAX {
        let kept = with_suffix(index, &format!(".kept{number}"));
        let is_taken = disk.exists(&kept);
        if is_taken.map_err(|error| StorageError::io(kept.as_path(), "look for", error))? {
            continue;
        }
        disk.rename(index, &kept)
            .map_err(|error| StorageError::io(index, "rename", error))?;
        sync_parent(disk, index)?;
        return Ok(kept);
    }
    Err(StorageError::Limit {
        what: "the number of kept indexes (.kept files; move them away)",
        found: KEPT_MAX,
        max: KEPT_MAX,
    })
}

/// Whether an index beside the log, whose last finished transaction ends at `found`, proves that it was
/// longer.
pub(crate) fn longer(
    log: &Log,
    disk: &dyn Disk,
    found: Offset,
) -> Result<Option<Longer>, StorageError> {
    let path = log.path();
    // Mostly a look at where they end is enough.
    let of_index = || {
        let is_behind = index_file::end(disk, path).is_some_and(|end| end <= found);
        let (index, end) = index_file::load(disk, path).filter(|_| !is_behind)?;
        Some((with_suffix(path, ".index"), index, end))
    };
    let of_checkpoint = || {
        let checkpoint = checkpoint::find(disk, path, OpenMode::Read)?;
        let end = Some(checkpoint.end()).filter(|end| *end > found)?;
        Some((checkpoint::path_of(path), checkpoint.read(end)?, end))
    };
    let saved: [&dyn Fn() -> Option<(PathBuf, Index, Offset)>; 2] = [&of_index, &of_checkpoint];
    for (saved, index, end) in saved.into_iter().filter_map(|read| read()) {
        if end > found
            && knows(log, &index, found)?
            && !is_from_before_a_pack(log, disk, &index, end)
        {
            let behind = || index.iter().filter(|(_, at)| *at >= found);
            let first = behind().take(FIRST_MAX);
            return Ok(Some(Longer {
                index: saved,
                end: end.number(),
                found: found.number(),
                objects: behind().count() as u64,
                first: first.map(|(oid, at)| (oid, at.number())).collect(),
            }));
        }
    }
    Ok(None)
}

/// Whether the index is of the file that the last pack left beside this one.
pub(crate) fn is_from_before_a_pack(
    log: &Log,
    disk: &dyn Disk,
    index: &Index,
    end: Offset,
) -> bool {
    let path = with_suffix(log.path(), ".old");
    let Ok(file) = disk.open(&path, OpenMode::Read) else {
        return false;
    };
    let old = Log::new(file, path);
    matches!(saved_index::last_tid_if_sane(&old, index, end), Ok(Some(_)))
}

/// Whether there is a record of the object, before that end.
pub(crate) fn is_record_of(
    log: &Log,
    oid: Oid,
    at: Offset,
    end: Offset,
) -> Result<bool, StorageError> {
    let record = match log.read_array(at) {
        Ok(bytes) => DataHeader::decode(&bytes),
        Err(StorageError::Corrupt { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let ends = at.checked_add(record.record_length());
    let is_inside = record.transaction < at && ends.is_some_and(|after| after < end);
    Ok(record.oid == oid && is_inside)
}

/// Whether what the index says of the log up to there is mostly right, also next to that place.
fn knows(log: &Log, index: &Index, end: Offset) -> Result<bool, StorageError> {
    let before = || index.iter().filter(|(_, at)| *at < end);
    let mut last = BinaryHeap::new();
    let mut count = 0;
    for (oid, at) in before() {
        count += 1;
        last.push(Reverse((at, oid)));
        if last.len() > NEAREST {
            last.pop();
        }
    }
    let evenly = before().step_by(count / SAMPLES + 1);
    let last = last.into_iter().map(|Reverse((at, oid))| (oid, at));
    Ok(most_agree(log, evenly, end)? && most_agree(log, last, end)?)
}

fn most_agree(
    log: &Log,
    entries: impl Iterator<Item = (Oid, Offset)>,
    end: Offset,
) -> Result<bool, StorageError> {
    let (mut agree, mut wrong) = (0_u64, 0_u64);
    for (oid, at) in entries {
        match is_record_of(log, oid, at, end)? {
            true => agree += 1,
            false => wrong += 1,
        }
    }
    Ok(agree > wrong)
}

const SAMPLES: usize = 64;
const NEAREST: usize = 16;
/// Of more objects, no more are named.
const FIRST_MAX: usize = 10;
