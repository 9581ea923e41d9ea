//! A file in pieces, for several to walk through side by side.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::ops::Range;

use storage::StorageError;

use super::{Positions, Survey};
use crate::format::{LOG_START, Offset};

impl Survey {
    /// Cuts what the positions were taken from into pieces of about so many bytes, where records say
    /// that their transactions begin: whoever walks through the pieces sees whether that is so. The
    /// pieces are in the order of the file, and leave nothing out.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] where a record is not what it should be.
    pub fn pieces(
        &self,
        positions: &Positions,
        bytes: NonZeroU64,
    ) -> Result<Vec<Range<u64>>, StorageError> {
        // By the numbers of the pieces: the first record that is current.
        let mut firsts = BTreeMap::new();
        for (oid, at) in positions.iter() {
            let first = firsts.entry(at / bytes).or_insert((at, oid));
            *first = (at, oid).min(*first);
        }
        let end = positions.end();
        let mut pieces = Vec::new();
        let mut start = LOG_START.number();
        for (at, oid) in firsts.into_values() {
            let page = self.log.page(Offset::new(at), oid, Offset::new(end))?;
            let cut = page.header.transaction.number();
            if start < cut && cut < at {
                pieces.push(start..cut);
                start = cut;
            }
        }
        if start < end {
            pieces.push(start..end);
        }
        Ok(pieces)
    }
}
