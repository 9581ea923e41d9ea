//! `zodiac fs tail`

use clap::Args;
use fstools::Verdict;

use super::arguments::Target;

/// `zodiac fs tail`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  zodiac fs tail var/Data.fs -n 3")]
pub(super) struct Tail {
    #[command(flatten)]
    target: Target,
    /// How many transactions
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    count: usize,
}

impl Tail {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target
            .look(|survey, listener| fstools::tail(survey, self.count, listener))
    }
}
