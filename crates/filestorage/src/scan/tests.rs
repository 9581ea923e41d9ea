//! A look at a file that another process goes on writing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sim::SimDisk;
use storage::{Oid, Record, Storage, TransactionMeta};
use vfs::File;

use super::*;
use crate::{FileStorage, Options};

const PATH: &str = "/db/Data.fs";

/// A file that changes behind the first look at it.
struct Moving {
    before: Vec<u8>,
    after: Vec<u8>,
    looks: AtomicU64,
}

impl File for Moving {
    fn len(&self) -> io::Result<u64> {
        Ok(self.before.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let is_first = self.looks.fetch_add(1, Ordering::Relaxed) == 0;
        let bytes = if is_first { &self.before } else { &self.after };
        let rest = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        unreachable!("this is a look")
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("this is a look")
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!("this is a look")
    }
}

/// The bytes of a file with that many transactions, a minute apart, and where each begins.
fn file_of(transactions: u64) -> (Vec<u8>, Vec<usize>) {
    let disk = SimDisk::new();
    let minutes = AtomicU64::new(30_000_000);
    let clock = move || Duration::from_mins(minutes.fetch_add(1, Ordering::Relaxed));
    let options = Options {
        clock: Arc::new(clock),
        disk: Arc::new(disk.clone()),
        ..Options::default()
    };
    let storage = FileStorage::open(PATH, options).unwrap();
    let mut starts = Vec::new();
    for oid in 0..transactions {
        starts.push(usize::try_from(storage.stats().bytes).unwrap());
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        let record = Record::from(&b"record"[..]);
        commit.store(Oid::new(oid), Tid::ZERO, record).unwrap();
        commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    }
    (disk.contents(PATH.as_ref()).unwrap(), starts)
}

/// Between the look at a header and the look behind it, the writer finishes that transaction and the
/// batches behind it. That is no damage.
#[test]
fn a_log_that_is_being_written_is_not_taken_for_a_damaged_one() {
    let (after, starts) = file_of(5);
    for first_unfinished in 0..starts.len() {
        let mut before = after.clone();
        for start in &starts[first_unfinished..] {
            before[start + 16] = b'c';
        }
        let file = Arc::new(Moving {
            before,
            after: after.clone(),
            looks: AtomicU64::new(0),
        });
        let log = Log::new(file, PATH.into());
        let checked = UncheckedTail::everything().check(&log).unwrap();
        let end = usize::try_from(checked.end.number()).unwrap();
        let seen = starts.iter().filter(|start| **start < end).count();
        assert!(seen >= first_unfinished, "{first_unfinished}: {seen}");
        assert_eq!(checked.index.len(), seen as u64);
        assert!(end == after.len() || starts.contains(&end));
    }
}
