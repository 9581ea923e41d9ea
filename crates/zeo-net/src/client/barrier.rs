//! The ping that many callers share.
//!
//! An answered ping proves that what was committed before it was sent has been applied here. A
//! caller needs one that is sent after its call began; one that is already under way is of no use to
//! it, but the next one serves all who came meanwhile.

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
    is_running: bool,
}

impl Barrier {
    /// Returns when a ping that began after this call was answered. Whoever finds none under way
    /// makes it; `ping` says whether it was answered. The one whose ping failed is told so, the others
    /// try again themselves.
    pub(super) fn pass<E>(&self, ping: impl Fn() -> Result<(), E>) -> Result<(), E> {
        let mut state = self.state.lock();
        let needed = state.begun + 1;
        while state.answered < needed {
            if state.is_running {
                self.ended.wait(&mut state);
                continue;
            }
            state.is_running = true;
            state.begun += 1;
            let number = state.begun;
            drop(state);
            let result = ping();
            state = self.state.lock();
            state.is_running = false;
            if result.is_ok() {
                state.answered = number;
            }
            self.ended.notify_all();
            result?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;

    #[test]
    fn those_who_come_while_a_ping_is_under_way_share_the_next_one() {
        const CALLERS: usize = 8;
        let barrier = Arc::new(Barrier::default());
        let pings = Arc::new(AtomicU64::new(0));
        let (begun, first_began) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let first = thread::spawn({
            let (barrier, pings) = (barrier.clone(), pings.clone());
            move || {
                barrier.pass(|| {
                    pings.fetch_add(1, Ordering::SeqCst);
                    begun.send(()).unwrap();
                    released.recv().unwrap();
                    Ok::<_, Infallible>(())
                })
            }
        });
        first_began.recv().unwrap();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (barrier, pings) = (barrier.clone(), pings.clone());
                thread::spawn(move || {
                    barrier.pass(|| {
                        pings.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(())
                    })
                })
            })
            .collect();
        // None may pass on the ping that began before it came.
        assert_eq!(barrier.state.lock().answered, 0);
        release.send(()).unwrap();
        first.join().unwrap().unwrap();
        for caller in callers {
            caller.join().unwrap().unwrap();
        }
        let pings = pings.load(Ordering::SeqCst);
        assert!((2..=1 + CALLERS as u64).contains(&pings), "{pings} pings");
    }

    #[test]
    fn a_failed_ping_lets_nobody_pass() {
        let barrier = Barrier::default();
        assert_eq!(barrier.pass(|| Err("lost")), Err("lost"));
        assert_eq!(barrier.pass(|| Ok::<_, &str>(())), Ok(()));
    }
}
