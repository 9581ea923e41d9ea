//! The smallest runs of the benches: every row works on all sides.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_row_of_the_storage_bench_is_measured_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["storage", "--size", "tiny", "--directory"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(folder.path().join("storage.json")).unwrap();
    let sheet: Value = serde_json::from_str(&text).unwrap();
    let lines = sheet["lines"].as_array().unwrap();
    assert!(lines.len() > 15, "{text}");
    for line in lines {
        for figure in ["ours", "theirs"] {
            assert!(line[figure].as_f64().is_some_and(f64::is_finite), "{line}");
        }
    }
    let size = |side: &str| {
        let line = lines.iter().find(|line| line["unit"] == "MiB");
        line.unwrap()[side].as_f64().unwrap()
    };
    assert!(size("ours") > 0.0 && size("theirs") > 0.0);
}

#[test]
fn every_row_of_the_zeo_bench_is_measured_on_all_sides() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["zeo", "--size", "tiny", "--directory"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(folder.path().join("zeo.json")).unwrap();
    let sheet: Value = serde_json::from_str(&text).unwrap();
    let lines = sheet["lines"].as_array().unwrap();
    assert!(lines.len() > 20, "{text}");
    for line in lines {
        for figure in ["ours", "uvloop", "asyncio"] {
            assert!(line[figure].as_f64().is_some_and(f64::is_finite), "{line}");
        }
    }
    let late = lines.iter().find(|line| line["unit"] == "in all");
    assert_eq!(late.unwrap()["ours"], 0.0, "{text}");
}

#[test]
fn every_row_of_the_client_bench_is_measured_on_the_sides_that_need_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["client", "--size", "tiny", "--relstorage", "no"])
        .arg("--directory")
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(folder.path().join("client.json")).unwrap();
    let sheet: Value = serde_json::from_str(&text).unwrap();
    let lines = sheet["lines"].as_array().unwrap();
    assert!(lines.len() > 12, "{text}");
    for line in lines {
        for figure in ["ours", "same_server", "zeo"] {
            assert!(line[figure].as_f64().is_some_and(f64::is_finite), "{line}");
        }
        assert!(line["relstorage"].is_null(), "{line}");
    }
}
