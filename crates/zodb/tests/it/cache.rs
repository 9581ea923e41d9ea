//! The cache of decoded objects is shared, and bounded.

use std::sync::Arc;

use storage::{MemoryStorage, Oid, Tid, TransactionMeta};
use zodb::{Database, DatabaseOptions};

use crate::world::{Counting, commit_number, commit_raw, number, value};

#[test]
fn a_warm_object_asks_no_storage_and_is_shared() {
    let storage = Counting::new();
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    commit_number(&database, Oid::ROOT, 1);
    let first = database.connect().root().unwrap();
    let asked = storage.loads(Oid::ROOT);
    // A change of something else must not make it cold.
    commit_number(&database, Oid::new(1), 1);
    for _ in 0..3 {
        assert!(Arc::ptr_eq(&first, &database.connect().root().unwrap()));
    }
    assert_eq!(storage.loads(Oid::ROOT), asked);

    commit_number(&database, Oid::ROOT, 2);
    assert_eq!(value(&database.connect(), Oid::ROOT), 2);
    assert_eq!(storage.loads(Oid::ROOT), asked + 1);
}

#[test]
fn a_record_is_decoded_once_for_all_threads() {
    let storage = Counting::new();
    let database = Database::new(storage, DatabaseOptions::default());
    commit_number(&database, Oid::ROOT, 1);
    let objects: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| database.connect().root().unwrap()))
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for object in &objects {
        assert!(Arc::ptr_eq(object, &objects[0]));
    }
}

#[test]
fn the_byte_bound_holds_and_what_falls_out_is_loaded_again() {
    const BYTES_MAX: u64 = 64 << 10;
    let database = Database::new(
        Arc::new(MemoryStorage::new()),
        DatabaseOptions {
            cache_bytes: BYTES_MAX,
            ..DatabaseOptions::default()
        },
    );
    let mut connection = database.connect();
    for oid in 0..2_000u64 {
        connection
            .store(Oid::new(oid), number(oid.cast_signed()))
            .unwrap();
    }
    connection.commit(TransactionMeta::default()).unwrap();
    let huge = Oid::new(9_999);
    let bytes = [
        b"\x80\x03ca\nb\n.\x80\x03B\x00\x00\x02\x00",
        &[0; 128 << 10][..],
        b".",
    ]
    .concat();
    commit_raw(database.storage(), huge, Tid::ZERO, &bytes);

    let connection = database.connect();
    for _ in 0..2 {
        for oid in 0..2_000u64 {
            assert_eq!(value(&connection, Oid::new(oid)), oid.cast_signed());
            assert!(database.cached_bytes() <= BYTES_MAX);
        }
        // Larger than the whole cache: served, not kept.
        assert_eq!(
            connection
                .load(huge)
                .unwrap()
                .state()
                .as_bytes()
                .unwrap()
                .len(),
            128 << 10
        );
        assert!(database.cached_bytes() <= BYTES_MAX);
    }
    assert!(
        database.cached_bytes() > BYTES_MAX / 4,
        "nothing is kept at all"
    );
}

#[test]
fn only_what_is_not_at_hand_is_fetched_in_advance() {
    let storage = Counting::new();
    let database = Database::new(storage.clone(), DatabaseOptions::default());
    let [read, changed, new, other] = [1, 2, 3, 4].map(Oid::new);
    for oid in [read, changed, other] {
        commit_number(&database, oid, 1);
    }
    let mut connection = database.connect();
    connection.load(read).unwrap();
    connection.store(changed, number(2)).unwrap();
    connection.store(new, number(2)).unwrap();
    connection.prefetch([read, changed, new]);
    assert!(storage.prefetched.lock().is_empty());
    connection.prefetch([read, changed, new, other]);
    assert_eq!(*storage.prefetched.lock(), [other]);
}
