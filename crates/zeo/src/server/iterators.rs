//! The walks through a storage that a client has under way (`iterator_*`).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use storage::{Iterate, RecordStream, Storage, StorageError, Tid, TransactionStream};

use super::facts::extension;
use crate::{Refusal, Value};

/// The open walks of one connection. They end with it.
#[derive(Clone, Default)]
pub(super) struct Iterators(Arc<Mutex<Walks>>);

#[derive(Default)]
struct Walks {
    last_id: i64,
    open: BTreeMap<i64, Walk>,
}

enum Walk {
    Transactions {
        stream: TransactionStream,
        /// The transaction that was named last, and its records until somebody asks for them.
        named: Option<(Tid, Option<RecordStream>)>,
    },
    Records(RecordStream),
}

/// What a client asks of its walks.
pub(super) enum Step {
    /// Begin with the transactions of a span.
    Start { from: Tid, to: Tid },
    /// Name the next transaction of a walk.
    Next(i64),
    /// Begin with the records of the transaction that the walk named last.
    StartRecords { walk: i64, tid: Tid },
    /// Hand out the next record of a walk.
    NextRecord(i64),
    /// Forget walks.
    Forget(Vec<i64>),
}

impl Step {
    /// Whether it has to look for its place in the file first.
    pub(super) fn is_search(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::StartRecords { .. })
    }
}

impl Iterators {
    pub(super) fn answer(
        &self,
        storage: &dyn Storage,
        step: Step,
    ) -> Result<Value<'static>, Refusal> {
        let iterate = || {
            let iterate = storage.iterate();
            iterate.ok_or_else(|| Refusal::not_offered("iteration"))
        };
        match step {
            Step::Start { from, to } => {
                let found = iterate()?.iterate_transactions(from, to);
                let stream = found.map_err(refused)?;
                let named = None;
                self.open(Walk::Transactions { stream, named })
            }
            Step::Next(walk) => self.next(walk),
            Step::StartRecords { walk, tid } => {
                let records = match self.records(walk, tid)? {
                    Some(records) => records,
                    None => records_again(iterate()?, tid)?,
                };
                self.open(Walk::Records(records))
            }
            Step::NextRecord(walk) => self.next_record(walk),
            Step::Forget(walks) => {
                let mut this = self.0.lock();
                this.open.retain(|id, _| !walks.contains(id));
                Ok(Value::None)
            }
        }
    }

    fn open(&self, walk: Walk) -> Result<Value<'static>, Refusal> {
        let mut this = self.0.lock();
        if this.open.len() >= ITERATORS_MAX {
            let text = format!("more than {ITERATORS_MAX} iterators are open");
            return Err(Refusal::new("ZODB.POSException.StorageError", text));
        }
        this.last_id += 1;
        let id = this.last_id;
        this.open.insert(id, walk);
        Ok(Value::Int(id))
    }

    fn next(&self, id: i64) -> Result<Value<'static>, Refusal> {
        let mut this = self.0.lock();
        let Some(Walk::Transactions { stream, named }) = this.open.get_mut(&id) else {
            return Err(Refusal::key(Value::Int(id)));
        };
        let Some(entry) = stream.next() else {
            this.open.remove(&id);
            return Ok(Value::None);
        };
        let entry = entry.map_err(refused)?;
        *named = Some((entry.tid, Some(entry.records)));
        let extension = extension(entry.tid, &entry.meta)?;
        Ok(Value::Tuple(vec![
            Value::id(entry.tid.to_bytes()),
            Value::text(if entry.is_packed { "p" } else { " " }),
            Value::Bytes(entry.meta.user.into()),
            Value::Bytes(entry.meta.description.into()),
            Value::Map(extension),
        ]))
    }

    /// The records of the transaction named last; nothing where they were handed out before.
    fn records(&self, walk: i64, tid: Tid) -> Result<Option<RecordStream>, Refusal> {
        let mut this = self.0.lock();
        let Some(Walk::Transactions { named, .. }) = this.open.get_mut(&walk) else {
            return Err(Refusal::key(Value::Int(walk)));
        };
        match named {
            Some((found, records)) if *found == tid => Ok(records.take()),
            _ => Err(Refusal::new(
                "builtins.Exception",
                format!("Out-of-order request for record iterator for transaction {tid}"),
            )),
        }
    }

    fn next_record(&self, id: i64) -> Result<Value<'static>, Refusal> {
        let mut this = self.0.lock();
        let Some(Walk::Records(stream)) = this.open.get_mut(&id) else {
            return Err(Refusal::key(Value::Int(id)));
        };
        let Some(record) = stream.next() else {
            this.open.remove(&id);
            return Ok(Value::None);
        };
        let record = record.map_err(refused)?;
        let data = record.data.map(|data| Value::Bytes(data.to_vec().into()));
        let data_tid = record.data_tid.map(|tid| Value::id(tid.to_bytes()));
        Ok(Value::Tuple(vec![
            Value::id(record.oid.to_bytes()),
            Value::id(record.tid.to_bytes()),
            data.unwrap_or(Value::None),
            data_tid.unwrap_or(Value::None),
        ]))
    }
}

fn records_again(iterate: &dyn Iterate, tid: Tid) -> Result<RecordStream, Refusal> {
    let mut found = iterate.iterate_transactions(tid, tid).map_err(refused)?;
    let entry = found.next().transpose().map_err(refused)?;
    let entry = entry.ok_or_else(|| Refusal::key(Value::id(tid.to_bytes())))?;
    Ok(entry.records)
}

fn refused(error: StorageError) -> Refusal {
    Refusal::from(&error)
}

/// How many walks one connection may have open: clients forget theirs by `iterator_gc`.
const ITERATORS_MAX: usize = 1000;
