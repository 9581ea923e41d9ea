//! `zodiac fs verify`

use std::path::PathBuf;

use clap::Args;
use fstools::Verdict;
use vfs::RealDisk;

use super::arguments::Target;

/// `zodiac fs verify`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Verify {
    #[command(flatten)]
    target: Target,
    /// The directory of blobs: each record of a blob has its file there, and each file its record
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
}

const HELP: &str = "\
Goes on behind damage where it can. BTrees are walked through as they are now: order of keys,
separators, the chain of buckets. Exit status 1 when something is damaged; an unfinished tail is not.

Examples:
  zodiac fs verify var/Data.fs
  zodiac fs verify var/Data.fs --blobs var/blobstorage
  zodiac fs verify var/Data.fs --json | jq 'select(.kind == \"damage\") | .offset'";

impl Verify {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target.look(|survey, listener| {
            let verdict = fstools::verify(survey, listener)?;
            let Some(blobs) = &self.blobs else {
                return Ok(verdict);
            };
            let of_blobs = fstools::verify_blobs(survey, &RealDisk, blobs, listener)?;
            Ok(verdict.and(of_blobs))
        })
    }
}
