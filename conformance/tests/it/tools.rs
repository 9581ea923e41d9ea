//! The tools of `zodiac fs` beside what ZODB has for the same work.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use conformance::http::Request;
use conformance::{Database, Zope, judge, zodiac_binary};
use serde_json::{Value, json};
use storage::Oid;

use crate::sound_site;
use crate::up::role;

/// Runs a tool with `--json`; the lines it prints.
fn tool(arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(zodiac_binary().unwrap());
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .arg("fs")
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{arguments:?}: {status}: {said}");
    let text = String::from_utf8(stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Both write the same export file, and both make the same records of it.
#[test]
fn export_files_and_imports_are_those_of_zodb() {
    let (ours, theirs) = (sound_site(), sound_site());
    for name in ["/files", "/plain", "/readme", "/acl_users"] {
        let own = ours.directory().join(format!("own-{}.zexp", &name[1..]));
        let genuine = theirs.directory().join("genuine.zexp");
        let exported = tool(&["export", text(ours.data()), name, text(&own)]);
        let wanted = json!({
            "path": theirs.data(), "object": name, "export": genuine, "import": own,
        });
        let said = judge::run("zexp.py", &wanted).unwrap();
        assert_eq!(
            fs::read(&own).unwrap(),
            fs::read(&genuine).unwrap(),
            "{name}"
        );

        let imported = tool(&["import", text(ours.data()), text(&genuine)]);
        assert_eq!(imported[0]["objects"], exported[0]["objects"]);
        let all = tool(&["tail", text(ours.data()), "-n", "1"]);
        let records: Vec<&Value> = all.iter().filter(|line| line["kind"] == "record").collect();
        let genuine_records = said["records"].as_array().unwrap();
        assert_eq!(records.len(), genuine_records.len());
        let file = fs::read(ours.data()).unwrap();
        for (record, genuine) in records.iter().zip(genuine_records) {
            let oid = u64::from_str_radix(genuine[0].as_str().unwrap(), 16).unwrap();
            assert_eq!(record["oid"], Oid::new(oid).to_string(), "{name}");
            let at = usize::try_from(record["offset"].as_u64().unwrap()).unwrap() + 42;
            let length = usize::try_from(record["data_bytes"].as_u64().unwrap()).unwrap();
            let data = STANDARD.decode(genuine[1].as_str().unwrap()).unwrap();
            assert_eq!(&file[at..at + length], data, "{name}, object {oid}");
        }
    }
    ours.check(&["/"]).unwrap();
}

/// What is imported into a folder, genuine Zope serves, and lists among its items.
#[test]
fn genuine_zope_serves_what_was_imported_into_a_folder() {
    let site = sound_site();
    let file = site.directory().join("some.zexp");
    for (object, into, name) in [
        ("/files/small.txt", "/drop", None),
        ("/files", "/drop", Some("copy")),
        ("/readme", "/drop/copy", Some("words")),
    ] {
        tool(&["export", text(site.data()), object, text(&file)]);
        let mut arguments = vec!["import", text(site.data()), text(&file), "--into", into];
        arguments.extend(name.into_iter().flat_map(|name| ["--name", name]));
        tool(&arguments);
        fs::remove_file(&file).unwrap();
    }
    let checked = site.check(&["drop", "drop/copy", "files"]).unwrap();
    let listed = &checked["folders"];
    assert_eq!(listed["drop"], json!(["small.txt", "copy"]));
    let copied = listed["copy"]
        .as_array()
        .or_else(|| listed["drop/copy"].as_array())
        .unwrap();
    let originals = listed["files"].as_array().unwrap();
    assert_eq!(copied[..originals.len()], originals[..]);
    assert_eq!(copied.last().unwrap(), "words");

    let mut zope = Zope::serve(Database::File(site.data())).unwrap();
    let mut page = |path: &str| {
        zope.send("localhost:8080", &Request::new("GET", path))
            .unwrap()
    };
    for path in ["small.txt", "copy/small.txt", "copy/page.html"] {
        let original = page(&format!("/files/{}", path.trim_start_matches("copy/")));
        let copy = page(&format!("/drop/{path}"));
        assert_eq!((copy.status, copy.text()), (200, original.text()), "{path}");
    }
    assert_eq!(page("/drop/copy/words").status, 200);
}

/// The copy of a Data.fs is the file that ZODB's `copyTransactionsFrom` makes, also through a server,
/// and also where it was interrupted.
#[test]
fn copies_are_those_of_zodb() {
    let site = sound_site();
    let at = |name: &str| site.directory().join(name);
    let genuine = at("genuine.fs");
    let wanted = json!({ "source": site.data(), "target": genuine });
    judge::run("copy_transactions.py", &wanted).unwrap();
    let expected = fs::read(&genuine).unwrap();

    let copied = tool(&["copy", text(site.data()), text(&at("own.fs"))]);
    assert_eq!(copied[0]["kind"], "copied");
    assert!(
        fs::read(at("own.fs")).unwrap() == expected,
        "the files differ"
    );

    let zeo = role(site.directory(), &["zeo", "--data", text(site.data())]);
    let server = format!("zeo://{}/1", zeo.listening().unwrap());
    tool(&["copy", &server, text(&at("remote.fs")), "--fast"]);
    zeo.stop().unwrap();
    assert!(
        fs::read(at("remote.fs")).unwrap() == expected,
        "the files differ"
    );

    // As if the power had failed in the middle of a transaction.
    let part = fs::read(at("own.fs")).unwrap();
    fs::write(at("part.fs"), &part[..part.len() * 2 / 3]).unwrap();
    let copied = tool(&["copy", text(site.data()), text(&at("part.fs")), "--resume"]);
    assert!(copied[0]["resumed_behind"].is_string());
    assert!(
        fs::read(at("part.fs")).unwrap() == expected,
        "the files differ"
    );
}
