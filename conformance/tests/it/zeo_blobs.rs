//! Blobs that genuine ZEO clients keep on our server.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use conformance::judge;
use serde_json::json;

use crate::sound_site;
use crate::up::role;

const MEGABYTES: u64 = 50;

#[test]
fn genuine_clients_keep_blobs_with_caches_and_in_a_shared_directory() {
    check("pickle");
}

#[test]
fn genuine_clients_keep_blobs_in_msgpack() {
    check("msgpack");
}

fn check(encoding: &str) {
    let site = sound_site();
    let directory = site.directory();
    let config = format!("[zeo]\nencoding = \"{encoding}\"\n");
    fs::write(directory.join("zodiac.toml"), config).unwrap();
    let blobs = directory.join("blobs");
    fs::create_dir(&blobs).unwrap();
    let data = site.data().to_str().unwrap();
    let zeo = role(directory, &["zeo", "--data", data]);
    let wanted = json!({
        "server": zeo.listening().unwrap().to_string(),
        "caches": directory.join("caches"),
        "blobs": blobs,
        "megabytes": MEGABYTES,
    });
    let before = peak(zeo.pid());
    let said = judge::run("zeo_blobs.py", &wanted).unwrap();
    let grown = peak(zeo.pid()) - before;
    zeo.stop().unwrap();

    // The second undo takes the first one back.
    let texts = ["one", "two", "", "two", "", "three", "three"];
    let mut expected: Vec<_> = texts
        .iter()
        .flat_map(|text| ["writer", "reader", "sharer"].map(|who| json!([who, text])))
        .collect();
    expected.extend(["writer", "reader", "sharer", "late"].map(|who| json!([who, "three"])));
    assert_eq!(said["seen"], json!(expected));
    assert_eq!(said["missing"], "POSKeyError");
    assert_eq!(said["packed"], "POSKeyError");
    assert_eq!(said["is_whole"], true);
    assert_eq!(said["staged"], json!([]), "nothing is left behind");
    assert!(grown < 24 << 20, "the server grew by {grown} bytes");

    let steps = json!({ "data": data, "blobs": blobs, "layout": "bushy", "steps": [] });
    let kept = judge::run("blobs.py", &steps).unwrap();
    assert_eq!(kept["orphans"], json!([]), "what ZODB itself finds");
}

/// The most memory that a process has had.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() << 10
}
