//! What happens in the background: the sync from time to time that [`Durability::Async`] promises.
//!
//! [`Durability::Async`]: crate::Durability::Async

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::file_storage::FileStorage;

/// Syncs with this interval until the storage is closed or dropped.
pub(crate) fn start(storage: &Arc<FileStorage>, interval: Duration) -> io::Result<()> {
    let interval = interval.max(INTERVAL_MIN);
    let (keeper, is_kept) = channel();
    *storage.housekeeper.lock() = Some(keeper);
    let storage: Weak<FileStorage> = Arc::downgrade(storage);
    let keep_house = move || {
        while let Err(RecvTimeoutError::Timeout) = is_kept.recv_timeout(interval) {
            let Some(storage) = storage.upgrade() else {
                break;
            };
            if let Err(error) = storage.sync_if_due() {
                tracing::error!(%error, "what was finished lately may be lost");
                break;
            }
        }
    };
    thread::Builder::new()
        .name("zodiac-sync".to_owned())
        .spawn(keep_house)?;
    Ok(())
}

/// A thread that never rests would help nobody.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
