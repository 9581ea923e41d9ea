//! Opening the storages of a plan.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use filestorage::{Compression, FileStorage};
use storage::{MemoryOptions, MemoryStorage, OverlayOptions, OverlayStorage, Resolver, Storage};
use tempfile::TempDir;
use tokio::sync::Notify;
use vfs::RealDisk;

use super::plan::{FilePlan, StoragePlan};
use crate::watching::{ConflictCounts, CountingMerger, WatchedStorage};

/// Storages that are open.
pub(super) struct OpenStorages {
    pub(super) served: Vec<(String, Arc<dyn Storage>)>,
    pub(super) watched: Vec<WatchedStorage>,
    /// Where those are that do not outlive the server.
    temporary: Vec<TempDir>,
}

impl OpenStorages {
    /// Opens them all. After a failed write only opening a file again tells what the disk holds: whoever
    /// is notified lets the process end, so that its supervisor starts it anew. Conflicts are merged
    /// here, where they can be, or else by the clients.
    pub(super) fn open(
        plans: &[(String, StoragePlan)],
        merges: bool,
        poisoned: &Arc<Notify>,
    ) -> Result<Self> {
        let (mut served, mut watched, mut temporary) = (Vec::new(), Vec::new(), Vec::new());
        for (name, plan) in plans {
            let conflicts = Arc::<ConflictCounts>::default();
            let merger = || Arc::new(CountingMerger(Arc::clone(&conflicts))) as _;
            let mut opener = Opener {
                files: Vec::new(),
                temporary: &mut temporary,
                poisoned,
                resolver: merges.then(merger),
            };
            let storage = opener.open(plan);
            let storage = storage.with_context(|| format!("cannot open storage {name}"))?;
            served.push((name.clone(), storage));
            watched.push(WatchedStorage {
                name: name.clone(),
                files: opener.files,
                conflicts,
            });
        }
        Ok(Self {
            served,
            watched,
            temporary,
        })
    }

    /// Closes all files, and says what went wrong with the first one that could not be. What is temporary
    /// goes.
    pub(super) fn close(self) -> Result<()> {
        let files = self.watched.iter().flat_map(|watched| &watched.files);
        let outcomes: Vec<_> = files.map(|file| file.close()).collect();
        drop(self.temporary);
        outcomes.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    }
}

struct Opener<'a> {
    files: Vec<Arc<FileStorage>>,
    temporary: &'a mut Vec<TempDir>,
    poisoned: &'a Arc<Notify>,
    resolver: Option<Arc<dyn Resolver>>,
}

impl Opener<'_> {
    fn open(&mut self, plan: &StoragePlan) -> Result<Arc<dyn Storage>> {
        match plan {
            StoragePlan::File(plan) => {
                let file = self.open_file(plan)?;
                self.files.push(Arc::clone(&file));
                Ok(file)
            }
            StoragePlan::Memory => Ok(Arc::new(MemoryStorage::with(MemoryOptions {
                clock: Some(Arc::new(vfs::unix_time)),
                resolver: self.resolver.clone(),
                ..MemoryOptions::default()
            }))),
            StoragePlan::Temporary => {
                let file = self.open_temporary()?;
                self.files.push(Arc::clone(&file));
                Ok(file)
            }
            StoragePlan::Overlay { base, changes } => {
                let (base, changes) = (self.open(base)?, self.open(changes)?);
                let options = OverlayOptions {
                    clock: Some(Arc::new(vfs::unix_time)),
                    resolver: self.resolver.clone(),
                };
                Ok(OverlayStorage::new(base, changes, options)?)
            }
        }
    }

    /// Nothing of it has to last, so nobody waits for the disk.
    fn open_temporary(&mut self) -> Result<Arc<FileStorage>> {
        let directory = tempfile::Builder::new().prefix("zodiac-").tempdir();
        let directory = directory.context("cannot make a directory for temporary files")?;
        let poisoned = Arc::clone(self.poisoned);
        let options = filestorage::Options {
            create: true,
            blob_dir: Some(directory.path().join("blobs")),
            durability: filestorage::Durability::Async {
                interval: TEMPORARY_SYNC,
            },
            resolver: self.resolver.clone(),
            on_poison: Arc::new(move || poisoned.notify_one()),
            ..Default::default()
        };
        let file = FileStorage::open(directory.path().join("Data.fs"), options)?;
        self.temporary.push(directory);
        Ok(file)
    }

    fn open_file(&self, plan: &FilePlan) -> Result<Arc<FileStorage>> {
        let directory = plan.path.parent().unwrap_or_else(|| Path::new(""));
        if !directory.as_os_str().is_empty() && !directory.is_dir() {
            bail!(
                "the directory of {} does not exist; make it, or correct the path",
                plan.path.display()
            );
        }
        let poisoned = Arc::clone(self.poisoned);
        let options = filestorage::Options {
            create: !plan.read_only,
            read_only: plan.read_only,
            compress: if plan.compress {
                Compression::Zlib
            } else {
                Compression::None
            },
            blob_dir: plan.blob_dir.clone(),
            pack_gc: plan.pack_gc,
            pack_keep_old: plan.pack_keep_old,
            durability: plan.durability,
            quota: plan.quota,
            resolver: self.resolver.clone(),
            on_poison: Arc::new(move || poisoned.notify_one()),
            ..Default::default()
        };
        Ok(FileStorage::open(&plan.path, options)?)
    }
}

const TEMPORARY_SYNC: Duration = Duration::from_secs(60);

/// Where the blobs of that Data.fs are, if it has any.
pub(super) fn blob_directory(data: &Path, configured: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(configured) = configured {
        return Ok(Some(configured.to_owned()));
    }
    Ok(fstools::blobs_beside(&RealDisk, data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_where_they_are_said_to_be_or_beside_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("Data.fs");
        assert_eq!(blob_directory(&data, None).unwrap(), None);
        let beside = folder.path().join("blobs");
        std::fs::create_dir(&beside).unwrap();
        assert_eq!(blob_directory(&data, None).unwrap(), Some(beside.clone()));
        std::fs::write(beside.join("notes.txt"), "").unwrap();
        assert_eq!(blob_directory(&data, None).unwrap(), None);
        let configured = Path::new("elsewhere");
        assert_eq!(
            blob_directory(&data, Some(configured)).unwrap().as_deref(),
            Some(configured)
        );
    }
}
