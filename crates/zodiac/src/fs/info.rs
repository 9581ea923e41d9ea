//! `zodiac fs info`

use clap::Args;
use fstools::Verdict;

use super::arguments::Target;

/// `zodiac fs info`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Info {
    #[command(flatten)]
    target: Target,
}

const HELP: &str = "\
The whole file is read, to count what is in it and to compare the .index with it.

Examples:
  zodiac fs info var/Data.fs
  zodiac fs info var/Data.fs --json | jq .index.state";

impl Info {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target.look(fstools::info)
    }
}
