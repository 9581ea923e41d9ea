//! The new file while it is written: from front to back, by a thread of its own.
//!
//! It is written past the system's cache, where that can be done: that is several times quicker, and
//! the cache keeps what others read. Either way the thread brings the file to the disk every now and
//! then, so that a commit that syncs its own file waits for little, and little is left to sync at the
//! end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use storage::StorageError;
use vfs::{AlignedBuffer, Disk, File, UNCACHED_ALIGNMENT};

use crate::format::Offset;

/// The writing side.
pub(super) struct Draft {
    file: Arc<dyn File>,
    path: PathBuf,
    /// Where the buffer begins in the file.
    start: Offset,
    buffer: AlignedBuffer,
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    /// Whether there is a second buffer, which is here or there.
    has_second: bool,
    /// Gets the buffer that was written, to be filled again.
    spare: Receiver<AlignedBuffer>,
}

enum Order {
    Write {
        at: u64,
        bytes: AlignedBuffer,
    },
    /// Replaces some bytes that were written.
    Patch {
        at: u64,
        bytes: Vec<u8>,
    },
    /// Says when everything before is written, or what failed.
    Settle {
        sync: bool,
        done: SyncSender<Result<(), StorageError>>,
    },
}

impl Draft {
    /// Begins to write an empty file.
    pub(super) fn begin(disk: &dyn Disk, file: Arc<dyn File>, path: PathBuf) -> Self {
        let (orders, taken) = sync_channel(ORDERS_WAITING_MAX);
        let (give_back, spare) = sync_channel(1);
        let uncached = disk.open_uncached(&path).unwrap_or_else(|error| {
            tracing::debug!(%error, "the packed file is written through the cache");
            None
        });
        let writer = Writer {
            file: Arc::clone(&file),
            uncached,
            path: path.clone(),
            unsynced: 0,
            failed: None,
        };
        let thread = std::thread::spawn(move || writer.run(taken, &give_back));
        Self {
            file,
            path,
            start: Offset::NONE,
            buffer: AlignedBuffer::new(BUFFER_BYTES),
            orders: Some(orders),
            thread: Some(thread),
            has_second: false,
            spare,
        }
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> Offset {
        self.start + self.buffer.len() as u64
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.room_in_buffer()));
            self.buffer.fill(now);
            bytes = later;
            if self.room_in_buffer() == 0 {
                self.hand_over()?;
            }
        }
        Ok(())
    }

    /// How many bytes can be written before the next ones are on their way to the disk.
    pub(super) fn room(&self) -> u64 {
        self.room_in_buffer() as u64
    }

    /// Up to where the buffer would be full, had it always been handed over full: so that buffers begin
    /// at multiples of their size again soon after one that was not full.
    fn room_in_buffer(&self) -> usize {
        let place = self.position().number() % BUFFER_BYTES as u64;
        let place = usize::try_from(place).expect("less than a buffer");
        match place {
            0 if !self.buffer.is_empty() => 0,
            _ => BUFFER_BYTES - place,
        }
    }

    /// Replaces bytes that were written.
    pub(super) fn overwrite(&mut self, at: Offset, bytes: &[u8]) -> Result<(), StorageError> {
        let gone = self.start.number().saturating_sub(at.number());
        let gone = usize::try_from(gone).map_or(bytes.len(), |gone| gone.min(bytes.len()));
        let (front, back) = bytes.split_at(gone);
        if !front.is_empty() {
            self.order(Order::Patch {
                at: at.number(),
                bytes: front.to_vec(),
            });
        }
        if !back.is_empty() {
            let place = at + gone as u64 - self.start;
            let place = usize::try_from(place).expect("inside the buffer");
            self.buffer[place..][..back.len()].copy_from_slice(back);
        }
        Ok(())
    }

    /// What was written at that offset.
    pub(super) fn read_array<const N: usize>(
        &mut self,
        at: Offset,
    ) -> Result<[u8; N], StorageError> {
        self.settle(false)?;
        let mut bytes = [0; N];
        self.file
            .read_exact_at(&mut bytes, at.number())
            .map_err(|error| StorageError::io(self.path.as_path(), "read", error))?;
        Ok(bytes)
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        self.settle(true)
    }

    /// The file, when everything is on the disk.
    pub(super) fn finish(mut self) -> Result<Arc<dyn File>, StorageError> {
        self.sync()?;
        Ok(Arc::clone(&self.file))
    }

    fn settle(&mut self, sync: bool) -> Result<(), StorageError> {
        self.hand_over()?;
        let (done, answer) = sync_channel(1);
        self.order(Order::Settle { sync, done });
        answer
            .recv()
            .expect("the thread answers while there are orders")
    }

    fn hand_over(&mut self) -> Result<(), StorageError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let at = self.start.number();
        let start = self.position();
        let next = match self.has_second {
            // The one before this is being written, and comes back in any case.
            true => self.spare.recv().ok(),
            false => None,
        };
        self.has_second = true;
        let next = next.unwrap_or_else(|| AlignedBuffer::new(BUFFER_BYTES));
        let bytes = std::mem::replace(&mut self.buffer, next);
        self.start = start;
        self.order(Order::Write { at, bytes });
        Ok(())
    }

    /// After a failure the thread is gone, and says why when it is asked.
    fn order(&mut self, order: Order) {
        let orders = self.orders.as_ref().expect("it is there until the end");
        orders
            .send(order)
            .expect("the thread takes orders until the end");
    }
}

impl Drop for Draft {
    /// Nothing is written after this.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the packed file panicked");
        }
    }
}

struct Writer {
    file: Arc<dyn File>,
    /// The same file past the cache.
    uncached: Option<Arc<dyn File>>,
    path: PathBuf,
    /// Bytes since the last sync.
    unsynced: usize,
    /// What failed. Nothing is written after that.
    failed: Option<StorageError>,
}

impl Writer {
    fn run(mut self, orders: Receiver<Order>, give_back: &SyncSender<AlignedBuffer>) {
        for order in orders {
            match order {
                Order::Write { at, mut bytes } => {
                    self.attempt(|this| this.write(at, &bytes));
                    bytes.clear();
                    // Nobody may be left to fill it.
                    give_back.try_send(bytes).ok();
                }
                Order::Patch { at, bytes } => self.attempt(|this| this.write(at, &bytes)),
                Order::Settle { sync, done } => {
                    if sync {
                        self.attempt(Self::sync);
                    }
                    // Whoever asked may have given up.
                    done.send(self.failed.clone().map_or(Ok(()), Err)).ok();
                }
            }
        }
    }

    fn attempt(&mut self, act: impl FnOnce(&mut Self) -> Result<(), StorageError>) {
        if self.failed.is_none() {
            self.failed = act(self).err();
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        if !self.write_uncached(at, bytes)? {
            let written = self.file.write_at(bytes, at);
            written.map_err(|error| self.io("write", error))?;
        }
        self.unsynced += bytes.len();
        if self.unsynced >= UNSYNCED_BYTES_MAX {
            self.sync()?;
        }
        Ok(())
    }

    /// False where that cannot be done, and nothing is written.
    fn write_uncached(&mut self, at: u64, bytes: &[u8]) -> Result<bool, StorageError> {
        let is_aligned = at.is_multiple_of(UNCACHED_ALIGNMENT as u64)
            && bytes.len().is_multiple_of(UNCACHED_ALIGNMENT);
        let Some(uncached) = self.uncached.as_ref().filter(|_| is_aligned) else {
            return Ok(false);
        };
        match uncached.write_at(bytes, at) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                tracing::debug!(%error, "the packed file is written through the cache");
                self.uncached = None;
                Ok(false)
            }
            written => written
                .map(|()| true)
                .map_err(|error| self.io("write", error)),
        }
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.unsynced = 0;
        let synced = self.file.sync_data();
        synced.map_err(|error| self.io("sync", error))
    }

    fn io(&self, operation: &'static str, error: io::Error) -> StorageError {
        StorageError::io(self.path.as_path(), operation, error)
    }
}

/// Large enough for a disk to be quick. There are two: one is filled while the other is written.
const BUFFER_BYTES: usize = 192 << 10;
const _: () = assert!(BUFFER_BYTES.is_multiple_of(UNCACHED_ALIGNMENT));
const ORDERS_WAITING_MAX: usize = 1;
/// A commit that syncs its own file may have to wait for these.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use vfs::{OpenMode, RealDisk};

    use super::*;

    /// Bytes, in pieces of all lengths, with what draft writers do in between.
    #[test]
    fn the_file_is_what_was_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draft");
        let file = RealDisk.open(&path, OpenMode::Truncate).unwrap();
        let mut draft = Draft::begin(&RealDisk, file, path.clone());
        let mut expected: Vec<u8> = Vec::new();
        let lengths = [
            3,
            70_000,
            511,
            600_000,
            8,
            BUFFER_BYTES,
            1_200_000,
            1,
            300_000,
        ];
        for (round, length) in (0u8..).zip(lengths.into_iter().cycle().take(40)) {
            let bytes: Vec<u8> = (0..length).map(|at| round ^ at.to_le_bytes()[0]).collect();
            let start = draft.position();
            assert_eq!(start.number(), expected.len() as u64);
            draft.write(&bytes).unwrap();
            expected.extend_from_slice(&bytes);
            // Some of these places are in the buffer, some in the file, and some in both.
            let in_buffer = draft.start.number().max(4);
            for at in [start.number(), in_buffer - 4, in_buffer] {
                let place = usize::try_from(at).unwrap();
                if place + 8 <= expected.len() {
                    draft.overwrite(Offset::new(at), &[round; 8]).unwrap();
                    expected[place..place + 8].fill(round);
                }
            }
            match round % 10 {
                3 => draft.sync().unwrap(),
                6 if length >= 3 => {
                    let at = expected.len() - length;
                    let found: [u8; 3] = draft.read_array(start).unwrap();
                    assert_eq!(found[..], expected[at..at + 3]);
                }
                _ => {}
            }
        }
        draft.finish().unwrap();
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}
