//! The index at open: of the two files that may hold one, Python's `.index` and the checkpoint, the
//! newer that agrees with the log.

use std::collections::BTreeSet;

use storage::{Oid, StorageError, Tid};
use vfs::{Disk, OpenMode};

use crate::checkpoint;
use crate::evidence::is_record_of;
use crate::format::{DataHeader, Offset, Status};
use crate::index::Index;
use crate::index_file;
use crate::log::Log;
use crate::scan::UncheckedTail;

mod gaps;

pub(crate) use gaps::{Gap, is_of_object};

/// A saved index that can be trusted.
pub(crate) struct Saved {
    /// What it leaves to be checked.
    pub(crate) tail: UncheckedTail,
    /// The checkpoint, where it was that.
    pub(crate) tree: Option<checkpoint::Tree>,
}

/// The newest index beside that log that can be trusted. The mode is that of the storage: one that
/// writes goes on with the checkpoint.
pub(crate) fn newest(
    log: &Log,
    disk: &dyn Disk,
    mode: OpenMode,
) -> Result<Option<Saved>, StorageError> {
    let checkpoint = checkpoint::find(disk, log.path(), mode);
    let checkpoint_end = checkpoint.as_ref().map(checkpoint::Found::end);
    // Where both are as new, the checkpoint is taken: what is written behind it costs less then.
    let index_is_newer = checkpoint_end < index_file::end(disk, log.path());
    if index_is_newer && let Some(saved) = from_index(log, disk)? {
        return Ok(Some(saved));
    }
    if let Some(checkpoint) = checkpoint
        && let Some(saved) = from_checkpoint(log, checkpoint)?
    {
        return Ok(Some(saved));
    }
    if index_is_newer {
        return Ok(None);
    }
    from_index(log, disk)
}

fn from_index(log: &Log, disk: &dyn Disk) -> Result<Option<Saved>, StorageError> {
    let Some((index, end)) = index_file::load(disk, log.path()) else {
        return Ok(None);
    };
    let path = log.path().display();
    let sane = refuse_corrupt(last_tid_if_sane(log, &index, end))?;
    let sample = match sane {
        Some(_) => Sample::take(log, &index, end)?,
        None => Sample::default(),
    };
    let Some(last_tid) = sane.filter(|_| sample.wrong <= sample.agree()) else {
        tracing::warn!(%path, "the index disagrees with the file and is ignored: the whole file is read");
        return Ok(None);
    };
    if has_gap(log, &index, end, &sample, "index")? {
        return Ok(None);
    }
    if let Some((oid, at)) = sample.first_wrong {
        // A new one would name what the damage left, and nobody would see it any more.
        tracing::error!(%path, %oid, at = at.number(), wrong = sample.wrong, looked_at = sample.wrong + sample.agree(),
            "an object's newest record is not where the index says: the file or the index is damaged, and \
             reading such objects fails. `zodiac fs verify` and `zodiac fs index --check` say more");
    }
    Ok(Some(Saved {
        tail: UncheckedTail {
            index,
            start: end,
            last_tid,
        },
        tree: None,
    }))
}

fn from_checkpoint(log: &Log, found: checkpoint::Found) -> Result<Option<Saved>, StorageError> {
    let Some(loaded) = found.load(log) else {
        return Ok(None);
    };
    let (index, end) = (loaded.index, loaded.end);
    let last_tid = refuse_corrupt(last_tid_if_sane(log, &index, end))?;
    let sample = match last_tid {
        Some(last_tid) if last_tid <= loaded.last_tid => Sample::take(log, &index, end)?,
        _ => Sample::disagreeing(),
    };
    if sample.wrong > 0 {
        let path = log.path().display();
        tracing::warn!(%path, "the checkpoint disagrees with the file and is ignored");
        return Ok(None);
    }
    if has_gap(log, &index, end, &sample, "checkpoint")? {
        return Ok(None);
    }
    Ok(Some(Saved {
        tail: UncheckedTail {
            index,
            start: end,
            last_tid: loaded.last_tid,
        },
        tree: Some(loaded.tree),
    }))
}

/// Whether the saved index is known to miss a record. It is of this log, and believing it would hide that
/// record from readers, and let writers write over it.
fn has_gap(
    log: &Log,
    index: &Index,
    end: Offset,
    sample: &Sample,
    saved: &str,
) -> Result<bool, StorageError> {
    let Some(gap) = gaps::first(log, index, end, &sample.agreeing)? else {
        return Ok(false);
    };
    let (path, oid, at) = (log.path().display(), gap.oid, gap.at.number());
    let named = gap.named.map(Offset::number);
    tracing::error!(%path, %oid, at, named,
        "the {saved} is wrong and is ignored: it does not name the newest record of an object, or does \
         not know the object. The whole file is read instead; `zodiac fs verify` says more where that \
         {saved} is still beside the file, `zodiac fs index` makes a new one");
    Ok(true)
}

/// Nothing where the log is not what the index says.
fn refuse_corrupt<T>(found: Result<Option<T>, StorageError>) -> Result<Option<T>, StorageError> {
    match found {
        Err(StorageError::Corrupt { .. }) => Ok(None),
        found => found,
    }
}

/// The original's check of a loaded index: the last transaction that has records must be whole, and
/// its first records must be the ones that the index names.
pub(crate) fn last_tid_if_sane(
    log: &Log,
    index: &Index,
    end: Offset,
) -> Result<Option<Tid>, StorageError> {
    let size = log.file.len().map_err(|error| log.io("measure", error))?;
    if end < INDEXED_BYTES_MIN || end.number() > size {
        return Ok(None);
    }
    let mut last_tid = None;
    let mut after = end;
    loop {
        let (start, header) = log.transaction_before(after)?;
        last_tid.get_or_insert(header.tid);
        after = start;
        if header.status == Status::UNDONE {
            continue;
        }
        if !header.status.is_finished() {
            return Ok(None);
        }
        let end = start + header.length;
        let mut at = start + header.records_start();
        if at == end {
            continue;
        }
        for _ in 0..SANITY_RECORDS_MAX {
            if at >= end {
                break;
            }
            let record = DataHeader::decode(&log.read_array(at)?);
            let fits = record.record_length() <= end - at;
            if !fits || record.transaction != start || !is_current(log, index, &record, at)? {
                return Ok(None);
            }
            at = at + record.record_length();
        }
        return Ok(last_tid);
    }
}

/// Whether the index names that record, or a later one of the same object in the same transaction
/// (the original would not trust the index then).
fn is_current(
    log: &Log,
    index: &Index,
    record: &DataHeader,
    at: Offset,
) -> Result<bool, StorageError> {
    match index.get(record.oid) {
        Some(found) if found > at => {
            let later = DataHeader::decode(&log.read_array(found)?);
            Ok(later.oid == record.oid && later.transaction == record.transaction)
        }
        found => Ok(found == Some(at)),
    }
}

/// Entries from all over an index.
#[derive(Default)]
struct Sample {
    /// Those that lead to records of their objects.
    agreeing: Vec<(Oid, Offset)>,
    wrong: usize,
    first_wrong: Option<(Oid, Offset)>,
}

impl Sample {
    /// Of an index that is out of the question anyhow.
    fn disagreeing() -> Self {
        Self {
            wrong: 1,
            ..Self::default()
        }
    }

    fn agree(&self) -> usize {
        self.agreeing.len()
    }

    fn take(log: &Log, index: &Index, end: Offset) -> Result<Self, StorageError> {
        let last = index.last_oid().unwrap_or(Oid::ROOT).number();
        let evenly = (0..SAMPLES).map(|at| last / SAMPLES * at + last % SAMPLES * at / SAMPLES);
        // Ids far from the others must not keep the sample from those.
        let halving = (0..u64::BITS).map(|shift| last >> shift);
        let entries = evenly.chain(halving);
        let entries: BTreeSet<(Oid, Offset)> = entries
            .filter_map(|oid| index.first_from(Oid::new(oid)))
            .collect();
        let mut sample = Self::default();
        for (oid, at) in entries {
            if is_record_of(log, oid, at, end)? {
                sample.agreeing.push((oid, at));
            } else {
                sample.wrong += 1;
                sample.first_wrong.get_or_insert((oid, at));
            }
        }
        Ok(sample)
    }
}

/// The original trusts no index of a smaller file.
const INDEXED_BYTES_MIN: Offset = Offset::new(100);
const SANITY_RECORDS_MAX: usize = 5;
const SAMPLES: u64 = 64;
