//! Looking at a Data.fs as it lies on the disk, sound or damaged: no lock, no writing, no opening.
//!
//! [`Survey::walk`] goes from transaction to transaction. Where one is broken it says so, looks for
//! the next sound one and goes on there, so that one bad sector does not hide the rest of the file.

use std::path::Path;
use std::sync::Arc;

use storage::{Oid, Record, StorageError, Tid, TransactionMeta};
use vfs::{Disk, OpenMode};

use crate::checkpoint;
use crate::evidence::{self, Longer};
use crate::format::{DataHeader, LOG_START, MAGICS, Offset, Status};
use crate::index::Index;
use crate::index_file;
use crate::log::Log;
use crate::open::with_suffix;
use crate::saved_index;
use crate::scan::UncheckedTail;
use crate::transactions;

mod pieces;
mod raw;
mod walk;

pub use raw::{RawRecord, RawTransaction};
pub use walk::{Step, Walk};

/// A Data.fs to look at, while another process may go on writing it.
pub struct Survey {
    log: Log,
    disk: Arc<dyn Disk>,
    magic: String,
    size: Offset,
}

/// Something broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the broken structure begins.
    pub offset: u64,
    /// The transaction it belongs to, where that is known.
    pub tid: Option<Tid>,
    /// The object it belongs to, where that is known.
    pub oid: Option<Oid>,
    /// What was expected and found.
    pub what: String,
    /// Where reading goes on, when bytes before that are skipped.
    pub resumed: Option<u64>,
}

/// Bytes behind the last finished transaction. A writer cuts them off when it opens the file, or is
/// just writing them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedTail {
    /// Where they begin.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// What they look like.
    pub why: String,
}

/// A transaction as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedTransaction {
    /// Where it begins.
    pub offset: u64,
    /// Where it began once, by what its records say: elsewhere only behind a gap.
    pub origin: u64,
    /// All its bytes, from header to closing length.
    pub bytes: u64,
    /// Its id.
    pub tid: Tid,
    /// What became of it.
    pub status: Status,
    /// What it says of itself.
    pub meta: TransactionMeta,
}

/// A record as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedRecord {
    /// Where it begins.
    pub offset: u64,
    /// All its bytes.
    pub bytes: u64,
    /// The object.
    pub oid: Oid,
    /// The transaction that the record names.
    pub tid: Tid,
    /// Where it says that the previous record of the object is.
    pub previous: Option<u64>,
    /// The length of its own data; 0 where there is a back pointer.
    pub data_bytes: u64,
    /// Behind its transaction's records.
    end: Offset,
}

/// What a record stands for, once back pointers are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyedData {
    /// Nothing where the object does not exist from this record on.
    pub record: Option<Record>,
    /// The transaction of the record that the back pointer names, if there is one.
    pub back: Option<Tid>,
}

/// Where the current record of each object is.
#[derive(Debug, Default)]
pub struct Positions {
    index: Index,
    end: u64,
    last_tid: Option<Tid>,
}

impl Survey {
    /// Opens the file for reading and notes how long it is now. Reading stops there.
    ///
    /// # Errors
    /// [`StorageError::Io`] where it cannot be read, [`StorageError::Corrupt`] where it does not
    /// begin as a Data.fs does.
    pub fn open(path: impl AsRef<Path>, disk: Arc<dyn Disk>) -> Result<Self, StorageError> {
        let path = path.as_ref();
        let file = disk
            .open(path, OpenMode::Read)
            .map_err(|error| StorageError::io(path, "open", error))?;
        let log = Log::new(file, path.to_owned());
        let mut magic = [0; 4];
        let filled = log
            .file
            .read_most_at(&mut magic, 0)
            .map_err(|error| log.io("read", error))?;
        let magic = &magic[..filled];
        if !MAGICS.iter().any(|known| magic == *known) {
            let found = magic.escape_ascii();
            let what = if magic.is_empty() {
                "not a Data.fs: it is empty".to_owned()
            } else {
                format!("not a Data.fs: it begins with \"{found}\" instead of \"FS30\" or \"FS21\"")
            };
            return Err(log.corrupt(Offset::NONE, what));
        }
        let magic = magic.escape_ascii().to_string();
        let size = log.size()?;
        Ok(Self {
            log,
            disk,
            magic,
            size,
        })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        self.log.path()
    }

    /// The four letters it begins with.
    pub fn magic(&self) -> &str {
        &self.magic
    }

    /// How long the file was when it was opened.
    pub fn size(&self) -> u64 {
        self.size.number()
    }

    /// Fills the buffer from that offset. All calls read the file that was opened, also when another
    /// one gets its name.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where the file ends earlier, [`StorageError::Io`] where it cannot be
    /// read.
    pub fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.log.read_exact(Offset::new(offset), buffer)
    }

    /// All transactions, oldest first.
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(&self.log, LOG_START, self.size)
    }

    /// The transactions from that offset on, which is the beginning of one.
    pub fn walk_from(&self, offset: u64) -> Walk<'_> {
        Walk::new(&self.log, Offset::new(offset), self.size)
    }

    /// The transactions from that offset on, which is the beginning of one, up to the end of one.
    pub fn walk_between(&self, start: u64, end: u64) -> Walk<'_> {
        Walk::new(&self.log, Offset::new(start), Offset::new(end))
    }

    /// Where the first transaction begins that is not before that one, looked for from both ends of
    /// what the positions were taken from.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where the file is damaged on the way there.
    pub fn first_from(&self, positions: &Positions, tid: Tid) -> Result<u64, StorageError> {
        Ok(transactions::find(&self.log, tid, Offset::new(positions.end))?.number())
    }

    /// The transaction of the object's record at that place.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where there is no record of the object.
    pub fn tid_at(&self, oid: Oid, offset: u64) -> Result<Tid, StorageError> {
        let page = self
            .log
            .page(Offset::new(offset), oid, Offset::new(u64::MAX))?;
        Ok(page.header.tid)
    }

    /// The transactions that the positions were taken from.
    pub fn walk_within(&self, positions: &Positions) -> Walk<'_> {
        Walk::new(&self.log, LOG_START, Offset::new(positions.end))
    }

    /// Where the newest `count` finished transactions begin, looked for from the end of the file;
    /// `None` where its end is not sound, so that only a walk from the front can tell.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn newest(&self, count: usize) -> Result<Option<u64>, StorageError> {
        let mut start = self.size;
        let mut found = 0;
        while found < count && start > LOG_START {
            let header = match self.log.transaction_before(start) {
                Ok((before, header)) => {
                    start = before;
                    header
                }
                Err(StorageError::Corrupt { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            if header.status.is_finished() {
                found += 1;
            } else if found > 0 || header.status != Status::UNFINISHED {
                return Ok(None);
            }
            if found == 1 && !self.first_record_agrees(start, header.tid)? {
                return Ok(None);
            }
        }
        Ok(Some(start.number()))
    }

    /// What looks like a transaction at the end of the file may be part of a record that is being
    /// written.
    fn first_record_agrees(&self, start: Offset, tid: Tid) -> Result<bool, StorageError> {
        let header = self.log.transaction_header(start, self.size)?;
        if header.length < header.records_start() + DataHeader::LEN as u64 {
            return Ok(header.length == header.records_start());
        }
        let first = self.log.read_array(start + header.records_start())?;
        let first = DataHeader::decode(&first);
        Ok(first.transaction == start && first.tid == tid)
    }

    /// The current records, from the `.index` beside the file where it agrees, and from the file.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where the file is damaged before its end.
    pub fn positions(&self) -> Result<Positions, StorageError> {
        let saved = saved_index::newest(&self.log, &*self.disk, OpenMode::Read)?;
        let tail = saved.map_or_else(UncheckedTail::everything, |saved| saved.tail);
        let checked = tail.check(&self.log)?;
        let end = checked.end.number();
        Ok(Positions {
            index: checked.index,
            end,
            last_tid: Some(checked.last_tid).filter(|tid| *tid != Tid::ZERO),
        })
    }

    /// What the `.index` beside the file says; `None` where there is none that makes sense.
    pub fn saved_index(&self) -> Option<Positions> {
        let (index, end) = index_file::load(&*self.disk, self.log.path())?;
        let end = end.number();
        Some(Positions {
            index,
            end,
            last_tid: None,
        })
    }

    /// What the checkpoint (`.zidx`) beside the file says; `None` where there is none that makes sense.
    pub fn saved_checkpoint(&self) -> Option<Positions> {
        let found = checkpoint::find(&*self.disk, self.log.path(), OpenMode::Read)?;
        let loaded = found.load(&self.log)?;
        Some(Positions {
            index: loaded.index,
            end: loaded.end.number(),
            last_tid: Some(loaded.last_tid),
        })
    }

    /// Whether an index beside the file proves that it was longer, where its last finished transaction
    /// ends at `end`, as a walk found. A file that another process goes on writing is looked at anew.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn longer(&self, end: u64) -> Result<Option<Longer>, StorageError> {
        if evidence::longer(&self.log, &*self.disk, Offset::new(end))?.is_none() {
            return Ok(None);
        }
        let now = Self::open(self.path(), Arc::clone(&self.disk))?;
        let mut walk = now.walk_from(end.min(now.size()));
        let mut end = walk.next_offset();
        while let Some(Step::Transaction(_) | Step::Damage(_)) = walk.next_step()? {
            end = walk.next_offset();
        }
        evidence::longer(&now.log, &*self.disk, Offset::new(end))
    }

    /// Whether what a saved index says is of the file that the last pack left beside this one.
    pub fn is_from_before_a_pack(&self, saved: &Positions) -> bool {
        let end = Offset::new(saved.end);
        evidence::is_from_before_a_pack(&self.log, &*self.disk, &saved.index, end)
    }

    /// Whether there is a checkpoint (`.zidx`) beside the file, readable or not.
    pub fn has_checkpoint(&self) -> bool {
        let path = checkpoint::path_of(self.log.path());
        self.disk.exists(&path).unwrap_or(false)
    }

    /// The other files that belong to it and can be opened: the letters behind its name, and how many
    /// bytes they have.
    pub fn sidecars(&self) -> Vec<(String, u64)> {
        let length = |suffix: &&str| {
            let path = with_suffix(self.log.path(), suffix);
            let file = self.disk.open(&path, OpenMode::Read).ok()?;
            Some(((*suffix).to_owned(), file.len().ok()?))
        };
        SIDECARS.iter().filter_map(length).collect()
    }

    /// Whether there is an `.index` beside the file, readable or not.
    pub fn has_index(&self) -> bool {
        let path = with_suffix(self.log.path(), ".index");
        self.disk.exists(&path).unwrap_or(false)
    }

    /// The data that a record stands for, as they are in the file: compressed or not.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where its header or a back pointer is broken.
    pub fn data(&self, record: &SurveyedRecord) -> Result<SurveyedData, StorageError> {
        self.data_of(Offset::new(record.offset), record.oid, record.end)
    }

    /// The data of the object at a position from [`Positions`].
    ///
    /// # Errors
    /// As for [`Survey::data`].
    pub fn data_at(&self, oid: Oid, offset: u64) -> Result<SurveyedData, StorageError> {
        self.data_of(Offset::new(offset), oid, Offset::new(u64::MAX))
    }

    fn data_of(&self, at: Offset, oid: Oid, end: Offset) -> Result<SurveyedData, StorageError> {
        let page = self.log.page(at, oid, end)?;
        let data = self.log.stored_data(&page)?;
        Ok(SurveyedData {
            record: data.record,
            back: data.tid,
        })
    }
}

impl Positions {
    /// Where the current record of the object begins.
    pub fn get(&self, oid: Oid) -> Option<u64> {
        Some(self.index.get(oid)?.number())
    }

    /// Enters a record that was met behind all others.
    pub fn enter(&mut self, record: &SurveyedRecord) {
        self.index.insert(record.oid, Offset::new(record.offset));
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Enters a record that begins there.
    ///
    /// # Panics
    /// The offset is 0, where no record is.
    pub fn set(&mut self, oid: Oid, offset: u64) {
        self.index.insert(oid, Offset::new(offset));
    }

    /// Says up to where in the file they hold.
    pub fn set_end(&mut self, end: u64) {
        self.end = end;
    }

    /// How many objects there are, those whose creation was undone included.
    pub fn len(&self) -> u64 {
        self.index.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says which transaction is the last one up to there.
    pub fn set_last_tid(&mut self, tid: Tid) {
        self.last_tid = Some(tid);
    }

    /// Up to where in the file they hold.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The last transaction up to there; not known where the positions come from an index alone.
    pub fn last_tid(&self) -> Option<Tid> {
        self.last_tid
    }

    /// Writes them to a file of that name, in the form of an `.index`. Its bytes are durable then, its
    /// name is not.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
        index_file::write(disk, path, &self.index, Offset::new(self.end))
    }

    /// Whether both name the same record for every object.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.index.len() == other.index.len() && self.index.iter().eq(other.index.iter())
    }

    /// All objects in the order of their ids, with the places of their current records.
    pub fn iter(&self) -> impl Iterator<Item = (Oid, u64)> {
        self.index
            .iter()
            .map(|(oid, offset)| (oid, offset.number()))
    }
}

/// The index and its checkpoint, what a pack leaves or is writing, the lock, the original's spool.
const SIDECARS: [&str; 6] = [".index", ".zidx", ".old", ".pack", ".lock", ".tmp"];
