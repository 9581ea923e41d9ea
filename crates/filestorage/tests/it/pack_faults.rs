//! What is left of a pack that did not come to its end, and what names the file has then.

use std::sync::Arc;

use filestorage::{FileStorage, PackError, PackOptions, Status};
use sim::{Fault, SimDisk};
use storage::{CommitError, Oid, Record, Storage, Tid, TransactionMeta};

use crate::pack::{
    Content, PACKED, UNPACKED, beside, change, check_currency, contents, disk, read_all, record, to,
};
use crate::{open, open_read_only, path};

#[test]
fn the_checkpoint_of_the_old_file_goes_with_it() {
    let disk = disk(UNPACKED);
    let storage = open(&disk).unwrap();
    disk.put(beside(".zidx").as_ref(), b"of the old file");
    assert!(storage.pack(&to(8)).unwrap().packed);
    assert_eq!(contents(&disk, ".zidx"), None);
}

/// As `eventful_pack`, on a file system where files have one name only.
#[test]
fn without_links_the_old_file_is_kept_all_the_same() {
    let without_links = || {
        let disk = disk(UNPACKED);
        disk.forbid_links();
        disk
    };
    let whole = without_links();
    let storage = open(&whole).unwrap();
    assert!(storage.pack(&to(8)).unwrap().packed);
    assert_eq!(whole.contents(path()).unwrap(), PACKED[1].2);
    assert_eq!(contents(&whole, ".old").unwrap(), UNPACKED);
    drop(storage);
    let operations = whole.operations();
    for fault in [Fault::PowerLoss, Fault::Error] {
        for operation in 1..=operations {
            for coin in 0..8 {
                let context = format!("{fault:?} at {operation}, coin {coin}");
                let disk = without_links();
                disk.fail_at(operation, fault);
                if let Ok(storage) = open(&disk) {
                    storage.pack(&to(8)).ok();
                }
                disk.restart(coin);
                let storage = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                let found = disk.contents(path()).unwrap();
                assert!(found == UNPACKED || found == PACKED[1].2, "{context}");
                check_currency(&storage, &context);
                commit(&storage, "life goes on").unwrap();
            }
        }
    }
}

#[test]
fn the_rest_of_an_interrupted_pack_is_cleared_up() {
    let disk = disk(UNPACKED);
    disk.put(beside(".pack").as_ref(), b"FS30 half a file");
    drop(open_read_only(&disk).unwrap());
    assert!(contents(&disk, ".pack").is_some(), "it may be another's");
    drop(open(&disk).unwrap());
    assert_eq!(contents(&disk, ".pack"), None);
}

/// The original renames twice, and may be killed in between.
/// The original was killed between its two renames.
#[test]
fn a_file_that_a_pack_moved_away_gets_its_name_back() {
    let disk = SimDisk::new();
    disk.put(beside(".old").as_ref(), UNPACKED);
    disk.put(beside(".pack").as_ref(), &PACKED[0].2[..100]);
    let storage = open(&disk).unwrap();
    assert_eq!(disk.contents(path()).unwrap(), UNPACKED);
    assert_eq!(contents(&disk, ".old"), None);
    assert_eq!(contents(&disk, ".pack"), None);
    check_currency(&storage, "after the renaming");
}

/// Commits, packs, commits: the golden history, with an index that speaks of the unpacked file.
fn eventful_pack(disk: &SimDisk, acknowledged: &mut Vec<Tid>) -> Result<(), CommitError> {
    open(disk)?.close()?;
    let storage = open(disk)?;
    acknowledged.push(commit(&storage, "before")?);
    match storage.pack(&to(8)) {
        Ok(report) => assert!(report.packed),
        Err(PackError::Storage(error)) => {
            // A pack that failed costs nothing else, unless it no longer knows what is on the disk.
            if storage.clone().begin(TransactionMeta::default()).is_ok() {
                acknowledged.push(commit(&storage, "after a failed pack")?);
            }
            return Err(error.into());
        }
        Err(error) => panic!("{error}"),
    }
    acknowledged.push(commit(&storage, "after")?);
    Ok(())
}

fn commit(storage: &Arc<FileStorage>, text: &str) -> Result<Tid, CommitError> {
    let current = storage.load_before(Oid::new(1), Tid::MAX)?;
    let base = current.map_or(Tid::ZERO, |current| current.tid);
    let mut commit = storage.clone().begin(TransactionMeta::default())?;
    let record = Record::from(record(text, &[8]));
    commit.store(Oid::new(1), base, record)?;
    commit.vote()?.finish(Box::new(|_| {}))
}

/// The content without what tells a packed transaction, and only of transactions behind the pack
/// time, which no pack may change.
fn later(content: &Content) -> Vec<(Tid, Vec<filestorage::DataRecord>)> {
    let later = content.iter().filter(|(tid, ..)| *tid > to(8).to);
    later
        .map(|(tid, _, _, records)| (*tid, records.clone()))
        .collect()
}

#[test]
fn a_fault_at_any_operation_leaves_the_old_file_or_the_new_one() {
    let whole = disk(UNPACKED);
    eventful_pack(&whole, &mut Vec::new()).unwrap();
    let operations = whole.operations();
    let new = read_all(&open_again_on(&whole));
    let old = {
        let disk = disk(UNPACKED);
        read_all(&open(&disk).unwrap())
    };
    let packed_count = new
        .iter()
        .filter(|(_, status, ..)| *status == Status::PACKED);
    let packed_count = packed_count.count();
    let mut outcomes = [0; 2];
    for fault in [Fault::PowerLoss, Fault::Error, Fault::Full] {
        for operation in 1..=operations {
            for coin in 0..16 {
                let context = format!("{fault:?} at {operation}, coin {coin}");
                let disk = disk(UNPACKED);
                disk.fail_at(operation, fault);
                let mut acknowledged = Vec::new();
                eventful_pack(&disk, &mut acknowledged).ok();
                disk.restart(coin);
                let storage = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                let found = read_all(&storage);
                let is_new = found[0].1 == Status::PACKED;
                let (whole, start) = if is_new {
                    (&new, packed_count)
                } else {
                    (&old, 0)
                };
                outcomes[usize::from(is_new)] += 1;
                assert_eq!(found[..start], whole[..start], "{context}");
                let lost = |tid: &Tid| found.iter().all(|transaction| transaction.0 != *tid);
                assert!(
                    !acknowledged.iter().any(lost),
                    "{context}: a commit is lost"
                );
                let (found, expected) = (later(&found), later(&old));
                assert_eq!(found[..expected.len()], expected, "{context}");
                check_currency(&storage, &context);
                assert_eq!(contents(&disk, ".pack"), None, "{context}");
                let old_file = contents(&disk, ".old");
                commit(&storage, "life goes on").unwrap();
                assert!(
                    contents(&disk, ".old") == old_file,
                    "{context}: a second name"
                );
                assert!(
                    storage.pack(&PackOptions::default()).unwrap().packed,
                    "{context}"
                );
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}

/// The old index may look right: where its last transaction is, there may be one of the same object
/// again. So it must be gone before the new file has the name.
#[test]
fn the_index_of_the_old_file_is_not_taken_for_one_of_the_new() {
    let mut failures = 0;
    for operation in 1.. {
        let disk = SimDisk::new();
        let storage = open(&disk).unwrap();
        change(&storage, 0, "root", &[1, 3]);
        change(&storage, 1, "one, a", &[]);
        change(&storage, 1, "one, b", &[]);
        change(&storage, 3, "three", &[]);
        change(&storage, 1, "one, c", &[]);
        storage.close().unwrap();
        let storage = open(&disk).unwrap();
        let size = disk.contents(path()).unwrap().len();
        disk.fail_at(disk.operations() + operation, Fault::Error);
        match storage.pack(&PackOptions::default()) {
            Ok(report) => assert!(report.packed),
            Err(_) => continue,
        }
        if !disk.is_faultless() {
            break;
        }
        failures += 1;
        change(&storage, 1, "one, d", &[]);
        change(&storage, 1, "one, e", &[]);
        assert_eq!(disk.contents(path()).unwrap().len(), size, "it looks right");
        disk.restart_process();
        check_currency(&open(&disk).unwrap(), &format!("operation {operation}"));
    }
    assert!(failures > 2, "the new index was not written");
}

fn open_again_on(disk: &SimDisk) -> Arc<FileStorage> {
    disk.restart_process();
    open(disk).unwrap()
}
