//! Reading a damaged file, and judging what looks like a transaction by its lengths.

use filestorage::{RawRecord, RawTransaction, Survey};
use storage::{Oid, StorageError, Tid, TransactionMeta};

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
    /// Fields that all else contradicts: where, of which object, and what is put right.
    pub(super) mended: Vec<(u64, Option<Oid>, String)>,
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

    /// The data of the record there, so many bytes; none where that is more than may be.
    pub(super) fn data(
        &mut self,
        record: u64,
        count: usize,
    ) -> Result<Option<&[u8]>, StorageError> {
        match count <= DATA_BYTES_MAX {
            true => self.bytes(record.saturating_add(RawRecord::BYTES), count),
            false => Ok(None),
        }
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

    /// How far the transaction lies from where it was once, by the places that its records name: `gap`
    /// is what the walk says, `before` that of the one before it. A single record is believed where others
    /// say the same.
    pub(super) fn gap(
        &mut self,
        start: u64,
        after: u64,
        gap: u64,
        before: u64,
    ) -> Result<u64, StorageError> {
        let Some((said, records)) = self.said_gap(start, after)? else {
            return Ok(gap);
        };
        if said == gap || said == before || records > 1 {
            return Ok(said);
        }
        let size = self.survey.size();
        let Some(next) = self.transaction(after)? else {
            return Ok(gap);
        };
        let end = after.checked_add(next.length);
        let end = end.and_then(|end| end.checked_add(CLOSING_BYTES));
        let Some(end) = end.filter(|end| *end <= size) else {
            return Ok(gap);
        };
        let behind = self.said_gap(after, end)?;
        Ok(match behind {
            Some((behind, _)) if behind == said => said,
            _ => gap,
        })
    }

    /// Whether the bytes are the same at both places.
    pub(super) fn is_same(&self, one: u64, other: u64, bytes: u64) -> Result<bool, StorageError> {
        let mut done = 0;
        let mut pieces = [Vec::new(), Vec::new()];
        while done < bytes {
            let count = usize::try_from(bytes - done).unwrap_or(usize::MAX);
            let count = count.min(COMPARED_BYTES);
            for (piece, start) in pieces.iter_mut().zip([one, other]) {
                piece.resize(count, 0);
                self.survey.read_exact(start + done, piece)?;
            }
            if pieces[0] != pieces[1] {
                return Ok(false);
            }
            done += count as u64;
        }
        Ok(true)
    }

    /// What all records of a transaction say of that, and how many they are.
    fn said_gap(&mut self, start: u64, after: u64) -> Result<Option<(u64, u64)>, StorageError> {
        let Some(candidate) = self.candidate(start, start, after)? else {
            return Ok(None);
        };
        let (mut at, mut said, mut records) = (candidate.records, None, 0);
        while at < candidate.end {
            let record = self.record(at)?;
            let Some(record) = record.filter(|record| {
                record.bytes() <= candidate.end - at && record.tid == candidate.header.tid
            }) else {
                return Ok(None);
            };
            if *said.get_or_insert(record.transaction) != record.transaction {
                return Ok(None);
            }
            records += 1;
            at += record.bytes();
        }
        let said = said.filter(|said| *said < PLACE_MAX);
        // It may lie behind where it was as well as before that.
        Ok(said.map(|said| (said.wrapping_sub(start), records)))
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

    /// Ends the reading where a record has another one of its transaction in its data: its length is
    /// wrong, and hides that.
    pub(super) fn look_inside(
        &mut self,
        candidate: &Candidate,
        reading: &mut Reading,
    ) -> Result<(), StorageError> {
        let mut at = candidate.records;
        let mut records = 0;
        while at < reading.end {
            let Some(record) = self.record(at)? else {
                break;
            };
            let (tid, origin) = (candidate.header.tid, candidate.origin);
            let data = (at + RawRecord::BYTES, record.data_bytes);
            if let Some(found) = self.hidden(data, tid, origin)? {
                let length = record.data_bytes;
                reading.broken = Some(format!(
                    "the record at {at} says {length} bytes, but another one begins at {found}"
                ));
                reading.end = at;
                reading.records = records;
                reading.mended.retain(|(mended, ..)| *mended < at);
                break;
            }
            records += 1;
            at += record.bytes();
        }
        Ok(())
    }

    /// Where a record's header of the transaction is in those bytes.
    fn hidden(
        &mut self,
        (start, bytes): (u64, u64),
        tid: Tid,
        origin: u64,
    ) -> Result<Option<u64>, StorageError> {
        let (tid, origin) = (tid.number().to_be_bytes(), origin.to_be_bytes());
        let end = start + bytes;
        let mut at = start;
        while at + RawRecord::BYTES <= end {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX);
            let Some(piece) = self.bytes(at, count.min(WINDOW_BYTES))? else {
                break;
            };
            // Its id, then the id and the place of its transaction, with a pointer between.
            let mut windows = piece.windows(RawRecord::LEN);
            let found = windows.position(|window| window[8..16] == tid && window[24..32] == origin);
            if let Some(found) = found {
                return Ok(Some(at + found as u64));
            }
            at += (piece.len() + 1 - RawRecord::LEN) as u64;
        }
        Ok(None)
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
            mended: Vec::new(),
        };
        let mut strangers = Vec::new();
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
            let mut mend = |what| reading.mended.push((at, Some(record.oid), what));
            if !is_placed {
                let found = record.transaction;
                mend(format!(
                    "its transaction begins at {origin}, not at {found}"
                ));
            }
            if record.version_bytes != 0 {
                let found = record.version_bytes;
                mend(format!("it has no version's name of {found} bytes"));
            }
            if !names {
                strangers.push((at, record.oid, record.tid));
            }
            other = match other {
                None => Some((record.tid, true)),
                Some((tid, all)) => Some((tid, all && tid == record.tid)),
            };
            reading.records += 1;
            at += record.bytes();
            reading.end = at;
        }
        let outvoting = other
            .filter(|(_, all)| *all && !confirmed)
            .map(|(tid, _)| tid);
        self.settle_id(candidate, last, outvoting, strangers, &mut reading)?;
        Ok(reading)
    }

    /// Which id is the transaction's. `other` is what all its records say, against the header.
    fn settle_id(
        &mut self,
        candidate: &Candidate,
        last: Tid,
        other: Option<Tid>,
        strangers: Vec<(u64, Oid, Tid)>,
        reading: &mut Reading,
    ) -> Result<(), StorageError> {
        if let Some(tid) = other {
            // Records outvote the header; with one of each, time goes on from transaction to
            // transaction.
            let next = self
                .transaction(candidate.end + CLOSING_BYTES)?
                .map(|next| next.tid);
            let fits = |tid: Tid| tid > last && next.is_none_or(|next| tid < next);
            let header = reading.tid;
            let outvoted = reading.records > 1 || (fits(tid) && !fits(header));
            if outvoted {
                reading.tid = tid;
            }
            let what = if outvoted {
                format!("the transaction's id is {tid}, as in its records, not {header}")
            } else if fits(tid) && fits(header) {
                format!(
                    "the transaction's id is {header} in its header and {tid} in its only record, and \
                     nothing says which is right; the first is taken"
                )
            } else {
                format!("the transaction's id is {header}, not {tid} as in its record")
            };
            reading.mended.push((candidate.start, None, what));
        } else {
            for (at, oid, tid) in strangers {
                let what = format!("its transaction is {}, not {tid}", reading.tid);
                reading.mended.push((at, Some(oid), what));
            }
        }
        Ok(())
    }
}

/// The length of the closing length.
pub(super) const CLOSING_BYTES: u64 = 8;
const WINDOW_BYTES: usize = 1 << 20;
const COMPARED_BYTES: usize = 64 << 10;
/// A broken length must not ask for all memory.
const DATA_BYTES_MAX: usize = 1 << 30;
/// No file is so long.
const PLACE_MAX: u64 = 1 << 60;
