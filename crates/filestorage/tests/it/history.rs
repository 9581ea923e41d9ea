//! Random histories against a list of revisions, also after the file was opened again.

use proptest::prelude::*;
use sim::suite::Model;
use sim::{SimDisk, World};
use storage::{Oid, Storage, StorageError, Tid};

use crate::{open, open_read_only};

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
