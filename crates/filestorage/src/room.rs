//! Room for transactions that have voted: so that a finish does not find the disk full, and the file
//! does not grow over its quota.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use storage::StorageError;

use crate::file_storage::FileStorage;
use crate::format::Offset;
use crate::generation::Generation;
use crate::index::OFFSET_END;

/// How much those need that have voted and are not in the file yet.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) reserved: Mutex<u64>,
    /// Whether the last one who wanted room was refused.
    refused: AtomicBool,
}

impl Room {
    pub(crate) fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Room that a transaction has, until this is dropped.
pub(crate) struct Reservation {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        *self.room.reserved.lock() -= self.bytes;
    }
}

impl FileStorage {
    /// Takes room behind the end of the file.
    ///
    /// # Errors
    /// [`StorageError::Limit`] names the quota or the format's limit; [`StorageError::Io`] says that
    /// the disk is full. Nothing was written.
    pub(crate) fn reserve(
        &self,
        generation: &Generation,
        bytes: u64,
    ) -> Result<Reservation, StorageError> {
        let mut reserved = self.room.reserved.lock();
        let taken = self.take_room(generation, *reserved, bytes);
        self.room.refused.store(taken.is_err(), Ordering::Relaxed);
        taken?;
        *reserved += bytes;
        Ok(Reservation {
            room: Arc::clone(&self.room),
            bytes,
        })
    }

    fn take_room(
        &self,
        generation: &Generation,
        reserved: u64,
        bytes: u64,
    ) -> Result<(), StorageError> {
        let length = generation.end().number() + reserved + bytes;
        let limits = [
            (Some(OFFSET_END.number()), "the length of a Data.fs"),
            (self.quota, "the length of the Data.fs, which has a quota,"),
        ];
        for (max, what) in limits {
            if let Some(max) = max.filter(|max| length > *max) {
                let found = length;
                return Err(StorageError::Limit { what, found, max });
            }
        }
        generation.take_room(length)
    }

    /// Whether room for so many bytes is taken already, and nobody is about to take more.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let Some(reserved) = self.room.reserved.try_lock() else {
            return false;
        };
        let generation = self.generation();
        let length = generation.end().number() + *reserved;
        let taken = generation.taken_to.load(Ordering::Relaxed);
        length.saturating_add(bytes) <= taken
    }
}

impl Generation {
    /// Has the disk keep room up to that length, in steps: most transactions find it taken already.
    /// Called by one thread at a time.
    fn take_room(&self, length: u64) -> Result<(), StorageError> {
        let taken = self.taken_to.load(Ordering::Relaxed);
        let taken = taken.max(self.end().number());
        if length <= taken {
            return Ok(());
        }
        let step = (length / STEP_FRACTION).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
        for target in [length + step, length] {
            match self.log.file.reserve(taken, target - taken) {
                Ok(true) => {
                    self.taken_to.store(target, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(false) => break,
                Err(error) if is_full(&error) && target > length => {}
                Err(error) if is_full(&error) => {
                    return Err(self.log.io("take room for a transaction in", error));
                }
                Err(error) => {
                    tracing::warn!(%error, "no room is kept for transactions that have voted");
                    break;
                }
            }
        }
        self.taken_to.store(u64::MAX, Ordering::Relaxed);
        Ok(())
    }

    /// What was cut off has no room any more.
    pub(crate) fn forget_room(&self, end: Offset) {
        if self.taken_to.load(Ordering::Relaxed) != u64::MAX {
            self.taken_to.store(end.number(), Ordering::Relaxed);
        }
    }

    /// Gives the rest back. Called when nothing more is written.
    pub(crate) fn give_room_back(&self) {
        let (taken, end) = (self.taken_to.load(Ordering::Relaxed), self.end().number());
        if taken != u64::MAX
            && taken > end
            && let Err(error) = self.log.file.set_len(end)
        {
            tracing::warn!(%error, "room that was kept for transactions stays taken");
        }
    }
}

/// Whether there was no room for a write, on the disk or in a quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// As much more than is needed is taken at once: this part of the file,
const STEP_FRACTION: u64 = 16;
/// at least so much,
const STEP_BYTES_MIN: u64 = 1 << 20;
/// at most so much.
const STEP_BYTES_MAX: u64 = 64 << 20;
