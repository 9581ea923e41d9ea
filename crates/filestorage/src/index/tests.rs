use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::thread;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(u64),
}

/// Ids of some full pages, of their borders, of the end of all numbers, and any.
fn oids() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..1500,
        2 => 1000u64..1200,
        1 => (60u64..70).prop_map(|page| page * 1024 + 1023),
        1 => u64::MAX - 300..=u64::MAX,
        1 => any::<u64>(),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let insert = (oids(), 1u64..1 << 48).prop_map(|(oid, offset)| Step::Insert(oid, offset));
    let step = prop_oneof![5 => insert, 1 => oids().prop_map(Step::Remove)];
    prop::collection::vec(step, 0..3000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn an_index_is_an_ordered_map(steps in steps(), removed in oids(), asked in oids()) {
        let index = Index::default();
        let mut model = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Remove(removed)]) {
            match step {
                Step::Insert(oid, offset) => {
                    index.insert(Oid::new(oid), Offset::new(offset));
                    model.insert(Oid::new(oid), Offset::new(offset));
                }
                Step::Remove(oid) => {
                    index.remove(Oid::new(oid));
                    model.remove(&Oid::new(oid));
                }
            }
        }
        prop_assert_eq!(index.len(), model.len() as u64);
        prop_assert_eq!(index.last_oid(), model.keys().last().copied());
        let neighbours = model.keys().flat_map(|oid| [*oid, oid.next()]);
        for oid in neighbours.chain([Oid::new(asked)]) {
            prop_assert_eq!(index.get(oid), model.get(&oid).copied());
            let first = model.range(oid..).next().map(|(oid, offset)| (*oid, *offset));
            prop_assert_eq!(index.first_from(oid), first);
        }
        prop_assert!(index.iter().eq(model));
    }
}

#[test]
fn a_million_objects_in_sequence_take_eight_bytes_each_at_most() {
    let index = Index::default();
    for oid in 0..1_000_000 {
        index.insert(Oid::new(oid), Offset::new(4 + oid * 200));
    }
    let bytes = index.memory_bytes();
    assert!(bytes <= 8_000_000, "{bytes} bytes");
    assert!(
        bytes >= 6_000_000,
        "{bytes} bytes are less than there is to know"
    );
}

#[test]
fn ids_that_somebody_made_up_do_not_cost_a_page_each() {
    let index = Index::default();
    let mut rng = fastrand::Rng::with_seed(1);
    for oid in std::iter::repeat_with(|| rng.u64(..)).take(100_000) {
        index.insert(Oid::new(oid), Offset::new(4));
    }
    let random = index.memory_bytes() / index.len();
    assert!(random <= 40, "{random} bytes");
    // The worst: each page's range just full enough to get a page.
    let index = Index::default();
    for page in 0..1000u64 {
        for slot in 0..=SPARSE_ENTRIES_MAX {
            index.insert(join(page << 30, slot), Offset::new(4));
        }
    }
    let crowded = index.memory_bytes() / index.len();
    assert!(crowded <= 64, "{crowded} bytes");
}

/// While a writer moves every object to later and later offsets and makes pages of what was sparse,
/// each reader sees entries appear, stay, and grow, and never a number that nobody wrote.
#[test]
fn readers_see_what_was_written_and_never_go_back() {
    let index = Index::default();
    let is_done = AtomicBool::new(false);
    // An offset tells its object and its round, and both of its halves move with each round.
    let offset = |oid: u64, round: u64| Offset::new(round << 40 | oid << 20 | round);
    thread::scope(|scope| {
        let reader = || {
            let mut seen = vec![0; OBJECTS];
            let mut reads = 0u64;
            while !is_done.load(Ordering::Relaxed) || reads < READS_MIN {
                for (oid, last_round) in (0u64..).zip(&mut seen) {
                    let found = index.get(Oid::new(oid * 3)).map_or(0, Offset::number);
                    let round = found & 0xff;
                    assert!(
                        found == 0 || found == offset(oid, round).number(),
                        "{found:#x}"
                    );
                    assert!(round >= *last_round, "{oid} went back");
                    *last_round = round;
                    reads += 1;
                }
                let all_are_there = index.len() == OBJECTS as u64;
                let listed = index.iter().map(|entry| entry.0.number());
                assert!(!all_are_there || listed.eq((0..OBJECTS as u64).map(|oid| oid * 3)));
            }
        };
        let readers = [(); 3].map(|()| scope.spawn(reader));
        for round in 1..ROUNDS {
            for oid in 0..OBJECTS as u64 {
                index.insert(Oid::new(oid * 3), offset(oid, round));
            }
        }
        is_done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(index.len(), OBJECTS as u64);
}

/// The one moment at which an entry changes its place, met by readers many times.
#[test]
fn nobody_misses_an_entry_while_its_page_is_made() {
    for _ in 0..20 {
        let index = Index::default();
        let pages = 0..100u64;
        for page in pages.clone() {
            for slot in 0..SPARSE_ENTRIES_MAX {
                index.insert(join(page, slot), Offset::new(4));
            }
        }
        let next = AtomicU64::new(0);
        thread::scope(|scope| {
            let reader = || loop {
                let page = next.load(Ordering::Relaxed);
                if page == pages.end {
                    break;
                }
                for slot in 0..SPARSE_ENTRIES_MAX {
                    assert_eq!(index.get(join(page, slot)), Some(Offset::new(4)));
                }
            };
            scope.spawn(reader);
            scope.spawn(reader);
            for page in pages.clone() {
                index.insert(join(page, SPARSE_ENTRIES_MAX), Offset::new(8));
                next.store(page + 1, Ordering::Relaxed);
            }
        });
    }
}

const OBJECTS: usize = 1000;
const ROUNDS: u64 = 200;
const READS_MIN: u64 = 10_000;
