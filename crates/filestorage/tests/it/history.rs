//! Random histories against a list of revisions, also after the file was opened again.

use proptest::prelude::*;
use sim::suite::Model;
use sim::{SimDisk, World};
use storage::{Oid, Storage, StorageError, Tid};

use crate::{change, open, open_read_only};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn a_history_survives_every_way_of_opening(seed: u64) {
        let disk = SimDisk::new();
        let storage = open(&disk).unwrap();
        let model = Model::run(&World::new(storage.clone()), seed);
        model.compare(&World::new(storage.clone()));
        model.compare(&World::new(open_read_only(&disk).unwrap()));
        drop(storage);

        // Without a clean close, so by reading everything; then with the index.
        let scanned = open(&disk).unwrap();
        model.compare(&World::new(scanned.clone()));
        scanned.close().unwrap();
        let indexed = open(&disk).unwrap();
        model.compare(&World::new(indexed.clone()));
        check_serials(&indexed);
    }
}

/// Each record that the log holds is found by its object and transaction, and no other one.
fn check_serials(storage: &filestorage::FileStorage) {
    let mut last = Tid::ZERO;
    for transaction in storage.transactions(Tid::ZERO, Tid::MAX).unwrap() {
        let transaction = transaction.unwrap();
        for record in transaction.records() {
            let record = record.unwrap();
            let found = storage.load_serial(record.oid, record.tid).unwrap();
            assert_eq!(Some(found), record.data);
            let missing = storage.load_serial(record.oid, record.tid.next());
            assert!(matches!(missing, Err(StorageError::NotFound { .. })));
        }
        assert!(transaction.tid > last);
        last = transaction.tid;
    }
    assert_eq!(last, storage.last_tid());
    assert!(storage.load_serial(Oid::new(99), last).is_err());
}

/// Whatever the span: backwards is the same, the other way round.
#[test]
fn transactions_are_walked_backwards() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    let tids: Vec<_> = (0..6)
        .map(|number| change(&storage, number % 3, &[1]))
        .collect();
    let mut limits = vec![Tid::ZERO, Tid::MAX];
    limits.extend(tids.iter().flat_map(|tid| [*tid, tid.next()]));
    for from in &limits {
        for to in &limits {
            let forwards = storage.transactions(*from, *to).unwrap();
            let mut forwards: Vec<_> = forwards.map(|found| found.unwrap().tid).collect();
            forwards.reverse();
            let backwards = storage.transactions_backwards(*from, *to).unwrap();
            let backwards: Vec<_> = backwards.map(|found| found.unwrap().tid).collect();
            assert_eq!(backwards, forwards, "{from} to {to}");
        }
    }
    let last = storage
        .transactions_backwards(Tid::ZERO, Tid::MAX)
        .unwrap()
        .next();
    assert_eq!(last.unwrap().unwrap().records().count(), 1);
}
