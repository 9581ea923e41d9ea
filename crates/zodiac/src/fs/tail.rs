//! `zodiac fs tail`

use clap::Args;
use fstools::Verdict;

use super::arguments::{Target, count};

/// `zodiac fs tail`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  zodiac fs tail var/Data.fs
  zodiac fs tail var/Data.fs -n 3 --json")]
pub(super) struct Tail {
    #[command(flatten)]
    target: Target,
    /// How many transactions
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = count, allow_hyphen_values = true)]
    count: usize,
}

impl Tail {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let nothing = match self.count {
            0 => "no transaction was asked for (-n 0)",
            _ => "the file has no transaction",
        };
        self.target.look_for(Some(nothing), |survey, listener| {
            fstools::tail(survey, self.count, listener)
        })
    }
}
