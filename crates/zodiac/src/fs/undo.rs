//! `zodiac fs undo`

use std::sync::Arc;

use clap::Args;
use filestorage::BlobDirectory;
use fstools::{Listener, ToolError, Verdict};
use storage::{Storage, Tid, TransactionMeta};
use vfs::RealDisk;

use super::arguments::{Target, count, tid};
use super::storages;

/// `zodiac fs undo`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Undo {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    blobs: storages::BlobDirectory,
    /// The transactions to take back, all in one new transaction; without any, those are listed that
    /// may be undone, the newest first
    #[arg(value_name = "TID", value_parser = tid)]
    tids: Vec<Tid>,
    /// Only say which objects would change and what stands in the way; needs no lock
    #[arg(long, requires = "tids")]
    dry_run: bool,
    /// How many transactions are listed
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = count, allow_hyphen_values = true)]
    count: usize,
    /// Who undoes, for the new transaction; Zope writes the path of the user folder and the name: "/ admin"
    #[arg(long, value_name = "TEXT", default_value = "")]
    user: String,
    /// What the new transaction says of itself [default: undo TID...]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

const HELP: &str = "\
An undo brings back what objects were before a transaction. It is refused where a later transaction
changed one of them to something else; it says which, by their paths, as --dry-run does beforehand. Both
changes of counters and of the buckets of BTrees are merged where they can be, which --dry-run does not
try. The undo itself takes the file's lock: where a server uses the file, undo through the server, or
stop it.

Exit status 1 when something stands in the way of the undo.

Examples:
  zodiac fs undo var/Data.fs
  zodiac fs undo var/Data.fs 0x03f0000200000000 --dry-run
  zodiac fs undo var/Data.fs 0x03f0000200000000 --user '/ admin' --description 'page is back'";

impl Undo {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        if self.dry_run {
            return self.target.look(|survey, listener| {
                let blobs = self.blobs.of(&self.target.file)?;
                let blobs =
                    blobs.map(|root| BlobDirectory::open_read_only(Arc::new(RealDisk), &root));
                let blobs = blobs.transpose()?;
                fstools::undo_preview(survey, &self.tids, blobs.as_ref(), listener)
            });
        }
        let mut console = self.target.output.console();
        let verdict = if self.tids.is_empty() {
            self.list(&mut console)
        } else {
            self.undo(&mut console)
        };
        console.finish(verdict)
    }

    fn list(&self, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
        let blobs = self.blobs.of(&self.target.file)?;
        let storage = storages::open_for_reading(&self.target.file, blobs)?;
        fstools::undoable(&*storage, self.count, listener)
    }

    fn undo(&self, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
        let description = self.description.clone().unwrap_or_else(|| {
            let tids: Vec<_> = self.tids.iter().map(ToString::to_string).collect();
            format!("undo {}", tids.join(", "))
        });
        let meta = TransactionMeta {
            user: self.user.clone().into_bytes(),
            description: description.into_bytes(),
            extension: Vec::new(),
        };
        let blobs = self.blobs.of(&self.target.file)?;
        let file = storages::open_for_writing(&self.target.file, blobs)?;
        let storage: Arc<dyn Storage> = Arc::clone(&file) as _;
        let survey = self.target.survey().ok();
        let verdict = fstools::undo(&storage, &self.tids, meta, survey.as_ref(), listener);
        let closed = file.close();
        let verdict = verdict?;
        closed?;
        Ok(verdict)
    }
}
