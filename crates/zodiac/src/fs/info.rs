//! `zodiac fs info`

use clap::Args;
use fstools::Verdict;
use vfs::RealDisk;

use super::arguments::Target;
use super::storages::BlobDirectory;

/// `zodiac fs info`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Info {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    blobs: BlobDirectory,
}

const HELP: &str = "\
The whole file is read, to count what is in it and to compare the .index with it. So is the list of
files in the directory of blobs. Exit status 1 when something is damaged, or the .index is wrong.

Examples:
  zodiac fs info var/Data.fs
  zodiac fs info var/Data.fs --blobs var/blobstorage
  zodiac fs info var/Data.fs --json | jq .index.state";

impl Info {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        self.target.look(|survey, listener| {
            let verdict = fstools::info(survey, listener)?;
            let Some(blobs) = self.blobs.of(&self.target.file)? else {
                return Ok(verdict);
            };
            let of_blobs = fstools::blob_directory(&RealDisk, &blobs, listener)?;
            Ok(verdict.and(of_blobs))
        })
    }
}
