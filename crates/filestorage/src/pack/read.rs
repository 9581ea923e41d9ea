//! Reading the old file from front to back, in large pieces.

use storage::{Oid, StorageError};

use crate::format::{DataHeader, LENGTH_LEN, Offset, RECORD_BYTES_MAX, TransactionHeader};
use crate::log::Log;
use crate::scan::Window;

/// The part of a file before a certain end. What lies behind that may change.
pub(super) struct Reader<'a> {
    window: Window<'a>,
}

/// The records of a transaction that are still to be read.
pub(super) struct Records {
    start: Offset,
    at: Offset,
    end: Offset,
}

impl Records {
    pub(super) fn of(start: Offset, header: &TransactionHeader) -> Self {
        Self {
            start,
            at: start + header.records_start(),
            end: start + header.length,
        }
    }
}

impl<'a> Reader<'a> {
    /// For somebody who looks at headers.
    pub(super) fn new(log: &'a Log, end: Offset) -> Self {
        Self {
            window: Window::new(log, end),
        }
    }

    /// For somebody who looks at everything.
    pub(super) fn of_all(log: &'a Log, end: Offset) -> Self {
        let mut this = Self::new(log, end);
        this.window.read_ahead(PIECE_BYTES);
        this
    }

    fn log(&self) -> &'a Log {
        self.window.log
    }

    fn array<const N: usize>(&mut self, at: Offset) -> Result<[u8; N], StorageError> {
        let found = self.window.read(at)?;
        found.ok_or_else(|| {
            self.log()
                .corrupt(at, format!("the file ends before {N} bytes"))
        })
    }

    /// That many bytes, which a checked length says are there.
    pub(super) fn bytes(&mut self, at: Offset, length: usize) -> Result<&[u8], StorageError> {
        let log = self.log();
        let found = self.window.slice(at, length)?;
        found.ok_or_else(|| log.corrupt(at, format!("the file ends before {length} bytes")))
    }

    /// The header of the transaction at that offset.
    pub(super) fn transaction(&mut self, at: Offset) -> Result<TransactionHeader, StorageError> {
        let header = TransactionHeader::decode(&self.array(at)?);
        self.log()
            .check_transaction(at, &header, self.window.size)?;
        Ok(header)
    }

    /// Where the transaction ends, whose closing length agrees with its header.
    pub(super) fn close(
        &mut self,
        at: Offset,
        header: &TransactionHeader,
    ) -> Result<Offset, StorageError> {
        let closing = u64::from_be_bytes(self.array(at + header.length)?);
        if closing != header.length {
            let what = format!(
                "the closing length is {closing}, the header says {}",
                header.length
            );
            return Err(self.log().corrupt(at, what));
        }
        Ok(at + header.length + LENGTH_LEN)
    }

    /// The record of `oid` at that offset, which lies whole before the end.
    pub(super) fn record(&mut self, at: Offset, oid: Oid) -> Result<DataHeader, StorageError> {
        let header = DataHeader::decode(&self.array(at)?);
        self.log()
            .check_data_header(at, &header, oid, self.window.size)?;
        Ok(header)
    }

    /// The next record of the transaction. An error leaves nothing behind it: where the next one
    /// would begin is unknown.
    pub(super) fn next(
        &mut self,
        records: &mut Records,
    ) -> Result<Option<(Offset, DataHeader)>, StorageError> {
        let Records { start, end, .. } = *records;
        let at = std::mem::replace(&mut records.at, end);
        if at >= end {
            return Ok(None);
        }
        let header = DataHeader::decode(&self.array(at)?);
        let fits = header.record_length() <= end - at;
        if !fits || header.transaction != start || header.version_length != 0 {
            let what = format!(
                "a record of {} bytes does not fit into the transaction from {} to {}, or is no part \
                 of it",
                header.data_length,
                start.number(),
                end.number()
            );
            return Err(self.log().corrupt(at, what));
        }
        records.at = at + header.record_length();
        Ok(Some((at, header)))
    }

    /// Where the back pointer of a record leads that has one instead of data.
    pub(super) fn back_pointer(
        &mut self,
        at: Offset,
        record: &DataHeader,
    ) -> Result<Option<Offset>, StorageError> {
        if record.data_length != 0 {
            return Ok(None);
        }
        let pointer = self.array(at + DataHeader::LEN as u64)?;
        Ok(Some(Offset::new(u64::from_be_bytes(pointer))))
    }

    /// The data of a record that has data of its own.
    pub(super) fn own_data(
        &mut self,
        at: Offset,
        record: &DataHeader,
    ) -> Result<&[u8], StorageError> {
        let too_long = StorageError::Limit {
            what: "the length of a record",
            found: record.data_length,
            max: RECORD_BYTES_MAX,
        };
        match usize::try_from(record.data_length) {
            Ok(length) if record.data_length <= RECORD_BYTES_MAX => {
                self.bytes(at + DataHeader::LEN as u64, length)
            }
            _ => Err(too_long),
        }
    }
}

/// Reading more at a time is no quicker.
const PIECE_BYTES: usize = 128 << 10;
