//! `zodiac fs backup-verify`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use fstools::{BackupVerifyOptions, Repository, Verdict};
use vfs::RealDisk;

use super::arguments::Output;

/// `zodiac fs backup-verify`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct BackupVerify {
    /// The directory of backups
    #[arg(short, long, value_name = "DIR")]
    repository: PathBuf,
    /// Compare lengths only, no checksums
    #[arg(short = 'Q', long)]
    quick: bool,
    #[command(flatten)]
    output: Output,
}

const HELP: &str = "\
Looked at are the newest full backup and all that follows it. Exit status 1 when something is missing
or damaged.

Examples:
  zodiac fs backup-verify --repository /backup/site
  zodiac fs backup-verify --repository /backup/site --quick --json";

impl BackupVerify {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let repository = Repository::open(&self.repository, Arc::new(RealDisk))?;
        let options = BackupVerifyOptions { quick: self.quick };
        let mut console = self.output.console();
        let verdict = fstools::backup_verify(&repository, options, &mut console);
        console.finish(verdict)
    }
}
