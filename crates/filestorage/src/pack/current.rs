//! Where the current record of each object was at the pack time.
//!
//! The storage knows where it is now. For nearly all objects that is the same, so a list of all
//! objects would be in memory twice. What is different is found in two ways: the headers behind the pack time say where
//! those objects were before that they change, and what is committed while the pack runs leads back along the
//! pointers of its records.
//!
//! That relies on the storage's index and on the pointers, and a pack must not: what it takes for
//! old is gone. So all of that is [proved](Ledger) while the headers before the pack time are read. Where the proof
//! fails, the file may contradict itself, or be one that an older program wrote in its own way.
//! Then a list is made of the file alone, record by record, which finds out.

use std::sync::Arc;

use storage::{Oid, PackError, Stage, StorageError};

use super::ledger::Ledger;
use super::oid_set::OidSet;
use super::read::{Reader, Records};
use super::{Pack, check};
use crate::format::{DataHeader, LOG_START, Offset, Status, TransactionHeader};
use crate::generation::Generation;
use crate::index::Index;
use crate::log::{Log, Past};

/// The part of the file that is packed.
pub(super) struct Packed {
    /// Behind its last transaction.
    pub(super) end: Offset,
    /// Whether these transactions were packed before and nothing was committed since.
    pub(super) redundant: bool,
    ledger: Ledger,
    /// Objects whose last record says that they do not exist.
    removed: OidSet,
}

/// Finds the end of what is to be packed, and reads the headers before it.
pub(super) fn survey(pack: &Pack<'_>, log: &Log, end: Offset) -> Result<Packed, PackError> {
    let mut reader = Reader::new(log, end);
    let mut packed = Packed {
        end: LOG_START,
        redundant: false,
        ledger: Ledger::default(),
        removed: OidSet::default(),
    };
    let mut unpacked = false;
    // As in the original, this is the first transaction behind the pack time, or else the last one.
    let mut last_status = None;
    let mut at = LOG_START;
    while at < end {
        pack.tick(Stage::Surveying, at.number(), end.number())?;
        let header = reader.transaction(at)?;
        last_status = Some(header.status);
        if header.tid > pack.to {
            break;
        }
        unpacked |= header.status != Status::PACKED;
        if header.status != Status::UNDONE {
            let mut records = Records::of(at, &header);
            while let Some((at, record)) = reader.next(&mut records)? {
                packed.ledger.enter(at, &record);
                if reader.back_pointer(at, &record)? == Some(Offset::NONE) {
                    packed.removed.insert(record.oid);
                } else {
                    packed.removed.remove(record.oid);
                }
            }
        }
        at = reader.close(at, &header)?;
        pack.moved(header.length);
    }
    packed.end = at;
    packed.redundant = !unpacked && last_status == Some(Status::PACKED);
    Ok(packed)
}

/// Visits the headers of the records from one transaction up to another.
pub(super) fn each_record<E: From<StorageError> + From<PackError>>(
    pack: &Pack<'_>,
    reader: &mut Reader<'_>,
    from: Offset,
    to: Offset,
    mut visit: impl FnMut(&mut Reader<'_>, Place<'_>, &DataHeader) -> Result<(), E>,
) -> Result<(), E> {
    let mut start = from;
    while start < to {
        pack.tick(Stage::Surveying, start.number(), to.number())?;
        let header = reader.transaction(start)?;
        let mut records = Records::of(start, &header);
        while let Some((at, record)) = reader.next(&mut records)? {
            let place = Place {
                start,
                at,
                header: &header,
            };
            visit(reader, place, &record)?;
        }
        start = reader.close(start, &header)?;
        pack.moved(header.length);
    }
    Ok(())
}

/// Where a record is.
pub(super) struct Place<'a> {
    pub(super) start: Offset,
    pub(super) at: Offset,
    pub(super) header: &'a TransactionHeader,
}

/// The current records as they were at the pack time.
pub(super) enum Current {
    /// The storage's, but for what is different.
    Shared(Box<Shared>),
    /// All of them.
    Listed(Index),
}

impl Current {
    /// Of what was surveyed, in a log that ends at `end`.
    pub(super) fn find(
        pack: &Pack<'_>,
        log: &Log,
        packed: Packed,
        end: Offset,
    ) -> Result<Self, PackError> {
        match Shared::prove(pack, log, packed, end)? {
            Ok(shared) => Ok(Self::Shared(Box::new(shared))),
            Err(packed_end) => {
                tracing::debug!("the pack makes a list of all objects");
                Ok(Self::Listed(list(pack, log, packed_end)?))
            }
        }
    }

    /// Where the object's record is, if it existed.
    pub(super) fn get(&self, oid: Oid) -> Result<Option<Offset>, StorageError> {
        match self {
            Self::Shared(shared) => shared.get(oid),
            Self::Listed(index) => Ok(index.get(oid)),
        }
    }

    /// How many objects existed.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Shared(shared) => shared.len,
            Self::Listed(index) => index.len(),
        }
    }

    /// Visits all objects that existed.
    pub(super) fn each(&self, mut visit: impl FnMut(Oid)) -> Result<(), StorageError> {
        match self {
            Self::Shared(shared) => {
                for (oid, now) in shared.generation.index.whole()?.iter() {
                    if !shared.removed.contains(oid) && shared.record_of(oid, Some(now))?.is_some()
                    {
                        visit(oid);
                    }
                }
            }
            Self::Listed(index) => index.iter().for_each(|(oid, _)| visit(oid)),
        }
        Ok(())
    }
}

/// What is different from the storage's index.
pub(super) struct Shared {
    generation: Arc<Generation>,
    /// The pack time.
    end: Offset,
    /// Objects that were changed since, and their records before that.
    changed: Index,
    /// Objects that were made since.
    created: OidSet,
    /// Objects that had a record, by which they did not exist.
    removed: OidSet,
    len: u64,
}

impl Shared {
    /// Nothing but the end of what is packed where the proof fails.
    fn prove(
        pack: &Pack<'_>,
        log: &Log,
        packed: Packed,
        end: Offset,
    ) -> Result<Result<Self, Offset>, PackError> {
        let mut this = Self {
            generation: pack.storage.generation(),
            end: packed.end,
            changed: Index::default(),
            created: OidSet::default(),
            removed: packed.removed,
            len: 0,
        };
        let mut reader = Reader::new(log, end);
        each_record::<PackError>(pack, &mut reader, packed.end, end, |_, place, record| {
            if place.header.status != Status::UNDONE {
                this.meet_later(record);
            }
            Ok(())
        })?;
        let mut ledger = packed.ledger;
        match this.close(&mut ledger) {
            Ok(()) if ledger.balances() => Ok(Ok(this)),
            Ok(()) | Err(StorageError::Corrupt { .. }) => Ok(Err(packed.end)),
            Err(error) => Err(error.into()),
        }
    }

    /// A record behind the pack time. The first one of an object says where it was before.
    fn meet_later(&mut self, record: &DataHeader) {
        let oid = record.oid;
        if record.previous == Offset::NONE {
            if self.changed.get(oid).is_none() {
                self.created.insert(oid);
            }
        } else if record.previous < self.end
            && !self.created.contains(oid)
            && self.changed.get(oid).is_none()
        {
            self.changed.insert(oid, record.previous);
        }
    }

    fn close(&mut self, ledger: &mut Ledger) -> Result<(), StorageError> {
        let mut len = 0;
        for (oid, now) in self.generation.index.whole()?.iter() {
            if let Some(at) = self.record_of(oid, Some(now))? {
                ledger.close(oid, at);
                len += u64::from(!self.removed.contains(oid));
            }
        }
        self.len = len;
        Ok(())
    }

    fn get(&self, oid: Oid) -> Result<Option<Offset>, StorageError> {
        if self.removed.contains(oid) {
            return Ok(None);
        }
        self.record_of(oid, None)
    }

    /// The object's last record before the pack time, now that the storage has one there, where the caller
    /// knows it.
    fn record_of(&self, oid: Oid, now: Option<Offset>) -> Result<Option<Offset>, StorageError> {
        if self.changed.len() > 0
            && let Some(at) = self.changed.get(oid)
        {
            return Ok(Some(at));
        }
        let now = match now {
            Some(now) => Some(now),
            None => self.generation.index.get(oid)?,
        };
        let Some(now) = now.filter(|now| *now < self.end || !self.created.contains(oid)) else {
            return Ok(None);
        };
        let log = &self.generation.log;
        let past = Past { log, end: self.end };
        let found = past.offset(oid, now)?;
        // It was changed while the pack runs, and may be again and again.
        if let Some(at) = found.filter(|at| *at != now) {
            self.changed.insert(oid, at);
        }
        Ok(found)
    }
}

/// A list of the current records, made of the file alone, which must not contradict itself.
fn list(pack: &Pack<'_>, log: &Log, end: Offset) -> Result<Index, PackError> {
    let current = Index::default();
    let mut reader = Reader::new(log, end);
    each_record(
        pack,
        &mut reader,
        LOG_START,
        end,
        |reader, place, record| {
            let status = place.header.status;
            if status == Status::UNDONE {
                return Ok::<_, PackError>(());
            }
            let previous = check::Previous {
                log,
                start: place.start,
                status,
            };
            previous.check(&current, place.at, record)?;
            if reader.back_pointer(place.at, record)? == Some(Offset::NONE) {
                current.remove(record.oid);
            } else {
                current.insert(record.oid, place.at);
            }
            Ok(())
        },
    )?;
    Ok(current)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use sim::SimDisk;
    use storage::{PackOptions, Record, Storage, Tid, TransactionMeta};

    use super::*;
    use crate::{FileStorage, Options};

    fn open(bytes: &[u8]) -> Arc<FileStorage> {
        let disk = SimDisk::new();
        disk.put("Data.fs".as_ref(), bytes);
        let disk = Arc::new(disk);
        let options = Options {
            disk,
            ..Options::default()
        };
        FileStorage::open("Data.fs", options).unwrap()
    }

    fn pack<'a>(storage: &'a FileStorage, options: &'a PackOptions) -> Pack<'a> {
        Pack {
            storage,
            to: options.to,
            gc: true,
            keep_old: false,
            options,
            told: Cell::new(None),
            moved: Cell::new(0),
        }
    }

    fn commit(storage: &Arc<FileStorage>, oid: Oid) {
        let base = match storage.current_tid(oid) {
            Err(StorageError::NotFound { .. }) => Tid::ZERO,
            base => base.unwrap(),
        };
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        commit.store(oid, base, Record::from(&b"x"[..])).unwrap();
        commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    }

    const UNPACKED: &[u8] = include_bytes!("../../tests/golden/unpacked.fs");
    const UNPACKED_TRANSACTIONS: u64 = 13;

    /// At each pack time, also of what is changed while the pack runs.
    #[test]
    fn what_is_shared_is_what_a_list_of_the_file_says() {
        let mut with_removed = 0;
        for number in 0..=UNPACKED_TRANSACTIONS {
            let storage = open(UNPACKED);
            let to = Tid::new(0x03f0_0000_0000_0000 + (number << 32));
            let options = PackOptions {
                to,
                ..PackOptions::default()
            };
            let pack = pack(&storage, &options);
            let (log, end) = storage.log_and_end();
            let packed = survey(&pack, &log, end).unwrap();
            let list = list(&pack, &log, packed.end).unwrap();
            let shared = Shared::prove(&pack, &log, packed, end).unwrap();
            let shared = shared.unwrap_or_else(|_| panic!("the file proves itself at {number}"));
            let shared = Current::Shared(Box::new(shared));
            for round in 0..3 {
                assert_eq!(shared.len(), list.len(), "{number}");
                let mut all = Vec::new();
                shared.each(|oid| all.push(oid)).unwrap();
                let listed: Vec<_> = list.iter().map(|(oid, _)| oid).collect();
                assert_eq!(all, listed, "{number}, {round}");
                for oid in (0..20).map(Oid::new) {
                    assert_eq!(shared.get(oid).unwrap(), list.get(oid), "{number} {oid}");
                    with_removed += usize::from(
                        list.get(oid).is_none() && storage.generation().locate(oid).is_ok(),
                    );
                }
                for oid in [0, 1, 3, 7, 19].map(Oid::new) {
                    commit(&storage, oid);
                }
            }
        }
        assert!(with_removed > 20, "{with_removed}");
    }

    /// The file is sound, and says so; what has to be made anew is the index.
    #[test]
    fn an_index_that_is_wrong_is_told_from_a_file_that_is() {
        let options = PackOptions::default();
        let sound = open(UNPACKED);
        sound.pack(&options).unwrap();
        let sound = sound.generation();
        let kept: Vec<_> = sound.index.whole().unwrap().iter().collect();
        let mut refused = 0;
        for (number, _) in kept {
            for is_older in [false, true] {
                let storage = open(UNPACKED);
                let generation = storage.generation();
                let index = generation.index.whole().unwrap();
                let at = index.get(number).unwrap();
                let record = DataHeader::decode(&generation.log.read_array(at).unwrap());
                match (is_older, record.previous.some()) {
                    (false, _) => index.remove(number),
                    (true, Some(previous)) => index.insert(number, previous),
                    (true, None) => continue,
                }
                let said = storage.pack(&options).unwrap_err().to_string();
                assert!(said.contains("`zodiac fs index`"), "{number}: {said}");
                assert!(!said.contains("contradicts itself"), "{number}: {said}");
                refused += 1;
            }
        }
        assert!(refused > 5, "{refused}");
    }

    #[test]
    fn a_damaged_pointer_or_id_is_not_proved() {
        let all = open(UNPACKED);
        let options = PackOptions::default();
        let (log, end) = all.log_and_end();
        let mut places = Vec::new();
        let mut reader = Reader::new(&log, end);
        let whole = pack(&all, &options);
        each_record::<PackError>(&whole, &mut reader, LOG_START, end, |_, place, record| {
            places.push((usize::try_from(place.at.number()).unwrap(), *record));
            Ok(())
        })
        .unwrap();
        let mut refused = 0;
        for (at, record) in &places {
            for (field, value) in [
                (0, 0x0100_0000_0000_0007),
                (0, u64::from(record.oid == Oid::ROOT)),
                (16, record.previous.number() ^ 0x40),
            ] {
                let mut broken = UNPACKED.to_vec();
                broken[at + field..at + field + 8].copy_from_slice(&u64::to_be_bytes(value));
                let storage = open(&broken);
                let pack = pack(&storage, &options);
                let (log, end) = storage.log_and_end();
                let packed = survey(&pack, &log, end).unwrap();
                let proved = Shared::prove(&pack, &log, packed, end).unwrap();
                if proved.is_err() {
                    refused += 1;
                    continue;
                }
                // The only record of an object: nothing else speaks of it.
                let is_only = places
                    .iter()
                    .filter(|place| place.1.oid == record.oid)
                    .count()
                    == 1;
                assert!(field == 0 && is_only, "{at} {field} {value:x}");
            }
        }
        assert!(refused > places.len(), "{refused}");
    }
}
