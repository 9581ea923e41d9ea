//! Requests that keep running while something happens to the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::Result;
use conformance::{PATIENCE, poll};

/// Threads that do one piece of work over and over.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicUsize,
}

impl Load {
    /// Starts `threads` threads that call `work(thread, round)`. What it returns as an error is kept.
    pub(crate) fn start(
        threads: usize,
        work: impl Fn(usize, usize) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let work = Arc::new(work);
        let threads = (0..threads)
            .map(|thread| {
                let (shared, work) = (Arc::clone(&shared), Arc::clone(&work));
                std::thread::spawn(move || {
                    let mut failures = Vec::new();
                    for round in 0.. {
                        if shared.stop.load(Ordering::Relaxed) {
                            break;
                        }
                        match work(thread, round) {
                            Ok(()) => _ = shared.done.fetch_add(1, Ordering::Relaxed),
                            Err(error) => failures.push(format!("{error:#}")),
                        }
                    }
                    failures
                })
            })
            .collect();
        Self { shared, threads }
    }

    /// How many pieces of work succeeded so far.
    pub(crate) fn done(&self) -> usize {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Waits until `more` pieces of work have succeeded from now on.
    pub(crate) fn await_more(&self, more: usize) {
        let goal = self.done() + more;
        poll("progress of the load", PATIENCE, || {
            (self.done() >= goal).then_some(())
        })
        .expect("the load goes on");
    }

    /// Ends the load and returns how much was done, and every failure.
    pub(crate) fn stop(self) -> (usize, Vec<String>) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let failures = self
            .threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("the work does not panic"))
            .collect();
        (self.shared.done.load(Ordering::Relaxed), failures)
    }
}
