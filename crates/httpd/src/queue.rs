//! The bounded queue between connections and workers.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use publisher::Request;
use tokio::sync::oneshot;

use crate::response::Answer;

/// One request on its way to a worker, and where its answer goes.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// What the health answer tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) busy: usize,
    pub(crate) waiting: usize,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    waiting_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Workers that stand at the queue.
    idle: usize,
    busy: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(waiting_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            waiting_max,
        }
    }

    /// Takes a job; false (and the job is dropped) when too many wait.
    pub(crate) fn push(&self, job: Job) -> bool {
        let mut state = self.lock();
        // Jobs that idle workers are about to take do not wait.
        let waiting = state.jobs.len().saturating_sub(state.idle);
        let will_wait = state.jobs.len() >= state.idle;
        if state.closed || (will_wait && waiting >= self.waiting_max) {
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// The next job, or `None` when the queue is closed and empty. Blocks.
    pub(crate) fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            // Nobody waits for the answer to a job whose client hung up.
            while state.jobs.front().is_some_and(|job| job.reply.is_closed()) {
                state.jobs.pop_front();
            }
            if let Some(job) = state.jobs.pop_front() {
                state.busy += 1;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// A worker has finished its job.
    pub(crate) fn done(&self) {
        self.lock().busy -= 1;
    }

    pub(crate) fn load(&self) -> Load {
        let state = self.lock();
        Load {
            busy: state.busy,
            waiting: state.jobs.len(),
        }
    }

    /// Lets the workers go when they have finished what is there.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> (Job, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (
            Job {
                request: Request::default(),
                reply,
            },
            answer,
        )
    }

    #[test]
    fn the_queue_refuses_beyond_its_limit() {
        let queue = Queue::new(1);
        let ((first, _a), (second, _b)) = (job(), job());
        assert!(queue.push(first));
        assert!(!queue.push(second));
        assert_eq!(
            queue.load(),
            Load {
                busy: 0,
                waiting: 1
            }
        );
    }

    #[test]
    fn a_job_whose_client_left_is_skipped() {
        let queue = Queue::new(8);
        let (mut first, gone) = job();
        first.request.id = "gone".into();
        let (mut second, _answer) = job();
        second.request.id = "here".into();
        assert!(queue.push(first) && queue.push(second));
        drop(gone);
        assert_eq!(queue.pop().unwrap().request.id, "here");
        assert_eq!(
            queue.load(),
            Load {
                busy: 1,
                waiting: 0
            }
        );
        queue.done();
        queue.close();
        assert!(queue.pop().is_none());
    }
}
