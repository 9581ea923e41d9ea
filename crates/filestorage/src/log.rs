//! The open Data.fs, and reading its structures with every pointer and length checked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::{Oid, Record, StorageError, Tid, TransactionMeta};
use vfs::File;

use crate::compress;
use crate::format::{
    DataHeader, LENGTH_LEN, LOG_START, Offset, RECORD_BYTES_MAX, TransactionHeader,
};
use crate::index::OFFSET_END;

/// The file and its path, for messages. Shared by readers, which hold no lock while they read.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) file: Arc<dyn File>,
    path: Arc<PathBuf>,
}

/// The beginning of a record, read in one piece.
pub(crate) struct Page {
    at: Offset,
    pub(crate) header: DataHeader,
    bytes: [u8; PAGE_BYTES],
    filled: usize,
}

/// The data that a record stands for, once back pointers are followed.
pub(crate) struct Data {
    /// Nothing where the object does not exist from this record on.
    pub(crate) record: Option<Record>,
    /// The transaction of the record that the back pointer names, if there is one.
    pub(crate) tid: Option<Tid>,
}

impl Log {
    pub(crate) fn new(file: Arc<dyn File>, path: PathBuf) -> Self {
        Self {
            file,
            path: Arc::new(path),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn corrupt(&self, at: Offset, what: impl Into<String>) -> StorageError {
        StorageError::Corrupt {
            path: self.path.to_path_buf(),
            offset: at.number(),
            what: what.into(),
        }
    }

    pub(crate) fn io(&self, operation: &'static str, source: io::Error) -> StorageError {
        StorageError::io(self.path.as_path(), operation, source)
    }

    /// How long the file is now.
    ///
    /// # Errors
    /// [`StorageError::Limit`] where offsets in it do not fit the index.
    pub(crate) fn size(&self) -> Result<Offset, StorageError> {
        let size = self.file.len().map_err(|error| self.io("measure", error))?;
        if size > OFFSET_END.number() {
            return Err(StorageError::Limit {
                what: "the length of a Data.fs",
                found: size,
                max: OFFSET_END.number(),
            });
        }
        Ok(Offset::new(size))
    }

    /// Fills the buffer from that offset.
    pub(crate) fn read_exact(&self, at: Offset, buffer: &mut [u8]) -> Result<(), StorageError> {
        match self.file.read_exact_at(buffer, at.number()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.corrupt(at, format!("the file ends before {} bytes", buffer.len())))
            }
            result => result.map_err(|error| self.io("read", error)),
        }
    }

    pub(crate) fn read_array<const N: usize>(&self, at: Offset) -> Result<[u8; N], StorageError> {
        let mut bytes = [0; N];
        self.read_exact(at, &mut bytes)?;
        Ok(bytes)
    }

    /// The header of the transaction at that offset, which lies whole before `end`.
    pub(crate) fn transaction_header(
        &self,
        at: Offset,
        end: Offset,
    ) -> Result<TransactionHeader, StorageError> {
        let header = TransactionHeader::decode(&self.read_array(at)?);
        self.check_transaction(at, &header, end)?;
        Ok(header)
    }

    /// Checks that the transaction lies whole before `end`.
    pub(crate) fn check_transaction(
        &self,
        at: Offset,
        header: &TransactionHeader,
        end: Offset,
    ) -> Result<(), StorageError> {
        let fits = header
            .length
            .checked_add(LENGTH_LEN)
            .and_then(|length| at.checked_add(length))
            .is_some_and(|after| after <= end);
        if !fits || header.length < header.records_start() {
            return Err(self.corrupt(
                at,
                format!(
                    "a transaction of {} bytes does not fit between its header of {} bytes and the \
                     end at {}",
                    header.length,
                    header.records_start(),
                    end.number()
                ),
            ));
        }
        Ok(())
    }

    /// What the transaction at that offset says of itself.
    pub(crate) fn meta(
        &self,
        start: Offset,
        header: &TransactionHeader,
    ) -> Result<TransactionMeta, StorageError> {
        let mut at = start + TransactionHeader::LEN as u64;
        let mut text = |length: u16| {
            let mut bytes = vec![0; usize::from(length)];
            self.read_exact(at, &mut bytes)?;
            at = at + u64::from(length);
            Ok::<_, StorageError>(bytes)
        };
        Ok(TransactionMeta {
            user: text(header.user_length)?,
            description: text(header.description_length)?,
            extension: text(header.extension_length)?,
        })
    }

    /// The transaction that ends at that offset, with the offset where it begins.
    pub(crate) fn transaction_before(
        &self,
        after: Offset,
    ) -> Result<(Offset, TransactionHeader), StorageError> {
        let closing = self.read_closing_length(after)?;
        let at = closing
            .checked_add(LENGTH_LEN)
            .and_then(|length| after.checked_sub(length))
            .filter(|at| *at >= LOG_START)
            .ok_or_else(|| {
                let what = format!("the closing length {closing} leads out of the file");
                self.corrupt(after, what)
            })?;
        let header = self.transaction_header(at, after)?;
        if header.length != closing {
            return Err(self.corrupt(
                at,
                format!(
                    "the header says {} bytes, the closing length {closing}",
                    header.length
                ),
            ));
        }
        Ok((at, header))
    }

    /// The closing length of the transaction that ends at that offset.
    pub(crate) fn read_closing_length(&self, after: Offset) -> Result<u64, StorageError> {
        let at = after
            .checked_sub(LENGTH_LEN)
            .filter(|at| *at >= LOG_START)
            .ok_or_else(|| self.corrupt(after, "no transaction ends here"))?;
        Ok(u64::from_be_bytes(self.read_array(at)?))
    }

    /// What the record of `oid` at that offset begins with, which lies whole before `end`. Most
    /// records come whole with this one system call.
    pub(crate) fn page(&self, at: Offset, oid: Oid, end: Offset) -> Result<Page, StorageError> {
        let mut bytes = [0; PAGE_BYTES];
        let filled = self
            .file
            .read_most_at(&mut bytes, at.number())
            .map_err(|error| self.io("read", error))?;
        let Some(head) = bytes[..filled].first_chunk() else {
            return Err(self.corrupt(at, "the file ends inside a record"));
        };
        let header = DataHeader::decode(head);
        self.check_data_header(at, &header, oid, end)?;
        Ok(Page {
            at,
            header,
            bytes,
            filled,
        })
    }

    /// Where the record refers to for its data; nothing where it has data of its own.
    pub(crate) fn back_pointer(&self, page: &Page) -> Result<Option<Offset>, StorageError> {
        if page.header.data_length > 0 {
            return Ok(None);
        }
        match self.body(page)? {
            Body::Data(_) => Ok(None),
            Body::BackPointer(target) => Ok(Some(target)),
        }
    }

    /// Whether the object exists from that record on. Follows back pointers, and reads no data.
    pub(crate) fn exists(&self, page: &Page) -> Result<bool, StorageError> {
        let mut from = page.at;
        let mut target = self.back_pointer(page)?;
        while let Some(next) = target {
            if next == Offset::NONE {
                return Ok(false);
            }
            let back = self.page_behind(next, page.header.oid, from)?;
            (from, target) = (next, self.back_pointer(&back)?);
        }
        Ok(true)
    }

    /// The record that a back pointer at `from` leads to.
    fn page_behind(&self, target: Offset, oid: Oid, from: Offset) -> Result<Page, StorageError> {
        // Pointers that only lead backwards cannot lead in a circle.
        if target >= from || target < LOG_START {
            let what = format!("the back pointer {} leads nowhere", target.number());
            return Err(self.corrupt(from, what));
        }
        self.page(target, oid, from)
    }

    /// The data of the record that the page begins with. Follows back pointers, and decompresses.
    pub(crate) fn data(&self, page: &Page) -> Result<Data, StorageError> {
        let Data { record, tid } = self.stored_data(page)?;
        let record = record.map(compress::unpack).transpose();
        let record = record.map_err(|error| self.corrupt(page.at, error.to_string()))?;
        Ok(Data { record, tid })
    }

    /// As [`Log::data`], with the bytes that are in the file: compressed or not.
    pub(crate) fn stored_data(&self, page: &Page) -> Result<Data, StorageError> {
        let mut target = match self.body(page)? {
            Body::Data(record) => {
                let (record, tid) = (Some(record), None);
                return Ok(Data { record, tid });
            }
            Body::BackPointer(target) => target,
        };
        let mut tid = None;
        let mut from = page.at;
        while let Some(next) = target.some() {
            let back = self.page_behind(next, page.header.oid, from)?;
            tid.get_or_insert(back.header.tid);
            match self.body(&back)? {
                Body::Data(record) => {
                    let record = Some(record);
                    return Ok(Data { record, tid });
                }
                Body::BackPointer(further) => (from, target) = (next, further),
            }
        }
        Ok(Data { record: None, tid })
    }

    /// Fills the buffer with the data that the record of `oid` at that offset stands for; says whose
    /// record it is, and whether there are data. Follows back pointers.
    pub(crate) fn data_into(
        &self,
        at: Offset,
        oid: Oid,
        end: Offset,
        buffer: &mut Vec<u8>,
    ) -> Result<(Tid, bool), StorageError> {
        buffer.clear();
        let page = self.page(at, oid, end)?;
        let tid = page.header.tid;
        if page.header.data_length > 0 {
            buffer.resize(self.data_length(&page)?, 0);
            self.read_data(&page, buffer)?;
            return Ok((tid, true));
        }
        let record = self.stored_data(&page)?.record;
        buffer.extend_from_slice(record.as_deref().unwrap_or_default());
        Ok((tid, record.is_some()))
    }

    fn body(&self, page: &Page) -> Result<Body, StorageError> {
        let Page { at, header, .. } = page;
        let body = &page.bytes[DataHeader::LEN..page.filled];
        if header.data_length == 0 {
            let Some(pointer) = body.first_chunk() else {
                return Err(self.corrupt(*at, "the file ends inside a back pointer"));
            };
            let target = Offset::new(u64::from_be_bytes(*pointer));
            return Ok(Body::BackPointer(target));
        }
        let length = self.data_length(page)?;
        if let Some(data) = body.get(..length) {
            return Ok(Body::Data(Record::from(data)));
        }
        let mut data: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        let buffer = Arc::get_mut(&mut data).expect("nobody else knows of it yet");
        self.read_data(page, buffer)?;
        Ok(Body::Data(Record::from(data)))
    }

    /// How much data the record has, which may be more than the page.
    fn data_length(&self, page: &Page) -> Result<usize, StorageError> {
        let Page { at, header, .. } = page;
        let length = usize::try_from(header.data_length)
            .map_err(|_| self.corrupt(*at, "a record larger than the address space"))?;
        if length > UNCHECKED_BYTES {
            self.check_large_record(*at, header)?;
        }
        Ok(length)
    }

    /// Fills the buffer, which is as long as the data of the record are: with what the page has of them,
    /// and then from the file.
    fn read_data(&self, page: &Page, buffer: &mut [u8]) -> Result<(), StorageError> {
        let held = &page.bytes[DataHeader::LEN..page.filled];
        let (first, rest) = buffer.split_at_mut(held.len().min(buffer.len()));
        first.copy_from_slice(&held[..first.len()]);
        if rest.is_empty() {
            return Ok(());
        }
        let behind = page.at + (DataHeader::LEN + first.len()) as u64;
        self.read_exact(behind, rest)
    }

    pub(crate) fn check_data_header(
        &self,
        at: Offset,
        header: &DataHeader,
        oid: Oid,
        end: Offset,
    ) -> Result<(), StorageError> {
        let what = if header.oid != oid {
            format!(
                "a record of {oid} was expected, one of {} found",
                header.oid
            )
        } else if header.version_length != 0 {
            format!("versions ({}) are not supported", header.version_length)
        } else if header.previous >= at {
            format!(
                "the previous record is said to be at {}",
                header.previous.number()
            )
        } else if header.transaction >= at || header.transaction < LOG_START {
            let transaction = header.transaction.number();
            format!("its transaction is said to be at {transaction}")
        } else if at
            .checked_add(header.record_length())
            .is_none_or(|after| after > end)
        {
            let (length, end) = (header.data_length, end.number());
            format!("a record of {length} bytes leads over the end at {end}")
        } else {
            return Ok(());
        };
        Err(self.corrupt(at, what))
    }

    /// Before much memory is asked for, the transaction has to agree that the record is so long.
    fn check_large_record(&self, at: Offset, header: &DataHeader) -> Result<(), StorageError> {
        let transaction = TransactionHeader::decode(&self.read_array(header.transaction)?);
        let end = header.transaction.checked_add(transaction.length);
        if end.is_none_or(|end| at + header.record_length() > end) {
            let (length, start) = (header.data_length, header.transaction.number());
            let what =
                format!("a record of {length} bytes leads out of its transaction at {start}");
            return Err(self.corrupt(at, what));
        }
        if header.data_length > RECORD_BYTES_MAX {
            return Err(StorageError::Limit {
                what: "the length of a record",
                found: header.data_length,
                max: RECORD_BYTES_MAX,
            });
        }
        Ok(())
    }
}

/// The log as it was when it ended at a certain place.
pub(crate) struct Past<'a> {
    pub(crate) log: &'a Log,
    pub(crate) end: Offset,
}

impl Past<'_> {
    /// Where the current record of the object was, now that it is at `at`.
    pub(crate) fn offset(&self, oid: Oid, mut at: Offset) -> Result<Option<Offset>, StorageError> {
        while at >= self.end {
            let header = DataHeader::decode(&self.log.read_array(at)?);
            if header.oid != oid || header.previous >= at {
                let what = format!(
                    "a record of {oid} was expected, with a pointer to an earlier one; here is {} \
                     and its pointer leads to {}",
                    header.oid,
                    header.previous.number()
                );
                return Err(self.log.corrupt(at, what));
            }
            match header.previous.some() {
                Some(previous) => at = previous,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

enum Body {
    Data(Record),
    BackPointer(Offset),
}

/// Most records are shorter, and to copy more than is needed costs more than the system call does.
const PAGE_BYTES: usize = 1024;
/// Records up to this length take no more memory than may be asked for by a wrong length.
const UNCHECKED_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of that length, of which nothing is read.
    struct Long(u64);

    impl File for Long {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0)
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            unreachable!("only its length is asked for")
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!("only its length is asked for")
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!("only its length is asked for")
        }

        fn sync_data(&self) -> io::Result<()> {
            unreachable!("only its length is asked for")
        }
    }

    /// An index has six bytes for an offset.
    #[test]
    fn a_file_that_no_index_reaches_through_is_refused_in_words() {
        let size = |bytes| Log::new(Arc::new(Long(bytes)), "Data.fs".into()).size();
        assert_eq!(size(1 << 48).unwrap(), OFFSET_END);
        let said = size((1 << 48) + 1).unwrap_err().to_string();
        let told =
            "the length of a Data.fs of 281474976710657 is over the limit of 281474976710656";
        assert_eq!(said, told);
    }
}
