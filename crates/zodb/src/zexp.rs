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

use std::fmt;
use std::io::{self, Read, Write};

use storage::Oid;

/// Writes an export file, record by record.
/// [`Connection::export`](crate::Connection::export) does all of it.
pub struct ExportWriter<'a> {
    out: &'a mut dyn Write,
}

impl fmt::Debug for ExportWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportWriter").finish_non_exhaustive()
    }
}

impl<'a> ExportWriter<'a> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of the writer, here and in all that follows.
    pub fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out })
    }

    /// Writes an object.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn record(&mut self, oid: Oid, record: &[u8]) -> io::Result<()> {
        self.out.write_all(&oid.to_bytes())?;
        self.out.write_all(&(record.len() as u64).to_be_bytes())?;
        self.out.write_all(record)
    }

    /// Writes the file of the blob whose record came last, which has so many bytes.
    ///
    /// # Errors
    /// Those of both, and [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    pub fn blob(&mut self, length: u64, file: &mut dyn Read) -> io::Result<()> {
        self.out.write_all(BLOB_MARK)?;
        self.out.write_all(&length.to_be_bytes())?;
        let copied = io::copy(&mut file.take(length), &mut self.out)?;
        if copied < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(self) -> io::Result<()> {
        self.out.write_all(&END)?;
        self.out.flush()
    }
}

/// Why a file cannot be read as an export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportFileError {
    /// It begins otherwise.
    #[error("not an export file: it does not begin with ZEXP")]
    Magic,
    /// It is cut short.
    #[error("the export file ends too early")]
    Truncated,
    /// A record is longer than any record may be.
    #[error("the export file announces a record of {0} bytes")]
    Length(u64),
    /// The file cannot be read.
    #[error("cannot read the export file: {0}")]
    Read(#[source] io::Error),
}

impl From<io::Error> for ExportFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Read(error),
        }
    }
}

/// Reads an export file, record by record.
/// [`Connection::import`](crate::Connection::import) does all of it.
pub struct ExportReader<'a> {
    input: &'a mut dyn Read,
    read: u64,
}

impl fmt::Debug for ExportReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportReader")
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl<'a> ExportReader<'a> {
    /// Looks whether it is one.
    ///
    /// # Errors
    /// [`ExportFileError::Magic`] where it is none.
    pub fn begin(input: &'a mut dyn Read) -> Result<Self, ExportFileError> {
        let mut this = Self { input, read: 0 };
        let mut magic = [0; MAGIC.len()];
        match this.fill(&mut magic) {
            Err(ExportFileError::Truncated) => return Err(ExportFileError::Magic),
            other => other?,
        }
        if magic != *MAGIC {
            return Err(ExportFileError::Magic);
        }
        Ok(this)
    }

    /// How many bytes were read.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The next object and its record; nothing at the end. The data of a blob are to be read before.
    ///
    /// # Errors
    /// Those of the file.
    pub fn record(&mut self) -> Result<Option<(Oid, Vec<u8>)>, ExportFileError> {
        let mut head = [0; 16];
        self.fill(&mut head)?;
        if head == END {
            return Ok(None);
        }
        let (oid, length) = head.split_at(8);
        let oid = Oid::try_from(oid).map_err(|_| ExportFileError::Truncated)?;
        let length = number(length);
        if length > RECORD_BYTES_MAX {
            return Err(ExportFileError::Length(length));
        }
        // It grows as bytes come: the length may be a lie.
        let mut record = Vec::new();
        let copied = (&mut *self.input).take(length).read_to_end(&mut record)?;
        self.read += length;
        if (copied as u64) < length {
            return Err(ExportFileError::Truncated);
        }
        Ok(Some((oid, record)))
    }

    /// The data of the blob whose record came last, to be read to their end. Where the file ends
    /// before, that is an error ([`io::ErrorKind::UnexpectedEof`]).
    ///
    /// # Errors
    /// [`ExportFileError::Truncated`] where no data come next.
    pub fn blob(&mut self) -> Result<ExportedBlob<'_, 'a>, ExportFileError> {
        let mut mark = [0; BLOB_MARK.len()];
        self.fill(&mut mark)?;
        if mark != *BLOB_MARK {
            return Err(ExportFileError::Truncated);
        }
        let mut length = [0; 8];
        self.fill(&mut length)?;
        let left = number(&length);
        Ok(ExportedBlob { reader: self, left })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ExportFileError> {
        self.input.read_exact(buffer)?;
        self.read += buffer.len() as u64;
        Ok(())
    }
}

/// The data of a blob in an export file.
#[derive(Debug)]
pub struct ExportedBlob<'r, 'a> {
    reader: &'r mut ExportReader<'a>,
    left: u64,
}

impl Read for ExportedBlob<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let length = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.reader.input.read(&mut buffer[..length])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        self.reader.read += read as u64;
        Ok(read)
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
