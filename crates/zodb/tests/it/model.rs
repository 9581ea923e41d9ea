//! A model test: random programs over several connections, with savepoints, conflicts, aborts and
//! undo, against a list of states.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use storage::{Oid, Tid, TransactionMeta};
use zodb::{Connection, Database, Savepoint};

use crate::world::{database, number, value};

#[derive(Clone, Debug)]
enum Step {
    Store {
        who: usize,
        oid: u64,
    },
    Savepoint {
        who: usize,
    },
    RollBack {
        who: usize,
        back: prop::sample::Index,
    },
    ReadCurrent {
        who: usize,
        oid: u64,
    },
    Abort {
        who: usize,
    },
    Commit {
        who: usize,
    },
    UndoLast,
    Past {
        back: prop::sample::Index,
    },
}

const CONNECTIONS: usize = 3;
const OBJECTS: u64 = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..CONNECTIONS;
    let oid = 1..=OBJECTS;
    let step = prop_oneof![
        6 => (who.clone(), oid.clone()).prop_map(|(who, oid)| Step::Store { who, oid }),
        2 => who.clone().prop_map(|who| Step::Savepoint { who }),
        2 => (who.clone(), any::<prop::sample::Index>())
            .prop_map(|(who, back)| Step::RollBack { who, back }),
        1 => (who.clone(), oid).prop_map(|(who, oid)| Step::ReadCurrent { who, oid }),
        1 => who.clone().prop_map(|who| Step::Abort { who }),
        3 => who.prop_map(|who| Step::Commit { who }),
        1 => Just(Step::UndoLast),
        1 => any::<prop::sample::Index>().prop_map(|back| Step::Past { back }),
    ];
    prop::collection::vec(step, 1..60)
}

type State = BTreeMap<u64, i64>;

/// The states that were committed, each with the objects it changed.
struct History(Vec<(Tid, State, Vec<u64>)>);

impl History {
    fn last(&self) -> &(Tid, State, Vec<u64>) {
        self.0.last().unwrap()
    }

    /// Whether an object was changed after a state.
    fn is_changed(&self, oid: u64, since: usize) -> bool {
        self.0[since + 1..]
            .iter()
            .any(|(_, _, changed)| changed.contains(&oid))
    }
}

/// One connection, and what it should show.
struct One {
    connection: Connection,
    based_on: usize,
    changes: State,
    relied_on: Vec<u64>,
    savepoints: Vec<(Savepoint, State)>,
}

impl One {
    fn new(database: &Arc<Database>, history: &History) -> Self {
        Self {
            connection: database.connect(),
            based_on: history.0.len() - 1,
            changes: State::new(),
            relied_on: Vec::new(),
            savepoints: Vec::new(),
        }
    }

    fn roll_back(&mut self, back: prop::sample::Index) {
        if self.savepoints.is_empty() {
            return;
        }
        let back = back.index(self.savepoints.len());
        let gone = self.savepoints.split_off(back + 1);
        let (savepoint, changes) = self.savepoints[back].clone();
        self.connection.roll_back(savepoint).unwrap();
        self.changes = changes;
        for (savepoint, _) in gone {
            self.connection.roll_back(savepoint).unwrap_err();
        }
    }

    fn check(&self, history: &History) {
        let mut expected = history.0[self.based_on].1.clone();
        expected.extend(self.changes.clone());
        assert_eq!(shown(&self.connection), expected);
    }
}

fn shown(connection: &Connection) -> State {
    let mut found = State::new();
    for oid in 1..=OBJECTS {
        match connection.load(Oid::new(oid)) {
            Ok(_) => drop(found.insert(oid, value(connection, Oid::new(oid)))),
            Err(error) => assert!(error.is_not_found()),
        }
    }
    found
}

struct World {
    database: Arc<Database>,
    history: History,
    created: Tid,
    all: Vec<One>,
}

impl World {
    /// An id whose creation was undone never comes again: the creation stays.
    fn new() -> Self {
        let database = database();
        let mut connection = database.connect();
        for oid in 1..=OBJECTS {
            connection.store(Oid::new(oid), number(0)).unwrap();
        }
        let created = connection.commit(TransactionMeta::default()).unwrap();
        let state: State = (1..=OBJECTS).map(|oid| (oid, 0)).collect();
        let history = History(vec![
            (Tid::ZERO, State::new(), Vec::new()),
            (created, state, (1..=OBJECTS).collect()),
        ]);
        let all = (0..CONNECTIONS).map(|_| One::new(&database, &history));
        Self {
            all: all.collect(),
            database,
            history,
            created,
        }
    }

    fn fresh(&self) -> One {
        One::new(&self.database, &self.history)
    }

    fn play(&mut self, step: Step, number_: i64) {
        match step {
            Step::Store { who, oid } => {
                let one = &mut self.all[who];
                one.connection
                    .store(Oid::new(oid), number(number_))
                    .unwrap();
                one.changes.insert(oid, number_);
            }
            Step::Savepoint { who } => {
                let one = &mut self.all[who];
                let savepoint = one.connection.savepoint();
                one.savepoints.push((savepoint, one.changes.clone()));
            }
            Step::RollBack { who, back } => self.all[who].roll_back(back),
            Step::ReadCurrent { who, oid } => {
                let one = &mut self.all[who];
                one.connection.read_current(Oid::new(oid)).unwrap();
                if !one.changes.contains_key(&oid) {
                    one.relied_on.push(oid);
                }
            }
            Step::Abort { who } => {
                self.all[who].connection.abort();
                let fresh = self.fresh();
                let old = std::mem::replace(&mut self.all[who], fresh);
                self.all[who].connection = old.connection;
            }
            Step::Commit { who } => {
                let fresh = self.fresh();
                self.commit(who, fresh);
                self.all[who] = self.fresh();
            }
            Step::UndoLast => {
                let (tid, _, changed) = self.history.last().clone();
                if tid > self.created {
                    let undone = self.database.undo(&[tid], TransactionMeta::default());
                    let state = self.history.0[self.history.0.len() - 2].1.clone();
                    self.history.0.push((undone.unwrap(), state, changed));
                }
            }
            Step::Past { back } => {
                let (tid, state, _) = &self.history.0[back.index(self.history.0.len())];
                assert_eq!(&shown(&self.database.at(*tid).unwrap()), state);
            }
        }
    }

    fn commit(&mut self, who: usize, fresh: One) {
        let one = std::mem::replace(&mut self.all[who], fresh);
        let history = &mut self.history;
        let stale = |oid: &u64| history.is_changed(*oid, one.based_on);
        let is_conflict = one.changes.keys().any(stale) || one.relied_on.iter().any(stale);
        let committed = one.connection.commit(TransactionMeta::default());
        if one.changes.is_empty() {
            assert_eq!(committed.unwrap(), history.0[one.based_on].0);
        } else if is_conflict {
            committed.unwrap_err();
        } else {
            let mut state = history.last().1.clone();
            let changed = one.changes.keys().copied().collect();
            state.extend(one.changes);
            history.0.push((committed.unwrap(), state, changed));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn connections_do_what_the_model_does(steps in steps()) {
        let mut world = World::new();
        for (number_, step) in (1i64..).zip(steps) {
            world.play(step, number_);
            world.all.iter().for_each(|one| one.check(&world.history));
        }
    }
}
