//! How much memory a process has, and how long it has computed, as Linux counts it.

use std::fs;

use anyhow::{Context, Result};

/// What is in memory now.
///
/// # Errors
/// Where the system does not tell.
pub fn resident_bytes() -> Result<u64> {
    status("VmRSS:")
}

/// What is in memory now and is of no file: without the pages of the program itself, which a first call
/// brings in.
///
/// # Errors
/// Where the system does not tell.
pub fn anonymous_bytes() -> Result<u64> {
    status("RssAnon:")
}

/// What another process has in memory now.
///
/// # Errors
/// Where there is no such process, or the system does not tell.
pub fn resident_bytes_of(process: u32) -> Result<u64> {
    status_of(&process.to_string(), "VmRSS:")
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

/// For how long processors have worked for this process, in its own code and in the system's.
///
/// # Errors
/// Where the system does not tell.
pub fn processor_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in parentheses, may have anything in it.
    let (_, fields) = text.rsplit_once(')').context("no end of the name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u32>);
    let ticks: u32 = ticks.sum::<Result<_, _>>()?;
    Ok(f64::from(ticks) / TICKS_A_SECOND)
}

/// What Linux counts in, whatever the machine.
const TICKS_A_SECOND: f64 = 100.0;

fn status(field: &str) -> Result<u64> {
    status_of("self", field)
}

fn status_of(process: &str, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.context("no figure of memory")?.parse()?;
    Ok(kilobytes * 1_024)
}
