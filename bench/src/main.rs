//! Timings, side by side with the Python originals: `cargo xtask bench`.
//!
//! Both sides run at the same time on the same content and are measured in turn (ours, theirs,
//! ours, theirs), so that whatever else the machine does meets both. Medians of the rounds count.

mod choice;
mod client;
mod clients;
mod http;
mod report;
mod sheet;
mod sides;
mod storage;
mod zeo;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::client::ClientBench;
use crate::storage::StorageBench;
use crate::zeo::ZeoBench;
use report::Report;

/// How often each side is measured.
const ROUNDS: usize = 3;

/// How long one measurement takes.
const SECONDS: u32 = 3;

fn main() -> ExitCode {
    if let Err(error) = run() {
        eprintln!("bench: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_else(|| "all".to_owned());
    match what.as_str() {
        "storage" => return StorageBench::parse(words)?.run(),
        "storage-worker" => return storage::worker::run(),
        "client" => return ClientBench::parse(words)?.run(),
        "client-worker" => return client::worker::run(),
        "zeo" => return ZeoBench::parse(words)?.run(),
        "http" | "clients" | "all" => {}
        _ => bail!(
            "usage: cargo xtask bench [http|clients|all|storage|zeo|client [--size full|small|tiny]]"
        ),
    }
    let mut report = Report::default();
    if what != "clients" {
        http::measure(&mut report)?;
    }
    if what != "http" {
        clients::measure(&mut report)?;
    }
    report.publish()
}
