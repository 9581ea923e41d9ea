//! The new file while it is written: from front to back, by a thread of its own.
//!
//! The thread also brings the file to the disk every now and then, so that little is left to sync at
//! the end, while commits wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use storage::StorageError;
use vfs::File;

use crate::format::Offset;

/// The writing side.
pub(super) struct Draft {
    file: Arc<dyn File>,
    path: PathBuf,
    /// Where the buffer begins in the file.
    start: Offset,
    buffer: Vec<u8>,
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    /// Buffers that were written, to be filled again.
    spare: Receiver<Vec<u8>>,
}

enum Order {
    Write {
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
    pub(super) fn begin(file: Arc<dyn File>, path: PathBuf) -> Self {
        let (orders, taken) = sync_channel(ORDERS_WAITING_MAX);
        let (give_back, spare) = sync_channel(ORDERS_WAITING_MAX);
        let writer = Writer {
            file: Arc::clone(&file),
            path: path.clone(),
            unsynced: 0,
            failed: None,
        };
        let thread = std::thread::spawn(move || writer.run(taken, &give_back));
        Self {
            file,
            path,
            start: Offset::NONE,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            orders: Some(orders),
            thread: Some(thread),
            spare,
        }
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> Offset {
        self.start + self.buffer.len() as u64
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.hand_over()
    }

    /// Replaces bytes that were written with one call.
    pub(super) fn overwrite(&mut self, at: Offset, bytes: &[u8]) -> Result<(), StorageError> {
        match at.checked_sub(self.start.number()) {
            Some(place) => {
                let place = usize::try_from(place.number()).expect("inside the buffer");
                self.buffer[place..][..bytes.len()].copy_from_slice(bytes);
                Ok(())
            }
            None => self.order(Order::Write {
                at: at.number(),
                bytes: bytes.to_vec(),
            }),
        }
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
        self.order(Order::Settle { sync, done })?;
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
        let mut next = self.spare.try_recv().unwrap_or_default();
        next.clear();
        let bytes = std::mem::replace(&mut self.buffer, next);
        self.start = start;
        self.order(Order::Write { at, bytes })
    }

    /// After a failure the thread is gone, and says why when it is asked.
    fn order(&mut self, order: Order) -> Result<(), StorageError> {
        let orders = self.orders.as_ref().expect("it is there until the end");
        orders
            .send(order)
            .expect("the thread takes orders until the end");
        Ok(())
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
    path: PathBuf,
    /// Bytes since the last sync.
    unsynced: usize,
    /// What failed. Nothing is written after that.
    failed: Option<StorageError>,
}

impl Writer {
    fn run(mut self, orders: Receiver<Order>, give_back: &SyncSender<Vec<u8>>) {
        for order in orders {
            match order {
                Order::Write { at, bytes } => {
                    self.attempt(|this| this.write(at, &bytes));
                    // One long record must not keep its memory. Where there are enough, or nobody
                    // is left to fill it, the buffer goes.
                    if bytes.capacity() <= BUFFER_BYTES * 2 && bytes.len() >= BUFFER_BYTES {
                        give_back.try_send(bytes).ok();
                    }
                }
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
        self.file
            .write_at(bytes, at)
            .map_err(|error| StorageError::io(self.path.as_path(), "write", error))?;
        self.unsynced += bytes.len();
        if self.unsynced >= UNSYNCED_BYTES_MAX {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.unsynced = 0;
        self.file
            .sync_data()
            .map_err(|error| StorageError::io(self.path.as_path(), "sync", error))
    }
}

const BUFFER_BYTES: usize = 256 << 10;
const ORDERS_WAITING_MAX: usize = 3;
/// A commit that syncs its own file may have to wait for these.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;
