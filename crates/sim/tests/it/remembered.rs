//! What a storage in memory is told by its options.

use std::sync::Arc;
use std::time::Duration;

use storage::{
    CommitError, ConflictingStates, MemoryOptions, MemoryStorage, Oid, Pack, PackError,
    PackOptions, Record, Resolution, Resolver, Storage, StorageError, Tid, TransactionMeta,
};

fn storage(options: MemoryOptions) -> Arc<MemoryStorage> {
    Arc::new(MemoryStorage::with(options))
}

fn change(storage: &Arc<MemoryStorage>, oid: u64, record: &[u8]) -> Result<Tid, CommitError> {
    let oid = Oid::new(oid);
    let base = storage.current_tid(oid).unwrap_or(Tid::ZERO);
    change_from(storage, oid, base, record)
}

fn change_from(
    storage: &Arc<MemoryStorage>,
    oid: Oid,
    base: Tid,
    record: &[u8],
) -> Result<Tid, CommitError> {
    let mut commit = storage.clone().begin(TransactionMeta::default())?;
    commit.store(oid, base, Record::from(record))?;
    commit.vote()?.finish(Box::new(|_| {}))
}

#[test]
fn a_transaction_over_the_limit_is_refused_at_its_vote() {
    let storage = storage(MemoryOptions {
        bytes_max: 100,
        ..MemoryOptions::default()
    });
    change(&storage, 1, &[1; 60]).unwrap();
    let refused = change(&storage, 2, &[2; 41]);
    assert!(
        matches!(
            refused,
            Err(CommitError::Storage(StorageError::Limit {
                found: 101,
                max: 100,
                ..
            }))
        ),
        "{refused:?}"
    );
    // A vote has its room for certain, and who aborts gives it back.
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let record = Record::from(&[3; 40][..]);
    commit.store(Oid::new(3), Tid::ZERO, record).unwrap();
    let voted = commit.vote().unwrap();
    change(&storage, 2, &[2]).unwrap_err();
    drop(voted);
    change(&storage, 2, &[2; 40]).unwrap();
    assert_eq!(storage.stats().bytes, 100);
    change(&storage, 1, &[1]).unwrap_err();
}

#[test]
fn ids_are_time_stamps_of_the_clock() {
    let now = Duration::from_secs(1_700_000_000);
    let storage = storage(MemoryOptions {
        clock: Some(Arc::new(move || now)),
        ..MemoryOptions::default()
    });
    let first = change(&storage, 1, b"x").unwrap();
    assert_eq!(first, Tid::from_unix_time(now));
    assert_eq!(change(&storage, 1, b"y").unwrap(), first.next());
}

/// Adds up what both sides added to a number.
struct Adder;

impl Resolver for Adder {
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution {
        let [old, committed, new] = [states.old, states.committed, states.new].map(|r| r[0]);
        match (committed + new).checked_sub(old) {
            Some(sum) => Resolution::Merged(Record::from(&[sum][..])),
            None => Resolution::Refused("less than nothing"),
        }
    }
}

#[test]
fn changes_side_by_side_are_merged() {
    let storage = storage(MemoryOptions {
        resolver: Some(Arc::new(Adder)),
        ..MemoryOptions::default()
    });
    let oid = Oid::new(1);
    let base = change(&storage, 1, &[10]).unwrap();
    let other = change(&storage, 1, &[15]).unwrap();
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.store(oid, base, Record::from(&[12][..])).unwrap();
    let voted = commit.vote().unwrap();
    assert_eq!(voted.resolved(), [oid]);
    let tid = voted.finish(Box::new(|_| {})).unwrap();
    let sum = |tid: Tid| {
        storage
            .load_before(oid, tid.next())
            .unwrap()
            .unwrap()
            .record[0]
    };
    assert_eq!(sum(tid), 17);
    // An undo is merged as well: what the other one added is taken away.
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.undo(other).unwrap();
    let undone = commit.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    assert_eq!(sum(undone), 12);
    // Where the old state is not known, there is nothing to merge with.
    let refused = change_from(&storage, oid, Tid::new(base.number() - 1), &[1]);
    assert!(
        matches!(refused, Err(CommitError::Conflict(_))),
        "{refused:?}"
    );
}

/// Each byte of a record is the number of an object that it refers to.
fn with_references() -> Arc<MemoryStorage> {
    let read = |record: &[u8]| match record {
        [0xff, ..] => Err("no sound record".to_owned()),
        numbers => Ok(numbers
            .iter()
            .map(|number| Oid::new((*number).into()))
            .collect()),
    };
    storage(MemoryOptions {
        references: Some(Arc::new(read)),
        ..MemoryOptions::default()
    })
}

#[test]
fn a_pack_collects_what_nothing_reaches() {
    let storage = with_references();
    change(&storage, 3, &[]).unwrap();
    change(&storage, 2, &[3]).unwrap();
    change(&storage, 4, &[5]).unwrap_or(Tid::ZERO);
    change(&storage, 5, &[4]).unwrap();
    change(&storage, 1, &[0]).unwrap();
    change(&storage, 0, &[1, 2]).unwrap();
    let to = change(&storage, 0, &[1]).unwrap();
    // Out of reach at the pack time, 2 is taken up again.
    change(&storage, 1, &[2]).unwrap();
    change(&storage, 6, &[]).unwrap();
    let options = |to| PackOptions {
        to,
        ..PackOptions::default()
    };
    let report = storage.pack(&options(to)).unwrap();
    assert_eq!((report.packed, report.objects_removed), (true, 2));
    let exists = |oid| storage.load_before(Oid::new(oid), Tid::MAX).is_ok();
    assert_eq!(
        [0, 1, 2, 3, 4, 5, 6].map(exists),
        [true, true, true, true, false, false, true]
    );
    let report = storage.pack(&options(Tid::MAX)).unwrap();
    assert_eq!(report.objects_removed, 1, "6 had its time");

    change(&storage, 1, &[77]).unwrap();
    let dangling = storage.pack(&options(Tid::MAX));
    let (parent, missing) = (Oid::new(1), Oid::new(77));
    assert!(
        matches!(dangling, Err(PackError::Dangling { parent: p, missing: m }) if (p, m) == (parent, missing)),
        "{dangling:?}"
    );
    change(&storage, 1, &[0xff]).unwrap();
    let unreadable = storage.pack(&options(Tid::MAX));
    assert!(matches!(unreadable, Err(PackError::Unreadable { oid, .. }) if oid == parent));
}

#[test]
fn garbage_is_not_collected_without_a_root_or_a_reader_of_references() {
    let blind = storage(MemoryOptions::default());
    change(&blind, 0, b"root").unwrap();
    let refused = blind.pack(&PackOptions::default());
    assert!(matches!(
        refused,
        Err(PackError::Storage(StorageError::Unsupported { .. }))
    ));
    let rootless = with_references();
    rootless.pack(&PackOptions::default()).unwrap();
    change(&rootless, 1, &[1]).unwrap();
    assert!(matches!(
        rootless.pack(&PackOptions::default()),
        Err(PackError::NoRoot)
    ));
    assert!(rootless.load_before(Oid::new(1), Tid::MAX).is_ok());
}
