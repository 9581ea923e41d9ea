//! An overlay over a base with blobs, as `<demostorage>` makes one: at the genuine server and at ours.

use std::fs;
use std::path::Path;

use conformance::judge;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::runzeo::{Program, Server, free_address};

/// What genuine clients see step by step, and what is left of the base.
fn seen(program: Program, changes: &str, undoes: bool) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let base = json!({ "base": at("base.fs"), "blobs": at("base-blobs") });
    judge::run("zeo_overlay.py", &base).unwrap();
    let before = files(&at("base-blobs"));
    assert_eq!(before.len(), 2);

    let address = free_address();
    let text = format!(
        "<zeo>\n address {address}\n</zeo>\n<demostorage 1>\n<filestorage>\n path base.fs\n \
         blob-dir base-blobs\n</filestorage>\n{changes}</demostorage>\n"
    );
    fs::write(at("zeo.conf"), text).unwrap();
    let server = Server::start(program, folder.path(), &address, &["-C", "zeo.conf"]);
    let clients = at("clients");
    let wanted = json!({ "server": address, "folder": clients, "undoes": undoes });
    let seen = judge::run("zeo_overlay.py", &wanted).unwrap();
    assert_eq!(server.end(Signal::TERM), Some(0));
    assert_eq!(files(&at("base-blobs")), before, "{program:?}");
    seen.as_array().unwrap().clone()
}

/// The blobs below a directory, with what is in them.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "blob") {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

const CHANGES: &str =
    "<filestorage changes>\n path changes.fs\n blob-dir changes-blobs\n</filestorage>\n";

#[test]
fn blobs_over_a_base_are_changed_and_undone_as_at_the_genuine_server() {
    let mut theirs = seen(Program::Runzeo, CHANGES, true);
    let mut ours = seen(Program::Zodiac, CHANGES, true);
    // There, what shows the base again after an undo cannot be changed any more.
    let [theirs_last, ours_last] = [&mut theirs, &mut ours].map(|seen| seen.pop().unwrap());
    assert_eq!(theirs_last[0], "at last: ConflictError");
    assert_eq!(ours_last[0], "at last: committed");
    assert_eq!(ours_last[1]["changed"], "at last");
    assert_eq!(ours, theirs);
    assert_eq!(ours[0][1]["changed"], "base changed");
    assert_eq!(ours.last().unwrap()[1]["changed"], "base changed");
}

#[test]
fn changes_of_blobs_need_no_place_of_their_own() {
    let ours = seen(Program::Zodiac, "", false);
    assert_eq!(ours, seen(Program::Runzeo, "", false));
    assert_eq!(ours.last().unwrap()[0], "at last: committed");
}
