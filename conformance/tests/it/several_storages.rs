//! Two storages of one server: each has its own transactions, undos, blobs and packs.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use conformance::{http, judge};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::runzeo::{Program, Server, free_address};

/// What genuine clients see at the genuine server.
static AT_RUNZEO: LazyLock<Value> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = serve_conf(Program::Runzeo, folder.path(), &[]);
    let seen = visit(folder.path(), &address);
    assert_eq!(server.end(Signal::TERM), Some(0));
    // So that the comparison is one of something.
    assert_eq!(seen["undone"], "again 1");
    assert_eq!(seen["blobs after undo"]["2"], "one of 2");
    assert_eq!(seen["histories"], json!({ "1": [5, 1], "2": [4, 4] }));
    assert_eq!(seen["meanwhile"], true);
    assert_eq!(seen["status"]["2"]["commits"], 8);
    seen
});

fn serve_conf(program: Program, folder: &Path, more: &[&str]) -> (Server, String) {
    let address = free_address();
    let storage = |name| {
        format!("<filestorage {name}>\n path {name}.fs\n blob-dir blobs{name}\n</filestorage>\n")
    };
    let (one, two) = (storage("1"), storage("2"));
    let text = format!("<zeo>\n address {address}\n</zeo>\n{one}{two}");
    fs::write(folder.join("zeo.conf"), text).unwrap();
    let arguments = [&["-C", "zeo.conf"], more].concat();
    let server = Server::start(program, folder, &address, &arguments);
    (server, address)
}

/// The clients of storage 2 that read share the directory of its blobs.
fn visit(folder: &Path, address: &str) -> Value {
    let wanted = json!({
        "server": address,
        "folder": folder.join("clients"),
        "shared": { "2": folder.join("blobs2") },
    });
    fs::create_dir(folder.join("clients")).unwrap();
    judge::run("zeo_storages.py", &wanted).unwrap()
}

/// Those who watch are told of each.
fn check_metrics(metrics: &str, seen: &Value) {
    let text = http::get(metrics.parse().unwrap(), "/metrics")
        .unwrap()
        .text();
    for name in ["1", "2"] {
        let commits = &seen["status"][name]["commits"];
        for line in [
            format!("zodiac_zeo_transactions_committed_total{{storage=\"{name}\"}} {commits}\n"),
            format!("zodiac_zeo_packs_total{{storage=\"{name}\",outcome=\"done\"}} 1\n"),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}

#[test]
fn two_storages_of_a_zeo_conf_are_served_apart() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = free_address();
    let (server, address) = serve_conf(Program::Zodiac, folder.path(), &["--metrics", &metrics]);
    let seen = visit(folder.path(), &address);
    assert_eq!(seen, *AT_RUNZEO);
    check_metrics(&metrics, &seen);
    assert_eq!(server.end(Signal::TERM), Some(0));
}

#[test]
fn two_storages_of_a_zodiac_toml_are_served_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (address, metrics) = (free_address(), free_address());
    let text = format!(
        "[storage]\nblob-dir = 'blobs1'\n[zeo]\nlisten = '{address}'\nmetrics = '{metrics}'\n\
         data = '1.fs'\n[[zeo.also-serve]]\nname = '2'\ndata = '2.fs'\nblob-dir = 'blobs2'\n"
    );
    fs::write(folder.path().join("zodiac.toml"), text).unwrap();
    let server = Server::start(Program::Zodiac, folder.path(), &address, &[]);
    let seen = visit(folder.path(), &address);
    assert_eq!(seen, *AT_RUNZEO);
    check_metrics(&metrics, &seen);
    assert_eq!(server.end(Signal::TERM), Some(0));
}
