//! `zodiac fs dump`

use anyhow::bail;
use clap::Args;
use fstools::{Span, Stamp, Verdict};
use storage::Tid;

use super::arguments::{Target, first, last};

/// `zodiac fs dump`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Dump {
    #[command(flatten)]
    target: Target,
    /// The first transaction: an id or a time
    #[arg(long, value_name = "TID|TIME", value_parser = first)]
    from: Option<Tid>,
    /// The last transaction: an id or a time
    #[arg(long, value_name = "TID|TIME", value_parser = last)]
    to: Option<Tid>,
}

const HELP: &str = "\
A time is UTC and stands for all of itself: --to 2026-11-02 includes that day.

Examples:
  zodiac fs dump var/Data.fs
  zodiac fs dump var/Data.fs --from 2026-11-01T08:00 --to 2026-11-01T08:59
  zodiac fs dump var/Data.fs --from 0x03f0000100000000 --json";

impl Dump {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            bail!("--from {} is later than --to {}", Stamp(from), Stamp(to));
        }
        let span = Span {
            from: self.from.unwrap_or(Span::ALL.from),
            to: self.to.unwrap_or(Span::ALL.to),
        };
        let nothing = Some("no transaction in that time");
        self.target.look_for(nothing, |survey, listener| {
            fstools::dump(survey, span, listener)
        })
    }
}
