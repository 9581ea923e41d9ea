//! `zodiac fs import`

use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use fstools::{ImportOptions, Listener, Place, ToolError, Verdict};
use storage::{Storage, StorageError, Tid, TransactionMeta};
use vfs::{Disk, OpenMode, RealDisk, SequentialReader};

use super::arguments::{Target, place};
use super::storages::{self, BlobDirectory};

/// `zodiac fs import`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Import {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    blobs: BlobDirectory,
    /// The export file
    #[arg(value_name = "FILE.zexp")]
    export: PathBuf,
    /// The folder that gets the object: an id, or a path of names from the root
    #[arg(long, value_name = "OID|PATH", value_parser = place)]
    into: Option<Place>,
    /// Its name in the folder [default: the id that it has]
    #[arg(long, value_name = "ID", requires = "into")]
    name: Option<String>,
    /// What the folder calls its kind, for a class that is not known here
    #[arg(long, value_name = "TEXT", requires = "into")]
    meta_type: Option<String>,
    /// Who imports, for the transaction; Zope writes the path of the user folder and the name: "/ admin"
    #[arg(long, value_name = "TEXT", default_value = "")]
    user: String,
    /// What the transaction says of itself [default: import FILE]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

const HELP: &str = "\
All objects of the file get new ids. With --into the object becomes an item of a folder of Zope, or an
entry of a PersistentMapping such as the root; without, only its new id is told, and a pack removes it unless
something refers to it by then. No code of the objects runs: what Zope does when an object is added
(catalogs, owners) does not happen. Takes the file's lock.

Exit status 1 when objects that the imported ones need are not in the file.

Examples:
  zodiac fs import var/Data.fs news.zexp --into /archive
  zodiac fs import var/Data.fs news.zexp --into /archive --name news-2026 --user '/ admin'";

impl Import {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        let mut console = self.target.output.console();
        let verdict = self.import(&mut console);
        console.finish(verdict)
    }

    fn import(&self, listener: &mut dyn Listener) -> Result<Verdict, ToolError> {
        let read = |error| StorageError::io(&*self.export, "open", error);
        let export = RealDisk.open(&self.export, OpenMode::Read).map_err(read)?;
        listener.begins(export.len().map_err(read)?);
        let mut input = BufReader::new(SequentialReader::new(export, 0));
        let blobs = self.blobs.of(&self.target.file)?;
        let file = storages::open_for_writing(&self.target.file, blobs)?;
        let storage: Arc<dyn Storage> = Arc::clone(&file) as _;
        let imported = self.options(&*storage).and_then(|options| {
            fstools::import(&storage, &RealDisk, &mut input, &options, listener)
        });
        let closed = file.close();
        let verdict = imported?;
        closed?;
        Ok(verdict)
    }

    fn options(&self, storage: &dyn Storage) -> Result<ImportOptions, ToolError> {
        let into = match &self.into {
            Some(place) => Some(place.resolve(storage, Tid::MAX)?),
            None => None,
        };
        let description = self.description.clone();
        let description =
            description.unwrap_or_else(|| format!("import {}", self.export.display()));
        Ok(ImportOptions {
            into,
            name: self.name.clone(),
            meta_type: self.meta_type.clone(),
            meta: TransactionMeta {
                user: self.user.clone().into_bytes(),
                description: description.into_bytes(),
                extension: Vec::new(),
            },
        })
    }
}
