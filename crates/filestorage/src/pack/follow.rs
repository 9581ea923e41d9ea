//! Reading what records refer to, with two threads.

use std::thread;

use storage::{Oid, PackError};

use super::mark::Marks;
use super::read::Reader;
use crate::format::Offset;
use crate::log::Log;
use crate::references::References;

/// Reads the references of records.
pub(super) struct Follower<'a> {
    workers: [Worker<'a>; 2],
}

/// That one object refers to another.
pub(super) struct Reference {
    pub(super) from: Oid,
    pub(super) to: Oid,
}

struct Worker<'a> {
    log: &'a Log,
    end: Offset,
    references: References,
    data: Vec<u8>,
    /// For records that lie close together.
    reader: Reader<'a>,
}

/// What was found in records.
#[derive(Default)]
pub(super) struct Found {
    /// References to what is not marked as reached yet.
    pub(super) references: Vec<Reference>,
    /// How many bytes were read.
    pub(super) bytes: u64,
}

impl<'a> Follower<'a> {
    pub(super) fn new(log: &'a Log, end: Offset) -> Self {
        let worker = || Worker {
            log,
            end,
            references: References::default(),
            data: Vec::new(),
            reader: Reader::new(log, end),
        };
        Self {
            workers: [worker(), worker()],
        }
    }

    /// Looks at these records, which are in the order of the file.
    pub(super) fn follow(
        &mut self,
        records: &[(Offset, Oid)],
        marks: &Marks,
    ) -> Result<Found, PackError> {
        let [one, two] = &mut self.workers;
        if records.len() < FOR_TWO_MIN {
            return one.follow(records, marks);
        }
        let (front, back) = records.split_at(records.len() / 2);
        let (front, back) = thread::scope(|scope| {
            let back = scope.spawn(move || two.follow(back, marks));
            let front = one.follow(front, marks);
            (front, back.join().expect("it returns its errors"))
        });
        let (mut found, more) = (front?, back?);
        found.references.extend(more.references);
        found.bytes += more.bytes;
        Ok(found)
    }
}

impl Worker<'_> {
    fn follow(&mut self, records: &[(Offset, Oid)], marks: &Marks) -> Result<Found, PackError> {
        let mut found = Found::default();
        for (index, &(at, oid)) in records.iter().enumerate() {
            // Where the next ones are near, they come with this one.
            let is_crowded = records
                .get(index + CROWD)
                .is_some_and(|(next, _)| *next - at < CROWD_BYTES);
            let header = if is_crowded {
                Some(self.reader.record(at, oid)?).filter(|header| header.data_length > 0)
            } else {
                None
            };
            let (tid, data) = match &header {
                Some(header) => (header.tid, self.reader.own_data(at, header)?),
                None => {
                    let (tid, _) = self.log.data_into(at, oid, self.end, &mut self.data)?;
                    (tid, &*self.data)
                }
            };
            found.bytes += data.len() as u64;
            if data.is_empty() {
                // The object was removed.
                continue;
            }
            let (references, _) = self
                .references
                .read(data)
                .map_err(|cause| PackError::Unreadable { oid, tid, cause })?;
            let new = references.iter().filter(|to| !marks.is_reached(**to));
            let new = new.map(|to| Reference { from: oid, to: *to });
            found.references.extend(new);
        }
        if self.data.capacity() > DATA_KEPT_BYTES {
            self.data = Vec::new();
        }
        Ok(found)
    }
}

/// Fewer records are not worth a second thread.
const FOR_TWO_MIN: usize = 256;
/// What one long record needed is given back.
const DATA_KEPT_BYTES: usize = 64 << 10;
/// So many records within so many bytes are read with one call.
const CROWD: usize = 8;
const CROWD_BYTES: u64 = 32 << 10;
