//! The first part of a pack: which records have to be kept. Nothing is written.
//!
//! Kept are, of the transactions up to the pack time,
//!
//! * the records that were current then, of objects reachable from the root then;
//! * records that back pointers of later transactions name, and what is reachable from them;
//! * what later transactions refer to: an object that was garbage at the pack time may have been
//!   taken up again since; and what transactions refer to that have voted. (The original does not look
//!   there, and loses such objects.)
//!
//! # Memory
//!
//! One bit an object for whether it is reached, and one for whether it is yet to be looked at. Besides,
//! some bytes for each back pointer across the pack time, and what [`Current`] takes.

use std::collections::BTreeMap;

use storage::{Oid, PackError, Stage, StorageError, Tid};

use super::Pack;
use super::current::{Current, each_record, survey};
use super::follow::{Follower, Reference};
use super::oid_set::OidSet;
use super::read::Reader;
use crate::format::{DataHeader, LOG_START, Offset};
use crate::index::Index;
use crate::log::Log;
use crate::references::References;

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
    pub(super) current: Current,
    reached: OidSet,
    /// Objects of which back pointers name a record: the one that stands for the object where
    /// nothing else keeps it.
    replaced: BTreeMap<Oid, Offset>,
    /// Records of objects of which several may be kept, and where the copy of each is. Where one
    /// record of an object is here, all are that are kept.
    pub(super) copies: BTreeMap<Offset, Offset>,
}

impl Marks {
    /// The record that stands for the object; nothing where it is garbage.
    pub(super) fn kept(&self, oid: Oid) -> Result<Option<Offset>, StorageError> {
        let current = self.kept_current(oid)?;
        Ok(current.or_else(|| self.replaced.get(&oid).copied()))
    }

    fn kept_current(&self, oid: Oid) -> Result<Option<Offset>, StorageError> {
        if self.gc && !self.reached.contains(oid) {
            return Ok(None);
        }
        self.current.get(oid)
    }

    /// Whether references to the object were seen, or need not be looked at.
    pub(super) fn is_reached(&self, oid: Oid) -> bool {
        self.reached.contains(oid)
    }

    /// Keeps the object's current record. False where it has none.
    fn reach(&mut self, oid: Oid) -> Result<bool, StorageError> {
        let Some(current) = self.current.get(oid)? else {
            return Ok(false);
        };
        if self.reached.insert(oid) && self.replaced.contains_key(&oid) {
            self.copies.insert(current, Offset::NONE);
        }
        Ok(true)
    }

    /// Keeps a record that is not the current one, or may not be.
    fn keep_target(&mut self, oid: Oid, target: Offset) -> Result<(), StorageError> {
        if let Some(current) = self.kept_current(oid)? {
            self.copies.insert(current, Offset::NONE);
        }
        self.replaced.entry(oid).or_insert(target);
        self.copies.insert(target, Offset::NONE);
        Ok(())
    }

    /// The objects that existed at the pack time and are left out. What only the packed transactions
    /// need is forgotten.
    pub(super) fn take_garbage(&mut self) -> Result<OidSet, StorageError> {
        let mut garbage = OidSet::default();
        if self.gc {
            self.current.each(|oid| {
                if !self.reached.contains(oid) && !self.replaced.contains_key(&oid) {
                    garbage.insert(oid);
                }
            })?;
        }
        self.reached = OidSet::default();
        self.replaced = BTreeMap::new();
        self.current = Current::Listed(Index::default());
        Ok(garbage)
    }
}

/// Finds out what has to be kept.
pub(super) fn mark(pack: &Pack<'_>, log: &Log, end: Offset) -> Result<Marks, PackError> {
    let packed = survey(pack, log, end)?;
    let mut marks = Marks {
        gc: pack.gc,
        pack_end: packed.end,
        looked_to: end,
        redundant: packed.redundant,
        current: Current::Listed(Index::default()),
        reached: OidSet::default(),
        replaced: BTreeMap::new(),
        copies: BTreeMap::new(),
    };
    if marks.redundant || marks.pack_end == LOG_START {
        return Ok(marks);
    }
    marks.current = Current::find(pack, log, packed, end)?;
    let mut marker = Marker {
        pack,
        log,
        end,
        marks: &mut marks,
        follower: Follower::new(log, end),
        unfollowed: OidSet::default(),
        next: Oid::ROOT,
        followed: 0,
        strict: true,
    };
    if marker.marks.gc {
        marker.mark_from_the_root()?;
    }
    marker.mark_from_later()?;
    Ok(marks)
}

struct Marker<'a> {
    pack: &'a Pack<'a>,
    log: &'a Log,
    end: Offset,
    marks: &'a mut Marks,
    follower: Follower<'a>,
    /// Objects that were reached, and whose references nobody has looked at yet.
    unfollowed: OidSet,
    /// Where to look for the next ones.
    next: Oid,
    followed: u64,
    /// Whether a reference to an object that does not exist is an error: where the original takes it
    /// for one.
    strict: bool,
}

impl Marker<'_> {
    fn mark_from_the_root(&mut self) -> Result<(), PackError> {
        if !self.marks.reach(Oid::ROOT)? {
            // A file whose objects were all removed again has nothing to reach.
            return match self.marks.current.len() {
                0 => Ok(()),
                _ => Err(PackError::NoRoot),
            };
        }
        self.unfollowed.insert(Oid::ROOT);
        self.follow()
    }

    /// Follows references of current records until all are followed.
    fn follow(&mut self) -> Result<(), PackError> {
        while !self.unfollowed.is_empty() {
            // Ids that lie together are often records that do.
            let oids = self.unfollowed.take_from(self.next, FOLLOWED_AT_ONCE);
            self.next = oids.last().map_or(Oid::ROOT, |last| last.next());
            let mut records = Vec::with_capacity(oids.len());
            for &oid in &oids {
                records.extend(self.marks.current.get(oid)?.map(|at| (at, oid)));
            }
            drop(oids);
            records.sort_unstable();
            for records in records.chunks(FOUND_AT_ONCE) {
                let total = self.marks.current.len();
                self.pack.tick(Stage::Marking, self.followed, total)?;
                let found = self.follower.follow(records, self.marks)?;
                self.pack.moved(found.bytes);
                self.followed += records.len() as u64;
                for reference in found.references {
                    self.meet(&reference)?;
                }
            }
        }
        Ok(())
    }

    fn meet(&mut self, reference: &Reference) -> Result<(), PackError> {
        let oid = reference.to;
        if self.marks.is_reached(oid) {
            return Ok(());
        }
        if self.marks.reach(oid)? {
            self.unfollowed.insert(oid);
            return Ok(());
        }
        if self.strict && !self.marks.replaced.contains_key(&oid) && !self.is_stored_later(oid) {
            return Err(PackError::Dangling {
                parent: reference.from,
                missing: oid,
            });
        }
        Ok(())
    }

    /// Whether a transaction behind the pack time stored the object.
    fn is_stored_later(&self, oid: Oid) -> bool {
        let place = self.pack.storage.generation().locate(oid);
        place.is_ok_and(|(at, _)| at >= self.marks.pack_end)
    }

    /// Marks what transactions behind the pack time need of those before.
    fn mark_from_later(&mut self) -> Result<(), PackError> {
        let mut roots = Vec::new();
        let mut reader = Reader::new(self.log, self.end);
        self.each_later_record(&mut reader, |marker, reader, at, record| {
            let pack_end = marker.marks.pack_end;
            let target = reader.back_pointer(at, record)?.and_then(Offset::some);
            if let Some(target) = target.filter(|target| *target < pack_end)
                && !marker.marks.copies.contains_key(&target)
            {
                // As the original, not strict where only this keeps the object.
                roots.push((target, record.oid, marker.marks.kept(record.oid)?.is_some()));
                marker.marks.keep_target(record.oid, target)?;
            }
            Ok(())
        })?;
        if !self.marks.gc {
            return Ok(());
        }
        for (target, oid, strict) in roots {
            let found = self.follower.follow(&[(target, oid)], self.marks)?;
            self.pack.moved(found.bytes);
            self.strict = strict;
            found
                .references
                .iter()
                .try_for_each(|reference| self.meet(reference))?;
            self.strict = true;
            self.follow()?;
        }
        // What is missing here was missing before, and nothing that is kept depends on it.
        self.strict = false;
        let mut reader = Reader::of_all(self.log, self.end);
        let mut references = References::default();
        self.each_later_record(&mut reader, |marker, reader, at, record| {
            if record.data_length == 0 {
                return Ok(());
            }
            let data = reader.own_data(at, record)?;
            marker.meet_all(&mut references, record.oid, record.tid, data)?;
            Ok(())
        })?;
        for vote in self.pack.storage.votes.all() {
            vote.each_record(&self.pack.storage.path, |oid, data| {
                self.meet_all(&mut references, oid, Tid::MAX, data)
            })?;
        }
        self.follow()
    }

    /// Meets what a record refers to.
    fn meet_all(
        &mut self,
        references: &mut References,
        from: Oid,
        tid: Tid,
        data: &[u8],
    ) -> Result<(), PackError> {
        let found = references.read(data);
        let (found, _) = found.map_err(|cause| PackError::Unreadable {
            oid: from,
            tid,
            cause,
        })?;
        found
            .iter()
            .try_for_each(|&to| self.meet(&Reference { from, to }))
    }

    fn each_later_record(
        &mut self,
        reader: &mut Reader<'_>,
        mut visit: impl FnMut(&mut Self, &mut Reader<'_>, Offset, &DataHeader) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let (from, to) = (self.marks.pack_end, self.end);
        each_record(self.pack, reader, from, to, |reader, place, record| {
            visit(self, reader, place.at, record)
        })
    }
}

/// Enough that records of a batch, in the order of the file, lie close together.
const FOLLOWED_AT_ONCE: usize = 4 << 10;
/// What is found in so many is kept for a moment.
const FOUND_AT_ONCE: usize = 1 << 10;
