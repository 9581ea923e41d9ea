//! `zodiac fs pack`

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use filestorage::FileStorage;
use fstools::{Stamp, ToolError, Verdict, counted};
use parking_lot::Mutex;
use serde::Serialize;
use storage::{PackOptions, PackReport, Stage, Tid};

use super::arguments::{Target, last};
use super::console::Console;
use super::progress::{Progress, Unit};
use super::storages::{self, BlobDirectory};
use crate::clock;

/// `zodiac fs pack`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Pack {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    blobs: BlobDirectory,
    /// Pack also where there are blobs and no directory of them is found: their files stay
    #[arg(long, conflicts_with = "named")]
    no_blobs: bool,
    /// Keep the history of the last N days
    #[arg(long, value_name = "N", conflicts_with = "to", value_parser = days, allow_hyphen_values = true)]
    days: Option<f64>,
    /// Keep the history behind this transaction or time (UTC); default: now
    #[arg(long, value_name = "T", value_parser = last)]
    to: Option<Tid>,
    /// Keep objects that nothing reaches
    #[arg(long)]
    no_gc: bool,
    /// Keep no copy of the file as it was, FILE.old
    #[arg(long)]
    no_keep_old: bool,
    /// Read and write so many MB in a second at most
    #[arg(long, value_name = "MB", value_parser = rate, allow_hyphen_values = true)]
    throttle: Option<u64>,
}

const HELP: &str = "\
Takes old revisions out of the file, and objects that cannot be reached from the root. The file must
not be open elsewhere; a running server packs when a client asks it (ZODB's db.pack(), or zeopack).
The new file needs room beside the old one. Killed at any moment, it leaves the old file or the new
one, whole, and perhaps FILE.pack, which the next to open the file removes. Files of blobs go behind
that; with the old file they are kept in DIR.old.

Examples:
  zodiac fs pack var/Data.fs
  zodiac fs pack var/Data.fs --days 7
  zodiac fs pack var/Data.fs --to 2026-11-01 --throttle 50";

/// What was done, as the command tells it.
#[derive(Serialize)]
struct Packed {
    kind: &'static str,
    packed: bool,
    to: String,
    to_time: String,
    bytes_before: u64,
    bytes_after: u64,
    objects_removed: u64,
    records_dropped: Option<u64>,
    transactions_dropped: Option<u64>,
    blobs_removed: Option<u64>,
    old_file: Option<String>,
}

impl Pack {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let to = self.pack_time()?;
        let storage = self.open()?;
        let progress = Arc::new(Mutex::new(Progress::new()));
        let report = storage.pack(&PackOptions {
            to,
            gc: !self.no_gc,
            keep_old: !self.no_keep_old,
            progress: shown(progress.clone()),
            pace: self.pace(),
            ..PackOptions::default()
        });
        progress.lock().clear();
        // What fails behind the pack, the writing of the index, costs the next open some time.
        let closed = storage.close();
        let packed = self.describe(to, &report?);
        let mut out = std::io::stdout().lock();
        let told = if self.target.output.json {
            serde_json::to_writer(&mut out, &packed)
                .map_err(std::io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            writeln!(out, "{packed}")
        };
        told.map_err(ToolError::Output)?;
        closed?;
        Ok(Verdict::Sound)
    }

    fn open(&self) -> anyhow::Result<Arc<FileStorage>> {
        let blobs = match self.no_blobs {
            true => None,
            false => self.blobs.of(&self.target.file)?,
        };
        if blobs.is_none() && !self.no_blobs {
            // Without its directory a pack would leave the files of what it takes out there for ever.
            let survey = self.target.survey()?;
            let mut console = Console::aside(false);
            let checked = fstools::check_no_blobs(&survey, &mut console);
            let _ = console.finish(checked.map(|()| Verdict::Sound))?;
        }
        Ok(storages::open_for_writing(&self.target.file, blobs)?)
    }

    fn pack_time(&self) -> anyhow::Result<Tid> {
        if let Some(to) = self.to {
            return Ok(to);
        }
        let days = self.days.unwrap_or(0.0);
        let back = Duration::try_from_secs_f64(days * DAY_SECONDS).ok();
        let time = back.and_then(|back| clock::since_1970().checked_sub(back));
        let time = time.with_context(|| format!("--days {days}: that is before all time"))?;
        Ok(Tid::from_unix_time(time))
    }

    /// Waits as long as it takes to be no faster than was asked for.
    fn pace(&self) -> Arc<dyn Fn(u64) + Send + Sync> {
        let Some(bytes_per_second) = self.throttle else {
            return Arc::new(|_| {});
        };
        let began = clock::since_1970();
        let moved = AtomicU64::new(0);
        Arc::new(move |bytes| {
            let moved = moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let due = u128::from(moved) * 1000 / u128::from(bytes_per_second);
            let due = Duration::from_millis(u64::try_from(due).unwrap_or(u64::MAX));
            let elapsed = clock::since_1970().saturating_sub(began);
            clock::pause(due.saturating_sub(elapsed).min(PAUSE_MAX));
        })
    }

    fn describe(&self, to: Tid, report: &PackReport) -> Packed {
        let old = format!("{}.old", self.target.file.display());
        Packed {
            kind: "packed",
            packed: report.packed,
            to: to.to_string(),
            to_time: Stamp(to).to_string(),
            bytes_before: report.bytes_before,
            bytes_after: report.bytes_after,
            objects_removed: report.objects_removed,
            records_dropped: report.records_dropped,
            transactions_dropped: report.transactions_dropped,
            blobs_removed: report.blobs_removed,
            old_file: Some(old).filter(|_| report.packed && !self.no_keep_old),
        }
    }
}

/// Draws how far the pack is.
fn shown(progress: Arc<Mutex<Progress>>) -> Arc<dyn Fn(storage::PackProgress) + Send + Sync> {
    Arc::new(move |now| {
        let mut progress = progress.lock();
        let unit = match now.stage {
            Stage::Marking => Unit::Things("objects"),
            _ => Unit::Bytes,
        };
        progress.begin(unit, Some(now.total));
        progress.reached(now.done);
    })
}

fn days(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(days) if days >= 0.0 && f64::is_finite(days) => Ok(days),
        _ => Err("a number of days is needed, such as 7 or 0.5".to_owned()),
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let megabytes: Option<f64> = text.parse().ok();
    let bytes = megabytes.and_then(|megabytes| Duration::try_from_secs_f64(megabytes).ok());
    match bytes
        .map(|scaled| scaled.as_micros())
        .and_then(|bytes| u64::try_from(bytes).ok())
    {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("a number of MB above 0 is needed, such as 50".to_owned()),
    }
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.packed {
            return write!(
                f,
                "nothing to take away up to {}: the file stays as it is, {} bytes",
                self.to_time, self.bytes_before
            );
        }
        write!(
            f,
            "packed up to {}: {} bytes before, {} after; gone: {}",
            self.to_time,
            self.bytes_before,
            self.bytes_after,
            counted(self.objects_removed, "object", "objects")
        )?;
        for (gone, one, many) in [
            (self.records_dropped, "record", "records"),
            (self.transactions_dropped, "transaction", "transactions"),
            (self.blobs_removed, "file of a blob", "files of blobs"),
        ] {
            if let Some(gone) = gone {
                write!(f, ", {}", counted(gone, one, many))?;
            }
        }
        match &self.old_file {
            Some(old) => write!(f, "\nthe file as it was: {old}"),
            None => Ok(()),
        }
    }
}

const DAY_SECONDS: f64 = 86_400.0;
/// However slow it shall be, it notices soon that the process is to end.
const PAUSE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_of_megabytes() {
        assert_eq!(rate("50"), Ok(50_000_000));
        assert_eq!(rate("0.5"), Ok(500_000));
        for wrong in ["0", "-1", "fast", "nan", "inf", "1e30"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
