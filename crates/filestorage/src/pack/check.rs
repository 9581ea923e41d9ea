//! What a pack copies must not contradict itself: in the new file nobody would see that any more.

use storage::{Oid, PackError, StorageError};

use super::Pack;
use crate::format::{DataHeader, Offset, Status, TransactionHeader};
use crate::index::Index;
use crate::log::Log;
use crate::saved_index::{Gap, is_of_object};

/// Whether a record's header agrees with its transaction.
pub(super) fn transaction(
    log: &Log,
    header: &TransactionHeader,
    at: Offset,
    record: &DataHeader,
) -> Result<(), StorageError> {
    if record.tid == header.tid {
        return Ok(());
    }
    let what = format!(
        "it names the transaction {}, it lies in {}",
        record.tid, header.tid
    );
    Err(contradiction(log, at, record.oid, &what))
}

/// Whether the storage's index knows the object, no older than at that place.
pub(super) fn current(
    pack: &Pack<'_>,
    log: &Log,
    at: Offset,
    record: &DataHeader,
) -> Result<(), PackError> {
    let oid = record.oid;
    let generation = pack.storage.generation();
    let named = match generation.locate(oid) {
        Ok((newest, _)) if newest >= at => return Ok(()),
        Ok((newest, _)) => Some(newest),
        Err(StorageError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let what = match named {
        Some(newest) => format!(
            "the index says that the newest record of that object is at {}",
            newest.number()
        ),
        None => "the index knows no such object".to_owned(),
    };
    let gap = Gap {
        oid,
        at,
        named,
        previous: record.previous,
    };
    // An entry that leads here would say that the record is another object's.
    let is_claimed =
        || Ok::<_, StorageError>(generation.index.whole()?.iter().any(|entry| entry.1 == at));
    if !is_of_object(log, &gap)? || is_claimed()? {
        return Err(contradiction(log, at, oid, &what).into());
    }
    let what = format!(
        "the .index disagrees with the file, and nothing is packed: a record of object {oid} is here, \
         but {what}. Make the .index anew with `zodiac fs index`, while no server uses the file"
    );
    Err(log.corrupt(at, what).into())
}

/// Where the records of packed transactions were met last, for their pointers.
pub(super) struct Previous<'a> {
    pub(super) log: &'a Log,
    /// Where the transaction begins.
    pub(super) start: Offset,
    pub(super) status: Status,
}

impl Previous<'_> {
    /// Whether the pointer to the previous record leads to the one that was met last. Objects whose
    /// creation was undone are not in `current`: where the pointer leads is looked up then.
    pub(super) fn check(
        &self,
        current: &Index,
        at: Offset,
        record: &DataHeader,
    ) -> Result<(), StorageError> {
        let found = current.get(record.oid).unwrap_or_default();
        self.check_found(found, at, record)
    }

    /// The same where the last record is known.
    pub(super) fn check_found(
        &self,
        found: Offset,
        at: Offset,
        record: &DataHeader,
    ) -> Result<(), StorageError> {
        let previous = record.previous;
        let is_right = previous == found
            // A pack forgets what was before.
            || (previous == Offset::NONE && self.status == Status::PACKED)
            // With several in one transaction, all may lead to the one before it.
            || found >= self.start;
        if is_right {
            return Ok(());
        }
        let (oid, log) = (record.oid, self.log);
        let leads_to = |oid: Oid| {
            let what = format!(
                "its previous record is said to be at {}, where one of {oid} is",
                previous.number()
            );
            contradiction(log, at, record.oid, &what)
        };
        if previous >= at || previous == Offset::NONE {
            let what = match previous.number() {
                0 => "it says that there was none before it, and there is one".to_owned(),
                at => format!("its previous record is said to be at {at}, behind it"),
            };
            return Err(contradiction(log, at, oid, &what));
        }
        match DataHeader::decode(&log.read_array(previous)?).oid {
            same if same == oid => Ok(()),
            other => Err(leads_to(other)),
        }
    }
}

fn contradiction(log: &Log, at: Offset, oid: Oid, what: &str) -> StorageError {
    let what = format!(
        "the file contradicts itself, and is not packed: the record here says that it is of object \
         {oid}, but {what}. `zodiac fs verify` says more; restore a backup, or let `zodiac fs \
         recover` copy what is sound"
    );
    log.corrupt(at, what)
}
