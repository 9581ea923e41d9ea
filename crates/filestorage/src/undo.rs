//! Undo: which transactions may be taken back.

use storage::{StorageError, Undo, UndoEntry};

use crate::file_storage::FileStorage;
use crate::format::{LOG_START, Status};

impl Undo for FileStorage {
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        is_wanted: &mut dyn FnMut(&UndoEntry) -> bool,
    ) -> Result<Vec<UndoEntry>, StorageError> {
        let (log, mut at) = self.log_and_end();
        let mut found = Vec::new();
        let mut wanted = 0;
        while wanted < last && at > LOG_START {
            let (start, header) = log.transaction_before(at)?;
            at = start;
            if header.status == Status::PACKED {
                break;
            }
            if header.status != Status::COMPLETE {
                continue;
            }
            let entry = UndoEntry {
                tid: header.tid,
                meta: log.meta(start, &header)?,
                bytes: header.length,
            };
            if !is_wanted(&entry) {
                continue;
            }
            if wanted >= first {
                found.push(entry);
            }
            wanted += 1;
        }
        Ok(found)
    }
}
