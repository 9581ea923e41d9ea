//! How long a server takes to serve a large file after a clean stop, and what it keeps in memory.

use std::path::Path;

use anyhow::Result;

use super::made::Size;
use super::servers::Server;
use crate::sheet::Sheet;
use crate::storage::Better;

/// Starts the servers twice, as the first time the file has no index. The second ones come back.
pub(super) fn measure(
    directory: &Path,
    data: &Path,
    size: Size,
    sheet: &mut Sheet,
) -> Result<[Server; 3]> {
    eprintln!("bench: start");
    let first = Server::start_all(directory, Some(data))?;
    let without = [0, 1, 2].map(|index: usize| first[index].seconds_to_start);
    for server in first {
        server.stop()?;
    }
    let servers = Server::start_all(directory, Some(data))?;
    let with = [0, 1, 2].map(|index: usize| servers[index].seconds_to_start);
    let subject = format!("start with {} objects, no index", size.objects);
    sheet.add(&subject, "s", Better::Less, without);
    let subject = format!("start with {} objects, after a clean stop", size.objects);
    sheet.add(&subject, "s", Better::Less, with);
    let memory = resident(&servers)?;
    sheet.add("memory after the start", "MiB", Better::Less, memory);
    sheet.reach(memory[0] < MEMORY_MIB_MAX, "under 40 MiB");
    Ok(servers)
}

/// What they keep after all that was asked.
pub(super) fn memory(servers: &[Server; 3], sheet: &mut Sheet) -> Result<()> {
    let memory = resident(servers)?;
    sheet.add("memory after the loads", "MiB", Better::Less, memory);
    sheet.reach(memory[0] < MEMORY_MIB_MAX, "under 40 MiB");
    Ok(())
}

fn resident(servers: &[Server; 3]) -> Result<[f64; 3]> {
    let [ours, uvloop, asyncio] = servers;
    Ok([
        ours.resident_mib()?,
        uvloop.resident_mib()?,
        asyncio.resident_mib()?,
    ])
}

const MEMORY_MIB_MAX: f64 = 40.0;
