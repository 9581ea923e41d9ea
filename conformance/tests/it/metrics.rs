//! Metrics, read by Prometheus' own parser.

use std::sync::Arc;

use conformance::{PATIENCE, Process, http, judge};
use serde_json::{Value, json};
use storage::{Oid, Record, Storage, Tid, TransactionMeta};
use zeo_net::{ClientOptions, ZeoStorage};

/// What a label must be escaped for.
const STORAGE: &str = "say \"1\" \\ 2";

fn commit(client: &Arc<ZeoStorage>, base: Tid, data: &[u8]) -> Tid {
    let mut commit = client.clone().begin(TransactionMeta::default()).unwrap();
    commit.store(Oid::new(1), base, Record::from(data)).unwrap();
    let voted = commit.vote().unwrap();
    voted.finish(Box::new(|_| {})).unwrap()
}

/// The value of the only sample of that name with that storage.
fn value(families: &Value, family: &str, sample: &str) -> f64 {
    let samples = families[family]["samples"].as_array().unwrap();
    let mut found = samples
        .iter()
        .filter(|it| it[0] == sample && it[1]["storage"] == STORAGE);
    let value = found.next().unwrap()[2].as_f64().unwrap();
    assert_eq!(found.next(), None, "{family}");
    value
}

#[test]
fn prometheus_reads_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!("[zeo]\ndata = \"Data.fs\"\nstorage = '{STORAGE}'\n");
    std::fs::write(folder.path().join("zodiac.toml"), toml).unwrap();
    let arguments = ["zeo", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let process = Process::start(folder.path(), &arguments).unwrap();
    let servers = vec![process.listening().unwrap().to_string()];
    let events = process.events();
    let metrics = events.iter().find(|event| event["event"] == "metrics");
    let metrics = metrics.unwrap()["address"].as_str().unwrap();
    let client = ZeoStorage::connect(ClientOptions {
        servers,
        storage: STORAGE.to_owned(),
        wait: PATIENCE,
        ..ClientOptions::default()
    });
    let client = client.unwrap();
    let first = commit(&client, Tid::ZERO, b"one");
    commit(&client, first, b"two");
    client.load_before(Oid::new(1), first.next()).unwrap();
    client.load_before(Oid::new(5), Tid::MAX).unwrap_err();

    let answer = http::get(metrics.parse().unwrap(), "/metrics").unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let library = judge::prometheus_client().unwrap();
    let input = json!({ "text": answer.text(), "library": library });
    let families = judge::run("metrics.py", &input).unwrap();
    let families = &families;
    let one = |family: &str, suffix: &str| value(families, family, &format!("{family}{suffix}"));
    let committed = "zodiac_zeo_transactions_committed";
    assert_eq!(one(committed, "_total"), 2.0);
    assert_eq!(one("zodiac_zeo_turn_duration_seconds", "_count"), 2.0);
    assert!(one("zodiac_zeo_sync_duration_seconds", "_sum") > 0.0);
    assert_eq!(
        families["zodiac_zeo_call_duration_seconds"]["type"],
        "histogram"
    );
    assert_eq!(families["process_cpu_seconds"]["type"], "counter");
    drop(client);
    process.stop().unwrap();
}
