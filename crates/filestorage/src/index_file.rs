//! The `.index` file: the index as of the last clean close, as ZODB's `fsIndex` writes and reads it.
//!
//! It is a row of pickles of protocol 3: the offset up to which the log is indexed, then for each
//! six-byte beginning of ids a pair of that beginning and a bucket, then `None`. A bucket of *n*
//! entries is a byte string of *n* two-byte ends of ids, sorted, followed by *n* six-byte offsets.
//! Before ZODB 3.10 it was [one pickle of a dict](old); those are read too.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use storage::{Oid, StorageError};
use vfs::{Disk, OpenMode, SequentialReader, SequentialWriter};

use crate::format::Offset;
use crate::index::{Index, OFFSET_END};
use crate::log::Past;
use crate::open::{sync_parent, with_suffix};

mod old;
mod unpickle;

use unpickle::{Broken, Node, NodeId, Pickle};

/// The index beside that Data.fs, with the offset up to which it holds; none where there is no file
/// or not one that makes sense, which costs a scan of the Data.fs and nothing else.
pub(crate) fn load(disk: &dyn Disk, data_path: &Path) -> Option<(Index, Offset)> {
    load_from(disk, &with_suffix(data_path, ".index"))
}

/// The same of an index that has that name.
pub(crate) fn load_from(disk: &dyn Disk, path: &Path) -> Option<(Index, Offset)> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the index cannot be read");
            return None;
        }
    };
    match decode(&mut BufReader::with_capacity(
        BUFFER_BYTES,
        SequentialReader::new(file, 0),
    )) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the index is broken and is ignored");
            None
        }
    }
}

/// Up to where the index beside that Data.fs holds; none where there is none or where that cannot be
/// told before all of it is read.
pub(crate) fn end(disk: &dyn Disk, data_path: &Path) -> Option<Offset> {
    let path = with_suffix(data_path, ".index");
    let file = disk.open(&path, OpenMode::Read).ok()?;
    let mut start = vec![0; FIRST_PICKLE_BYTES_MAX];
    let filled = file.read_most_at(&mut start, 0).ok()?;
    let first = Pickle::read(&mut &start[..filled]).ok()?;
    first.int(first.root()).map(Offset::new)
}

/// Writes the index beside that Data.fs, in place of an older one. It is durable before it gets its
/// name, so that a power loss leaves the old or the new one.
pub(crate) fn save(
    disk: &dyn Disk,
    data_path: &Path,
    index: &Index,
    end: Offset,
) -> Result<(), StorageError> {
    save_entries(disk, data_path, all_of(index), end)
}

/// The same of an index that others go on changing: it is written as it was when the log ended at
/// `past`. All that was there by then is in the index.
pub(crate) fn save_past(
    disk: &dyn Disk,
    data_path: &Path,
    index: &Index,
    past: &Past<'_>,
) -> Result<(), StorageError> {
    let then = index.iter().filter_map(|(oid, now)| {
        let then = past
            .offset(oid, now)
            .map_err(io::Error::other)
            .transpose()?;
        Some(then.map(|then| (oid, then)))
    });
    save_entries(disk, data_path, then, past.end)
}

fn save_entries(
    disk: &dyn Disk,
    data_path: &Path,
    entries: impl Iterator<Item = Entry>,
    end: Offset,
) -> Result<(), StorageError> {
    let path = with_suffix(data_path, ".index");
    let draft = with_suffix(&path, ".index_tmp");
    write_entries(disk, &draft, entries, end)?;
    disk.rename(&draft, &path)
        .map_err(|error| StorageError::io(path.as_path(), "replace", error))?;
    sync_parent(disk, &path)
}

/// Writes the index under that name and makes its bytes durable.
pub(crate) fn write(
    disk: &dyn Disk,
    path: &Path,
    index: &Index,
    end: Offset,
) -> Result<(), StorageError> {
    write_entries(disk, path, all_of(index), end)
}

fn write_entries(
    disk: &dyn Disk,
    path: &Path,
    entries: impl Iterator<Item = Entry>,
    end: Offset,
) -> Result<(), StorageError> {
    let write = || -> io::Result<()> {
        let file = disk.open(path, OpenMode::Truncate)?;
        let mut writer =
            BufWriter::with_capacity(BUFFER_BYTES, SequentialWriter::new(file.clone(), 0));
        encode(entries, end, &mut writer)?;
        writer.flush()?;
        file.sync_data()
    };
    write().map_err(|error| StorageError::io(path, "write", error))
}

/// An object and where its record is.
type Entry = io::Result<(Oid, Offset)>;

fn all_of(index: &Index) -> impl Iterator<Item = Entry> {
    index.iter().map(Ok)
}

fn encode(
    entries: impl Iterator<Item = Entry>,
    end: Offset,
    out: &mut impl Write,
) -> io::Result<()> {
    out.write_all(PROTOCOL_3)?;
    encode_int(end.number(), out)?;
    out.write_all(b".")?;
    let mut bucket = Bucket::default();
    for entry in entries {
        let (oid, offset) = entry?;
        let [prefix @ .., high, low] = oid.to_bytes();
        if prefix != bucket.prefix {
            bucket.encode(out)?;
            bucket = Bucket {
                prefix,
                ..Bucket::default()
            };
        }
        bucket.suffixes.extend([high, low]);
        bucket.offsets.extend(&offset.number().to_be_bytes()[2..]);
    }
    bucket.encode(out)?;
    out.write_all(PROTOCOL_3)?;
    out.write_all(b"N.")
}

#[derive(Default)]
struct Bucket {
    prefix: [u8; 6],
    suffixes: Vec<u8>,
    offsets: Vec<u8>,
}

impl Bucket {
    fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        if self.suffixes.is_empty() {
            return Ok(());
        }
        out.write_all(PROTOCOL_3)?;
        out.write_all(b"C\x06")?;
        out.write_all(&self.prefix)?;
        let length = self.suffixes.len() + self.offsets.len();
        match u8::try_from(length) {
            Ok(length) => out.write_all(&[b'C', length])?,
            Err(_) => {
                let length = u32::try_from(length).expect("a bucket has at most 65536 entries");
                out.write_all(b"B")?;
                out.write_all(&length.to_le_bytes())?;
            }
        }
        out.write_all(&self.suffixes)?;
        out.write_all(&self.offsets)?;
        out.write_all(b"\x86.")
    }
}

/// The shortest form of the number, as the pickler chooses it.
fn encode_int(number: u64, out: &mut impl Write) -> io::Result<()> {
    let bytes = number.to_le_bytes();
    match number {
        0..=0xff => out.write_all(&[b'K', bytes[0]]),
        0x100..=0xffff => out.write_all(&[b'M', bytes[0], bytes[1]]),
        0x1_0000..=0x7fff_ffff => {
            out.write_all(b"J")?;
            out.write_all(&bytes[..4])
        }
        _ => {
            // A signed number: the highest bit of the last byte must be free.
            let bits = u64::BITS - number.leading_zeros() + 1;
            let length = u8::try_from(bits.div_ceil(8)).expect("at most nine");
            let mut padded = [0; 9];
            padded[..8].copy_from_slice(&bytes);
            out.write_all(&[0x8a, length])?;
            out.write_all(&padded[..usize::from(length)])
        }
    }
}

fn decode(input: &mut impl Read) -> Result<(Index, Offset), Broken> {
    let first = Pickle::read(input)?;
    let Some(end) = first.int(first.root()) else {
        return old::decode(&first);
    };
    let end = Offset::new(end);
    let index = Index::default();
    let mut room = Vec::new();
    loop {
        let pickle = Pickle::read_into(room, input)?;
        match pickle.node(pickle.root()) {
            Node::None => return Ok((index, end)),
            Node::Tuple(pair) => decode_bucket(&pickle, pair, end, &index)?,
            _ => return Err(Broken("a pair or None was expected")),
        }
        room = pickle.into_room();
    }
}

fn decode_bucket(
    pickle: &Pickle,
    pair: &[NodeId],
    end: Offset,
    index: &Index,
) -> Result<(), Broken> {
    let &[prefix, bucket] = pair else {
        return Err(Broken("a pair was expected"));
    };
    let prefix = prefix_of(pickle, prefix)?;
    let bucket = pickle
        .bytes(bucket)
        .filter(|bytes| bytes.len().is_multiple_of(8))
        .ok_or(Broken("a bucket was expected"))?;
    let (suffixes, offsets) = bucket.split_at(bucket.len() / 4);
    for (suffix, offset) in suffixes.chunks_exact(2).zip(offsets.chunks_exact(6)) {
        enter(index, prefix, suffix, offset, end)?;
    }
    Ok(())
}

fn prefix_of(pickle: &Pickle, id: NodeId) -> Result<[u8; 6], Broken> {
    pickle
        .bytes(id)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Broken("six bytes of an object id were expected"))
}

/// Enters the offset of the id that two parts make, two bytes of them the second.
fn enter(
    index: &Index,
    prefix: [u8; 6],
    suffix: &[u8],
    offset: &[u8],
    end: Offset,
) -> Result<(), Broken> {
    let oid = number(&[&prefix, suffix].concat());
    insert(index, Oid::new(oid), Offset::new(number(offset)), end)
}

/// The big-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn insert(index: &Index, oid: Oid, offset: Offset, end: Offset) -> Result<(), Broken> {
    if offset == Offset::NONE || offset >= end.min(OFFSET_END) {
        return Err(Broken("an entry leads out of the indexed part of the file"));
    }
    index.insert(oid, offset);
    Ok(())
}

const PROTOCOL_3: &[u8] = b"\x80\x03";
/// A number, with what stands around it.
const FIRST_PICKLE_BYTES_MAX: usize = 32;
const BUFFER_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(entries: &[(u64, u64)], end: u64) {
        let index = Index::default();
        for &(oid, offset) in entries {
            index.insert(Oid::new(oid), Offset::new(offset));
        }
        let mut bytes = Vec::new();
        encode(all_of(&index), Offset::new(end), &mut bytes).unwrap();
        let (decoded, decoded_end) = decode(&mut &bytes[..]).unwrap();
        assert!(decoded.iter().eq(index.iter()));
        assert_eq!(decoded_end, Offset::new(end));
    }

    proptest! {
        #[test]
        fn an_index_survives_the_round_trip(
            entries in prop::collection::vec(
                (prop_oneof![0u64..1000, any::<u64>()], 1u64..1 << 47), 0..500),
            end in 1u64 << 47..1 << 63,
        ) {
            round_trip(&entries, end);
        }

        #[test]
        fn foreign_bytes_are_refused_without_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), keep in 0usize..30
        ) {
            let mut sound = Vec::new();
            let index = Index::default();
            index.insert(Oid::new(1), Offset::new(4));
            encode(all_of(&index), Offset::new(200), &mut sound).unwrap();
            bytes.splice(0..0, sound.into_iter().take(keep));
            decode(&mut &bytes[..]).ok();
        }
    }

    /// Written by `fsIndex.save` of ZODB 6.4.
    #[test]
    fn the_bytes_are_those_of_the_original() {
        let bytes = b"\x80\x03\x8a\x05\x00\xf2\x05*\x01.\
            \x80\x03C\x06\0\0\0\0\0\0C\x18\0\0\0\x01\0\x02\0\0\0\0\0d\0\0\0\0\0e\0\0\0\0\0f\x86.\
            \x80\x03C\x06\0\0\0\0\0\x01C\x08\x11p\0\0\0\x01\x11\xd4\x86.\x80\x03N.";
        let (index, end) = decode(&mut &bytes[..]).unwrap();
        assert_eq!(end, Offset::new(5_000_000_000));
        assert_eq!(index.get(Oid::new(70_000)), Some(Offset::new(70_100)));
        assert_eq!(index.len(), 4);
        let mut encoded = Vec::new();
        encode(all_of(&index), end, &mut encoded).unwrap();
        assert_eq!(encoded, bytes);
    }

    /// One index in every form that ZODB has written. See `tests/golden/MANIFEST.md`.
    #[test]
    fn every_form_of_the_original_is_read() {
        let sequence = golden("sequence");
        let (expected, expected_end) = decode(&mut &sequence[..]).unwrap();
        assert_eq!(expected.len(), 856);
        let mut encoded = Vec::new();
        encode(all_of(&expected), expected_end, &mut encoded).unwrap();
        assert_eq!(encoded, sequence);
        for name in OLD_FORMS {
            let (index, end) = decode(&mut &golden(name)[..]).unwrap();
            assert_eq!(end, expected_end, "{name}");
            assert!(index.iter().eq(expected.iter()), "{name}");
        }
    }

    #[test]
    fn an_old_form_that_is_damaged_is_refused_or_read_and_nothing_worse() {
        let mut rng = fastrand::Rng::with_seed(7);
        for name in OLD_FORMS {
            let sound = golden(name);
            for _ in 0..200 {
                let mut bytes = sound.clone();
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(..bytes.len().min(2000));
                    bytes[at] = rng.u8(..);
                }
                bytes.truncate(rng.usize(..=bytes.len() * 2));
                decode(&mut &bytes[..]).ok();
            }
        }
    }

    fn golden(name: &str) -> Vec<u8> {
        let path = format!("{}/tests/golden/{name}.index", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    const OLD_FORMS: [&str; 7] = [
        "fsindex",
        "dict",
        "python2-fsindex",
        "python2-dict",
        "python2-tree-of-buckets",
        "python2-tree-of-trees",
        "python2-dict-of-trees",
    ];
}
