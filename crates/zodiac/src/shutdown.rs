//! When a role stops: SIGTERM, SIGINT, or the end of its supervisor.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Waits for the order to stop. Create it before anything listens: a signal that comes from then
/// on is not lost.
#[derive(Debug)]
pub(crate) struct Shutdown {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    supervised: bool,
}

impl Shutdown {
    /// Begins to listen for signals; a supervised process also stops when standard input ends,
    /// which happens when its supervisor dies in whatever way.
    pub(crate) fn new(supervised: bool) -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            supervised,
        })
    }

    /// Returns when it is time to stop, with the reason.
    ///
    /// Wait for it outside of log macros: they do not evaluate their fields where the level is off.
    pub(crate) async fn ordered(mut self) -> &'static str {
        let supervised = self.supervised;
        let orphaned = async move {
            if supervised {
                end_of_input().await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            // A terminal sends Ctrl-C to the whole group; the supervisor ends its children in order.
            _ = self.interrupt.recv(), if !supervised => "SIGINT",
            () = orphaned => "the supervisor's order",
        }
    }
}

/// Waits until standard input ends.
async fn end_of_input() {
    let (ended, wait) = tokio::sync::oneshot::channel();
    // A plain thread: a blocking read in the runtime's pool would hold up its end.
    std::thread::spawn(move || {
        let mut sink = [0; 64];
        while matches!(std::io::Read::read(&mut std::io::stdin(), &mut sink), Ok(read) if read > 0)
        {
        }
        let _ = ended.send(());
    });
    let _ = wait.await;
}
