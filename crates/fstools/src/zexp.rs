//! What can be wrong with an export file (`.zexp`), and with the place for what is in it.

use std::io;

use storage::Oid;
use zodb::ExportFileError;

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
    Read(#[source] io::Error),
}

impl From<ExportFileError> for ImportError {
    fn from(error: ExportFileError) -> Self {
        match error {
            ExportFileError::Magic => Self::Magic,
            ExportFileError::Truncated => Self::Truncated,
            ExportFileError::Length(length) => Self::Length(length),
            ExportFileError::Read(error) => Self::Read(error),
            other => Self::Read(io::Error::other(other)),
        }
    }
}
