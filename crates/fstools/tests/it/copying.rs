//! From one storage to another.

use std::sync::Arc;

use fstools::{CopyError, CopyOptions, ToolError, Verdict};
use serde_json::Value;
use sim::SimDisk;
use storage::{DataRecord, MemoryStorage, Storage, Tid};

use crate::{Heard, PATH, PLAIN, commit, disk, open, record};

/// Undos, back pointers, deletions, several records of one object; and files that packs wrote.
const FILES: [&[u8]; 4] = [
    PLAIN,
    include_bytes!("../../../filestorage/tests/golden/undo.fs"),
    include_bytes!("../../../filestorage/tests/golden/packed_undo.fs"),
    include_bytes!("../../../filestorage/tests/golden/packed-middle.fs"),
];

const RESUME: CopyOptions = CopyOptions {
    resume: true,
    without_blobs: false,
};
const WHOLE: CopyOptions = CopyOptions {
    resume: false,
    without_blobs: false,
};

fn copy(
    source: &dyn Storage,
    target: &Arc<dyn Storage>,
    options: CopyOptions,
) -> Result<(Verdict, Value), ToolError> {
    let mut heard = Heard::default();
    let disk = SimDisk::new();
    let verdict = fstools::copy(source, target, &disk, options, &mut heard)?;
    Ok((verdict, heard.json().pop().unwrap()))
}

/// Everything a storage holds, as iteration tells it.
fn all(storage: &dyn Storage) -> Vec<(Tid, bool, storage::TransactionMeta, Vec<DataRecord>)> {
    let walk = storage.iterate().unwrap();
    let transactions = walk.iterate_transactions(Tid::ZERO, Tid::MAX).unwrap();
    transactions
        .map(|transaction| {
            let transaction = transaction.unwrap();
            let records = transaction.records.map(Result::unwrap).collect();
            (
                transaction.tid,
                transaction.is_packed,
                transaction.meta,
                records,
            )
        })
        .collect()
}

#[test]
fn a_copy_holds_the_same_and_refers_to_it_the_same_way() {
    for bytes in FILES {
        let source = open(&disk(bytes));
        let empty = Arc::new(SimDisk::new());
        let target: Arc<dyn Storage> = open(&empty);
        let (verdict, line) = copy(&*source, &target, WHOLE).unwrap();
        assert_eq!(verdict, Verdict::Sound);
        let expected = all(&*source);
        assert_eq!(line["transactions"], expected.len());
        assert_eq!(all(&*target), expected);
        drop(target);
        // Nothing grew: what were back pointers still are.
        let copied = empty.contents(PATH.as_ref()).unwrap();
        assert!(
            copied.len() <= bytes.len(),
            "{} {}",
            copied.len(),
            bytes.len()
        );
    }
}

#[test]
fn a_copy_goes_to_another_kind_of_storage_and_back() {
    let source = open(&disk(PLAIN));
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let (verdict, _) = copy(&*source, &memory, WHOLE).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    let target: Arc<dyn Storage> = open(&Arc::new(SimDisk::new()));
    let (verdict, _) = copy(&*memory, &target, WHOLE).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    let data = |storage: &dyn Storage| -> Vec<_> {
        let all = all(storage).into_iter();
        all.map(|(tid, _, _, records)| {
            let data = |record: DataRecord| (record.oid, record.data);
            (tid, records.into_iter().map(data).collect::<Vec<_>>())
        })
        .collect()
    };
    assert_eq!(data(&*target), data(&*source));
}

#[test]
fn a_copy_resumes_where_it_was_interrupted() {
    let source = open(&disk(PLAIN));
    let expected = all(&*source);
    // The target lost its last transactions.
    for end in [259, 556, 7854] {
        let target: Arc<dyn Storage> = open(&disk(&PLAIN[..end]));
        let before = target.last_tid();
        assert!(Tid::ZERO < before && before < source.last_tid());
        let refused = copy(&*source, &target, WHOLE).unwrap_err();
        assert!(
            matches!(refused, ToolError::Copy(CopyError::NotEmpty { .. })),
            "{refused}"
        );
        let (_, line) = copy(&*source, &target, RESUME).unwrap();
        assert_eq!(line["resumed_behind"], before.to_string());
        assert_eq!(all(&*target), expected);
        let (_, line) = copy(&*source, &target, RESUME).unwrap();
        assert_eq!(line["transactions"], 0);
    }
}

#[test]
fn what_is_no_beginning_of_the_source_is_not_resumed() {
    let source = open(&disk(PLAIN));
    let refused = |bytes: &[u8]| {
        let target: Arc<dyn Storage> = open(&disk(bytes));
        let before = all(&*target);
        match copy(&*source, &target, RESUME) {
            Err(ToolError::Copy(CopyError::NoPrefix { what, .. })) => {
                assert_eq!(all(&*target), before);
                what
            }
            other => panic!("{other:?}"),
        }
    };
    // Another text, other data of the last record, another transaction behind.
    let mut bytes = PLAIN[..556].to_vec();
    bytes[259 + 23] ^= 1;
    assert!(refused(&bytes).contains("says something else of itself"));
    let mut bytes = PLAIN[..556].to_vec();
    bytes[447 + 42 + 50] ^= 1;
    assert!(refused(&bytes).contains("has other records"));
    let longer = disk(PLAIN);
    commit(&open(&longer), &[(9, record("Late", &[]))]);
    let longer = longer.contents(PATH.as_ref()).unwrap();
    assert!(refused(&longer).contains("the source has no transaction"));
    let other = Arc::new(SimDisk::new());
    commit(&open(&other), &[(0, record("Root", &[]))]);
    let what = refused(&other.contents(PATH.as_ref()).unwrap());
    assert!(what.contains("was expected, there is"), "{what}");
}
