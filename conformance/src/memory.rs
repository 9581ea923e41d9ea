//! How much memory this process has, as Linux counts it.

use std::fs;

use anyhow::{Context, Result};

/// What is in memory now.
///
/// # Errors
/// Where the system does not tell.
pub fn resident_bytes() -> Result<u64> {
    status("VmRSS:")
}

/// The most that was in memory at once since [`forget_peak`].
///
/// # Errors
/// Where the system does not tell.
pub fn peak_bytes() -> Result<u64> {
    status("VmHWM:")
}

/// Lets [`peak_bytes`] begin anew.
///
/// # Errors
/// Where the system does not allow it.
pub fn forget_peak() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("the peak of memory cannot be reset")
}

fn status(field: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.context("no figure of memory")?.parse()?;
    Ok(kilobytes * 1_024)
}
