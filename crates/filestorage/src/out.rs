//! Writing transactions behind the end of the log.

use std::io;
use std::sync::Arc;

use storage::StorageError;
use vfs::File;

use crate::format::Offset;
use crate::log::Log;
use crate::room::is_full;
use crate::spill::Stored;

/// The end of the log, written in pieces.
pub(crate) struct Out<'a> {
    log: &'a Log,
    /// Where the buffer begins in the file.
    at: Offset,
    buffer: Vec<u8>,
}

/// What went wrong.
pub(crate) enum OutError {
    /// What is to be written could not be read: a record that had been spilled, or the index.
    Read(io::Error),
    /// The log could not be written.
    Write(io::Error),
}

impl OutError {
    /// Whether what was in the log before is as it was, once the written part is cut off.
    pub(crate) fn is_harmless(&self) -> bool {
        match self {
            Self::Read(_) => true,
            Self::Write(error) => is_full(error),
        }
    }

    pub(crate) fn into_storage_error(self, log: &Log) -> StorageError {
        match self {
            Self::Read(error) => log.io("read the spilled records or the index of", error),
            Self::Write(error) => log.io("write", error),
        }
    }
}

impl<'a> Out<'a> {
    /// Writes from `start` on, at most up to `end`.
    pub(crate) fn new(log: &'a Log, start: Offset, end: Offset) -> Self {
        let bytes =
            usize::try_from(end - start).map_or(PIECE_BYTES, |bytes| bytes.min(PIECE_BYTES));
        Self {
            log,
            at: start,
            buffer: Vec::with_capacity(bytes),
        }
    }

    pub(crate) fn position(&self) -> Offset {
        self.at + self.buffer.len() as u64
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), OutError> {
        if self.buffer.len() + bytes.len() > PIECE_BYTES {
            self.flush()?;
            if bytes.len() >= PIECE_BYTES {
                let written = self.log.file.write_at(bytes, self.at.number());
                written.map_err(OutError::Write)?;
                self.at = self.at + bytes.len() as u64;
                return Ok(());
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn write_stored(&mut self, stored: &Stored) -> Result<(), OutError> {
        match stored {
            Stored::Held(record) => self.write(record),
            Stored::Spilled { file, at, length } => self.copy(file, *at, *length),
        }
    }

    fn copy(
        &mut self,
        file: &Arc<dyn File>,
        mut at: u64,
        mut length: usize,
    ) -> Result<(), OutError> {
        while length > 0 {
            if self.buffer.len() >= PIECE_BYTES {
                self.flush()?;
            }
            let filled = self.buffer.len();
            let piece = length.min(PIECE_BYTES - filled);
            self.buffer.resize(filled + piece, 0);
            let read = file.read_exact_at(&mut self.buffer[filled..], at);
            read.map_err(OutError::Read)?;
            at += piece as u64;
            length -= piece;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), OutError> {
        if !self.buffer.is_empty() {
            let written = self.log.file.write_at(&self.buffer, self.at.number());
            written.map_err(OutError::Write)?;
            self.at = self.position();
            self.buffer.clear();
        }
        Ok(())
    }
}

/// How much is written with one call.
const PIECE_BYTES: usize = 1 << 20;
