//! The storage server beside genuine `runzeo`, with and without uvloop, in one run.
//!
//! The clients are threads of this program that speak the protocol in raw frames: what is asked is
//! made of copies of one frame, and of what is answered no more is read than tells its kind. So the
//! driver is quicker than any of the servers, which a server that answers a constant shows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use conformance::paths;

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

use crate::sheet::{Column, Sheet};

/// What is measured, and where.
#[derive(Clone, Debug)]
pub(crate) struct ZeoBench {
    size: Size,
    directory: PathBuf,
    only: Option<String>,
}

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
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut bench = Self {
            size: Size::parse("full")?,
            directory: paths::target().join("bench"),
            only: None,
        };
        while let Some(word) = words.next() {
            let value = words.next();
            let value = value.with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--size" => bench.size = Size::parse(&value)?,
                "--directory" => bench.directory = value.into(),
                "--only" if NAMES.contains(&value.as_str()) => bench.only = Some(value),
                "--only" => bail!("there is no row {value:?} among {NAMES:?}"),
                _ => bail!("unknown: {word}; known are --size, --directory and --only"),
            }
        }
        Ok(bench)
    }

    /// Makes the file where it is missing, measures, prints and writes the sheet.
    pub(crate) fn run(&self) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        let made = made::make(self.size, &self.directory)?;
        let scratch = tempfile::tempdir_in(&self.directory)?;
        let mut sheet = self.sheet();
        if self.is_wanted("start") || self.is_wanted("loads") {
            let place = scratch.path().join("full");
            let servers = start::measure(&place, &made, self.size, &mut sheet)?;
            if self.is_wanted("loads") {
                loads::measure(&servers, self.size, &mut sheet)?;
            }
            start::memory(&servers, &mut sheet)?;
        }
        if ["commits", "import", "fanout"]
            .iter()
            .any(|row| self.is_wanted(row))
        {
            self.writes(&scratch.path().join("empty"), &mut sheet)?;
        }
        sheet.publish(&self.directory)
    }

    fn sheet(&self) -> Sheet {
        let size = self.size;
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
        if self.is_wanted("commits") {
            commits::measure(&servers, place, self.size, sheet)?;
        }
        if self.is_wanted("import") {
            import::measure(&servers, self.size, sheet)?;
        }
        if self.is_wanted("fanout") {
            fanout::measure(&servers, self.size, sheet)?;
        }
        Ok(())
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == name)
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
