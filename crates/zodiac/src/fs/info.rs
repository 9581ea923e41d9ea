//! `zodiac fs info`

use std::path::PathBuf;

use clap::Args;
use fstools::Verdict;
use vfs::RealDisk;

use super::arguments::Target;

/// `zodiac fs info`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Info {
    #[command(flatten)]
    target: Target,
    /// The directory of blobs, to be counted as well
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
}

const HELP: &str = "\
The whole file is read, to count what is in it and to compare the .index with it.

Examples:
  zodiac fs info var/Data.fs
  zodiac fs info var/Data.fs --blobs var/blobstorage
  zodiac fs info var/Data.fs --json | jq .index.state";

impl Info {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target.look(|survey, listener| {
            let verdict = fstools::info(survey, listener)?;
            let Some(blobs) = &self.blobs else {
                return Ok(verdict);
            };
            let of_blobs = fstools::blob_directory(&RealDisk, blobs, listener)?;
            Ok(verdict.and(of_blobs))
        })
    }
}
