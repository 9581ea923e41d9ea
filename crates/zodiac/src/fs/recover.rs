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
}

const HELP: &str = "\
FILE is only read. What was lost is told: the bytes, the transactions where they can be read, and the
objects whose newest revision is gone; an .index beside FILE helps to find these. With --partial
objects that were changed together may not fit together any more.

Exit status 0 when nothing is lost, 1 when something is or had to be mended.

Examples:
  zodiac fs recover damaged.fs Data.fs && echo nothing was lost
  zodiac fs recover damaged.fs Data.fs --json | jq 'select(.kind == \"lost\")'
  zodiac fs recover damaged.fs Data.fs; zodiac fs verify Data.fs; zodiac fs refs Data.fs";

impl Recover {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let options = RecoverOptions {
            partial: self.partial,
        };
        self.target.look(|survey, listener| {
            fstools::recover(survey, &RealDisk, &self.new, options, listener)
        })
    }
}
