//! `zodiac fs restore`

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use fstools::{BackupDate, Repository, RestoreOptions, Target, Verdict};
use vfs::RealDisk;

use super::console::Console;

/// `zodiac fs restore`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Restore {
    /// The directory of backups
    #[arg(short, long, value_name = "DIR")]
    repository: PathBuf,
    /// Where the Data.fs goes [default: standard output]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The newest state that is not later than this, UTC: YYYY-MM-DD[-hh[-mm[-ss]]]
    #[arg(short = 'D', long, value_name = "DATE", value_parser = date)]
    date: Option<BackupDate>,
    /// Begin anew, and replace whatever is there
    #[arg(short = 'F', long)]
    full: bool,
    /// Compare only the end of a Data.fs that is there with the backup, not all of it
    #[arg(short = 'Q', long)]
    quick: bool,
    /// Where the blobs of the backup go [default: "blobs" beside PATH]
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    /// Leave the blobs of the backup out
    #[arg(long, conflicts_with = "blobs")]
    no_blobs: bool,
    /// Print one JSON object a line; on standard error where the Data.fs goes to standard output
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Every piece is held against its checksum on the way. The file is made as PATH.part and gets its name
when it is whole. A Data.fs that is the beginning of the backup is extended by what it lacks; any
other file in the way is replaced with --full only, and blobs that the backup does not have only where
--blobs names their directory as well. While a server uses PATH nothing is done. To standard output
goes the Data.fs alone: blobs need --blobs then.

A date that ends early is the beginning of its day, hour or minute: 2026-01-31 leaves out all
backups of that day. Exit status 1 when a piece of the backup is damaged.

Examples:
  zodiac fs restore --repository /backup/site --output var/Data.fs
  zodiac fs restore --repository /backup/site --output old.fs --date 2026-01-31-12
  zodiac fs restore --repository /backup/site --output var/Data.fs --blobs var/blobstorage
  zodiac fs restore --repository /backup/site | ssh elsewhere 'cat > Data.fs'";

impl Restore {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let repository = Repository::open(&self.repository, Arc::new(RealDisk))?;
        let options = RestoreOptions {
            until: self.date.clone(),
            full: self.full,
            quick: self.quick,
            blobs: self.blobs.clone(),
            blobs_beside: !self.no_blobs,
        };
        if let Some(path) = &self.output {
            let mut console = Console::new(self.json);
            let target = Target::File(path);
            let verdict = fstools::restore(&repository, target, &options, &mut console);
            return console.finish(verdict);
        }
        if io::stdout().is_terminal() {
            bail!("a terminal is no place for a Data.fs; --output names a file");
        }
        let mut out = io::stdout().lock();
        let mut console = Console::aside(self.json);
        let target = Target::Stream(&mut out);
        let verdict = fstools::restore(&repository, target, &options, &mut console);
        console.finish(verdict)
    }
}

fn date(text: &str) -> Result<BackupDate, String> {
    BackupDate::parse(text).map_err(|error| error.to_string())
}
