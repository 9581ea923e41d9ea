//! The last step of a commit. No thread waits for it: the storage tells when it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use storage::{CommitError, Publish, Settled, Tid, Voted};

use super::job::{Job, unforeseen};
use super::outbox::ReplyTo;
use super::served::Served;
use super::transaction::{Ended, Log, TransactionKey};
use crate::Refusal;

/// Whose transaction is finished.
pub(super) struct Finish {
    pub(super) served: Arc<Served>,
    pub(super) key: TransactionKey,
    pub(super) connection: u64,
    pub(super) ended: Ended,
    pub(super) to: ReplyTo,
}

impl Finish {
    /// Hands the transaction to the storage. What comes back is to be done by a thread that may wait.
    pub(super) fn submit(self, voted: Box<dyn Voted>, log: &Log) -> Option<Job> {
        let served = Arc::clone(&self.served);
        let oids = log.oids_with(voted.resolved());
        let finishing = Arc::new(Finishing {
            finish: self,
            is_published: AtomicBool::new(false),
        });
        let publish: Publish = Box::new({
            let finishing = Arc::clone(&finishing);
            move |tid| {
                finishing.is_published.store(true, Ordering::SeqCst);
                let finish = &finishing.finish;
                let (to, ended) = (&finish.to, &finish.ended);
                let served = &finish.served;
                served.publish(tid, oids, finish.connection, to, ended);
            }
        });
        let mut owed = Owed(Some(finishing));
        let settled: Settled = Box::new(move |outcome| owed.settle(&outcome));
        let work = voted.submit(publish, settled)?;
        Some(Job::finish(served, work))
    }
}

struct Finishing {
    finish: Finish,
    is_published: AtomicBool,
}

/// The outcome that is still to be told. A storage that panics does not tell it; then it is told when
/// this is dropped.
struct Owed(Option<Arc<Finishing>>);

impl Owed {
    fn settle(&mut self, outcome: &Result<Tid, CommitError>) {
        if let Some(finishing) = self.0.take() {
            finishing.settle(outcome);
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.settle(&Err(unforeseen()));
    }
}

impl Finishing {
    fn settle(&self, outcome: &Result<Tid, CommitError>) {
        let Finish {
            served,
            key,
            ended,
            to,
            ..
        } = &self.finish;
        let is_published = self.is_published.load(Ordering::SeqCst);
        served.end(ended);
        served.end_turn(*key);
        match outcome {
            Ok(tid) => debug_assert!(is_published, "{tid} was finished without being published"),
            Err(error) => {
                tracing::error!(storage = served.name, %error, "a transaction failed at its finish");
                if !is_published {
                    to.refuse(&Refusal::from(error));
                }
            }
        }
        if is_published {
            served.settled();
        } else {
            // The end of its turn is what a connection may wait for that is told to stop.
            to.outbox.wake();
        }
    }
}
