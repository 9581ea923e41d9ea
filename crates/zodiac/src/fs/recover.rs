//! `zodiac fs recover`

use std::path::PathBuf;

use clap::Args;
use fstools::{RecoverOptions, Verdict};
use vfs::RealDisk;

use super::arguments::Target;

/// `zodiac fs recover`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Recover {
    #[command(flatten)]
    target: Target,
    /// The new Data.fs, which must not exist
    #[arg(value_name = "OUTPUT")]
    new: PathBuf,
    /// Of a broken transaction, copy the sound records at its beginning
    #[arg(long)]
    partial: bool,
    /// Tell of each object that lost its newest revision, and of each record that cannot be read; else
    /// of the first 20 (--json tells of all)
    #[arg(long)]
    all: bool,
}

/// Of more objects, and of more records, no more are told one by one. The help says so too.
const TOLD_MAX: u64 = 20;

const HELP: &str = "\
FILE is only read. What was lost is told: the bytes, the transactions where they can be read, and the
objects whose newest revision is gone; an .index beside FILE helps to find these. With --partial
objects that were changed together may not fit together any more. A record whose pickle cannot be
read is copied as it is, and told.

Exit status 0 when nothing is lost, 1 when something is, had to be mended, or cannot be read.

Examples:
  zodiac fs recover damaged.fs Data.fs && echo every record is copied and can be read
  zodiac fs recover damaged.fs Data.fs --json | jq 'select(.kind == \"lost\")'
  zodiac fs recover damaged.fs Data.fs; zodiac fs verify Data.fs; zodiac fs refs Data.fs";

impl Recover {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let options = RecoverOptions {
            partial: self.partial,
            told_max: Some(TOLD_MAX).filter(|_| !self.all && !self.target.output.json),
        };
        self.target.look(|survey, listener| {
            fstools::recover(survey, &RealDisk, &self.new, options, listener)
        })
    }
}
