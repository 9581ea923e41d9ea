//! The three servers, each with a Data.fs of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use conformance::{Process, Stopwatch, judge, zodiac_binary};
use zeo::Encoding;

use super::peer::Peer;
use crate::sides::{Original, Side};

/// A running server.
pub(super) struct Server {
    side: Side,
    program: Program,
    /// From the start of the program to the first client that is registered.
    pub(super) seconds_to_start: f64,
}

enum Program {
    Ours(Process),
    Theirs(Original),
}

/// Ours, the original with uvloop, and without.
const NAMES: [&str; 3] = ["ours", "uvloop", "asyncio"];

impl Server {
    /// Starts all of them in `directory`, with an empty Data.fs each, or with `data`, which none of
    /// them may change: they share its content.
    pub(super) fn start_all(directory: &Path, data: Option<&Path>) -> Result<[Self; 3]> {
        let start = |name: &str| {
            let place = directory.join(name);
            fs::create_dir_all(&place)?;
            let own = place.join("Data.fs");
            if let Some(data) = data.filter(|_| !own.exists()) {
                fs::hard_link(data, &own)?;
            }
            Self::start(name, &own).with_context(|| format!("the server {name:?}"))
        };
        // Before any start is timed.
        judge::uvloop()?;
        zodiac_binary()?;
        let [ours, uvloop, asyncio] = NAMES;
        Ok([start(ours)?, start(uvloop)?, start(asyncio)?])
    }

    /// Ours with one sync for a commit, as the originals have it: a power loss may leave a torn
    /// transaction that counts.
    pub(super) fn start_compatible(directory: &Path) -> Result<Self> {
        let place = directory.join("compatible");
        fs::create_dir_all(&place)?;
        fs::write(
            place.join("zodiac.toml"),
            "[storage]\ndurability = \"compat\"\n",
        )?;
        Self::start("ours", &place.join("Data.fs"))
    }

    fn start(name: &str, data: &Path) -> Result<Self> {
        let watch = Stopwatch::start();
        let (program, address, pid) = if name == "ours" {
            let path = data.to_str().context("the path is text")?;
            // A zodiac.toml in that directory counts.
            let words = ["zeo", "--data", path, "--listen", "127.0.0.1:0"];
            let process = Process::start(data.parent().context("in a directory")?, &words)?;
            let (address, pid) = (process.listening()?, process.pid());
            (Program::Ours(process), address, pid)
        } else {
            let original = Original::serve(data, name == "uvloop")?;
            let (address, pid) = (original.address(), original.pid());
            (Program::Theirs(original), address, pid)
        };
        Peer::connect(address, Encoding::Msgpack)?;
        Ok(Self {
            side: Side {
                address,
                pids: vec![pid],
            },
            program,
            seconds_to_start: watch.elapsed().as_secs_f64(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.side.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.side.pids[0]
    }

    /// The processor time that it has taken so far, in microseconds.
    pub(super) fn cpu_us(&self) -> Result<f64> {
        self.side.cpu_us()
    }

    /// What it has in memory, in mebibytes.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.context("no figure of memory")?.parse()?;
        Ok(kilobytes / 1_024.0)
    }

    /// Stops it cleanly.
    pub(super) fn stop(self) -> Result<()> {
        match self.program {
            Program::Ours(process) => {
                process.stop()?;
            }
            Program::Theirs(original) => drop(original),
        }
        Ok(())
    }
}
