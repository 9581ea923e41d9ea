//! Pickles: the decoder, the encoder, and the scanner for references.

use pickle::{Pickles, Scanner};

/// Decodes and scans; what was decoded is encoded and decoded again.
///
/// # Panics
/// Where the scanner accepts what the decoder refuses or the other way round, where they find another
/// number of references, or where an encoding does not come back.
pub fn pickle(bytes: &[u8]) {
    if bytes.len() > BYTES_MAX {
        return;
    }
    let mut scanned = 0;
    let scan = Scanner::default().scan(bytes, |_| scanned += 1);
    match Pickles::decode(bytes) {
        Err(error) => assert_eq!(scan, Err(error)),
        Ok(pickles) => {
            assert_eq!(scan, Ok(pickles.roots().len()));
            assert_eq!(scanned, pickles.persistent_ids().count());
            let encoded = pickles.encode();
            let again = Pickles::decode(&encoded).expect("we wrote it");
            assert_eq!(again.encode(), encoded, "an encoding is stable");
        }
    }
}

const BYTES_MAX: usize = 1 << 14;
