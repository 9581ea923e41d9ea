//! The cache of a client, with what an earlier one has left.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use storage::StorageError;
use vfs::RealDisk;
use zeo::{ClientCache, DiskCacheOptions};

use super::options::ClientOptions;
use crate::clock;

/// How long a process that just ends is waited for.
const LOCK_MAX: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn open(options: &ClientOptions) -> Result<ClientCache, StorageError> {
    let Some(disk) = &options.disk_cache else {
        return Ok(ClientCache::new(options.cache_bytes));
    };
    let mut servers = options.servers.clone();
    servers.sort_unstable();
    let disk = DiskCacheOptions {
        directory: disk.directory.clone(),
        bytes_max: disk.bytes_max,
        // Other servers may have another history.
        identity: format!("{} at {}", options.storage, servers.join(" ")),
    };
    let deadline = clock::now() + LOCK_MAX;
    loop {
        match ClientCache::open(options.cache_bytes, Arc::new(RealDisk), &disk) {
            Err(StorageError::Locked { .. }) if clock::now() < deadline => {
                // Nobody tells when it is free.
                let never = Mutex::new(());
                Condvar::new().wait_for(&mut never.lock(), LOCK_PAUSE);
            }
            Err(error @ StorageError::Locked { .. }) => {
                tracing::warn!(%error, "another process has the cache on disk; this one does without");
                return Ok(ClientCache::new(options.cache_bytes));
            }
            opened => return opened,
        }
    }
}
