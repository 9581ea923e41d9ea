//! Removing backups that a newer full one stands for.

use std::collections::BTreeSet;

use super::catalog::Repository;
use super::names::{self, BackupDate, DataFile};
use super::store;
use crate::listener::ToolError;

/// Removes every backup before that full one; how many data files there were. The newest goes first,
/// so that at any moment what is left can be restored: an incremental backup never stays without
/// what it builds on.
pub(super) fn remove(repository: &Repository, keep: &DataFile) -> Result<u64, ToolError> {
    let mut removed = 0;
    let mut files = repository.data_files()?;
    files.retain(|file| file.date < keep.date);
    for file in files.iter().rev() {
        repository.remove(&file.name())?;
        repository.sync()?;
        for name in [names::dat, names::index, names::blobs].map(|name| name(&file.date)) {
            repository.remove(&name)?;
        }
        removed += 1;
    }
    remove_strays(repository, keep)?;
    repository.sync()?;
    store::forget_old(repository, keep)?;
    Ok(removed)
}

/// What interrupted backups, or the original, left of older dates.
fn remove_strays(repository: &Repository, keep: &DataFile) -> Result<(), ToolError> {
    let names: BTreeSet<String> = repository.names()?.into_iter().collect();
    for name in names {
        let Some((date, "dat" | "index" | "blobs")) = name.split_once('.') else {
            continue;
        };
        if BackupDate::parse(date).is_ok_and(|date| date < keep.date) {
            repository.remove(&name)?;
        }
    }
    Ok(())
}
