//! Conflicts that somebody can merge: a counter, whose changes add up.

use std::sync::Arc;

use filestorage::{FileStorage, Options};
use sim::SimDisk;
use storage::{
    CommitError, Conflict, ConflictingStates, Oid, Record, Resolution, Resolver, Storage, Tid,
    TransactionMeta, UndoReason,
};

use crate::{PATH, change, options};

/// Adds both changes, where all three states are counters.
struct Adder;

impl Resolver for Adder {
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution {
        let ConflictingStates {
            oid: _,
            old,
            committed,
            new,
        } = states;
        let number = |record: &Record| Some(i32::from_be_bytes(record[..].try_into().ok()?));
        match [number(old), number(committed), number(new)] {
            [Some(old), Some(committed), Some(new)] => {
                Resolution::Merged(counter(committed + new - old))
            }
            _ => Resolution::Refused("no number"),
        }
    }
}

const OID: Oid = Oid::new(1);

fn counter(number: i32) -> Record {
    Record::from(&number.to_be_bytes()[..])
}

fn open() -> Arc<FileStorage> {
    let options = Options {
        resolver: Some(Arc::new(Adder)),
        ..options(&SimDisk::new())
    };
    FileStorage::open(PATH, options).unwrap()
}

/// The transaction, and what was merged in it.
fn commit(
    storage: &Arc<FileStorage>,
    changes: &[(Oid, Tid, Record)],
) -> Result<(Tid, Vec<Oid>), CommitError> {
    let mut commit = storage.clone().begin(TransactionMeta::default())?;
    for (oid, base, record) in changes {
        commit.store(*oid, *base, record.clone())?;
    }
    let voted = commit.vote()?;
    let resolved = voted.resolved().to_vec();
    Ok((voted.finish(Box::new(|_| {}))?, resolved))
}

fn now(storage: &FileStorage) -> Record {
    let current = storage.load_before(OID, Tid::MAX).unwrap();
    current.unwrap().record
}

#[test]
fn changes_of_a_counter_add_up() {
    let storage = open();
    let first = change(&storage, 1, &counter(10));
    let (second, resolved) = commit(&storage, &[(OID, first, counter(15))]).unwrap();
    assert_eq!(resolved, []);
    let late = [
        (OID, first, counter(7)),
        (Oid::new(2), Tid::ZERO, counter(0)),
    ];
    let (third, resolved) = commit(&storage, &late).unwrap();
    assert_eq!(resolved, [OID]);
    assert_eq!(now(&storage), counter(12));
    let before = storage.load_before(OID, third).unwrap().unwrap();
    assert_eq!((before.tid, before.next), (second, Some(third)));
    assert_eq!(
        commit(&storage, &[(OID, third, counter(13))]).unwrap().1,
        []
    );
}

#[test]
fn what_cannot_be_merged_is_a_conflict() {
    let storage = open();
    let first = change(&storage, 1, &counter(10));
    let second = change(&storage, 1, &counter(11));
    let other = change(&storage, 2, b"no counter");
    let stale = [
        (OID, first, Record::from(&b"no counter either"[..])),
        (Oid::new(2), first, counter(1)),
        (OID, second.next(), counter(1)),
    ];
    let Err(CommitError::Conflict(conflicts)) = commit(&storage, &stale) else {
        panic!("a stale change was accepted");
    };
    let found: Vec<_> = conflicts
        .iter()
        .map(|conflict| {
            let Conflict {
                oid,
                committed,
                base,
                refusal,
            } = *conflict;
            (oid, committed, base, refusal)
        })
        .collect();
    assert_eq!(
        found,
        [
            (OID, second, first, Some("no number")),
            (Oid::new(2), other, first, None),
            (OID, second, second.next(), None),
        ],
        "the last two have bases that never were: there is nothing to merge with"
    );
}

/// As the original: what is undone is what both changes began at.
#[test]
fn an_undo_is_merged_with_what_came_later() {
    let storage = open();
    change(&storage, 1, &counter(10));
    let undone = change(&storage, 1, &counter(15));
    change(&storage, 1, &counter(115));
    let undo = |tid| {
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        commit.undo(tid).unwrap();
        let voted = commit.vote()?;
        assert_eq!(voted.resolved(), [OID]);
        voted.finish(Box::new(|_| {}))
    };
    undo(undone).unwrap();
    assert_eq!(now(&storage), counter(110));

    change(&storage, 1, b"no counter");
    let refused = undo(undone).unwrap_err();
    assert!(
        matches!(&refused, CommitError::Undo(obstacles)
            if obstacles[0].reason == UndoReason::ChangedLater),
        "{refused:?}"
    );
}

/// With a resolver, threads that count up one number are never refused.
#[test]
fn no_increment_is_lost_or_refused() {
    let storage = open();
    change(&storage, 1, &counter(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let seen = storage.load_before(OID, storage.last_tid().next());
                    let seen = seen.unwrap().unwrap();
                    let number = i32::from_be_bytes(seen.record[..].try_into().unwrap());
                    commit(&storage, &[(OID, seen.tid, counter(number + 1))]).unwrap();
                }
            });
        }
    });
    assert_eq!(now(&storage), counter(200));
}
