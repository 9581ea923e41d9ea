//! `zodiac fs backup`

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use fstools::{BackupOptions, Repository, Verdict};
use vfs::RealDisk;

use super::arguments::Output;
use super::storages::BlobDirectory;
use crate::clock;

/// `zodiac fs backup`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Backup {
    /// The Data.fs
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The directory of backups; it has to exist
    #[arg(short, long, value_name = "DIR")]
    repository: PathBuf,
    /// Copy the whole Data.fs, also where the changes would do
    #[arg(short = 'F', long)]
    full: bool,
    /// Compress what is copied
    #[arg(short = 'z', long)]
    gzip: bool,
    /// Compare only what was backed up last with the Data.fs, not all of it
    #[arg(short = 'Q', long)]
    quick: bool,
    /// After a full backup, remove all older ones
    #[arg(short = 'k', long)]
    kill_old_on_full: bool,
    #[command(flatten)]
    blobs: BlobDirectory,
    /// Leave the files of blobs out, as repozo does: something else backs them up
    #[arg(long, conflicts_with = "named")]
    no_blobs: bool,
    /// Link blobs instead of copying them, where the file system can
    #[arg(long)]
    link_blobs: bool,
    #[command(flatten)]
    output: Output,
}

const HELP: &str = "\
The repository has the files of ZODB's repozo, and either program continues, verifies and restores
what the other wrote. The first backup is a full one; later ones hold what was added since, unless
the Data.fs was packed. Copied is what is finished; a server may go on using the Data.fs.

The blobs of the same transactions go into the repository as well. Where there are blobs and no directory
of them is found, nothing is backed up, unless --no-blobs says so.

Exit status 1 when files of blobs are missing, the Data.fs ends before its last backup, or (in a full
backup) the .index beside it is wrong: what is there is backed up, copies of missing blobs stay in the
backup, and nothing older is removed. A Data.fs whose .index proves that its end is missing is not
backed up.

A backup counts when its file has its name. Killed at any moment, it leaves a repository that can be
restored and continued.

Examples:
  zodiac fs backup var/Data.fs --repository /backup/site
  zodiac fs backup var/Data.fs --repository /backup/site --gzip --blobs var/blobstorage
  zodiac fs backup var/Data.fs --repository /backup/site --full --kill-old-on-full";

impl Backup {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let repository = Repository::open(&self.repository, Arc::new(RealDisk))?;
        let blobs = match self.no_blobs {
            true => None,
            false => self.blobs.of(&self.file)?,
        };
        let options = BackupOptions {
            full: self.full,
            compress: self.gzip,
            quick: self.quick,
            kill_old: self.kill_old_on_full,
            blobs,
            without_blobs: self.no_blobs,
            link_blobs: self.link_blobs,
            now: clock::since_1970(),
        };
        let mut console = self.output.console();
        let verdict = fstools::backup(&self.file, &repository, &options, &mut console);
        console.finish(verdict)
    }
}
