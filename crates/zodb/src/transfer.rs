//! Objects on their way to other databases: `exportFile` and `importFile` of ZODB.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::sync::Arc;

use pickle::{Pickles, uncompressed};
use storage::{Oid, Severity, Tid};

use crate::blob::{NewData, is_blob};
use crate::connection::Change;
use crate::new_ids::NewIds;
use crate::zexp::{ExportFileError, ExportReader, ExportWriter};
use crate::{Connection, Object, RecordError, Reference, UnknownReference, ZodbError, renumber};

/// What an export came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Exported {
    /// How many objects are in the file, blobs included.
    pub objects: u64,
    /// How many of them are blobs.
    pub blobs: u64,
    /// How many were referred to and do not exist: they were left out, as the original does it.
    pub absent: u64,
}

/// What an import came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Imported {
    /// The exported object, as it is called here. Something has to refer to it.
    pub oid: Oid,
    /// How many objects were made, blobs included.
    pub objects: u64,
    /// How many of them are blobs.
    pub blobs: u64,
    /// How many objects are needed and were not in the file: the references lead nowhere.
    pub dangling: u64,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// An object could not be read.
    #[error(transparent)]
    Zodb(#[from] ZodbError),
    /// The export could not be written, or the file of a blob not be read.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
}

/// Why an import failed. The connection is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is broken.
    #[error(transparent)]
    File(#[from] ExportFileError),
    /// A record cannot be read.
    #[error("object {oid} of the export file: {source}")]
    Record {
        /// The object's id in the file.
        oid: Oid,
        /// What is wrong.
        source: RecordError,
    },
    /// No object refers to the record.
    #[error("object {0} of the export file: nothing before it refers to it")]
    Unreferenced(Oid),
    /// There is no object at all.
    #[error("the export file holds no object")]
    Empty,
    /// The objects cannot be put into this database.
    #[error(transparent)]
    Zodb(#[from] ZodbError),
}

impl ImportError {
    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Zodb(error) => error.severity(),
            _ => Severity::Refuse,
        }
    }
}

impl ExportError {
    /// What a caller does with this error.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Zodb(error) => error.severity(),
            Self::Write(_) => Severity::Fault,
        }
    }
}

impl Connection {
    /// Writes an object, and all that can be reached from it, in the form of `exportFile` (`.zexp`):
    /// as this transaction sees them, its own changes included. Weak references, and those to other
    /// databases, are not followed.
    ///
    /// # Errors
    /// [`ExportError`]: what was written so far is no whole file.
    pub fn export(&self, oid: Oid, out: &mut dyn Write) -> Result<Exported, ExportError> {
        let mut writer = ExportWriter::begin(out)?;
        let mut exported = Exported::default();
        let mut known = HashSet::from([oid]);
        let mut pending = VecDeque::from([oid]);
        while let Some(oid) = pending.pop_front() {
            let record = match self.record(oid) {
                Err(error) if error.is_not_found() && exported.objects > 0 => {
                    exported.absent += 1;
                    continue;
                }
                record => record?,
            };
            let undecodable = |source| {
                let tid = Tid::ZERO;
                ZodbError::Undecodable { oid, tid, source }
            };
            let record = uncompressed(&record).map_err(|error| undecodable(error.into()))?;
            let object = Object::decode(oid, Tid::ZERO, &record).map_err(undecodable)?;
            for reference in object.pickles().references() {
                if let Some(Reference::Strong { oid, .. }) = Reference::read(reference)
                    && known.insert(oid)
                {
                    pending.push_back(oid);
                }
            }
            writer.record(oid, &record)?;
            exported.objects += 1;
            if is_blob(object.class()) {
                let mut file = self.open_blob(oid)?;
                writer.blob(file.metadata()?.len(), &mut file)?;
                exported.blobs += 1;
            }
        }
        writer.finish()?;
        Ok(exported)
    }

    /// Takes the objects of an export file in, with new ids, for this transaction at first. They are
    /// kept in memory until the commit; blobs are in files.
    ///
    /// # Errors
    /// [`ImportError`]: the connection is as it was before.
    pub fn import(&mut self, input: &mut dyn Read) -> Result<Imported, ImportError> {
        if self.is_historical() {
            return Err(ZodbError::Historical.into());
        }
        let mut reader = ExportReader::begin(input)?;
        let mut ids = NewIds::new(self.database().storage().clone());
        let mut changes: Vec<(Oid, Change)> = Vec::new();
        let mut blobs = 0;
        while let Some((old, record)) = reader.record()? {
            let fail = |source| ImportError::Record { oid: old, source };
            let oid = ids
                .of_record(old, changes.is_empty())
                .map_err(ZodbError::from)?
                .ok_or(ImportError::Unreferenced(old))?;
            let record = uncompressed(&record).map_err(|error| fail(error.into()))?;
            let mut pickles = Pickles::decode(&record).map_err(|error| fail(error.into()))?;
            renumber(&mut pickles, |oid, is_strong| {
                ids.of_reference(oid, is_strong)
                    .map_err(|error| Renumber::Ids(error.into()))
            })
            .map_err(|error| match error {
                Renumber::Ids(error) => ImportError::Zodb(error),
                Renumber::Unknown => fail(RecordError::Reference),
            })?;
            let object = Object::new(oid, Tid::ZERO, pickles).map_err(fail)?;
            let data = if is_blob(object.class()) {
                blobs += 1;
                let data = NewData::copied(self.blobs_to_change()?, reader.blob()?);
                Some(Arc::new(data.map_err(ZodbError::from)?))
            } else {
                None
            };
            changes.push((oid, Change::new(object, data)));
        }
        let (oid, _) = changes.first().ok_or(ImportError::Empty)?;
        let imported = Imported {
            oid: *oid,
            objects: changes.len() as u64,
            blobs,
            dangling: ids.dangling(),
        };
        for (oid, change) in changes {
            self.apply(oid, change);
        }
        Ok(imported)
    }
}

enum Renumber {
    Ids(ZodbError),
    Unknown,
}

impl From<UnknownReference> for Renumber {
    fn from(_: UnknownReference) -> Self {
        Self::Unknown
    }
}
