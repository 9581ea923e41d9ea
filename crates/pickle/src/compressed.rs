//! Records that `zc.zlibstorage` compressed: `.z` and then a zlib stream of the record.
//!
//! Storages pass them on as they are, and clients decompress them. Whoever looks into a record on the
//! side of the storage has to do so as well. No pickle begins with `.z`.

use std::borrow::Cow;
use std::io::Write;

use flate2::{Decompress, FlushDecompress, Status};

use crate::limits::INPUT_BYTES_MAX;

/// A compressed record that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// Not zlib's format, damaged, or cut off.
    #[error("the record is compressed (.z), and its zlib stream is damaged or cut off")]
    Damaged,
    /// The record is longer than any pickle that is read.
    #[error("the record is compressed (.z) and longer than {limit} bytes without that")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

/// Whether the record is compressed.
pub fn is_compressed(record: &[u8]) -> bool {
    record.starts_with(PREFIX)
}

/// The record without compression: itself, where it has none.
///
/// # Errors
/// See [`InflateError`].
pub fn uncompressed(record: &[u8]) -> Result<Cow<'_, [u8]>, InflateError> {
    if !is_compressed(record) {
        return Ok(Cow::Borrowed(record));
    }
    let mut inflater = Inflater::default();
    inflater.inflate(record)?;
    Ok(Cow::Owned(inflater.output))
}

/// The record compressed, as `zc.zlibstorage` would: itself, where that makes it no shorter.
pub fn compressed(record: &[u8]) -> Cow<'_, [u8]> {
    if record.len() <= SHORT_BYTES_MAX || is_compressed(record) {
        return Cow::Borrowed(record);
    }
    let level = flate2::Compression::default();
    let mut encoder = flate2::write::ZlibEncoder::new(PREFIX.to_vec(), level);
    let written = encoder.write_all(record).and_then(|()| encoder.finish());
    match written {
        Ok(compressed) if compressed.len() < record.len() => Cow::Owned(compressed),
        _ => Cow::Borrowed(record),
    }
}

/// Decompresses one record after the other with the same memory.
pub struct Inflater {
    stream: Decompress,
    output: Vec<u8>,
    bytes_max: usize,
}

impl Default for Inflater {
    /// Up to [`INPUT_BYTES_MAX`] bytes a record.
    fn default() -> Self {
        Self::new(INPUT_BYTES_MAX)
    }
}

impl Inflater {
    /// Refuses records that would become longer.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            stream: Decompress::new(true),
            output: Vec::new(),
            bytes_max,
        }
    }

    /// The record without compression: itself, where it has none.
    ///
    /// # Errors
    /// See [`InflateError`].
    pub fn plain<'a>(&'a mut self, record: &'a [u8]) -> Result<&'a [u8], InflateError> {
        if !is_compressed(record) {
            return Ok(record);
        }
        self.inflate(record)?;
        Ok(&self.output)
    }

    /// The output grows as it comes: the stream does not say how long it will be.
    fn inflate(&mut self, record: &[u8]) -> Result<(), InflateError> {
        let stream = &record[PREFIX.len()..];
        self.stream.reset(true);
        self.output.clear();
        // One record must not keep the memory that the largest one took.
        self.output.shrink_to(KEPT_BYTES);
        loop {
            let room = self.output.len().clamp(ROOM_BYTES_MIN, ROOM_BYTES_MAX);
            self.output.reserve(room);
            let read = usize::try_from(self.stream.total_in()).expect("a part of a slice");
            let written = self.output.len();
            let status = self
                .stream
                .decompress_vec(&stream[read..], &mut self.output, FlushDecompress::None)
                .map_err(|_| InflateError::Damaged)?;
            if self.output.len() > self.bytes_max {
                let limit = self.bytes_max;
                return Err(InflateError::TooLong { limit });
            }
            if status == Status::StreamEnd {
                return Ok(());
            }
            let is_stuck = self.output.len() == written && self.stream.total_in() == read as u64;
            if is_stuck {
                return Err(InflateError::Damaged);
            }
        }
    }
}

const PREFIX: &[u8] = b".z";
/// Shorter records are not tried.
const SHORT_BYTES_MAX: usize = 20;
const KEPT_BYTES: usize = 1 << 20;
const ROOM_BYTES_MIN: usize = 4 << 10;
const ROOM_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compress(record: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        let mut encoder = flate2::write::ZlibEncoder::new(PREFIX.to_vec(), level);
        encoder.write_all(record).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_python_compressed_is_read() {
        // zc.zlibstorage.compress(b"a" * 50)
        let record = b".zx\x9cKL$\x15\x00\x00\xe3\\\x12\xf3";
        assert_eq!(*uncompressed(record).unwrap(), [b'a'; 50]);
    }

    #[test]
    fn damage_is_refused_and_the_output_has_a_bound() {
        let whole = compress(&[7; 100_000]);
        for end in PREFIX.len()..whole.len() {
            assert_eq!(uncompressed(&whole[..end]), Err(InflateError::Damaged));
        }
        assert_eq!(uncompressed(b".z not zlib"), Err(InflateError::Damaged));
        let limit = 99_999;
        let mut inflater = Inflater::new(limit);
        assert_eq!(inflater.plain(&whole), Err(InflateError::TooLong { limit }));
        assert_eq!(inflater.plain(&compress(b"small")).unwrap(), b"small");
        assert_eq!(
            Inflater::new(limit + 1).plain(&whole).unwrap().len(),
            limit + 1
        );
    }

    proptest! {
        #[test]
        fn any_record_comes_back(records in prop::collection::vec(
            prop_oneof![prop::collection::vec(any::<u8>(), 0..20_000), (0usize..300_000).prop_map(|n| vec![b'x'; n])], 1..4)
        ) {
            let mut inflater = Inflater::default();
            for record in records {
                let compressed = compress(&record);
                prop_assert_eq!(inflater.plain(&compressed).unwrap(), &record[..]);
                prop_assert_eq!(&*uncompressed(&compressed).unwrap(), &record[..]);
                let shorter = super::compressed(&record);
                prop_assert!(shorter.len() <= record.len());
                prop_assert_eq!(&*uncompressed(&shorter).unwrap(), &record[..]);
            }
        }

        #[test]
        fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let record = [PREFIX, b"x\x9c", &bytes].concat();
            let _ = uncompressed(&record);
        }
    }
}
