//! Overlays beside the original's DemoStorage, where both mean the same. See `golden/make.py`.

use std::sync::Arc;

use serde_json::{Value, json};
use storage::{
    CommitError, MemoryStorage, Oid, OverlayStorage, Record, Storage, StorageError, Tid,
    TransactionMeta,
};

const DEMO: &str = include_str!("../golden/demo.json");

/// Does a step under the id that it had, and says what became of it.
fn act(storage: &Arc<dyn Storage>, step: &Value) -> Value {
    let tid = Tid::new(step["tid"].as_u64().unwrap());
    let storage = Arc::clone(storage);
    let meta = TransactionMeta::default();
    let mut commit = storage.begin_restore(meta, tid, false).unwrap();
    for action in step["actions"].as_array().unwrap() {
        if let Some(undone) = action["undo"].as_u64() {
            commit.undo(Tid::new(undone)).unwrap();
            continue;
        }
        let oid = Oid::new(action["store"].as_u64().unwrap());
        let base = Tid::new(action["base"].as_u64().unwrap());
        let record = Record::from(action["data"].as_str().unwrap().as_bytes());
        commit.store(oid, base, record).unwrap();
    }
    match commit.vote() {
        Ok(voted) => {
            assert_eq!(voted.finish(Box::new(|_| {})).unwrap(), tid);
            Value::Null
        }
        Err(CommitError::Conflict(_)) => json!("conflict"),
        Err(CommitError::Undo(_)) => json!("undo"),
        Err(error) => panic!("{error}"),
    }
}

fn text(record: &Record) -> String {
    String::from_utf8(record.to_vec()).unwrap()
}

fn loaded(storage: &dyn Storage, oid: Oid, before: Tid) -> Value {
    match storage.load_before(oid, before) {
        Err(StorageError::NotFound { .. }) => json!("missing"),
        found => found.unwrap().map_or(Value::Null, |found| {
            let next = found.next.map(Tid::number);
            json!([text(&found.record), found.tid.number(), next])
        }),
    }
}

fn iterated(storage: &dyn Storage) -> Value {
    let iterate = storage.iterate().unwrap();
    let transactions = iterate.iterate_transactions(Tid::ZERO, Tid::MAX).unwrap();
    let transactions = transactions.map(|transaction| {
        let transaction = transaction.unwrap();
        let records = transaction.records.map(|record| {
            let record = record.unwrap();
            json!([record.oid.number(), record.data.as_ref().map(text)])
        });
        json!([transaction.tid.number(), records.collect::<Vec<_>>()])
    });
    transactions.collect()
}

#[test]
fn an_overlay_shows_what_the_original_shows() {
    let expected: Value = serde_json::from_str(DEMO).unwrap();
    let steps = |of: &str| expected[of].as_array().unwrap().clone();
    let base: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    for step in steps("below") {
        assert_eq!(act(&base, &step), Value::Null);
    }
    let storage: Arc<dyn Storage> = OverlayStorage::over(base).unwrap();
    for step in steps("above") {
        assert_eq!(act(&storage, &step), step["refused"], "{step}");
    }
    for load in steps("loads") {
        let [oid, before] = [0, 1].map(|at| load[at].as_u64().unwrap());
        let found = loaded(&*storage, Oid::new(oid), Tid::new(before));
        assert_eq!(found, load[2], "{oid} before {before}");
    }
    let iterate = storage.iterate().unwrap();
    for (oid, history) in (0..).map(Oid::new).zip(steps("histories")) {
        let found = match iterate.history(oid, 1000) {
            Err(StorageError::NotFound { .. }) => Vec::new(),
            found => found.unwrap(),
        };
        let found = found.iter().map(|entry| entry.tid.number());
        assert_eq!(json!(found.collect::<Vec<_>>()), history, "{oid}");
    }
    assert_eq!(iterated(&*storage), expected["iterated"]);
}
