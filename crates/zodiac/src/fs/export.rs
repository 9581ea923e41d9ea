//! `zodiac fs export`

use std::path::PathBuf;

use clap::Args;
use fstools::{Listener, Place, ToolError, Verdict};
use storage::Storage;
use vfs::RealDisk;

use super::arguments::{Target, place};
use super::storages::{self, BlobDirectory};

/// `zodiac fs export`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Export {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    blobs: BlobDirectory,
    /// The object: an id, or a path of names from the root
    #[arg(value_name = "OID|PATH", value_parser = place)]
    object: Place,
    /// The export file
    #[arg(value_name = "OUT.zexp")]
    out: PathBuf,
}

const HELP: &str = "\
Writes the object and all that can be reached from it, as Zope's Import/Export tab does. A path goes
through the names that `zodiac fs refs` shows; that of the application object may be left out. Weak
references and those to other databases are not followed.

A file that is there is not written over.

Exit status 1 when objects that are referred to do not exist: they are left out; and when files of blobs
are missing: each is named and nothing is written, as nobody could import it.

Examples:
  zodiac fs export var/Data.fs /news/2026 news.zexp
  zodiac fs export var/Data.fs 0x1f page.zexp";

impl Export {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let mut console = self.target.output.console();
        let verdict = self.export(&mut console);
        console.finish(verdict)
    }

    fn export(&self, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
        let blobs = self.blobs.of(&self.target.file)?;
        let storage = storages::open_for_reading(&self.target.file, blobs)?;
        let before = storage.last_tid().next();
        let oid = self.object.resolve(&*storage, before)?;
        fstools::export(&*storage, before, oid, &RealDisk, &self.out, listener)
    }
}
