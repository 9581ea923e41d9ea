//! The file that holds the server's process id while it runs.

use std::fs;
use std::path::PathBuf;

/// A written pid file, which goes with the server. As with runzeo, one that cannot be written is
/// reported and holds nothing up.
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, in the place of an older one.
    pub(super) fn write(path: PathBuf) -> Option<Self> {
        let _there_may_be_none = fs::remove_file(&path);
        match fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => {
                tracing::info!("created PID file '{}'", path.display());
                Some(Self(path))
            }
            Err(error) => {
                tracing::error!("PID file '{}' cannot be opened: {error}", path.display());
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let path = self.0.display();
        match fs::remove_file(&self.0) {
            Ok(()) => tracing::info!("removed PID file '{path}'"),
            Err(error) => tracing::error!("PID file '{path}' could not be removed: {error}"),
        }
    }
}
