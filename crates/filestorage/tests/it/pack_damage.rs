//! A pack of a file that contradicts itself: refused, and the file stays as it is.

use filestorage::PackError;
use storage::StorageError;

use crate::pack::{PACKED, UNPACKED, beside, contents, disk, to};
use crate::{open, path};

const RECORD_BYTES: usize = 42;
const NEW_OID: u64 = 0x0100_0000_0000_0007;

/// Where the records are, and their objects.
fn records() -> Vec<(usize, u64)> {
    let number = |at: usize| u64::from_be_bytes(UNPACKED[at..at + 8].try_into().unwrap());
    let text = |at: usize| usize::from(u16::from_be_bytes([UNPACKED[at], UNPACKED[at + 1]]));
    let (mut start, mut found) = (4, Vec::new());
    while start < UNPACKED.len() {
        let end = start + usize::try_from(number(start + 8)).unwrap();
        let mut at = start + 23 + text(start + 17) + text(start + 19) + text(start + 21);
        while at < end {
            found.push((at, number(at)));
            at += RECORD_BYTES + usize::try_from(number(at + 34)).unwrap().max(8);
        }
        start = end + 8;
    }
    found
}

#[test]
fn what_contradicts_itself_is_not_packed() {
    // The index is of the file as it was.
    let saved = disk(UNPACKED);
    open(&saved).unwrap().close().unwrap();
    let index = contents(&saved, ".index").unwrap();
    let records = records();
    let mut refused = 0;
    for &(at, oid) in &records {
        let other = records
            .iter()
            .map(|record| record.1)
            .find(|&found| found > 1 && found != oid);
        for (field, value) in [
            (0, other.unwrap()),
            (0, NEW_OID),
            (8, 0x0300_0000_0000_0000),
            (16, 0x0001_0000_0000_0000),
        ] {
            let mut broken = UNPACKED.to_vec();
            broken[at + field..at + field + 8].copy_from_slice(&u64::to_be_bytes(value));
            let disk = disk(&broken);
            disk.put(beside(".index").as_ref(), &index);
            let Ok(storage) = open(&disk) else {
                continue;
            };
            match storage.pack(&to(8)) {
                Err(PackError::Storage(StorageError::Corrupt { offset, what, .. })) => {
                    refused += usize::from(what.contains("contradicts itself"));
                    if field != 0 {
                        assert_eq!(offset, at as u64, "{field}: {what}");
                    }
                }
                Err(_) => {}
                // What a pack leaves out, it need not understand.
                Ok(_) => {
                    // Of the last transaction's records an open makes the index anew, so that for a new
                    // object nothing else speaks.
                    if at >= records[records.len() - 2].0 && value == NEW_OID {
                        continue;
                    }
                    assert!(
                        disk.contents(path()).unwrap() == PACKED[1].2,
                        "{at} {field} {value:x}"
                    );
                    continue;
                }
            }
            assert_eq!(disk.contents(path()).unwrap(), broken);
        }
    }
    assert!(
        refused > records.len() * 2,
        "{refused} of {}",
        records.len()
    );
}
