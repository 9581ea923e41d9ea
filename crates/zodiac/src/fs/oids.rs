//! `zodiac fs oids`

use clap::Args;
use fstools::Verdict;
use storage::Oid;

use super::arguments::{Target, oid};

/// `zodiac fs oids`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Oids {
    #[command(flatten)]
    target: Target,
    /// The objects
    #[arg(value_name = "OID", required = true, value_parser = oid)]
    oids: Vec<Oid>,
}

const HELP: &str = "\
An id is decimal, or hexadecimal behind 0x. An object without any record makes the exit status 1.

Example:
  zodiac fs oids var/Data.fs 0 0x1f";

impl Oids {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target
            .look(|survey, listener| fstools::objects(survey, &self.oids, listener))
    }
}
