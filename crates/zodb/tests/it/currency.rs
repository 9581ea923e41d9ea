//! A model test: whatever is remembered about currency, snapshots read what the storage says.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use storage::{MemoryStorage, Oid, Tid};
use zodb::{Database, DatabaseOptions};

use crate::world::{commit_number, value};

#[derive(Clone, Debug)]
enum Step {
    /// Writes an object through this database, or behind its back.
    Write { oid: u64, through_other: bool },
    /// Opens a snapshot of now, or of an earlier transaction, and keeps it.
    Open { back: u64 },
    /// Reads an object through a kept snapshot.
    Read { snapshot: usize, oid: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let oid = 0..4u64;
    let step = prop_oneof![
        (oid.clone(), any::<bool>())
            .prop_map(|(oid, through_other)| Step::Write { oid, through_other }),
        prop_oneof![Just(0), 0..6u64].prop_map(|back| Step::Open { back }),
        (any::<prop::sample::Index>(), oid).prop_map(|(index, oid)| Step::Read {
            snapshot: index.index(64),
            oid,
        }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn snapshots_read_what_was_committed_before_them(
        steps in steps(), changes_max in 0..5usize, objects_max in prop_oneof![Just(1usize), Just(1000)],
    ) {
        let storage = Arc::new(MemoryStorage::new());
        let options = DatabaseOptions { changes_max, objects_max, ..DatabaseOptions::default() };
        let database = Database::new(storage.clone(), options);
        let other = Database::new(storage, DatabaseOptions::default());
        // The state after each transaction: object -> number.
        let mut history: Vec<BTreeMap<u64, i64>> = vec![BTreeMap::new()];
        let mut snapshots = Vec::new();
        for (number, step) in (1i64..).zip(steps) {
            match step {
                Step::Write { oid, through_other } => {
                    let writer = if through_other { &other } else { &database };
                    commit_number(writer, Oid::new(oid), number);
                    let mut state = history.last().unwrap().clone();
                    state.insert(oid, number);
                    history.push(state);
                }
                Step::Open { back } => {
                    let seen = history.len().saturating_sub(1 + usize::try_from(back).unwrap());
                    let before = Tid::new(seen as u64).next();
                    let snapshot = if back == 0 { database.connect() } else { database.snapshot_before(before) };
                    prop_assert_eq!(snapshot.before(), before);
                    snapshots.push((snapshot, seen));
                }
                Step::Read { snapshot, oid } => {
                    if snapshots.is_empty() {
                        continue;
                    }
                    let (connection, seen) = &snapshots[snapshot % snapshots.len()];
                    match history[*seen].get(&oid) {
                        Some(&number) => prop_assert_eq!(value(connection, Oid::new(oid)), number),
                        None => prop_assert!(connection.load(Oid::new(oid)).unwrap_err().is_not_found()),
                    }
                }
            }
        }
    }
}
