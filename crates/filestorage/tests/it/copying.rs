//! Copying the transactions of another storage, and what only a Data.fs can get wrong in it.

use std::sync::Arc;

use filestorage::{FileStorage, Status};
use sim::SimDisk;
use storage::{CommitError, Oid, Record, Storage, StorageError, Tid, TransactionMeta};

use crate::{open, path};

const UNPACKED: &[u8] = include_bytes!("../golden/unpacked.fs");
const PACKED: &[u8] = include_bytes!("../golden/packed-middle.fs");

fn copy(source: &FileStorage, target: &Arc<FileStorage>) -> Result<(), CommitError> {
    for transaction in source.transactions(Tid::ZERO, Tid::MAX).unwrap() {
        let transaction = transaction.unwrap();
        let is_packed = transaction.status == Status::PACKED;
        let (tid, meta) = (transaction.tid, transaction.meta.clone());
        let mut commit = target.clone().begin_restore(meta, tid, is_packed)?;
        for record in transaction.records() {
            let record = record.unwrap();
            commit.restore(record.oid, record.data, record.data_tid)?;
        }
        assert_eq!(commit.vote()?.finish(Box::new(|_| {}))?, tid);
    }
    Ok(())
}

/// Texts, undos and their back pointers, undone creations: the copy has the same bytes. Where a pack has
/// taken the pointers to previous records out, the copy has them.
#[test]
fn a_copy_is_the_file_byte_for_byte() {
    for (bytes, is_equal) in [(UNPACKED, true), (PACKED, false)] {
        let disk = SimDisk::new();
        disk.put(path(), bytes);
        let source = open(&disk).unwrap();
        let target_disk = SimDisk::new();
        let target = open(&target_disk).unwrap();
        copy(&source, &target).unwrap();
        let copied = target_disk.contents(path()).unwrap();
        assert_eq!(copied.len(), bytes.len());
        assert_eq!(copied == bytes, is_equal);
        let all = |storage: &FileStorage| {
            let all = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
            let read = all.map(|transaction| {
                let transaction = transaction.unwrap();
                let records = transaction.records().map(Result::unwrap);
                let records: Vec<_> = records.collect();
                (
                    transaction.tid,
                    transaction.status,
                    transaction.meta,
                    records,
                )
            });
            read.collect::<Vec<_>>()
        };
        assert!(all(&source) == all(&target));
    }
}

/// A transaction that comes in between the vote and the finish makes the copy too late.
#[test]
fn a_copy_that_is_overtaken_is_refused_and_nothing_of_it_is_written() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let last = crate::change(&storage, 1, b"x");
    let tid = last.next();
    let meta = TransactionMeta::default();
    let mut restored = storage.clone().begin_restore(meta, tid, false).unwrap();
    let record = Record::from(&b"late"[..]);
    restored.restore(Oid::new(2), Some(record), None).unwrap();
    let restored = restored.vote().unwrap();
    let between = crate::change(&storage, 3, b"between");
    let refused = restored.finish(Box::new(|_| panic!("published"))).err();
    assert!(
        matches!(
            refused,
            Some(CommitError::Storage(StorageError::NotLater { tid: told, last }))
                if told == tid && last == between
        ),
        "{refused:?}"
    );
    assert_eq!(storage.recent_changes(9).unwrap().len(), 2);
    crate::change(&storage, 2, b"the object is free");
}
