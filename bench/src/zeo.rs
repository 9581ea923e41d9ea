//! The storage server beside genuine `runzeo`, with and without uvloop, in one run.
//!
//! The clients are threads of this program that speak the protocol in raw frames: what is asked is
//! made of copies of one frame, and of what is answered no more is read than tells its kind. So the
//! driver is quicker than any of the servers, which a server that answers a constant shows.

use std::fs;
use std::path::Path;

use anyhow::Result;

mod commits;
mod constant;
mod fanout;
mod import;
mod loads;
mod made;
mod peer;
mod servers;
mod start;

use loads::Found;
use made::{RECORD_BYTES, Size};
use servers::Server;

use crate::choice::Choice;
use crate::sheet::{Column, Sheet};

/// What is measured, and where.
#[derive(Clone, Debug)]
pub(crate) struct ZeoBench(Choice<Size>);

/// Ours, the original with uvloop, and without.
const COLUMNS: [Column; 3] = [
    Column {
        key: "ours",
        title: "ours",
    },
    Column {
        key: "uvloop",
        title: "uvloop",
    },
    Column {
        key: "asyncio",
        title: "asyncio",
    },
];

/// What `--only` may name: `start` has the memory with it.
const NAMES: [&str; 5] = ["start", "loads", "commits", "import", "fanout"];

impl ZeoBench {
    /// Reads `[--size full|small|tiny] [--directory PATH] [--only ROW]`.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        Choice::parse(words, &NAMES).map(Self)
    }

    /// Makes the file where it is missing, measures, prints and writes the sheet.
    pub(crate) fn run(&self) -> Result<()> {
        fs::create_dir_all(&self.0.directory)?;
        let made = made::make(self.0.size, &self.0.directory)?;
        let scratch = tempfile::tempdir_in(&self.0.directory)?;
        let mut sheet = self.sheet();
        if self.0.is_wanted("start") || self.0.is_wanted("loads") {
            let place = scratch.path().join("full");
            let servers = start::measure(&place, &made, self.0.size, &mut sheet)?;
            if self.0.is_wanted("loads") {
                loads::measure(&servers, self.0.size, &mut sheet)?;
            }
            start::memory(&servers, &mut sheet)?;
        }
        if ["commits", "import", "fanout"]
            .iter()
            .any(|row| self.0.is_wanted(row))
        {
            self.writes(&scratch.path().join("empty"), &mut sheet)?;
        }
        sheet.publish(&self.0.directory)
    }

    fn sheet(&self) -> Sheet {
        let size = self.0.size;
        let conditions = format!(
            "Size {}: {} objects of {RECORD_BYTES} bytes, the file in the page cache. All on loopback, msgpack, \
             best of {} interleaved rounds of {} s.",
            size.name, size.objects, size.rounds, size.seconds,
        );
        let title = "`zodiac zeo` beside `runzeo` of ZEO 6.2";
        Sheet::new("zeo", title, &conditions, &COLUMNS)
    }

    fn writes(&self, place: &Path, sheet: &mut Sheet) -> Result<()> {
        let servers = Server::start_all(place, None)?;
        if self.0.is_wanted("commits") {
            commits::measure(&servers, place, self.0.size, sheet)?;
        }
        if self.0.is_wanted("import") {
            import::measure(&servers, self.0.size, sheet)?;
        }
        if self.0.is_wanted("fanout") {
            fanout::measure(&servers, self.0.size, sheet)?;
        }
        Ok(())
    }
}

/// Asks all servers in turn, so often; what each round found.
fn rounds_of<T>(
    servers: &[Server; 3],
    rounds: usize,
    mut ask: impl FnMut(&Server) -> Result<T>,
) -> Result<[Vec<T>; 3]> {
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (server, found) in servers.iter().zip(&mut found) {
            found.push(ask(server)?);
        }
    }
    Ok(found)
}

/// The best of each figure over the rounds of each server: what else the machine does makes all of
/// them worse, and none better.
fn rounds(
    servers: &[Server; 3],
    rounds: usize,
    ask: impl FnMut(&Server) -> Result<Found>,
) -> Result<[Found; 3]> {
    Ok(rounds_of(servers, rounds, ask)?.map(|found| best(found.into_iter())))
}

fn best(rounds: impl Iterator<Item = Found>) -> Found {
    rounds
        .reduce(|one, other| Found {
            per_second: one.per_second.max(other.per_second),
            p50_us: one.p50_us.min(other.p50_us),
            p99_us: one.p99_us.min(other.p99_us),
            cpu_us: one.cpu_us.min(other.cpu_us),
        })
        .unwrap_or_default()
}
