//! The ping that many callers share.
//!
//! An answered ping proves that what was committed before it was sent has been applied here. A
//! caller needs one that is sent after its call began; one that is already under way is of no use to
//! it, but the next one serves all who came meanwhile.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

#[derive(Default)]
pub(super) struct Barrier {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// How many pings were begun.
    begun: u64,
    /// The newest that was answered.
    answered: u64,
    /// The newest that was not.
    failed: u64,
    is_running: bool,
}

/// No ping was answered that would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unanswered;

impl Barrier {
    /// Returns when a ping that began after this call was answered. Whoever finds none under way
    /// makes it; `ping` says whether it was answered. One that was not fails all who waited for it,
    /// so that a silent server costs many callers no more time than one.
    pub(super) fn pass(
        &self,
        deadline: Instant,
        ping: impl Fn() -> bool,
    ) -> Result<(), Unanswered> {
        let mut state = self.state.lock();
        let needed = state.begun + 1;
        loop {
            if state.answered >= needed {
                return Ok(());
            }
            if state.failed >= needed {
                return Err(Unanswered);
            }
            if state.is_running {
                if self.ended.wait_until(&mut state, deadline).timed_out() {
                    return Err(Unanswered);
                }
                continue;
            }
            state.is_running = true;
            state.begun += 1;
            let number = state.begun;
            drop(state);
            let is_answered = ping();
            state = self.state.lock();
            state.is_running = false;
            if is_answered {
                state.answered = number;
            } else {
                state.failed = number;
            }
            self.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::clock;

    /// One caller's ping is under way; eight more come; then it ends so.
    fn eight_behind_one(first_is_answered: bool, others_are: bool) -> (u64, Vec<bool>) {
        let barrier = Arc::new(Barrier::default());
        let pings = Arc::new(AtomicU64::new(0));
        let deadline = clock::now() + Duration::from_secs(60);
        let (begun, first_began) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let first = thread::spawn({
            let barrier = barrier.clone();
            move || {
                barrier.pass(deadline, || {
                    begun.send(()).unwrap();
                    released.recv().unwrap();
                    first_is_answered
                })
            }
        });
        first_began.recv().unwrap();
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (barrier, pings) = (barrier.clone(), pings.clone());
                thread::spawn(move || {
                    barrier.pass(deadline, || {
                        pings.fetch_add(1, Ordering::SeqCst);
                        others_are
                    })
                })
            })
            .collect();
        assert_eq!(
            barrier.state.lock().answered,
            0,
            "nobody passes on a ping of before"
        );
        release.send(()).unwrap();
        assert_eq!(first.join().unwrap().is_ok(), first_is_answered);
        let passed = callers
            .into_iter()
            .map(|caller| caller.join().unwrap().is_ok());
        let passed = passed.collect();
        (pings.load(Ordering::SeqCst), passed)
    }

    #[test]
    fn those_who_come_while_a_ping_is_under_way_share_the_next_one() {
        let (pings, passed) = eight_behind_one(true, true);
        assert!((1..=8).contains(&pings), "{pings} pings");
        assert!(passed.iter().all(|passed| *passed));
    }

    #[test]
    fn a_ping_that_fails_is_not_that_of_those_who_came_later() {
        let (_, passed) = eight_behind_one(false, true);
        assert!(passed.iter().all(|passed| *passed));
        let (_, passed) = eight_behind_one(true, false);
        assert!(passed.iter().all(|passed| !*passed));
    }

    #[test]
    fn nobody_waits_longer_than_the_deadline() {
        let barrier = Arc::new(Barrier::default());
        let (begun, first_began) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let deadline = clock::now();
        let first = thread::spawn({
            let barrier = barrier.clone();
            move || {
                barrier.pass(deadline, || {
                    begun.send(()).unwrap();
                    released.recv().is_ok()
                })
            }
        });
        first_began.recv().unwrap();
        let late = barrier.pass(deadline, || panic!("one is under way"));
        assert_eq!(late, Err(Unanswered));
        release.send(()).unwrap();
        assert_eq!(first.join().unwrap(), Ok(()));
    }
}
