//! Conflicts: three records to one.

use pickle::Pickles;

/// Merges three records, each behind its length in two bytes (the last one takes the rest).
///
/// # Panics
/// Where what was merged is no record, or cannot be encoded again.
pub fn merge(bytes: &[u8]) {
    let Some((old, rest)) = record(bytes) else {
        return;
    };
    let Some((committed, new)) = record(rest) else {
        return;
    };
    if bytes.len() > BYTES_MAX {
        return;
    }
    let Ok(merged) = btrees::merge(old, committed, new) else {
        return;
    };
    let plain = pickle::uncompressed(&merged).expect("we wrote it");
    let again = Pickles::decode(&plain).expect("we wrote it");
    assert_eq!(again.roots().count(), 2, "a class and a state");
    assert_eq!(again.encode(), *plain, "an encoding is stable");
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

const BYTES_MAX: usize = 1 << 14;
