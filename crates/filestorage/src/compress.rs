//! Records that `zc.zlibstorage` compresses: `.z` and then a zlib stream of the record.
//!
//! No pickle begins with `.z`, so such records are told from others by their bytes alone: they are
//! read in every file ([`pickle::uncompressed`]), and written where that is asked for.

use std::borrow::Cow;
use std::io::Write;

use flate2::write::ZlibEncoder;
use pickle::{InflateError, is_compressed};
use storage::Record;

/// Whether records are compressed before they are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// They are written as they come.
    #[default]
    None,
    /// As `zc.zlibstorage` does it, where that makes them shorter. Whoever reads the file needs
    /// `zc.zlibstorage` around the original's storage.
    Zlib,
}

impl Compression {
    /// The record as it is written.
    pub(crate) fn pack(self, record: Record) -> Record {
        let tried = self == Self::Zlib && record.len() > UNTOUCHED_BYTES && !is_compressed(&record);
        if !tried {
            return record;
        }
        let level = flate2::Compression::default();
        let mut encoder = ZlibEncoder::new(PREFIX.to_vec(), level);
        let packed = encoder.write_all(&record).and_then(|()| encoder.finish());
        match packed {
            Ok(packed) if packed.len() < record.len() => Record::from(packed),
            _ => record,
        }
    }
}

/// The record as it was before it was compressed: itself, where it was not.
pub(crate) fn unpack(record: Record) -> Result<Record, InflateError> {
    match pickle::uncompressed(&record)? {
        Cow::Borrowed(_) => Ok(record),
        Cow::Owned(unpacked) => Ok(unpacked.into()),
    }
}

const PREFIX: &[u8] = b".z";
/// Shorter ones the original does not try to compress.
const UNTOUCHED_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zlib(record: &[u8]) -> Record {
        Compression::Zlib.pack(Record::from(record))
    }

    #[test]
    fn only_what_becomes_shorter_is_compressed() {
        assert_eq!(*zlib(&[b'a'; 20]), [b'a'; 20], "too short to be tried");
        assert!(is_compressed(&zlib(&[b'a'; 50])));
        let noise: Vec<u8> = (0..=255u8)
            .map(|n| n.wrapping_mul(151) ^ (n >> 3))
            .collect();
        assert_eq!(*zlib(&noise), noise, "no room is gained");
        let once = zlib(&[b'a'; 5000]);
        assert_eq!(zlib(&once), once, "once is enough");
        let plain = Record::from(vec![b'a'; 5000]);
        assert_eq!(Compression::None.pack(plain.clone()), plain);
    }

    proptest! {
        #[test]
        fn any_record_comes_back(
            record in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..20_000),
                (0usize..3_000_000).prop_map(|n| vec![b'x'; n]),
            ]
        ) {
            prop_assume!(!is_compressed(&record));
            prop_assert_eq!(&*unpack(zlib(&record)).unwrap(), &record[..]);
        }
    }
}
