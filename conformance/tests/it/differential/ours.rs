//! Our side, asked and answering as the judge is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filestorage::{FileStorage, Options};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use storage::{
    CommitError, ConflictingStates, Iterate, Oid, PackError, PackOptions, Record, Resolution,
    Resolver, Storage, StorageError, Tid, TransactionMeta,
};

use super::history::{counted, counter};

/// Merges what the original's class of counters merges, in the same way.
struct Counters;

impl Resolver for Counters {
    fn resolve(&self, states: &ConflictingStates<'_>) -> Resolution {
        let [old, committed, new] =
            [states.old, states.committed, states.new].map(|state| counted(state));
        match (old, committed, new) {
            (Some(old), Some(committed), Some(new)) => {
                Resolution::Merged(Record::from(counter(committed + new - old)))
            }
            _ => Resolution::Refused("not a counter"),
        }
    }
}

pub(super) struct Ours {
    path: PathBuf,
    options: Options,
    storage: Arc<FileStorage>,
    clock: Arc<AtomicU64>,
}

impl Ours {
    pub(super) fn open(path: &Path) -> Self {
        let clock = Arc::new(AtomicU64::new(0));
        let seconds = Arc::clone(&clock);
        let options = Options {
            clock: Arc::new(move || Duration::from_secs(seconds.load(Ordering::Relaxed))),
            resolver: Some(Arc::new(Counters)),
            ..Options::default()
        };
        Self {
            storage: FileStorage::open(path, options.clone()).unwrap(),
            path: path.to_owned(),
            options,
            clock,
        }
    }

    pub(super) fn storage(&self) -> &FileStorage {
        &self.storage
    }

    pub(super) fn close(&mut self) {
        self.storage.close().unwrap();
    }

    pub(super) fn reopen(&mut self) {
        self.storage = FileStorage::open(&self.path, self.options.clone()).unwrap();
    }

    pub(super) fn index_path(&self) -> PathBuf {
        self.path.with_extension("fs.index")
    }

    /// Commits at the time of the step's id.
    pub(super) fn commit(&self, step: &Value) -> Value {
        let tid = tid(&step["tid"]);
        let seconds = tid.to_unix_time().as_secs_f64().round();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time in this century"
        )]
        self.clock.store(seconds as u64, Ordering::Relaxed);
        match self.try_commit(step) {
            Ok(found) => {
                assert_eq!(found, tid, "both sides use the same id");
                json!({ "error": null })
            }
            Err(error) => json!({ "error": error_text(&error) }),
        }
    }

    fn try_commit(&self, step: &Value) -> Result<Tid, CommitError> {
        let [user, description, extension] = [0, 1, 2].map(|part| bytes(&step["meta"][part]));
        let meta = TransactionMeta {
            user,
            description,
            extension,
        };
        let storage = self.storage.clone();
        let mut commit = match step["status"].as_str() {
            None => storage.begin(meta)?,
            Some(status) => storage.begin_restore(meta, tid(&step["tid"]), status == "p")?,
        };
        for change in step["changes"].as_array().unwrap() {
            let id = || oid(&change[1]);
            match change[0].as_str().unwrap() {
                "store" => commit.store(id(), tid(&change[2]), record(&change[3]))?,
                "check" => commit.check_current(id(), tid(&change[2]))?,
                "delete" => commit.delete(id(), tid(&change[2]))?,
                "undo" => commit.undo(tid(&change[1]))?,
                "restore" => {
                    let data = Some(&change[2]).filter(|data| !data.is_null()).map(record);
                    let from = Some(&change[3]).filter(|from| !from.is_null()).map(tid);
                    commit.restore(id(), data, from)?;
                }
                other => panic!("an unknown change: {other}"),
            }
        }
        commit.vote()?.finish(Box::new(|_| {}))
    }

    pub(super) fn pack(&self, step: &Value) -> Result<(), PackError> {
        let time = Duration::from_secs_f64(step["to"].as_f64().unwrap());
        let options = PackOptions {
            gc: step["gc"] == true,
            ..PackOptions::to_time(time)
        };
        self.storage.packer().unwrap().pack(&options).map(|_| ())
    }

    /// The answers to the judge's question of that name.
    pub(super) fn facts(&self, step: &Value) -> Value {
        let list = |key: &str| step[key].as_array().unwrap().clone();
        let oids: Vec<Oid> = list("oids").iter().map(oid).collect();
        let tids: Vec<Tid> = list("tids").iter().map(tid).collect();
        let load = |oid| -> Vec<Value> { tids.iter().map(|tid| self.load(oid, *tid)).collect() };
        let stats = self.storage.stats();
        json!({
            "last": hex(&self.storage.last_tid().to_bytes()),
            "objects": stats.objects,
            "size": stats.bytes,
            "content": self.content(),
            "loads": oids.iter().map(|oid| load(*oid)).collect::<Vec<_>>(),
            "histories": oids.iter().map(|oid| self.history(*oid)).collect::<Vec<_>>(),
            "undo log": self.undo_log(),
            "records": self.records(),
            "file": short(Some(&std::fs::read(&self.path).unwrap())),
        })
    }

    fn content(&self) -> Vec<Value> {
        let all = self.storage.iterate_transactions(Tid::ZERO, Tid::MAX);
        all.unwrap()
            .map(|transaction| {
                let transaction = transaction.unwrap();
                let meta = transaction.meta;
                let records = transaction.records.map(|record| {
                    let record = record.unwrap();
                    let data_tid = record.data_tid.map(|tid| hex(&tid.to_bytes()));
                    json!([
                        hex(&record.oid.to_bytes()),
                        short(record.data.as_deref()),
                        data_tid
                    ])
                });
                json!([
                    hex(&transaction.tid.to_bytes()),
                    transaction.is_packed,
                    hex(&meta.user),
                    hex(&meta.description),
                    hex(&meta.extension),
                    records.collect::<Vec<_>>(),
                ])
            })
            .collect()
    }

    fn load(&self, oid: Oid, before: Tid) -> Value {
        match self.storage.load_before(oid, before) {
            Ok(None) => Value::Null,
            Ok(Some(found)) => json!([
                short(Some(&found.record)),
                hex(&found.tid.to_bytes()),
                found.next.map(|tid| hex(&tid.to_bytes())),
            ]),
            Err(StorageError::NotFound { .. }) => json!("missing"),
            Err(error) => panic!("{error}"),
        }
    }

    fn history(&self, oid: Oid) -> Value {
        match Iterate::history(&*self.storage, oid, 1_000) {
            Ok(found) => found
                .iter()
                .map(|entry| json!([hex(&entry.tid.to_bytes()), entry.bytes]))
                .collect(),
            Err(StorageError::NotFound { .. }) => json!("missing"),
            Err(error) => panic!("{error}"),
        }
    }

    fn undo_log(&self) -> Value {
        let undo = self.storage.undo().unwrap();
        let log = undo.undo_log(0, usize::MAX, &mut |_| true).unwrap();
        log.iter()
            .map(|entry| {
                let meta = &entry.meta;
                json!([
                    hex(&entry.tid.to_bytes()),
                    hex(&meta.user),
                    hex(&meta.description)
                ])
            })
            .collect()
    }

    fn records(&self) -> Value {
        let (mut found, mut next) = (Vec::new(), Some(Oid::ROOT));
        while let Some(from) = next {
            match self.storage.current_record(from) {
                Ok(None) => break,
                Ok(Some(record)) => {
                    found.push(json!([
                        hex(&record.oid.to_bytes()),
                        hex(&record.tid.to_bytes()),
                        short(Some(&record.record)),
                    ]));
                    next = record.next;
                }
                Err(StorageError::NotFound { .. }) => {
                    found.push(json!("missing"));
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        Value::Array(found)
    }
}

fn error_text(error: &CommitError) -> String {
    match error {
        CommitError::Conflict(conflicts) => format!("conflict of {}", hex_oid(conflicts[0].oid)),
        CommitError::ReadConflict(conflict) => {
            format!("read conflict of {}", hex_oid(conflict.oid))
        }
        CommitError::NotUndoable { .. } | CommitError::Undo(_) => "undo".to_owned(),
        CommitError::Storage(StorageError::NotFound { oid }) => {
            format!("no object {}", hex_oid(*oid))
        }
        other => panic!("{other}"),
    }
}

fn hex_oid(oid: Oid) -> String {
    hex(&oid.to_bytes())
}

fn short(data: Option<&[u8]>) -> Option<String> {
    data.map(|data| hex(&Sha1::digest(data)))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let byte = |place| u8::from_str_radix(&text[place..place + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn oid(value: &Value) -> Oid {
    Oid::from_bytes(bytes(value).try_into().unwrap())
}

fn tid(value: &Value) -> Tid {
    Tid::from_bytes(bytes(value).try_into().unwrap())
}

fn record(value: &Value) -> Record {
    Record::from(bytes(value))
}
