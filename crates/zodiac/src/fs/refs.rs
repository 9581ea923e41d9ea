//! `zodiac fs refs`

use clap::Args;
use fstools::Verdict;

use super::arguments::Target;

/// `zodiac fs refs`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Refs {
    #[command(flatten)]
    target: Target,
}

const HELP: &str = "\
Weak references and those to other databases are not looked at. Exit status 1 when some reference
leads nowhere, some object cannot be read, or the .index beside the file is wrong.

Examples:
  zodiac fs refs var/Data.fs
  zodiac fs refs var/Data.fs --json | jq -r 'select(.kind == \"dangling\") | .path'";

impl Refs {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target.look(fstools::references)
    }
}
