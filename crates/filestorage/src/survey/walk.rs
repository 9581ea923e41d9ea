//! From transaction to transaction, over what is broken.

use storage::{StorageError, Tid, TransactionMeta};

use super::{Damage, SurveyedRecord, SurveyedTransaction, UnfinishedTail};
use crate::displaced::{Behind, Found, Hits, Start};
use crate::format::{DataHeader, LENGTH_LEN, Offset, RECORD_BYTES_MAX, Status, TransactionHeader};
use crate::log::Log;
use crate::scan::{READ_AHEAD_BYTES, Window};

/// A place in the file that moves on. One transaction's texts are in memory at a time.
pub struct Walk<'a> {
    window: Window<'a>,
    at: Offset,
    last_tid: Tid,
    /// What places have to be increased by to be those that records name, modulo 2^64: behind missing
    /// bytes, and behind such as were put in, transactions name their own places as they were.
    shift: u64,
    /// What comes next names no place before this one.
    floor: u64,
    across_gaps: bool,
    /// How many bytes may still be looked through for a transaction at its place, where there is a
    /// displaced one.
    ahead: u64,
    /// Damage that was met beside a transaction that can be read all the same.
    pending: Option<Damage>,
    records: Span,
}

/// What the walk meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A transaction; its records come from [`Walk::next_record`].
    Transaction(SurveyedTransaction),
    /// Something broken between, or in the header of, transactions.
    Damage(Damage),
    /// The end of the file, where it is not finished.
    Unfinished(UnfinishedTail),
}

/// The records of a transaction that are still to be read.
#[derive(Clone, Copy, Default)]
struct Span {
    transaction: Offset,
    tid: Option<Tid>,
    at: Offset,
    end: Offset,
}

/// What the bytes at a place are.
enum Judgement {
    Sound(TransactionHeader),
    Broken {
        tid: Option<Tid>,
        what: String,
        /// Where the next transaction may begin.
        next: Option<Offset>,
        /// Whether nothing but an unfinished end of the file looks like this.
        may_be_tail: bool,
    },
}

impl<'a> Walk<'a> {
    pub(super) fn new(log: &'a Log, start: Offset, end: Offset) -> Self {
        Self {
            window: Window::new(log, end),
            at: start,
            last_tid: Tid::ZERO,
            shift: 0,
            floor: start.number(),
            across_gaps: false,
            ahead: AHEAD_BYTES_SUM_MAX,
            pending: None,
            records: Span::default(),
        }
    }

    /// Goes on also behind a place where bytes are missing, or were put in, so that nothing is where it
    /// was.
    #[must_use]
    pub fn across_gaps(mut self) -> Self {
        self.across_gaps = true;
        self
    }

    /// How far the walk has come.
    pub fn offset(&self) -> u64 {
        self.at.number().max(self.records.at.number())
    }

    /// Where the walk goes on: behind the transaction that came last.
    pub fn next_offset(&self) -> u64 {
        self.at.number()
    }

    /// Where that began once.
    pub fn next_origin(&self) -> u64 {
        self.at.number().wrapping_add(self.shift)
    }

    /// The next transaction, or what is there instead.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_step(&mut self) -> Result<Option<Step>, StorageError> {
        self.records = Span::default();
        if let Some(damage) = self.pending.take() {
            return Ok(Some(Step::Damage(damage)));
        }
        if self.at >= self.window.size {
            return Ok(None);
        }
        match self.judge(self.at)? {
            Judgement::Sound(header) => self.take(&header).map(Some),
            Judgement::Broken {
                tid,
                what,
                next,
                may_be_tail,
            } => self.skip(tid, what, next, may_be_tail).map(Some),
        }
    }

    /// The next record of the transaction that came last. After an error there is no further one:
    /// where it would begin is unknown.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where a record breaks the format.
    pub fn next_record(&mut self) -> Result<Option<SurveyedRecord>, StorageError> {
        let Span {
            transaction,
            tid,
            at,
            end,
        } = self.records;
        if at >= end {
            return Ok(None);
        }
        self.records.at = end;
        let log = self.window.log;
        let bytes = self.window.read(at)?;
        let header = bytes
            .as_ref()
            .map(DataHeader::decode)
            .ok_or_else(|| log.corrupt(at, "the file ends inside a record"))?;
        let what = if header.record_length() > end - at {
            format!(
                "a record of {} bytes leads out of its transaction, which ends at {}",
                header.data_length,
                end.number()
            )
        } else if header.transaction.number() != transaction.number().wrapping_add(self.shift) {
            format!(
                "a record of the transaction at {} was expected, it names the one at {}",
                transaction.number(),
                header.transaction.number()
            )
        } else if Some(header.tid) != tid {
            format!(
                "the record names the transaction {}, its transaction is {}",
                header.tid,
                tid.unwrap_or(Tid::ZERO)
            )
        } else if header.version_length != 0 {
            format!("versions ({}) are not supported", header.version_length)
        } else {
            self.records.at = at + header.record_length();
            return Ok(Some(SurveyedRecord {
                offset: at.number(),
                bytes: header.record_length(),
                oid: header.oid,
                tid: header.tid,
                previous: header.previous.some().map(Offset::number),
                data_bytes: header.data_length,
                end,
            }));
        };
        Err(log.corrupt(at, what))
    }

    /// The data that lies in the record itself, the one that came last; nothing where it has a back
    /// pointer instead. Reading them in the order of the file is much quicker than
    /// [`Survey::data`](super::Survey::data), which looks for each where it is.
    ///
    /// # Errors
    /// The file cannot be read, the record is longer than any may be, or its header is broken.
    pub fn own_data(&mut self, record: &SurveyedRecord) -> Result<Option<&[u8]>, StorageError> {
        if let Some(previous) = record.previous
            && previous >= record.offset
        {
            let what = format!("the previous record is said to be at {previous}");
            return Err(self.window.log.corrupt(Offset::new(record.offset), what));
        }
        if record.data_bytes == 0 {
            return Ok(None);
        }
        let length = usize::try_from(record.data_bytes).unwrap_or(usize::MAX);
        if record.data_bytes > RECORD_BYTES_MAX {
            return Err(StorageError::Limit {
                what: "the length of a record",
                found: record.data_bytes,
                max: RECORD_BYTES_MAX,
            });
        }
        self.window.read_ahead(READ_AHEAD_BYTES);
        let (log, at) = (self.window.log, Offset::new(record.offset));
        match self.window.slice(at + DataHeader::LEN as u64, length)? {
            Some(data) => Ok(Some(data)),
            None => Err(log.corrupt(at, "the file ends inside a record")),
        }
    }

    fn judge(&mut self, at: Offset) -> Result<Judgement, StorageError> {
        let size = self.window.size;
        let tail = |tid, what: &str| Judgement::Broken {
            tid,
            what: what.to_owned(),
            next: None,
            may_be_tail: true,
        };
        let Some(bytes) = self.window.read(at)? else {
            return Ok(tail(None, "the file ends inside a transaction header"));
        };
        let header = TransactionHeader::decode(&bytes);
        let tid = Some(header.tid);
        let after = header
            .length
            .checked_add(LENGTH_LEN)
            .and_then(|length| at.checked_add(length))
            .filter(|after| *after <= size);
        let Some(after) = after else {
            return Ok(tail(tid, "the transaction is longer than the file"));
        };
        if header.length < header.records_start() {
            return Ok(tail(tid, "the transaction has no sound header"));
        }
        if header.status == Status::NEVER_WRITTEN {
            return Ok(tail(tid, "the transaction's header never reached the disk"));
        }
        let next = Some(after);
        if header.status == Status::UNFINISHED {
            return Ok(Judgement::Broken {
                tid,
                what: "the transaction was never finished (status 'c')".to_owned(),
                next,
                may_be_tail: true,
            });
        }
        let closing = self.window.near(at + header.length)?;
        let closing = closing.map(u64::from_be_bytes);
        if closing != Some(header.length) {
            return Ok(Judgement::Broken {
                tid,
                what: format!(
                    "the transaction's header says {} bytes, its closing length {}",
                    header.length,
                    closing.unwrap_or_default()
                ),
                next,
                may_be_tail: false,
            });
        }
        Ok(Judgement::Sound(header))
    }

    fn take(&mut self, header: &TransactionHeader) -> Result<Step, StorageError> {
        let start = self.at;
        let offset = start.number();
        if header.tid <= self.last_tid {
            let what = format!(
                "the transaction {} is not later than {} before it",
                header.tid, self.last_tid
            );
            self.note(offset, header.tid, what);
        } else if !header.status.is_finished() {
            let what = format!("unknown transaction status {:?}", header.status);
            self.note(offset, header.tid, what);
        }
        let window = &self.window;
        let mut at = start + TransactionHeader::LEN as u64;
        let mut text = |length: u16| {
            let bytes = match window.peek_slice(at, usize::from(length)) {
                Some(bytes) => bytes.to_vec(),
                None => {
                    let mut bytes = vec![0; usize::from(length)];
                    window.log.read_exact(at, &mut bytes)?;
                    bytes
                }
            };
            at = at + u64::from(length);
            Ok::<_, StorageError>(bytes)
        };
        let meta = TransactionMeta {
            user: text(header.user_length)?,
            description: text(header.description_length)?,
            extension: text(header.extension_length)?,
        };
        let end = start + header.length;
        if header.status != Status::UNDONE {
            self.records = Span {
                transaction: start,
                tid: Some(header.tid),
                at: start + header.records_start(),
                end,
            };
        }
        self.at = end + LENGTH_LEN;
        // An id that the first record does not confirm may be damaged. Were it taken for the last one,
        // nothing that follows would be later.
        let first = self.first_record(start, header)?;
        let confirmed = first.map_or(header.tid, |first| first.tid.min(header.tid));
        self.last_tid = self.last_tid.max(confirmed);
        // A place that is too far behind may be damaged; one that is before was written there twice.
        let place = offset.wrapping_add(self.shift);
        let place = first.map_or(place, |first| first.transaction.number().min(place));
        self.floor = place.wrapping_add(header.length + LENGTH_LEN);
        Ok(Step::Transaction(SurveyedTransaction {
            offset,
            origin: offset.wrapping_add(self.shift),
            bytes: header.length + LENGTH_LEN,
            tid: header.tid,
            status: header.status,
            meta,
        }))
    }

    fn note(&mut self, offset: u64, tid: Tid, what: String) {
        self.pending = Some(Damage {
            offset,
            tid: Some(tid),
            oid: None,
            what,
            resumed: None,
        });
    }

    /// Goes over what is broken, to the next sound transaction or to the end.
    fn skip(
        &mut self,
        tid: Option<Tid>,
        mut what: String,
        next: Option<Offset>,
        may_be_tail: bool,
    ) -> Result<Step, StorageError> {
        let (start, size) = (self.at, self.window.size);
        let resumed = match next {
            _ if may_be_tail => match self.finished_behind(tid, next)? {
                Some(found) if found.shift == self.shift || self.across_gaps => {
                    self.shift = found.shift;
                    Some(found.at)
                }
                Some(found) => {
                    what = format!("{what}; but a finished transaction is at {found}");
                    Some(size)
                }
                None => None,
            },
            Some(next) if next == size => Some(size),
            Some(next) if self.is_sound(next)? => Some(next),
            _ => Some(self.search(start + 1)?.unwrap_or(size)),
        };
        self.at = resumed.unwrap_or(size);
        let Some(resumed) = resumed else {
            return Ok(Step::Unfinished(UnfinishedTail {
                offset: start.number(),
                bytes: size - start,
                why: what,
            }));
        };
        Ok(Step::Damage(Damage {
            offset: start.number(),
            tid,
            oid: None,
            what,
            resumed: Some(resumed.number()),
        }))
    }

    /// The first finished transaction behind the current place that was not written together with
    /// the one there. Of those that were, some may be finished; their ids follow without a gap.
    fn finished_behind(
        &mut self,
        mut tid: Option<Tid>,
        mut next: Option<Offset>,
    ) -> Result<Option<Found>, StorageError> {
        let size = self.window.size;
        let (mut behind, mut from) = (self.behind(), self.at + 1);
        while let Some(at) = next
            && at < size
            && self.is_sound(at)?
        {
            let header = TransactionHeader::decode(&self.window.log.read_array(at)?);
            if header.status.is_finished() && Some(header.tid) != tid.map(Tid::next) {
                let shift = self.shift;
                return Ok(Some(Found { at, shift, header }));
            }
            tid = Some(header.tid);
            from = at + header.length + LENGTH_LEN;
            behind.at = from;
            next = Some(from);
        }
        if next == Some(size) {
            return Ok(None);
        }
        let ahead = self.ahead();
        let hits = behind.search(&mut self.window, from, true, ahead)?;
        self.looked_ahead(hits);
        Ok(hits.any())
    }

    /// The first place from there on where a transaction begins beyond doubt.
    fn search(&mut self, from: Offset) -> Result<Option<Offset>, StorageError> {
        let ahead = self.ahead();
        let behind = self.behind();
        let hits = behind.search(&mut self.window, from, false, ahead)?;
        self.looked_ahead(hits);
        let displaced = hits.displaced.filter(|_| self.across_gaps);
        Ok(hits.sound.or(displaced).map(|found| {
            self.shift = found.shift;
            found.at
        }))
    }

    fn behind(&self) -> Behind {
        Behind {
            at: self.at,
            shift: self.shift,
            floor: self.floor,
            last_tid: self.last_tid,
        }
    }

    /// How far to look for a transaction at its place. Who does not go on at others looks to the end.
    fn ahead(&self) -> u64 {
        match self.across_gaps {
            true => self.ahead.min(AHEAD_BYTES_MAX),
            false => u64::MAX,
        }
    }

    fn looked_ahead(&mut self, hits: Hits) {
        if let Some(displaced) = hits.displaced {
            let until = hits
                .sound
                .map_or(AHEAD_BYTES_MAX, |sound| sound.at - displaced.at);
            self.ahead = self.ahead.saturating_sub(until);
        }
    }

    /// Whether a transaction begins there, where one was expected.
    fn is_sound(&mut self, at: Offset) -> Result<bool, StorageError> {
        let start = self.behind().start_at(&mut self.window, at)?;
        Ok(matches!(start, Start::Sound | Start::Empty))
    }

    /// The header of the first record of that transaction, if there is room for one.
    fn first_record(
        &self,
        start: Offset,
        header: &TransactionHeader,
    ) -> Result<Option<DataHeader>, StorageError> {
        if header.length < header.records_start() + DataHeader::LEN as u64 {
            return Ok(None);
        }
        let first = self.window.near(start + header.records_start())?;
        Ok(first.as_ref().map(DataHeader::decode))
    }
}

/// Behind a displaced transaction, so many bytes are looked through for one at its place: what is
/// displaced may be stored data of something broken.
const AHEAD_BYTES_MAX: u64 = 8 << 20;
/// In a file that is displaced in very many places, so many in all.
const AHEAD_BYTES_SUM_MAX: u64 = 4 << 30;
