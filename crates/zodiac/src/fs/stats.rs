//! `zodiac fs stats`

use clap::Args;
use fstools::{Listener, Verdict};

use super::arguments::Target;

/// `zodiac fs stats`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Stats {
    #[command(flatten)]
    target: Target,
}

const HELP: &str = "\
Current records, then old revisions. A record with a back pointer has no bytes of its own.

Examples:
  zodiac fs stats var/Data.fs
  zodiac fs stats var/Data.fs --json | jq -r 'select(.old_bytes > .bytes) | .class'";

impl Stats {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let survey = self.target.survey()?;
        let mut console = self.target.output.console();
        console.head(HEADING);
        console.begins(survey.size());
        let verdict = fstools::statistics(&survey, &mut console);
        console.finish(verdict)
    }
}

const HEADING: &str = "         bytes    objects      old bytes   old recs  class";
