//! Looking at all that the storage in the server holds, and at what may be undone.
//!
//! A walk belongs to the connection that it was begun on, and ends with it. Each step is a question
//! and its answer: that is what the protocol offers.

use std::sync::Arc;

use storage::{
    CurrentRecord, DataRecord, HistoryEntry, Iterate, Oid, Record, StorageError, Tid,
    TransactionEntry, TransactionStream, Undo, UndoEntry,
};
use zeo::{Reply, Request, WalkedTransaction};

use super::link::{Answer, Link};
use super::{Shared, ZeoStorage, unexpected};

impl Iterate for ZeoStorage {
    fn iterate_transactions(&self, from: Tid, to: Tid) -> Result<TransactionStream, StorageError> {
        let deadline = self.shared.deadline();
        loop {
            let link = self.shared.link_until(deadline)?;
            let walk = Walk::begin(&self.shared, link, &Request::IteratorStart { from, to })?;
            if let Some(walk) = walk {
                return Ok(Box::new(Transactions { walk }));
            }
        }
    }

    fn load_serial(&self, oid: Oid, tid: Tid) -> Result<Record, StorageError> {
        match self.question(&Request::LoadSerial { oid, tid })? {
            Reply::Record(record) => Ok(record),
            other => Err(unexpected(&other)),
        }
    }

    fn history(&self, oid: Oid, revisions_max: usize) -> Result<Vec<HistoryEntry>, StorageError> {
        let request = Request::History {
            oid,
            // Nobody is told of nothing.
            size: revisions_max.max(1),
        };
        match self.question(&request)? {
            Reply::History(mut entries) => {
                entries.truncate(revisions_max);
                Ok(entries)
            }
            other => Err(unexpected(&other)),
        }
    }

    fn current_record(&self, from: Oid) -> Result<Option<CurrentRecord>, StorageError> {
        match self.question(&Request::RecordNext(from)) {
            Ok(Reply::CurrentRecord(record)) => Ok(Some(record)),
            Ok(other) => Err(unexpected(&other)),
            Err(StorageError::Remote { class, .. }) if class == NOTHING_THERE => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl ZeoStorage {
    /// Asks, on a new connection if need be.
    fn question(&self, request: &Request) -> Result<Reply, StorageError> {
        let deadline = self.shared.deadline();
        Ok(self.shared.ask(request, deadline)?.0)
    }
}

impl Undo for ZeoStorage {
    /// The filter cannot travel: transactions are fetched, more and more at once, until enough of
    /// them are wanted.
    fn undo_log(
        &self,
        first: usize,
        last: usize,
        is_wanted: &mut dyn FnMut(&UndoEntry) -> bool,
    ) -> Result<Vec<UndoEntry>, StorageError> {
        let mut found = Vec::new();
        let mut wanted = 0;
        let mut at: i64 = 0;
        let mut page = UNDO_PAGE;
        while wanted < last {
            let request = Request::UndoLog {
                first: at,
                last: at.saturating_add(page),
                specification: Vec::new(),
            };
            let log = match self.question(&request)? {
                Reply::UndoLog(log) => log,
                // Where nothing can be undone, the log is no list.
                other => return Err(unexpected(&other)),
            };
            for entry in log.entries {
                if wanted < last && is_wanted(&entry) {
                    if wanted >= first {
                        found.push(entry);
                    }
                    wanted += 1;
                }
            }
            let told = i64::try_from(log.told).unwrap_or(i64::MAX);
            if told < page {
                break;
            }
            at = at.saturating_add(told);
            page = page.saturating_mul(2).min(UNDO_PAGE_MAX);
        }
        Ok(found)
    }
}

/// A walk that the server keeps for us.
struct Walk {
    shared: Arc<Shared>,
    link: Arc<Link>,
    id: i64,
    /// Whether the server has forgotten it by itself.
    is_over: bool,
}

impl Walk {
    /// Nothing where the connection is lost.
    fn begin(
        shared: &Arc<Shared>,
        link: Arc<Link>,
        request: &Request,
    ) -> Result<Option<Self>, StorageError> {
        let id = match ask(shared, &link, request)? {
            Some(Reply::Walk(id)) => id,
            Some(other) => return Err(unexpected(&other)),
            None => {
                shared.forget(&link);
                return Ok(None);
            }
        };
        Ok(Some(Self {
            shared: Arc::clone(shared),
            link,
            id,
            is_over: false,
        }))
    }

    /// The next answer. Behind an error or a lost connection there is nothing more.
    fn step(&mut self, request: &Request) -> Result<Reply, StorageError> {
        let reply = ask(&self.shared, &self.link, request);
        let reply = reply.and_then(|reply| reply.ok_or_else(|| self.shared.disconnected()));
        self.is_over |= reply.is_err();
        reply
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if !self.is_over {
            let forget = Request::IteratorGc(vec![self.id]);
            let deadline = self.shared.deadline();
            self.link.send_all(std::iter::once(forget), deadline);
        }
    }
}

/// Nothing where the connection is lost.
fn ask(shared: &Shared, link: &Link, request: &Request) -> Result<Option<Reply>, StorageError> {
    let deadline = shared.deadline();
    match link.call(request, deadline).wait_until(deadline) {
        Some(Answer::Said(Ok(reply))) => Ok(Some(reply)),
        Some(Answer::Said(Err(refusal))) => Err(refusal.to_storage_error(None)),
        Some(Answer::Lost) => Ok(None),
        None => Err(shared.disconnected()),
    }
}

struct Transactions {
    walk: Walk,
}

impl Transactions {
    fn advance(&mut self) -> Result<Option<TransactionEntry>, StorageError> {
        let request = Request::IteratorNext(self.walk.id);
        let WalkedTransaction {
            tid,
            is_packed,
            meta,
        } = match self.walk.step(&request)? {
            Reply::Transaction(Some(transaction)) => transaction,
            Reply::Transaction(None) => {
                self.walk.is_over = true;
                return Ok(None);
            }
            other => return Err(unexpected(&other)),
        };
        // Only as long as it is the last one that was named its records can be asked for.
        let iterator = self.walk.id;
        let request = Request::IteratorRecordStart { iterator, tid };
        let link = Arc::clone(&self.walk.link);
        let walk = Walk::begin(&self.walk.shared, link, &request)?;
        let walk = walk.ok_or_else(|| self.walk.shared.disconnected())?;
        Ok(Some(TransactionEntry {
            tid,
            is_packed,
            meta,
            records: Box::new(Records { walk }),
        }))
    }
}

impl Iterator for Transactions {
    type Item = Result<TransactionEntry, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.is_over {
            return None;
        }
        let item = self.advance().transpose();
        self.walk.is_over |= matches!(item, Some(Err(_)));
        item
    }
}

struct Records {
    walk: Walk,
}

impl Iterator for Records {
    type Item = Result<DataRecord, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.is_over {
            return None;
        }
        let request = Request::IteratorRecordNext(self.walk.id);
        match self.walk.step(&request) {
            Ok(Reply::DataRecord(Some(record))) => Some(Ok(record)),
            Ok(Reply::DataRecord(None)) => {
                self.walk.is_over = true;
                None
            }
            Ok(other) => Some(Err(unexpected(&other))),
            Err(error) => Some(Err(error)),
        }
    }
}

/// How a server says that there is no object from there on.
const NOTHING_THERE: &str = "builtins.ValueError";
/// How many transactions of an undo log are fetched at first...
const UNDO_PAGE: i64 = 100;
/// ... and how many at most.
const UNDO_PAGE_MAX: i64 = 10_000;
