//! A page of positions of six bytes, read without a lock while one thread writes.
//!
//! A position is kept as two atomics, so a reader could see one half of the old and one of the new.
//! Therefore the page has a version (a seqlock): the writer makes it odd, writes, and makes it even
//! again; a reader that saw an odd version or two different ones looks again. All accesses are
//! atomic, so a torn read is a wrong number that is thrown away and nothing worse.

use super::sync::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence, spin_loop, yield_now};

/// Positions by slot; zero where there is none.
pub(crate) struct Page<const SLOTS: usize> {
    /// Odd while a position is being written. Moves with every change, so it also tells whether
    /// there was one.
    version: AtomicU64,
    low: [AtomicU32; SLOTS],
    high: [AtomicU16; SLOTS],
}

impl<const SLOTS: usize> Default for Page<SLOTS> {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            low: std::array::from_fn(|_| AtomicU32::new(0)),
            high: std::array::from_fn(|_| AtomicU16::new(0)),
        }
    }
}

impl<const SLOTS: usize> Page<SLOTS> {
    /// The position in that slot.
    ///
    /// The two fences pair with those of [`Page::replace`]: who sees a half of a position sees the
    /// odd version that came before it (so the versions differ), and everything that the writer did
    /// before.
    pub(crate) fn get(&self, slot: usize) -> u64 {
        let mut tries = 0;
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version.is_multiple_of(2) {
                let low = self.low[slot].load(Ordering::Relaxed);
                let high = self.high[slot].load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == version {
                    return u64::from(high) << 32 | u64::from(low);
                }
            }
            tries += 1;
            // The writer may have been sent to sleep in the middle by the operating system.
            if tries < SPINS_MAX {
                spin_loop();
            } else {
                yield_now();
            }
        }
    }

    /// Writes a position of at most six bytes and gives the one before it. The caller makes sure
    /// that nobody else writes.
    pub(super) fn replace(&self, slot: usize, position: u64) -> u64 {
        let (low, high) = halves(position);
        let version = self.version.load(Ordering::Relaxed);
        let old = u64::from(self.high[slot].load(Ordering::Relaxed)) << 32
            | u64::from(self.low[slot].load(Ordering::Relaxed));
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.low[slot].store(low, Ordering::Relaxed);
        self.high[slot].store(high, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
        old
    }

    /// The number of the page's state. Who takes it before the positions and finds the same number
    /// later has missed no change.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The slots from that one on that hold a position.
    pub(super) fn entries_from(&self, slot: usize) -> impl Iterator<Item = (usize, u64)> {
        (slot..SLOTS)
            .map(|slot| (slot, self.get(slot)))
            .filter(|entry| entry.1 != 0)
    }
}

fn halves(position: u64) -> (u32, u16) {
    let [0, 0, high @ .., b3, b2, b1, b0] = position.to_be_bytes() else {
        panic!("a position has six bytes: {position}");
    };
    (
        u32::from_be_bytes([b3, b2, b1, b0]),
        u16::from_be_bytes(high),
    )
}

const SPINS_MAX: u32 = 64;
