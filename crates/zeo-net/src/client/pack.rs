//! Packing the storage in the server, at its order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use storage::{Pack, PackError, PackOptions, PackReport, StorageError, StorageStats, Tid};
use zeo::{Reply, Request};

use super::link::Answer;
use super::{ZeoStorage, unexpected};
use crate::clock;

impl Pack for ZeoStorage {
    /// Only the pack time travels: whether garbage is collected and the old file is kept, the server
    /// decides, and how far the pack is nobody tells. The report knows of sizes alone. Where the
    /// connection breaks, the server packs on.
    fn pack(&self, options: &PackOptions) -> Result<PackReport, PackError> {
        if self.shared.is_packing.swap(true, Ordering::AcqRel) {
            return Err(PackError::Running);
        }
        let _busy = Busy(&self.shared.is_packing);
        let before = self.figures()?;
        self.order(options.to)?;
        let after = self.figures()?;
        Ok(PackReport {
            packed: after.bytes != before.bytes,
            bytes_before: before.bytes,
            bytes_after: after.bytes,
            objects_removed: before.objects.saturating_sub(after.objects),
            records_dropped: None,
            transactions_dropped: None,
            blobs_removed: None,
        })
    }

    fn is_packing(&self) -> bool {
        self.shared.is_packing.load(Ordering::Acquire)
    }
}

impl ZeoStorage {
    fn figures(&self) -> Result<StorageStats, StorageError> {
        match self
            .shared
            .ask(&Request::GetInfo, self.shared.deadline())?
            .0
        {
            Reply::Info { stats, .. } => Ok(stats),
            other => Err(unexpected(&other)),
        }
    }

    /// The call is made once: after a loss of the connection, the pack may be under way.
    fn order(&self, to: Tid) -> Result<(), PackError> {
        let link = self.shared.link_until(self.shared.deadline())?;
        // There are no servers that understand a time far behind now.
        let to = to.min(Tid::from_unix_time(clock::since_1970()));
        let deadline = clock::now() + PACK_MAX;
        let request = Request::Pack { to, wait: true };
        match link.call(&request, deadline).wait_until(deadline) {
            Some(Answer::Said(Ok(_))) => Ok(()),
            Some(Answer::Said(Err(refusal))) => Err(match refusal.to_storage_error(None) {
                StorageError::Remote { detail, .. } if detail == RUNNING => PackError::Running,
                error => error.into(),
            }),
            Some(Answer::Lost) | None => Err(self.shared.disconnected().into()),
        }
    }
}

struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How servers, ours and the genuine one, say that a pack runs.
const RUNNING: &str = "Already packing";
/// No pack takes longer.
const PACK_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
