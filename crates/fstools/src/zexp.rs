//! The export file of ZODB (`.zexp`), as `ZODB/ExportImport.py` has it.
//!
//! ```text
//! ZEXP
//! oid (8)  length (8)  record             for each object, the exported one first
//!   \0BLOBSTART  length (8)  data         behind the record of a blob
//! ff * 16
//! ```
//!
//! Numbers are big-endian. Ids are those of the database that the objects come from.

use std::io::{self, Read, Write};

use storage::Oid;

/// Writes an export file.
pub(crate) struct Exporter<'a> {
    out: &'a mut dyn Write,
}

impl<'a> Exporter<'a> {
    pub(crate) fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out })
    }

    pub(crate) fn record(&mut self, oid: Oid, record: &[u8]) -> io::Result<()> {
        self.out.write_all(&oid.to_bytes())?;
        self.out.write_all(&(record.len() as u64).to_be_bytes())?;
        self.out.write_all(record)
    }

    /// The file of the blob whose record came last.
    pub(crate) fn blob(&mut self, length: u64, file: &mut dyn Read) -> io::Result<()> {
        self.out.write_all(BLOB_MARK)?;
        self.out.write_all(&length.to_be_bytes())?;
        let copied = io::copy(&mut file.take(length), &mut self.out)?;
        if copied < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.out.write_all(&END)?;
        self.out.flush()
    }
}

/// Why a file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It begins otherwise.
    #[error("not an export file: it does not begin with ZEXP")]
    Magic,
    /// It is cut short.
    #[error("the export file ends too early")]
    Truncated,
    /// A record is longer than any record may be.
    #[error("the export file announces a record of {0} bytes")]
    Length(u64),
    /// A record cannot be read.
    #[error("object {oid} of the export file: {what}")]
    Record {
        /// The object's id in the file.
        oid: Oid,
        /// What is wrong.
        what: String,
    },
    /// No object refers to the record.
    #[error("object {0} of the export file: nothing before it refers to it")]
    Unreferenced(Oid),
    /// There is no object at all.
    #[error("the export file holds no object")]
    Empty,
    /// There is no place to put the object.
    #[error("{0}")]
    Place(String),
    /// The target has no directory of blobs.
    #[error(
        "object {0} of the export file is a blob, and no directory of blobs is known: --blobs DIR names it"
    )]
    NoBlobs(Oid),
    /// The file cannot be read.
    #[error("cannot read the export file: {0}")]
    Read(#[from] io::Error),
}

/// Reads an export file.
pub(crate) struct Importer<'a> {
    input: &'a mut dyn Read,
    /// How many bytes were read.
    pub(crate) read: u64,
}

impl<'a> Importer<'a> {
    pub(crate) fn begin(input: &'a mut dyn Read) -> Result<Self, ImportError> {
        let mut this = Self { input, read: 0 };
        let mut magic = [0; MAGIC.len()];
        match this.fill(&mut magic) {
            Err(ImportError::Truncated) => return Err(ImportError::Magic),
            other => other?,
        }
        if magic != *MAGIC {
            return Err(ImportError::Magic);
        }
        Ok(this)
    }

    /// The next object and its record.
    pub(crate) fn record(&mut self) -> Result<Option<(Oid, Vec<u8>)>, ImportError> {
        let mut head = [0; 16];
        self.fill(&mut head)?;
        if head == END {
            return Ok(None);
        }
        let (oid, length) = head.split_at(8);
        let oid = Oid::try_from(oid).map_err(|_| ImportError::Truncated)?;
        let length = number(length);
        if length > RECORD_BYTES_MAX {
            return Err(ImportError::Length(length));
        }
        // It grows as bytes come: the length may be a lie.
        let mut record = Vec::new();
        let copied = (&mut *self.input).take(length).read_to_end(&mut record)?;
        self.read += length;
        if (copied as u64) < length {
            return Err(ImportError::Truncated);
        }
        Ok(Some((oid, record)))
    }

    /// The data of the blob whose record came last.
    pub(crate) fn blob(&mut self, out: &mut dyn Write) -> Result<(), BlobError> {
        let mut mark = [0; BLOB_MARK.len()];
        self.fill(&mut mark)?;
        if mark != *BLOB_MARK {
            return Err(ImportError::Truncated.into());
        }
        let mut length = [0; 8];
        self.fill(&mut length)?;
        let mut rest = number(&length);
        let mut buffer = vec![0; BUFFER_BYTES];
        while rest > 0 {
            let piece = usize::try_from(rest)
                .unwrap_or(BUFFER_BYTES)
                .min(BUFFER_BYTES);
            self.fill(&mut buffer[..piece])?;
            out.write_all(&buffer[..piece]).map_err(BlobError::Write)?;
            rest -= piece as u64;
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ImportError> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.read += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ImportError::Truncated)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a blob was not copied.
#[derive(Debug)]
pub(crate) enum BlobError {
    Import(ImportError),
    Write(io::Error),
}

impl From<ImportError> for BlobError {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

const MAGIC: &[u8; 4] = b"ZEXP";
const BLOB_MARK: &[u8; 10] = b"\0BLOBSTART";
const END: [u8; 16] = [0xff; 16];
const RECORD_BYTES_MAX: u64 = 1 << 30;
const BUFFER_BYTES: usize = 64 << 10;
