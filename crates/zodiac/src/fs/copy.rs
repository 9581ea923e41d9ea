//! `zodiac fs copy`

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use fstools::{CopyOptions, Listener, Verdict};
use vfs::RealDisk;

use super::arguments::Output;
use super::storages::{self, Name, Opened};
use crate::tls_arguments::TlsArguments;

/// `zodiac fs copy`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Copy {
    /// What is copied: a Data.fs, or a storage server as zeo://host:port/storage
    #[arg(value_parser = Name::parse)]
    source: Name,
    /// Where to: the same; a Data.fs is made where there is none
    #[arg(value_parser = Name::parse)]
    target: Name,
    /// Go on behind the last transaction of the target, where it is a beginning of the source
    #[arg(long)]
    resume: bool,
    /// The directory of blobs of a Data.fs that is copied [default: "blobs" beside it, if there is one]
    #[arg(long, value_name = "DIR")]
    blobs_from: Option<PathBuf>,
    /// The directory of blobs of a Data.fs that is written; made where there is none [default: "blobs"
    /// beside it, if the source has blobs]
    #[arg(long, value_name = "DIR")]
    blobs_to: Option<PathBuf>,
    /// Copy the records of blobs alone; their files go along only where --blobs-to says where to
    #[arg(long)]
    no_blobs: bool,
    /// Sync a Data.fs that is written only now and then: after a power loss, begin anew
    #[arg(long)]
    fast: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    tls: TlsArguments,
}

const HELP: &str = "\
Copies all transactions, with their ids, texts and all revisions. The source may be in use; what is
written there meanwhile is copied when the copy is resumed. An interrupted copy is whole up to some
transaction, and --resume goes on there: it compares the ids and texts of all transactions of the target
with those of the source, and the records of the last one.

The files of blobs go along between Data.fs. A blob that has no place where its file comes from or goes
to ends the copy; --no-blobs leaves the files out. Over ZEO they do not travel.

Exit status 1 when files of blobs are missing in the source.

Examples:
  zodiac fs copy var/Data.fs other/Data.fs
  zodiac fs copy var/Data.fs var/copy.fs --blobs-from var/blobstorage --blobs-to var/copy-blobs
  zodiac fs copy zeo://db.example.org:8100/1 var/Data.fs --resume";

impl Copy {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let mut console = self.output.console();
        let verdict = self.copy(&mut console);
        console.finish(verdict)
    }

    /// Where the files of blobs go. Two Data.fs that share a directory would take each other's away.
    fn blob_target(&self, from: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
        let Name::File(target) = &self.target else {
            return Ok(None);
        };
        let place = match (&self.blobs_to, from) {
            (Some(named), _) => named.clone(),
            (None, _) if self.no_blobs => return Ok(None),
            (None, Some(_)) => target.with_file_name("blobs"),
            (None, None) => return Ok(fstools::blobs_beside(&RealDisk, target)?),
        };
        let is_source = from.is_some_and(|from| {
            matches!((from.canonicalize(), place.canonicalize()), (Ok(from), Ok(to)) if from == to)
        });
        if is_source {
            let place = place.display();
            bail!("{place}: the blobs of the source are there; --blobs-to DIR names another place");
        }
        let is_taken = || {
            place
                .read_dir()
                .is_ok_and(|mut files| files.next().is_some())
        };
        if self.blobs_to.is_none() && !target.exists() && is_taken() {
            let place = place.display();
            bail!(
                "{place}: it is there, and perhaps another Data.fs's; --blobs-to DIR says where the \
                 blobs go"
            );
        }
        Ok(Some(place))
    }

    fn copy(&self, listener: &mut dyn Listener) -> anyhow::Result<Verdict> {
        let from = match &self.source {
            Name::File(path) => storages::existing(self.blobs_from.as_deref(), path)?,
            Name::Zeo { .. } => None,
        };
        let to = self.blob_target(from.as_deref())?;
        let tls = self.tls.options();
        let source = Opened::source(&self.source, from, tls.clone())?;
        let target = Opened::target(&self.target, to, self.fast, tls)?;
        let options = CopyOptions {
            resume: self.resume,
            without_blobs: self.no_blobs,
        };
        let copied = fstools::copy(
            &*source.storage(),
            &target.storage(),
            &RealDisk,
            options,
            listener,
        );
        // What was copied counts, also where the rest was not.
        let closed = target.close();
        let verdict = copied?;
        closed?;
        Ok(verdict)
    }
}
