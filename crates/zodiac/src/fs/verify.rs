//! `zodiac fs verify`

use clap::Args;
use fstools::Verdict;

use super::arguments::Target;

/// `zodiac fs verify`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Verify {
    #[command(flatten)]
    target: Target,
}

const HELP: &str = "\
Goes on behind damage where it can. BTrees are walked through as they are now: order of keys,
separators, the chain of buckets. Exit status 1 when something is damaged; an unfinished tail is not.

Examples:
  zodiac fs verify var/Data.fs
  zodiac fs verify var/Data.fs --json | jq 'select(.kind == \"damage\") | .offset'";

impl Verify {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target.look(fstools::verify)
    }
}
