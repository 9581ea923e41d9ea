//! The first part of a pack: which records have to be kept. Nothing is written.
//!
//! Kept are, of the transactions up to the pack time,
//!
//! * the records that were current then, of objects reachable from the root then;
//! * records that back pointers of later transactions name, and what is reachable from them;
//! * what later transactions refer to: an object that was garbage at the pack time may have been
//!   taken up again since. (The original does not look there, and loses such objects.)

use std::collections::BTreeMap;

use storage::{Oid, PackError};

use super::oid_set::OidSet;
use super::{Pack, Stage};
use crate::format::{DataHeader, LENGTH_LEN, LOG_START, Offset, Status, TransactionHeader};
use crate::index::Index;
use crate::log::Log;
use crate::references::References;
use crate::transactions::Headers;

/// What is kept of the packed transactions.
pub(super) struct Marks {
    gc: bool,
    /// Behind the last transaction that is packed.
    pub(super) pack_end: Offset,
    /// How far later transactions were looked at.
    pub(super) looked_to: Offset,
    /// Whether these transactions were packed before and nothing was committed since.
    pub(super) redundant: bool,
    /// The current record of each object at the pack time.
    current: Index,
    reached: OidSet,
    /// Objects that only a back pointer keeps: its target instead of the current record.
    replaced: BTreeMap<Oid, Offset>,
    /// Records of objects of which several may be kept, and where the copy of each is.
    pub(super) copies: BTreeMap<Offset, Offset>,
}

impl Marks {
    /// Whether the record has to be kept.
    pub(super) fn keeps(&self, oid: Oid, at: Offset) -> bool {
        self.kept(oid) == Some(at) || self.copies.contains_key(&at)
    }

    /// The record that stands for the object; nothing where it is garbage.
    pub(super) fn kept(&self, oid: Oid) -> Option<Offset> {
        if let Some(replaced) = self.replaced.get(&oid) {
            return Some(*replaced);
        }
        self.current
            .get(oid)
            .filter(|_| !self.gc || self.reached.contains(oid))
    }

    /// Whether the object existed at the pack time and is left out.
    pub(super) fn is_garbage(&self, oid: Oid) -> bool {
        self.kept(oid).is_none() && self.current.get(oid).is_some()
    }
}

/// A record whose references are still to be followed.
struct Root {
    oid: Oid,
    at: Offset,
    /// Whether a reference to an object that does not exist is an error.
    strict: bool,
}

/// Finds out what has to be kept.
pub(super) fn mark(pack: &Pack<'_>, log: &Log, end: Offset) -> Result<Marks, PackError> {
    let mut marks = survey(pack, log, end)?;
    if marks.redundant {
        return Ok(marks);
    }
    let mut marker = Marker {
        pack,
        log,
        end,
        marks: &mut marks,
        unfollowed: Vec::new(),
        followed: 0,
    };
    if marker.marks.gc {
        marker.mark_from_the_root()?;
    }
    marker.mark_from_later()?;
    Ok(marks)
}

/// Reads the headers of what is to be packed.
fn survey(pack: &Pack<'_>, log: &Log, end: Offset) -> Result<Marks, PackError> {
    let current = Index::default();
    let mut at = LOG_START;
    let mut unpacked = false;
    // As in the original, this is the first transaction behind the pack time, or else the last one.
    let mut last_status = None;
    while at < end {
        pack.tick(Stage::Surveying, at.number(), end.number())?;
        let header = transaction(log, at, end)?;
        last_status = Some(header.status);
        if header.tid > pack.to {
            break;
        }
        unpacked |= header.status != Status::PACKED;
        if header.status != Status::UNDONE {
            let mut records = Headers::of(at, &header);
            while let Some((at, record)) = records.next(log)? {
                if back_pointer(log, at, &record)? == Some(Offset::NONE) {
                    current.remove(record.oid);
                } else {
                    current.insert(record.oid, at);
                }
            }
        }
        at = at + header.length + LENGTH_LEN;
    }
    Ok(Marks {
        gc: pack.gc,
        pack_end: at,
        looked_to: end,
        redundant: !unpacked && last_status == Some(Status::PACKED),
        current,
        reached: OidSet::default(),
        replaced: BTreeMap::new(),
        copies: BTreeMap::new(),
    })
}

struct Marker<'a> {
    pack: &'a Pack<'a>,
    log: &'a Log,
    end: Offset,
    marks: &'a mut Marks,
    /// Objects that were reached, and whose references nobody has looked at yet.
    unfollowed: Vec<Oid>,
    followed: u64,
}

impl Marker<'_> {
    fn mark_from_the_root(&mut self) -> Result<(), PackError> {
        if self.marks.current.get(Oid::ROOT).is_none() {
            // A pack to before the first transaction keeps what there is: nothing.
            return match self.marks.current.len() {
                0 => Ok(()),
                _ => Err(PackError::NoRoot),
            };
        }
        self.marks.reached.insert(Oid::ROOT);
        self.unfollowed.push(Oid::ROOT);
        self.follow()
    }

    /// Follows references of current records until all are followed.
    fn follow(&mut self) -> Result<(), PackError> {
        while let Some(oid) = self.unfollowed.pop() {
            self.followed += 1;
            self.pack
                .tick(Stage::Marking, self.followed, self.marks.current.len())?;
            if let Some(at) = self.marks.kept(oid) {
                let strict = true;
                self.follow_record(&Root { oid, at, strict })?;
            }
        }
        Ok(())
    }

    /// Marks what one record refers to.
    fn follow_record(&mut self, root: &Root) -> Result<(), PackError> {
        let parent = root.oid;
        for oid in references(self.log, parent, root.at, self.end)? {
            let marks = &mut *self.marks;
            if marks.kept(oid).is_some() {
                continue;
            }
            if marks.current.get(oid).is_some() {
                marks.reached.insert(oid);
                self.unfollowed.push(oid);
            } else if root.strict && !self.is_stored_later(oid) {
                let missing = oid;
                return Err(PackError::Dangling { parent, missing });
            }
        }
        Ok(())
    }

    /// Whether a transaction behind the pack time stored the object.
    fn is_stored_later(&self, oid: Oid) -> bool {
        self.pack
            .storage
            .locate(oid)
            .is_ok_and(|(_, at, _)| at >= self.marks.pack_end && at < self.end)
    }

    /// Marks what transactions behind the pack time need of those before.
    fn mark_from_later(&mut self) -> Result<(), PackError> {
        let mut roots = Vec::new();
        self.each_later_record(|marker, at, record| marker.keep_target(at, record, &mut roots))?;
        if !self.marks.gc {
            return Ok(());
        }
        for root in roots {
            self.follow_record(&root)?;
            self.follow()?;
        }
        self.each_later_record(|marker, at, record| {
            if record.data_length == 0 {
                return Ok(());
            }
            marker.follow_record(&Root {
                oid: record.oid,
                at,
                strict: false,
            })?;
            marker.follow()
        })
    }

    fn each_later_record(
        &mut self,
        mut visit: impl FnMut(&mut Self, Offset, &DataHeader) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let (log, mut at) = (self.log, self.marks.pack_end);
        while at < self.end {
            self.pack
                .tick(Stage::Surveying, at.number(), self.end.number())?;
            let header = transaction(log, at, self.end)?;
            let mut records = Headers::of(at, &header);
            while let Some((at, record)) = records.next(log)? {
                visit(self, at, &record)?;
            }
            at = at + header.length + LENGTH_LEN;
        }
        Ok(())
    }

    /// Keeps the record that a back pointer across the pack time leads to.
    fn keep_target(
        &mut self,
        at: Offset,
        record: &DataHeader,
        roots: &mut Vec<Root>,
    ) -> Result<(), PackError> {
        let (oid, marks) = (record.oid, &mut *self.marks);
        let target = back_pointer(self.log, at, record)?
            .and_then(Offset::some)
            .filter(|target| *target < marks.pack_end && !marks.copies.contains_key(target));
        let Some(target) = target else {
            return Ok(());
        };
        let strict = match marks.kept(oid) {
            Some(kept) => {
                marks.copies.insert(kept, Offset::NONE);
                true
            }
            None => {
                marks.replaced.insert(oid, target);
                false
            }
        };
        marks.copies.insert(target, Offset::NONE);
        let at = target;
        roots.push(Root { oid, at, strict });
        Ok(())
    }
}

/// The header of the transaction at that offset, whose closing length agrees with it.
pub(super) fn transaction(
    log: &Log,
    at: Offset,
    end: Offset,
) -> Result<TransactionHeader, PackError> {
    let header = log.transaction_header(at, end)?;
    let after = at + header.length + LENGTH_LEN;
    let closing = log.read_closing_length(after)?;
    if closing != header.length {
        let what = format!(
            "the closing length is {closing}, the header says {}",
            header.length
        );
        return Err(log.corrupt(at, what).into());
    }
    Ok(header)
}

/// Where the back pointer of a record leads that has one instead of data.
pub(super) fn back_pointer(
    log: &Log,
    at: Offset,
    record: &DataHeader,
) -> Result<Option<Offset>, PackError> {
    if record.data_length != 0 {
        return Ok(None);
    }
    let pointer = log.read_array(at + DataHeader::LEN as u64)?;
    Ok(Some(Offset::new(u64::from_be_bytes(pointer))))
}

/// The objects that the record of `oid` at that offset keeps alive.
pub(super) fn references(
    log: &Log,
    oid: Oid,
    at: Offset,
    end: Offset,
) -> Result<Vec<Oid>, PackError> {
    let page = log.page(at, oid, end)?;
    let Some(record) = log.stored_data(&page)?.record else {
        return Ok(Vec::new());
    };
    let mut references = References::default();
    let found = references.read(&record).map(|(found, _)| found.to_vec());
    found.map_err(|cause| PackError::Unreadable {
        oid,
        tid: page.header.tid,
        cause,
    })
}
