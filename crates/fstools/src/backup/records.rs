//! Which blobs the records in a backup need, read from its pieces one after another: compressed pieces
//! cannot be jumped about in.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, BufReader, Read};

use pickle::Inflater;
use storage::{Oid, Tid, is_blob_record};

use super::blobs::BlobId;
use super::catalog::{Repository, Settled};
use super::chunk;

/// The revisions of blobs that have a record. What makes no sense ends it: what is damaged is told by
/// the checksums.
pub(crate) fn blobs(repository: &Repository, settled: &Settled) -> io::Result<BTreeSet<BlobId>> {
    let pieces = Pieces {
        repository,
        settled,
        next: 0,
        current: Box::new(io::empty()),
    };
    let mut input = BufReader::with_capacity(chunk::BUFFER_BYTES, pieces);
    let mut records = Records {
        input: &mut input,
        at: 0,
        offsets: HashSet::new(),
        inflater: Inflater::default(),
        found: BTreeSet::new(),
    };
    match records.read() {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(records.found),
    }
}

/// The bytes of all pieces. One file is open at a time: there may be thousands.
struct Pieces<'a> {
    repository: &'a Repository,
    settled: &'a Settled,
    next: usize,
    current: Box<dyn Read>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.current.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(piece) = self.settled.pieces.get(self.next) else {
                return Ok(0);
            };
            self.next += 1;
            let path = self.repository.file(piece.file.name());
            let disk = &*self.repository.disk;
            self.current = chunk::reader(disk, &path, piece.file.is_compressed)?;
        }
    }
}

struct Records<'a> {
    input: &'a mut dyn Read,
    at: u64,
    /// Where records of blobs are: an undo refers to one of them.
    offsets: HashSet<u64>,
    inflater: Inflater,
    found: BTreeSet<BlobId>,
}

impl Records<'_> {
    fn read(&mut self) -> io::Result<()> {
        self.take::<MAGIC_BYTES>()?;
        loop {
            let start = self.at;
            // Transaction, length but for the copy of it at the end, status, and three texts' lengths.
            let [_tid, length] = self.numbers()?;
            let [_status] = self.take()?;
            let texts = self.take::<6>()?;
            let text = |at: usize| u64::from(u16::from_be_bytes([texts[at], texts[at + 1]]));
            self.skip(text(0) + text(2) + text(4))?;
            let end = start.saturating_add(length);
            while self.at < end {
                self.record()?;
            }
            if self.at > end {
                return Ok(());
            }
            self.skip(8)?;
        }
    }

    fn record(&mut self) -> io::Result<()> {
        let start = self.at;
        let [oid, tid, _previous, _transaction] = self.numbers()?;
        let version = u64::from(u16::from_be_bytes(self.take()?));
        let [length] = self.numbers()?;
        if version > 0 {
            // The original of long ago: two offsets and a name.
            self.skip(16 + version)?;
        }
        let is_blob = if length == 0 {
            let [earlier] = self.numbers()?;
            self.offsets.contains(&earlier)
        } else if length > BLOB_RECORD_BYTES_MAX {
            self.skip(length)?;
            false
        } else {
            let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
            self.input.read_exact(&mut data)?;
            self.at += length;
            self.inflater.plain(&data).is_ok_and(is_blob_record)
        };
        if is_blob {
            self.offsets.insert(start);
            let (oid, tid) = (Oid::new(oid), Tid::new(tid));
            self.found.insert(BlobId { oid, tid });
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn numbers<const N: usize>(&mut self) -> io::Result<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = u64::from_be_bytes(self.take()?);
        }
        Ok(numbers)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut *self.input).take(bytes), &mut io::sink())?;
        self.at += skipped;
        if skipped < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

const MAGIC_BYTES: usize = 4;
/// The record of a blob names its class and has no state.
const BLOB_RECORD_BYTES_MAX: u64 = 4 << 10;
