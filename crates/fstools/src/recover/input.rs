//! Reading a damaged file, and judging what looks like a transaction by its lengths.

use filestorage::{RawRecord, RawTransaction, Survey};
use storage::{StorageError, Tid, TransactionMeta};

/// A piece of the file that moves on with the reader.
pub(super) struct Input<'a> {
    pub(super) survey: &'a Survey,
    bytes: Vec<u8>,
    start: u64,
}

/// What is between two places where transactions begin.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Where it begins.
    pub(super) start: u64,
    /// Where it began once.
    pub(super) origin: u64,
    /// Where its first record begins.
    pub(super) records: u64,
    /// Behind its last record.
    pub(super) end: u64,
    pub(super) header: RawTransaction,
    pub(super) meta: TransactionMeta,
}

/// The records of a candidate, judged together.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The transaction's id, as header and records say.
    pub(super) tid: Tid,
    /// How many records are readable, from the first one on.
    pub(super) records: u64,
    /// Behind these.
    pub(super) end: u64,
    /// Why there is no further one; nothing where they reach the end exactly.
    pub(super) broken: Option<String>,
    /// Whether every record names the transaction's place.
    pub(super) agrees: bool,
    /// Whether the transaction was found in a broken place only by its records.
    pub(super) is_suspect: bool,
}

impl<'a> Input<'a> {
    pub(super) fn new(survey: &'a Survey) -> Self {
        Self {
            survey,
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// So many bytes from there on; none where the file ends before.
    pub(super) fn bytes(&mut self, at: u64, count: usize) -> Result<Option<&[u8]>, StorageError> {
        let size = self.survey.size();
        if at.checked_add(count as u64).is_none_or(|end| end > size) {
            return Ok(None);
        }
        let held = at >= self.start && at + count as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let rest = usize::try_from(size - at).unwrap_or(usize::MAX);
            self.bytes.resize(rest.min(WINDOW_BYTES.max(count)), 0);
            self.start = at;
            if let Err(error) = self.survey.read_exact(at, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let skip = usize::try_from(at - self.start).unwrap_or(0);
        Ok(self.bytes.get(skip..skip + count))
    }

    fn array<const N: usize>(&mut self, at: u64) -> Result<Option<[u8; N]>, StorageError> {
        Ok(self.bytes(at, N)?.and_then(|bytes| bytes.try_into().ok()))
    }

    /// The number of eight bytes there.
    pub(super) fn number(&mut self, at: u64) -> Result<Option<u64>, StorageError> {
        Ok(self.array(at)?.map(u64::from_be_bytes))
    }

    pub(super) fn record(&mut self, at: u64) -> Result<Option<RawRecord>, StorageError> {
        Ok(self.array(at)?.as_ref().map(RawRecord::decode))
    }

    pub(super) fn transaction(&mut self, at: u64) -> Result<Option<RawTransaction>, StorageError> {
        Ok(self.array(at)?.as_ref().map(RawTransaction::decode))
    }

    /// What begins at `start` and ends with a closing length before `after`; none where its texts
    /// have no room.
    pub(super) fn candidate(
        &mut self,
        start: u64,
        origin: u64,
        after: u64,
    ) -> Result<Option<Candidate>, StorageError> {
        let Some(header) = self.transaction(start)? else {
            return Ok(None);
        };
        let records = start + header.records_start();
        let Some(end) = after
            .checked_sub(CLOSING_BYTES)
            .filter(|end| records <= *end)
        else {
            return Ok(None);
        };
        let mut at = start + RawTransaction::BYTES;
        let mut text = |length: u16| {
            let text = self.bytes(at, usize::from(length))?.map(<[u8]>::to_vec);
            at += u64::from(length);
            Ok::<_, StorageError>(text.unwrap_or_default())
        };
        let [user, description, extension] = header.texts;
        let meta = TransactionMeta {
            user: text(user)?,
            description: text(description)?,
            extension: text(extension)?,
        };
        Ok(Some(Candidate {
            start,
            origin,
            records,
            end,
            header,
            meta,
        }))
    }

    /// Goes through the records by their lengths. A record counts when it names its transaction's
    /// place or its id: what else is wrong in its header is known from elsewhere.
    /// `last` is the id of the transaction before it.
    pub(super) fn read(
        &mut self,
        candidate: &Candidate,
        last: Tid,
    ) -> Result<Reading, StorageError> {
        let Candidate { origin, end, .. } = *candidate;
        let mut reading = Reading {
            tid: candidate.header.tid,
            records: 0,
            end: candidate.records,
            broken: None,
            agrees: true,
            is_suspect: false,
        };
        let (mut confirmed, mut other) = (false, None);
        let mut at = candidate.records;
        while at < end {
            let record = self.record(at)?.filter(|record| record.bytes() <= end - at);
            let Some(record) = record else {
                reading.broken = Some(format!("the record at {at} leads out of its transaction"));
                break;
            };
            let is_placed = record.transaction == origin;
            let names = record.tid == candidate.header.tid;
            if !(is_placed || names) || (record.version_bytes != 0 && !(is_placed && names)) {
                reading.broken = Some(format!("there is no record of the transaction at {at}"));
                break;
            }
            reading.agrees &= is_placed;
            confirmed |= names;
            other = match other {
                None => Some((record.tid, true)),
                Some((tid, all)) => Some((tid, all && tid == record.tid)),
            };
            reading.records += 1;
            at += record.bytes();
            reading.end = at;
        }
        if let (false, Some((tid, true))) = (confirmed, other) {
            // Records outvote the header; with one of each, time goes on from transaction to
            // transaction.
            let next = self.transaction(end + CLOSING_BYTES)?.map(|next| next.tid);
            let fits = |tid: Tid| tid > last && next.is_none_or(|next| tid < next);
            if reading.records > 1 || (fits(tid) && !fits(reading.tid)) {
                reading.tid = tid;
            }
        }
        Ok(reading)
    }
}

/// The length of the closing length.
pub(super) const CLOSING_BYTES: u64 = 8;
const WINDOW_BYTES: usize = 1 << 20;
