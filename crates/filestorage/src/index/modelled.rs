//! The page once more, over atomics of which `loom` tries every order that the memory model allows.

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

mod sync {
    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
    pub(super) use loom::thread::yield_now;
}

#[path = "page.rs"]
#[allow(
    dead_code,
    clippy::duplicate_mod,
    reason = "a second one is what the model needs, and it lists no entries"
)]
mod page;

use page::Page;
use sync::{AtomicU64, Ordering};

/// Both halves differ between any two of them.
const POSITIONS: [u64; 3] = [0, 0x0001_0000_0001, 0x0002_0000_0002];

#[test]
fn no_reader_sees_halves_of_two_positions_or_goes_back() {
    let mut model = Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(|| {
        let page = Arc::new(Page::<1>::default());
        let reader = thread::spawn({
            let page = page.clone();
            move || [page.get(0), page.get(0)]
        });
        for position in &POSITIONS[1..] {
            page.replace(0, *position);
        }
        let seen = reader.join().unwrap().map(|position| {
            let found = POSITIONS.iter().position(|known| *known == position);
            found.expect("somebody wrote it")
        });
        assert!(seen[0] <= seen[1], "{seen:?}");
    });
}

/// Readers take the end of the log after the entry, and the record must lie before it.
#[test]
fn who_sees_a_position_sees_what_the_writer_did_before() {
    let mut model = Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(|| {
        let shared = Arc::new((Page::<1>::default(), AtomicU64::new(0)));
        let reader = thread::spawn({
            let shared = shared.clone();
            move || (shared.0.get(0), shared.1.load(Ordering::Relaxed))
        });
        for position in &POSITIONS[1..] {
            shared.1.store(*position, Ordering::Relaxed);
            shared.0.replace(0, *position);
        }
        let (position, end) = reader.join().unwrap();
        assert!(position <= end, "{position:#x} lies behind {end:#x}");
    });
}

/// Nearly all errors need few; a search without a bound takes minutes.
const PREEMPTIONS_MAX: usize = 3;
