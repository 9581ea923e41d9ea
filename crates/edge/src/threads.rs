//! One thread per core, each with a runtime of its own.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tracing::error;

/// Tells a thread's work that the server stops.
#[derive(Clone, Debug)]
pub struct Stopped(watch::Receiver<bool>);

impl Stopped {
    /// Ready when it does.
    pub async fn wait(mut self) {
        // An error means that the server is gone, which is as good a reason.
        drop(self.0.wait_for(|&stopped| stopped).await);
    }
}

/// Gives each of `parts` a thread named after `name` and its number, in which `work` runs on a runtime of its
/// own. Returns when all have ended: after `shutdown`, of which they are told, or because none is left.
pub async fn run_threads<T, W, F>(
    name: &str,
    parts: Vec<T>,
    shutdown: impl Future<Output = ()>,
    work: W,
) where
    T: Send + 'static,
    W: Fn(usize, T, Stopped) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>>,
{
    let (stop, stopped) = watch::channel(false);
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let work = Arc::new(work);
    for (number, part) in parts.into_iter().enumerate() {
        let (work, stopped, alive) = (work.clone(), Stopped(stopped.clone()), alive.clone());
        let name = format!("{name}-{number}");
        let run = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let ended = runtime.and_then(|runtime| runtime.block_on(work(number, part, stopped)));
            if let Err(error) = ended {
                error!(%error, "a thread of the server cannot run");
            }
            drop(alive);
        };
        if let Err(error) = thread::Builder::new().name(name).spawn(run) {
            error!(%error, "cannot start a thread of the server");
        }
    }
    drop((alive, stopped));
    tokio::select! {
        () = shutdown => {}
        // Nobody is left to serve: do not pretend.
        _ = all_gone.recv() => return,
    }
    stop.send_replace(true);
    all_gone.recv().await;
}
