use std::sync::Arc;

use sim::SimDisk;
use storage::{Record, Storage, TransactionMeta};

use super::*;
use crate::Options;

fn store(storage: &Arc<FileStorage>, records: &[(u64, &[u8])]) -> Tid {
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    for (oid, record) in records {
        let oid = Oid::new(*oid);
        let base = storage.load_before(oid, Tid::MAX);
        let base = base.map_or(Tid::ZERO, |found| found.unwrap().tid);
        commit.store(oid, base, Record::from(*record)).unwrap();
    }
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}

#[test]
fn records_of_blobs_that_were_dropped_are_told_behind_the_switch() {
    const BLOB: &[u8] = b"\x80\x03cZODB.blob\nBlob\nq\x01.N.";
    const PLAIN: &[u8] = b"\x80\x03cplain\nThing\nq\x01.N.";
    const ROOT: &[u8] = b"\x80\x03cplain\nRoot\nq\x01.C\x08\0\0\0\0\0\0\0\x01Q.";
    let disk = SimDisk::new();
    let storage = FileStorage::open(
        "/db/Data.fs",
        Options {
            disk: Arc::new(disk.clone()),
            ..Options::default()
        },
    )
    .unwrap();
    let first = store(&storage, &[(0, ROOT), (1, BLOB), (2, BLOB), (3, PLAIN)]);
    let second = store(&storage, &[(1, BLOB)]);
    let last = store(&storage, &[(1, BLOB)]);

    let mut told = Vec::new();
    let mut size = None;
    let report = storage.pack_and_tell(
        &PackOptions::default(),
        Some(&mut |dropped| {
            told.extend_from_slice(dropped);
            size = disk
                .contents("/db/Data.fs".as_ref())
                .map(|bytes| bytes.len());
        }),
    );
    let report = report.unwrap();
    assert_eq!(
        size,
        usize::try_from(report.bytes_after).ok(),
        "the switch was before"
    );
    let expected = [(1, first), (2, first), (1, second)];
    assert_eq!(told, expected.map(|(oid, tid)| (Oid::new(oid), tid)));
    assert_eq!(storage.last_tid(), last);
}
