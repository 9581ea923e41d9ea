//! Reading what records refer to, with two threads.

use std::thread;

use storage::{Oid, PackError};

use super::mark::Marks;
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
}

type Found = (Vec<Reference>, u64);

impl<'a> Follower<'a> {
    pub(super) fn new(log: &'a Log, end: Offset) -> Self {
        let worker = || Worker {
            log,
            end,
            references: References::default(),
            data: Vec::new(),
        };
        Self {
            workers: [worker(), worker()],
        }
    }

    /// What these records refer to that is not marked as reached yet, and how many bytes were read.
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
        let (mut found, mut bytes) = front?;
        let (more_found, more_bytes) = back?;
        found.extend(more_found);
        bytes += more_bytes;
        Ok((found, bytes))
    }
}

impl Worker<'_> {
    fn follow(&mut self, records: &[(Offset, Oid)], marks: &Marks) -> Result<Found, PackError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for &(at, oid) in records {
            let (tid, exists) = self.log.data_into(at, oid, self.end, &mut self.data)?;
            bytes += self.data.len() as u64;
            if !exists {
                continue;
            }
            let (references, _) = self
                .references
                .read(&self.data)
                .map_err(|cause| PackError::Unreadable { oid, tid, cause })?;
            let new = references.iter().filter(|to| !marks.is_reached(**to));
            found.extend(new.map(|to| Reference { from: oid, to: *to }));
        }
        if self.data.capacity() > DATA_KEPT_BYTES {
            self.data = Vec::new();
        }
        Ok((found, bytes))
    }
}

/// Fewer records are not worth a second thread.
const FOR_TWO_MIN: usize = 256;
/// What one long record needed is given back.
const DATA_KEPT_BYTES: usize = 1 << 20;
