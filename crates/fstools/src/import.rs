//! Objects of an export file, taken into a storage: what `importFile` of ZODB does, and the manager of a
//! Zope folder behind it.

use std::fmt;
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use pickle::{Pickles, uncompressed};
use serde::Serialize;
use storage::{Commit, Oid, Record, Storage, StorageError, Tid, TransactionMeta, is_blob_record};
use vfs::{Disk, OpenMode, SequentialWriter};
use zodb::{ExportFileError, ExportReader, NewIds, UnknownReference, renumber};

use crate::content::class_of;
use crate::line::{Line, counted, named, shown};
use crate::listener::{Listener, ToolError, Verdict};
use crate::zexp::ImportError;

mod folder;

use folder::Folder;

/// Where and as what objects are imported.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The folder that holds the object from then on; without one, only its id is told.
    pub into: Option<Oid>,
    /// Its name in the folder; without one, the id that it has.
    pub name: Option<String>,
    /// What the folder calls its kind, where Zodiac does not know its class.
    pub meta_type: Option<String>,
    /// What the transaction says of itself.
    pub meta: TransactionMeta,
}

/// Objects were imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportLine {
    /// The new id of the exported object.
    #[serde(serialize_with = "shown")]
    pub oid: Oid,
    /// Its class.
    pub class: Option<String>,
    /// The transaction.
    #[serde(serialize_with = "shown")]
    pub tid: Tid,
    /// How many objects it made, blobs included.
    pub objects: u64,
    /// How many of them are blobs.
    pub blobs: u64,
    /// References to objects that are not in the file: they lead nowhere.
    pub dangling: u64,
    /// Its name in the folder.
    pub name: Option<String>,
}

/// Imports an export file in one transaction: every object in it gets a new id. Blobs are staged where
/// the storage wants them.
///
/// # Errors
/// The file is broken, or the storage cannot be written. Nothing was committed.
pub fn import(
    storage: &Arc<dyn Storage>,
    disk: &dyn Disk,
    input: &mut dyn Read,
    options: &ImportOptions,
    listener: &mut dyn Listener,
) -> Result<Verdict, ToolError> {
    let mut import = Import {
        storage,
        disk,
        commit: Arc::clone(storage).begin(options.meta.clone())?,
        ids: NewIds::new(storage.clone()),
        objects: 0,
        blobs: 0,
    };
    let folder = match options.into {
        Some(oid) => Some(Folder::open(storage, oid)?),
        None => None,
    };
    let mut importer = ExportReader::begin(input).map_err(ImportError::from)?;
    let mut exported = None;
    while let Some((old, record)) = importer.record().map_err(ImportError::from)? {
        let is_first = exported.is_none();
        let oid = import.ids.of_record(old, is_first)?;
        let oid = oid.ok_or(ImportError::Unreferenced(old))?;
        let mut pickles = import.translate(old, &record)?;
        if is_first {
            let name = match &folder {
                Some(folder) => Some(folder.name(&mut pickles, options.name.as_deref())?),
                None => None,
            };
            exported = Some((oid, pickles.clone(), name));
        }
        import.store(old, oid, &pickles, &mut importer)?;
        listener.reached(importer.bytes_read());
    }
    let (oid, pickles, name) = exported.ok_or(ImportError::Empty)?;
    if let (Some(folder), Some(name)) = (folder, &name) {
        let meta_type = options.meta_type.as_deref();
        let (folder, base, record) = folder.with(name, oid, &pickles, meta_type)?;
        import.commit.store(folder, base, record)?;
    }
    let dangling = import.ids.dangling();
    let voted = import.commit.vote()?;
    let tid = voted.finish(Box::new(|_| {}))?;
    listener.tell(Line::Imported(ImportLine {
        oid,
        class: class_of(&pickles.encode()),
        tid,
        objects: import.objects,
        blobs: import.blobs,
        dangling,
        name,
    }))?;
    Ok(Verdict::of(dangling))
}

struct Import<'a> {
    storage: &'a Arc<dyn Storage>,
    disk: &'a dyn Disk,
    commit: Box<dyn Commit>,
    ids: NewIds,
    objects: u64,
    blobs: u64,
}

impl Import<'_> {
    /// The record with the new ids in its references. Those to other databases stay as they are.
    fn translate(&mut self, old: Oid, record: &[u8]) -> Result<Pickles, ToolError> {
        let broken = |what| ImportError::Record { oid: old, what };
        let record = uncompressed(record).map_err(|error| broken(error.to_string()))?;
        let decoded = Pickles::decode(&record);
        let mut pickles = decoded.map_err(|error| broken(error.to_string()))?;
        if pickles.roots().len() != 2 {
            return Err(broken("it is not made of a class and a state".to_owned()).into());
        }
        renumber(&mut pickles, |oid, is_strong| {
            self.ids
                .of_reference(oid, is_strong)
                .map_err(|error| Failed::Ids(error.into()))
        })
        .map_err(|error| match error {
            Failed::Ids(error) => error,
            Failed::Unknown(unknown) => broken(unknown.to_string()).into(),
        })?;
        Ok(pickles)
    }

    fn store(
        &mut self,
        old: Oid,
        oid: Oid,
        pickles: &Pickles,
        importer: &mut ExportReader<'_>,
    ) -> Result<(), ToolError> {
        let record = Record::from(pickles.encode());
        self.objects += 1;
        if !is_blob_record(&record) {
            return Ok(self.commit.store(oid, Tid::ZERO, record)?);
        }
        self.blobs += 1;
        let blobs = self.storage.blobs().ok_or(ImportError::NoBlobs(old))?;
        let path = blobs.staging_directory().join(format!("import-{oid}"));
        self.stage(&path, importer)?;
        Ok(self.commit.store_blob(oid, Tid::ZERO, record, path)?)
    }

    fn stage(&self, path: &PathBuf, importer: &mut ExportReader<'_>) -> Result<(), ToolError> {
        let write = |error| StorageError::io(path, "write", error);
        let file = self.disk.open(path, OpenMode::Truncate).map_err(write)?;
        let mut out = BufWriter::new(SequentialWriter::new(file.clone(), 0));
        let mut blob = importer.blob().map_err(ImportError::from)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = |error| ImportError::from(ExportFileError::from(error));
            match blob.read(&mut buffer).map_err(read)? {
                0 => break,
                length => out.write_all(&buffer[..length]).map_err(write)?,
            }
        }
        out.flush().map_err(write)?;
        Ok(file.sync_data().map_err(write)?)
    }
}

enum Failed {
    Ids(ToolError),
    Unknown(UnknownReference),
}

impl From<UnknownReference> for Failed {
    fn from(unknown: UnknownReference) -> Self {
        Self::Unknown(unknown)
    }
}

impl fmt::Display for ImportLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (oid, class) = (self.oid, named(&self.class));
        write!(f, "imported {oid} {class}")?;
        if let Some(name) = &self.name {
            write!(f, " as {name:?}")?;
        }
        write!(
            f,
            ": {}, {} of them blobs, in transaction {}",
            counted(self.objects, "object", "objects"),
            self.blobs,
            self.tid
        )?;
        match self.dangling {
            0 => Ok(()),
            1 => f.write_str("; one object that is referred to is not in the file"),
            count => write!(
                f,
                "; {count} objects that are referred to are not in the file"
            ),
        }?;
        if self.name.is_none() {
            f.write_str("; the next pack removes them, unless something refers to them by then")?;
        }
        Ok(())
    }
}

const BUFFER_BYTES: usize = 64 << 10;
