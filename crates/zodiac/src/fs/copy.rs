//! `zodiac fs copy`

use std::path::PathBuf;

use clap::Args;
use fstools::{CopyOptions, Listener, ToolError, Verdict};
use vfs::RealDisk;

use super::arguments::Output;
use super::storages::{Name, Opened};

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
    /// The directory of blobs of a Data.fs that is copied
    #[arg(long, value_name = "DIR")]
    blobs_from: Option<PathBuf>,
    /// The directory of blobs of a Data.fs that is written; made where there is none
    #[arg(long, value_name = "DIR")]
    blobs_to: Option<PathBuf>,
    /// Sync a Data.fs that is written only now and then: after a power loss, begin anew
    #[arg(long)]
    fast: bool,
    #[command(flatten)]
    output: Output,
}

const HELP: &str = "\
Copies all transactions, with their ids, texts and all revisions. The source may be in use; what is
written there meanwhile is copied when the copy is resumed. An interrupted copy is whole up to some
transaction, and --resume goes on there: it compares the ids and texts of all transactions of the target
with those of the source, and the records of the last one.

Exit status 1 when files of blobs could not be copied.

Examples:
  zodiac fs copy var/Data.fs other/Data.fs --blobs-from var/blobs --blobs-to other/blobs
  zodiac fs copy zeo://db.example.org:8100/1 var/Data.fs --resume";

impl Copy {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let mut console = self.output.console();
        let verdict = self.copy(&mut console);
        console.finish(verdict)
    }

    fn copy(&self, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
        let source = Opened::source(&self.source, self.blobs_from.as_ref())?;
        let target = Opened::target(&self.target, self.blobs_to.as_ref(), self.fast)?;
        let options = CopyOptions {
            resume: self.resume,
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
