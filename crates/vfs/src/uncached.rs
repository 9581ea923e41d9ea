//! Buffers for writing past the system's cache.

/// What offsets, lengths and addresses must be multiples of: what the blocks of disks are, and more than
/// some ask for.
pub const UNCACHED_ALIGNMENT: usize = 4096;

/// Bytes at an address that [`Disk::open_uncached`](crate::Disk::open_uncached) asks for. They never
/// move.
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    /// Where the first aligned byte is.
    start: usize,
    capacity: usize,
}

impl AlignedBuffer {
    /// An empty buffer for so many bytes.
    pub fn new(capacity: usize) -> Self {
        let mut bytes = Vec::<u8>::with_capacity(capacity + UNCACHED_ALIGNMENT);
        let start = bytes.as_ptr().align_offset(UNCACHED_ALIGNMENT);
        // Where the address cannot be known, the bytes are not aligned, and a write says so.
        let start = if start < UNCACHED_ALIGNMENT { start } else { 0 };
        bytes.resize(start, 0);
        Self {
            bytes,
            start,
            capacity,
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds as many of the bytes as there is room for, and says how many.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity - self.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        count
    }

    /// Forgets the bytes and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_stay_aligned_and_are_no_more_than_asked_for() {
        for capacity in [1, 5000, 1 << 16] {
            let mut buffer = AlignedBuffer::new(capacity);
            let given = vec![7; capacity + 3];
            for _ in 0..2 {
                assert_eq!(buffer.fill(&given[..1]), 1);
                assert_eq!(buffer.fill(&given), capacity - 1);
                assert_eq!(buffer.fill(&given), 0);
                assert_eq!(buffer[..], given[..capacity]);
                assert_eq!(buffer.as_ptr().align_offset(UNCACHED_ALIGNMENT), 0);
                buffer.clear();
                assert!(buffer.is_empty());
            }
        }
    }
}
