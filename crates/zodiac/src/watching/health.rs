//! Whether the server lives, and whether it is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use filestorage::FileStorage;
use parking_lot::Mutex;
use zeo_net::Monitor;

use super::conflicts::ConflictCounts;
use crate::clock;

/// A storage server that is watched, from its first moment to its last.
pub(crate) struct Watched {
    started: Instant,
    stage: Mutex<Stage>,
    /// When the server's threads last had time for everybody, in milliseconds since the start.
    heartbeat: AtomicU64,
    /// A disk that takes longer for a sync is stuck.
    sync_max: Option<Duration>,
}

struct Stage {
    server: Option<Arc<WatchedServer>>,
    is_stopping: bool,
}

/// What there is to watch once the storages are open.
pub(crate) struct WatchedServer {
    pub(crate) monitor: Monitor,
    pub(crate) storages: Vec<WatchedStorage>,
}

/// What belongs to one storage, by its name.
#[derive(Clone)]
pub(crate) struct WatchedStorage {
    pub(crate) name: String,
    /// The files below it: none, or several where it is an overlay.
    pub(crate) files: Vec<Arc<FileStorage>>,
    pub(crate) conflicts: Arc<ConflictCounts>,
}

impl Watched {
    /// A server that has only begun, where a disk is stuck that takes longer than this for a sync.
    pub(crate) fn new(sync_max: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            started: clock::now(),
            stage: Mutex::new(Stage {
                server: None,
                is_stopping: false,
            }),
            heartbeat: AtomicU64::new(0),
            sync_max,
        })
    }

    /// The storages are open, and clients are served.
    pub(crate) fn serves(&self, server: WatchedServer) {
        self.beat();
        self.stage.lock().server = Some(Arc::new(server));
    }

    /// The server is on its way out.
    pub(crate) fn stops(&self) {
        self.stage.lock().is_stopping = true;
    }

    /// Shows that the server's threads get to everybody who waits for one. To be called all the time:
    /// never ends.
    pub(crate) async fn heart(self: Arc<Self>) {
        loop {
            self.beat();
            tokio::time::sleep(BEAT).await;
        }
    }

    fn beat(&self) {
        self.heartbeat.store(self.millis(), Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    /// Since when it runs.
    pub(super) fn uptime(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }

    pub(super) fn server(&self) -> Option<Arc<WatchedServer>> {
        self.stage.lock().server.clone()
    }

    /// Why the process should be started anew, if it should. It waits for nothing.
    ///
    /// # Errors
    /// The reason.
    pub(super) fn check_alive(&self) -> Result<(), String> {
        let silent = self
            .millis()
            .saturating_sub(self.heartbeat.load(Ordering::Relaxed));
        let silent = Duration::from_millis(silent);
        // A large file may take its time to be opened, and the pauses of a shutdown are bounded.
        if self.stage.lock().server.is_some() && silent > SILENCE_MAX {
            let seconds = silent.as_secs();
            return Err(format!(
                "the server's threads have not answered for {seconds} seconds"
            ));
        }
        Ok(())
    }

    /// Why clients should not come, if they should not.
    ///
    /// # Errors
    /// The reason.
    pub(super) fn check_ready(&self) -> Result<(), String> {
        let server = {
            let stage = self.stage.lock();
            if stage.is_stopping {
                return Err("shutting down".to_owned());
            }
            stage.server.clone()
        };
        let server = server.ok_or("opening the storages")?;
        self.check_alive()?;
        let mut storages = server.storages.iter();
        storages.try_for_each(|storage| storage.check(self.sync_max))
    }
}

impl WatchedStorage {
    fn check(&self, sync_max: Option<Duration>) -> Result<(), String> {
        for file in &self.files {
            // Before anything that might wait for the disk.
            let syncing = file.figures().syncing.zip(sync_max);
            if let Some((syncing, _)) = syncing.filter(|(syncing, max)| syncing > max) {
                return Err(format!(
                    "storage {}: the disk has not answered a sync for {:.1} seconds",
                    self.name,
                    syncing.as_secs_f64()
                ));
            }
            if let Some(obstacle) = file.obstacle() {
                return Err(format!("storage {}: {obstacle}", self.name));
            }
        }
        Ok(())
    }
}

/// How often the heart beats,
const BEAT: Duration = Duration::from_secs(1);
/// and how long it may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_not_ready_before_and_after_its_time() {
        let watched = Watched::new(None);
        let opening = Err("opening the storages".to_owned());
        assert_eq!(watched.check_ready(), opening);
        assert_eq!(watched.check_alive(), Ok(()));
        let server = zeo_net::Server::bind(
            std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            zeo_net::ServerOptions::default(),
        );
        let server = server.unwrap();
        watched.serves(WatchedServer {
            monitor: server.monitor(),
            storages: Vec::new(),
        });
        assert_eq!(watched.check_ready(), Ok(()));
        watched.stops();
        assert_eq!(watched.check_ready(), Err("shutting down".to_owned()));
    }

    #[test]
    fn threads_that_do_not_move_are_noticed() {
        let started = clock::now().checked_sub(2 * SILENCE_MAX);
        let server = zeo_net::Server::bind(
            std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
            zeo_net::ServerOptions::default(),
        );
        let watched = Watched {
            started: started.unwrap(),
            stage: Mutex::new(Stage {
                server: Some(Arc::new(WatchedServer {
                    monitor: server.unwrap().monitor(),
                    storages: Vec::new(),
                })),
                is_stopping: false,
            }),
            heartbeat: AtomicU64::new(0),
            sync_max: None,
        };
        let silent = watched.check_alive().unwrap_err();
        assert!(silent.contains("for 60 seconds"), "{silent}");
        assert_eq!(watched.check_ready(), Err(silent));
        watched.beat();
        assert_eq!(watched.check_alive(), Ok(()));
    }
}
