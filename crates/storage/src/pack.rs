//! Packing: the history up to a time is taken out of a storage, and objects that nothing reaches.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::{PackError, Tid};

/// The capability to pack, reached by [`Storage::packer`](crate::Storage::packer).
pub trait Pack: Send + Sync {
    /// Takes old revisions and garbage out of the storage: see [`PackOptions`]. Reads and commits go
    /// on meanwhile.
    ///
    /// # Errors
    /// See [`PackError`]. The storage is what it was before.
    fn pack(&self, options: &PackOptions) -> Result<PackReport, PackError>;

    /// What holds for the packs of this storage, unless the caller wants something else.
    fn options(&self) -> PackOptions {
        PackOptions::default()
    }

    /// Whether a pack is under way.
    fn is_packing(&self) -> bool;
}

/// How a storage is packed.
#[derive(Clone)]
pub struct PackOptions {
    /// The pack time: transactions up to this one lose what was no longer current then.
    pub to: Tid,
    /// Take objects away that cannot be reached from the root (`pack-gc`).
    pub gc: bool,
    /// Keep the file as it was before, as `Data.fs.old` (`pack-keep-old`), where there is a file.
    pub keep_old: bool,
    /// Told how far the pack is, about a hundred times in each stage. It must not call the storage.
    pub progress: Arc<dyn Fn(PackProgress) + Send + Sync>,
    /// Told how many bytes were read or written since the last call, some hundred thousand at a time.
    /// Whoever wants the pack to leave the disk to others waits in it. It is not called while commits
    /// wait for the pack.
    pub pace: Arc<dyn Fn(u64) + Send + Sync>,
    /// Set to give the pack up: it ends soon with [`PackError::Cancelled`], and the storage is what it
    /// was before. Too late once the new file takes the place.
    pub cancel: Arc<AtomicBool>,
}

impl Default for PackOptions {
    /// All history, garbage collected, the old file kept, as the original does it.
    fn default() -> Self {
        Self {
            to: Tid::MAX,
            gc: true,
            keep_old: true,
            progress: Arc::new(|_| {}),
            pace: Arc::new(|_| {}),
            cancel: Arc::default(),
        }
    }
}

impl PackOptions {
    /// Packs up to a moment since 1970, UTC.
    pub fn to_time(time: Duration) -> Self {
        Self {
            to: Tid::from_unix_time(time),
            ..Self::default()
        }
    }
}

/// What a pack is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Reading where records are; counted in bytes.
    Surveying,
    /// Following references; counted in objects, of which garbage is never reached.
    Marking,
    /// Writing the new file; counted in bytes of the old one.
    Copying,
}

/// How far a pack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackProgress {
    /// What it is doing.
    pub stage: Stage,
    /// How much of that is done.
    pub done: u64,
    /// Out of how much, at most.
    pub total: u64,
}

/// What a pack did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackReport {
    /// Whether there is a new file. There is none where nothing could be taken away.
    pub packed: bool,
    /// The length of the file when it was replaced.
    pub bytes_before: u64,
    /// Its length since.
    pub bytes_after: u64,
    /// How many objects are no longer there.
    pub objects_removed: u64,
    /// How many records are no longer there; nothing where nobody told.
    pub records_dropped: Option<u64>,
    /// How many transactions are no longer there, because they have no records left; nothing where
    /// nobody told.
    pub transactions_dropped: Option<u64>,
    /// How many files of blobs are no longer in their directory; nothing where there is none, or
    /// nobody told.
    pub blobs_removed: Option<u64>,
}
