//! Looking for transactions behind a place where none is, also for those that do not lie where their
//! records say.
//!
//! Every record names the place of its transaction. Bytes that were put into a file, or taken out of
//! it, displace all that follows; so what follows still tells where it once was.
//!
//! # What counts
//!
//! Stored data may look like transactions: a Data.fs that somebody keeps as a file in a Data.fs does,
//! also in the unfinished end of a log. So what begins somewhere behind the place `P`, where a sound log
//! ends, counts as a transaction *of this log* only where
//!
//! 1. it has both its lengths and a known status, and is later than all before `P`; and
//! 2. its first record names its id and the place where it lies. No stored copy does. Or else it is
//!    displaced, and
//! 3. all its records name its id and one common place, up to its very end, or the next one is displaced
//!    as far; and
//! 4. that place is not before the one that `P` stands for: what belongs there is there, and sound;
//! 5. it is nobody's data. It does not lie in a transaction at `P` that says it is unfinished, and has a
//!    first record or a closing length that bear it out; not
//!    behind the header of a record that lies where it says and reaches further, to the next record of
//!    its transaction or to the end of that, unless bytes are missing; and at the place that it counts from (the places in a
//!    stored file begin there, at 4) no Data.fs begins that a record behind `P` could hold.
//!
//! A displaced transaction that is finished proves that `P` is not the unfinished end of a log, because
//! nothing is written behind that. Cutting the log there would cost finished transactions.
//!
//! What remains is stored data of a transaction that lost the sectors with its header, and with the
//! headers of the records that hold these data and of the stored file itself, all later than the log
//! and from further behind in the stored file than the log is long. Such a log is refused, not cut.

use std::fmt;

use storage::{StorageError, Tid};

use crate::format::{DataHeader, LENGTH_LEN, MAGICS, Offset, Status, TransactionHeader};
use crate::scan::Window;

/// What is known of the log before a place where no transaction is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    /// The place. Everything before it has been read.
    pub(crate) at: Offset,
    /// What places before it have to be increased by to be those that records name; modulo 2^64, since
    /// these may be smaller.
    pub(crate) shift: u64,
    /// What comes behind names no place before this one.
    pub(crate) floor: u64,
    /// The last transaction before it.
    pub(crate) last_tid: Tid,
}

/// What the bytes at a place may be the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A transaction that lies where its first record says.
    Sound,
    /// A transaction without records, which nothing confirms.
    Empty,
    /// A transaction whose places have to be increased by another number.
    Displaced(u64),
    None,
}

/// A transaction that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) at: Offset,
    pub(crate) shift: u64,
    pub(crate) header: TransactionHeader,
}

/// The first transactions behind a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    /// One that lies where it should.
    pub(crate) sound: Option<Found>,
    /// One before that which does not.
    pub(crate) displaced: Option<Found>,
}

impl Hits {
    pub(crate) fn any(self) -> Option<Found> {
        self.sound.or(self.displaced)
    }
}

impl Found {
    pub(crate) fn in_place(at: Offset, header: TransactionHeader) -> Self {
        let shift = 0;
        Self { at, shift, header }
    }
}

/// Where it is, for people.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.number();
        let named = at.wrapping_add(self.shift);
        let bytes = at.abs_diff(named);
        let bytes = match bytes {
            0 => return write!(f, "{at}"),
            1 => "1 byte".to_owned(),
            _ => format!("{bytes} bytes"),
        };
        let side = if at > named { "behind" } else { "before" };
        write!(f, "{at}, {bytes} {side} its place")
    }
}

impl Behind {
    /// What begins there.
    pub(crate) fn start_at(
        &self,
        window: &mut Window<'_>,
        at: Offset,
    ) -> Result<Start, StorageError> {
        Ok(self.judge(window, at)?.0)
    }

    fn judge(
        &self,
        window: &mut Window<'_>,
        at: Offset,
    ) -> Result<(Start, Option<TransactionHeader>), StorageError> {
        let Some((header, first)) = self.with_lengths(window, at)? else {
            return Ok((Start::None, None));
        };
        let start = match first {
            None if header.length == header.records_start() => Start::Empty,
            Some(first) if first.tid == header.tid => {
                let named = first.transaction.number();
                if named == self.place_of(at) {
                    Start::Sound
                } else if self.is_displaced(window, at, &header, named)? {
                    Start::Displaced(named.wrapping_sub(at.number()))
                } else {
                    Start::None
                }
            }
            _ => Start::None,
        };
        Ok((start, Some(header)))
    }

    /// The first transactions from there on, to the end of the file; only finished ones if that is
    /// asked for. Once there is a displaced one, `ahead` bytes are looked through for one that is not.
    pub(crate) fn search(
        &self,
        window: &mut Window<'_>,
        from: Offset,
        only_finished: bool,
        ahead: u64,
    ) -> Result<Hits, StorageError> {
        let hidden = self.unfinished_until(window)?;
        let mut hits = Hits::default();
        let mut held = self.at;
        let mut end = window.size;
        let mut at = from;
        while at < end {
            let (start, header) = self.judge(window, at)?;
            let header = header.filter(|header| header.status.is_finished() || !only_finished);
            match (start, header) {
                (Start::Sound, Some(header)) => {
                    let shift = self.shift;
                    hits.sound = Some(Found { at, shift, header });
                    return Ok(hits);
                }
                (Start::Displaced(shift), Some(header))
                    if hits.displaced.is_none()
                        && at >= hidden
                        && (at >= held || self.is_shorter(shift)) =>
                {
                    hits.displaced = Some(Found { at, shift, header });
                    end = at.checked_add(ahead).map_or(end, |ahead| end.min(ahead));
                }
                _ if hits.displaced.is_none() => {
                    held = held.max(self.held_until(window, at)?);
                }
                _ => {}
            }
            at = at + 1;
        }
        Ok(hits)
    }

    /// The place that records name for something that lies there.
    fn place_of(&self, at: Offset) -> u64 {
        at.number().wrapping_add(self.shift)
    }

    /// Whether bytes are missing between what has to be increased by `shift` and what is before.
    fn is_shorter(&self, shift: u64) -> bool {
        shift.wrapping_sub(self.shift) < 1 << 63
    }

    /// A later transaction with both its lengths and a known status, and its first record, if there is
    /// room for one.
    fn with_lengths(
        &self,
        window: &mut Window<'_>,
        at: Offset,
    ) -> Result<Option<(TransactionHeader, Option<DataHeader>)>, StorageError> {
        let Some(bytes) = window.read(at)? else {
            return Ok(None);
        };
        let header = TransactionHeader::decode(&bytes);
        let is_known = header.status.is_finished() || header.status == Status::UNFINISHED;
        let fits = header.length >= header.records_start() && header.length <= window.size - at;
        if !is_known || !fits || header.tid <= self.last_tid {
            return Ok(None);
        }
        let end = at + header.length;
        let closing = window.near(end)?.map(u64::from_be_bytes);
        if closing != Some(header.length) {
            return Ok(None);
        }
        if header.length < header.records_start() + DataHeader::LEN as u64 {
            return Ok(Some((header, None)));
        }
        let first = window.near(at + header.records_start())?;
        Ok(Some((header, first.as_ref().map(DataHeader::decode))))
    }

    fn is_displaced(
        &self,
        window: &mut Window<'_>,
        at: Offset,
        header: &TransactionHeader,
        named: u64,
    ) -> Result<bool, StorageError> {
        if !(self.floor..PLACE_MAX).contains(&named) || self.is_in_a_copy(window, at, named)? {
            return Ok(false);
        }
        Ok(records_agree(window, at, header, named)?
            || self.next_agrees(
                window,
                at + header.length + LENGTH_LEN,
                named + header.length,
            )?)
    }

    /// Whether the next transaction names the place behind the one whose end was there once.
    fn next_agrees(
        &self,
        window: &mut Window<'_>,
        at: Offset,
        end_named: u64,
    ) -> Result<bool, StorageError> {
        let next = self.with_lengths(window, at)?;
        let first = next.and_then(|(header, first)| Some((header, first?)));
        Ok(first.is_some_and(|(header, first)| {
            first.tid == header.tid && first.transaction.number() == end_named + LENGTH_LEN
        }))
    }

    /// Whether it counts its places from where a Data.fs begins that a record may hold.
    fn is_in_a_copy(
        &self,
        window: &Window<'_>,
        at: Offset,
        named: u64,
    ) -> Result<bool, StorageError> {
        const BEFORE_DATA: u64 = (TransactionHeader::LEN + DataHeader::LEN) as u64;
        let Some(begin) = at.checked_sub(named) else {
            return Ok(false);
        };
        if begin < self.at + BEFORE_DATA {
            return Ok(false);
        }
        let magic = window.near::<4>(begin)?;
        Ok(magic.is_some_and(|magic| MAGICS.contains(&&magic)))
    }

    /// Behind the transaction at the place itself, if it says that it is unfinished: what is in it is
    /// its data. Foreign bytes may say so too, so its first record or its closing length has to bear it
    /// out.
    pub(crate) fn unfinished_until(&self, window: &mut Window<'_>) -> Result<Offset, StorageError> {
        let header = window.read(self.at)?;
        let header = header.as_ref().map(TransactionHeader::decode);
        let Some(header) = header.filter(|header| {
            header.status == Status::UNFINISHED
                && header.tid > self.last_tid
                && header.length >= header.records_start()
        }) else {
            return Ok(self.at);
        };
        let first = window.near(self.at + header.records_start())?;
        let is_first = first.as_ref().map(DataHeader::decode).is_some_and(|first| {
            first.tid == header.tid && first.transaction.number() == self.place_of(self.at)
        });
        let closing = match self.at.checked_add(header.length) {
            Some(end) if end < window.size => window.near(end)?.map(u64::from_be_bytes),
            _ => None,
        };
        if !is_first && closing != Some(header.length) {
            return Ok(self.at);
        }
        let end = self
            .at
            .checked_add(header.length.saturating_add(LENGTH_LEN));
        Ok(end.unwrap_or(window.size))
    }

    /// Behind the data of a record whose header is there, if it says that it is in a transaction
    /// between the place and itself, and what follows bears out how long it is: another record of that
    /// transaction, or its end.
    fn held_until(&self, window: &mut Window<'_>, at: Offset) -> Result<Offset, StorageError> {
        let Some(bytes) = window.read(at)? else {
            return Ok(self.at);
        };
        let record = DataHeader::decode(&bytes);
        let named = record.transaction.number();
        let is_own = (self.place_of(self.at)..self.place_of(at)).contains(&named);
        if !is_own || record.version_length != 0 || record.tid <= self.last_tid {
            return Ok(self.at);
        }
        let end = at.checked_add(record.record_length());
        let Some(end) = end.filter(|end| *end <= window.size) else {
            return Ok(self.at);
        };
        let start = named.wrapping_sub(self.shift);
        let is_last = window.near(end)?.map(u64::from_be_bytes) == Some(end.number() - start);
        let next = window.near(end)?.as_ref().map(DataHeader::decode);
        let has_next = next
            .is_some_and(|next| next.tid == record.tid && next.transaction == record.transaction);
        Ok(if is_last || has_next { end } else { self.at })
    }
}

/// Whether the records of a transaction fill it, and all name its id and that place. Of very many, the
/// first ones are asked.
fn records_agree(
    window: &Window<'_>,
    start: Offset,
    header: &TransactionHeader,
    named: u64,
) -> Result<bool, StorageError> {
    let end = start + header.length;
    let mut at = start + header.records_start();
    for _ in 0..RECORDS_ASKED_MAX {
        if at == end {
            return Ok(true);
        }
        let record = window.near(at)?.as_ref().map(DataHeader::decode);
        let record = record.filter(|record| {
            record.record_length() <= end - at
                && record.tid == header.tid
                && record.transaction.number() == named
                && record.version_length == 0
        });
        let Some(record) = record else {
            return Ok(false);
        };
        at = at + record.record_length();
    }
    Ok(true)
}

const RECORDS_ASKED_MAX: usize = 64;
/// No file is so large; a place behind it is no place.
const PLACE_MAX: u64 = 1 << 60;
