//! The structures of a `.zidx` file, byte for byte. All integers are big-endian.
//!
//! The file is a row of slots of 8192 bytes. Slot 0 has two headers, at 0 and at 4096, which are
//! written by turns; the newer one that is whole counts. All other slots are pages.
//!
//! | offset | bytes | [`Header`] |
//! |---|---|---|
//! | 0 | 8 | `ZIDX0001` |
//! | 8 | 4 | checksum (CRC-32, as in zlib) of what follows, up to the last table |
//! | 12 | 4 | how many tables there are |
//! | 16 | 8 | sequence number of the checkpoint |
//! | 24 | 8 | position in the Data.fs that it stands for |
//! | 32 | 8 | newest transaction id before that position |
//! | 40 | 4 | checksum of the beginning of the Data.fs |
//! | 44 | 4 | checksum of its last bytes before that position |
//! | 48 | 8 each | the tables: 4 bytes the slot, 4 bytes the checksum of the page there |
//!
//! | offset | bytes | [`Page`] |
//! |---|---|---|
//! | 0 | 4 | checksum of what follows, up to the last entry |
//! | 4 | 1 | kind: `T` table, `D` dense, `S` sparse |
//! | 5 | 3 | zero |
//! | 8 | 4 | how many entries there are |
//! | 12 | 8 | table: its number; dense: the first oid / 1024; sparse: a bound below its oids |
//! | 20 | | table: slot and checksum of each page as above, slot 0 where there is none; dense: 1024 positions of 6 bytes, 0 where there is none; sparse: 8 bytes oid and 6 bytes position each, in order |
//!
//! Whatever names a page also says its checksum, so a slot that holds something else than the
//! header meant is noticed, however sound it is in itself.

use storage::{Oid, Tid};

use crate::format::Offset;
use crate::index::{CHUNK_ENTRIES_MAX, OFFSET_END, PAGE_SLOTS};

pub(super) const SLOT_BYTES: usize = 8192;
pub(super) const HEADER_BYTES: usize = 4096;
/// How many pages a table names.
pub(super) const TABLE_PAGES: usize = 1020;
/// How many tables a header names: enough for half a thousand million objects.
pub(super) const TABLES_MAX: usize = 500;

/// Why a checkpoint is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(pub(super) &'static str);

/// Where a page is, and what it must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reference {
    /// Zero where there is no page: headers are there.
    pub(super) slot: u32,
    pub(super) checksum: u32,
}

/// What a checkpoint stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sequence: u64,
    pub(super) end: Offset,
    pub(super) last_tid: Tid,
    pub(super) fingerprint: Fingerprint,
    pub(super) tables: Vec<Reference>,
}

/// Tells one Data.fs from another, and from what a pack makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) beginning: u32,
    pub(super) last: u32,
}

/// A page of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Table {
        number: u64,
        pages: Vec<Reference>,
    },
    Dense {
        number: u64,
        positions: Box<[u64; PAGE_SLOTS]>,
    },
    Sparse {
        bound: Oid,
        entries: Vec<(Oid, Offset)>,
    },
}

impl Reference {
    fn encode(self, out: &mut Vec<u8>) {
        out.extend(self.slot.to_be_bytes());
        out.extend(self.checksum.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            slot: be32(bytes, 0),
            checksum: be32(bytes, 4),
        }
    }
}

impl Header {
    /// The copy that it is written to: not the one of the header before.
    pub(super) fn place(&self) -> u64 {
        (self.sequence % 2) * HEADER_BYTES as u64
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        assert!(self.tables.len() <= TABLES_MAX, "the caller gave up before");
        let mut body = Vec::with_capacity(HEADER_BYTES);
        let count = u32::try_from(self.tables.len()).expect("there are few");
        body.extend(count.to_be_bytes());
        body.extend(self.sequence.to_be_bytes());
        body.extend(self.end.number().to_be_bytes());
        body.extend(self.last_tid.to_bytes());
        body.extend(self.fingerprint.beginning.to_be_bytes());
        body.extend(self.fingerprint.last.to_be_bytes());
        for table in &self.tables {
            table.encode(&mut body);
        }
        let checksum = crc32fast::hash(&body).to_be_bytes();
        [&MAGIC[..], &checksum, &body].concat()
    }

    /// The header in that copy; nothing where there is none, or not a whole one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (checksum, body) = rest.split_at_checked(4)?;
        let count = usize::try_from(u32::from_be_bytes(*body.first_chunk()?)).ok()?;
        let body = body.get(..HEADER_FIXED_BYTES + count.checked_mul(REFERENCE_BYTES)?)?;
        if count > TABLES_MAX || crc32fast::hash(body).to_be_bytes() != checksum {
            return None;
        }
        let (fixed, tables) = body.split_at(HEADER_FIXED_BYTES);
        Some(Self {
            sequence: be64(fixed, 4),
            end: Offset::new(be64(fixed, 12)),
            last_tid: Tid::new(be64(fixed, 20)),
            fingerprint: Fingerprint {
                beginning: be32(fixed, 28),
                last: be32(fixed, 32),
            },
            tables: references(tables),
        })
    }
}

impl Page {
    /// A whole slot, and the checksum that the reference to it needs.
    pub(super) fn encode(&self) -> (Vec<u8>, u32) {
        let (kind, count, key) = match self {
            Self::Table { number, pages } => (KIND_TABLE, pages.len(), *number),
            Self::Dense { number, .. } => (KIND_DENSE, PAGE_SLOTS, *number),
            Self::Sparse { bound, entries } => (KIND_SPARSE, entries.len(), bound.number()),
        };
        let count = u32::try_from(count).expect("a page has room for few");
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend([0, 0, 0, 0, kind, 0, 0, 0]);
        bytes.extend(count.to_be_bytes());
        bytes.extend(key.to_be_bytes());
        match self {
            Self::Table { pages, .. } => pages.iter().for_each(|page| page.encode(&mut bytes)),
            Self::Dense { positions, .. } => {
                for position in positions.iter() {
                    bytes.extend(&position.to_be_bytes()[2..]);
                }
            }
            Self::Sparse { entries, .. } => {
                for (oid, offset) in entries {
                    bytes.extend(oid.to_bytes());
                    bytes.extend(&offset.number().to_be_bytes()[2..]);
                }
            }
        }
        assert!(bytes.len() <= SLOT_BYTES, "a page fits its slot");
        let checksum = crc32fast::hash(&bytes[CHECKSUM_BYTES..]);
        bytes[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
        bytes.resize(SLOT_BYTES, 0);
        (bytes, checksum)
    }

    /// The page in that slot, which must be the one with that checksum.
    pub(super) fn decode(slot: &[u8; SLOT_BYTES], checksum: u32) -> Result<Self, Broken> {
        let (kind, count, key) = (slot[4], be32(slot, 8), be64(slot, 12));
        let entry_bytes = match kind {
            KIND_TABLE => REFERENCE_BYTES,
            KIND_DENSE => POSITION_BYTES,
            KIND_SPARSE => 8 + POSITION_BYTES,
            _ => return Err(Broken("a page of an unknown kind")),
        };
        let body = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(entry_bytes))
            .and_then(|length| slot.get(CHECKSUM_BYTES..PAGE_FIXED_BYTES + length))
            .ok_or(Broken("a page with more entries than it has room for"))?;
        if crc32fast::hash(body) != checksum || be32(slot, 0) != checksum {
            return Err(Broken("a page with a wrong checksum"));
        }
        let entries = &body[PAGE_FIXED_BYTES - CHECKSUM_BYTES..];
        match kind {
            KIND_TABLE if entries.len() <= TABLE_PAGES * REFERENCE_BYTES => Ok(Self::Table {
                number: key,
                pages: references(entries),
            }),
            KIND_DENSE if entries.len() == PAGE_SLOTS * POSITION_BYTES => {
                let mut positions = Box::new([0; PAGE_SLOTS]);
                for (position, bytes) in positions.iter_mut().zip(entries.chunks(POSITION_BYTES)) {
                    *position = be48(bytes);
                }
                Ok(Self::Dense {
                    number: key,
                    positions,
                })
            }
            KIND_SPARSE => Ok(Self::Sparse {
                bound: Oid::new(key),
                entries: entries
                    .chunks(8 + POSITION_BYTES)
                    .map(|entry| (Oid::new(be64(entry, 0)), Offset::new(be48(&entry[8..]))))
                    .collect(),
            }),
            _ => Err(Broken("a page with the wrong number of entries")),
        }
    }
}

fn references(bytes: &[u8]) -> Vec<Reference> {
    bytes
        .chunks(REFERENCE_BYTES)
        .map(Reference::decode)
        .collect()
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(number)
}

fn be48(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number[2..].copy_from_slice(&bytes[..POSITION_BYTES]);
    u64::from_be_bytes(number)
}

const MAGIC: &[u8; 8] = b"ZIDX0001";
const HEADER_FIXED_BYTES: usize = 36;
const PAGE_FIXED_BYTES: usize = 20;
const CHECKSUM_BYTES: usize = 4;
const REFERENCE_BYTES: usize = 8;
const POSITION_BYTES: usize = 6;
const KIND_TABLE: u8 = b'T';
const KIND_DENSE: u8 = b'D';
const KIND_SPARSE: u8 = b'S';

const _: () = {
    assert!(12 + HEADER_FIXED_BYTES + TABLES_MAX * REFERENCE_BYTES <= HEADER_BYTES);
    assert!(PAGE_FIXED_BYTES + TABLE_PAGES * REFERENCE_BYTES <= SLOT_BYTES);
    assert!(PAGE_FIXED_BYTES + PAGE_SLOTS * POSITION_BYTES <= SLOT_BYTES);
    assert!(PAGE_FIXED_BYTES + CHUNK_ENTRIES_MAX * (8 + POSITION_BYTES) <= SLOT_BYTES);
    assert!(OFFSET_END.number() == 1 << (8 * POSITION_BYTES));
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference() -> impl Strategy<Value = Reference> {
        any::<(u32, u32)>().prop_map(|(slot, checksum)| Reference { slot, checksum })
    }

    fn page() -> impl Strategy<Value = Page> {
        let references = prop::collection::vec(reference(), 0..=TABLE_PAGES);
        let entries = prop::collection::vec((any::<u64>(), 0u64..1 << 48), 0..=CHUNK_ENTRIES_MAX);
        prop_oneof![
            (any::<u64>(), references).prop_map(|(number, pages)| Page::Table { number, pages }),
            (
                any::<u64>(),
                prop::collection::vec(0u64..1 << 48, PAGE_SLOTS)
            )
                .prop_map(|(number, positions)| Page::Dense {
                    number,
                    positions: positions.try_into().unwrap(),
                }),
            (any::<u64>(), entries).prop_map(|(bound, entries)| Page::Sparse {
                bound: Oid::new(bound),
                entries: entries
                    .into_iter()
                    .map(|(oid, at)| (Oid::new(oid), Offset::new(at)))
                    .collect(),
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_page_survives_the_round_trip_and_no_other_takes_its_place(
            page in page(), at in 0usize..SLOT_BYTES, flip in 1u8..
        ) {
            let (bytes, checksum) = page.encode();
            let mut slot: [u8; SLOT_BYTES] = bytes.try_into().unwrap();
            prop_assert_eq!(Page::decode(&slot, checksum), Ok(page.clone()));
            Page::decode(&slot, !checksum).unwrap_err();
            // Any damage is noticed, but for that in the rest of the slot, which means nothing.
            slot[at] ^= flip;
            if let Ok(found) = Page::decode(&slot, checksum) {
                prop_assert_eq!(found, page);
            }
        }

        #[test]
        fn a_header_survives_the_round_trip_and_a_damaged_one_does_not(
            numbers: [u64; 3], checksums: [u32; 2],
            tables in prop::collection::vec(reference(), 0..=TABLES_MAX),
            at in any::<prop::sample::Index>(), flip in 1u8..
        ) {
            let header = Header {
                sequence: numbers[0],
                end: Offset::new(numbers[1]),
                last_tid: Tid::new(numbers[2]),
                fingerprint: Fingerprint { beginning: checksums[0], last: checksums[1] },
                tables,
            };
            let mut bytes = header.encode();
            prop_assert_eq!(Header::decode(&bytes), Some(header));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert_eq!(Header::decode(&bytes), None);
        }
    }
}
