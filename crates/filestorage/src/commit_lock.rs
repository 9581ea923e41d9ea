//! The lock that one committing transaction holds from its vote to its end.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Grants are made in the order of asking: a released lock is handed to the longest waiter and is
/// never free in between, so that nobody overtakes and nobody starves.
#[derive(Default)]
pub(crate) struct CommitLock {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: bool,
    waiting: VecDeque<Arc<Condvar>>,
    /// The waiter that a released lock was handed to and who has not woken up yet.
    granted: Option<Arc<Condvar>>,
}

impl CommitLock {
    /// Waits for the lock.
    pub(crate) fn acquire(self: &Arc<Self>) -> CommitGuard {
        let mut state = self.state.lock();
        if state.held {
            let waiter = Arc::new(Condvar::new());
            state.waiting.push_back(Arc::clone(&waiter));
            while !state
                .granted
                .as_ref()
                .is_some_and(|granted| Arc::ptr_eq(granted, &waiter))
            {
                waiter.wait(&mut state);
            }
            state.granted = None;
        }
        state.held = true;
        CommitGuard {
            lock: Arc::clone(self),
        }
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

/// Whoever has this holds the lock; dropping it passes the lock on.
pub(crate) struct CommitGuard {
    lock: Arc<CommitLock>,
}

impl Drop for CommitGuard {
    fn drop(&mut self) {
        let mut state = self.lock.state.lock();
        assert!(state.held && state.granted.is_none(), "one owner at a time");
        match state.waiting.pop_front() {
            Some(waiter) => {
                waiter.notify_one();
                state.granted = Some(waiter);
            }
            None => state.held = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn waiters_are_served_in_the_order_they_came() {
        let lock = Arc::new(CommitLock::default());
        let served = Arc::new(Mutex::new(Vec::new()));
        let guard = lock.acquire();
        let waiters: Vec<_> = (0..8)
            .map(|number| {
                let handle = thread::spawn({
                    let (lock, served) = (Arc::clone(&lock), Arc::clone(&served));
                    move || {
                        let _guard = lock.acquire();
                        served.lock().push(number);
                    }
                });
                while lock.waiting() <= number {
                    thread::yield_now();
                }
                handle
            })
            .collect();
        drop(guard);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(*served.lock(), Vec::from_iter(0..8));
        assert!(!lock.state.lock().held);
    }
}
