//! Who refers to whom.

use fstools::{Reason, Verdict};
use serde_json::json;
use storage::Oid;
use zodb::Reference;

use crate::{Heard, PATH, PLAIN, commit, disk, open, record, run, strong, survey};

/// The original's file with objects on top: the root holds 10, that one 11, and that one what is not
/// there; 20 does so too, and nobody holds it.
fn file() -> Vec<u8> {
    let disk = disk(PLAIN);
    let storage = open(&disk);
    let weak = Reference::Weak {
        oid: Oid::new(98),
        database: None,
    };
    let foreign = Reference::Foreign {
        database: "other".to_owned(),
        oid: Oid::new(97),
        class: None,
    };
    let holder = record(
        "Holder",
        &[
            ("missing", strong(99)),
            ("undone", strong(5)),
            ("deleted", strong(4)),
            ("weak", weak),
            ("foreign", foreign),
            ("sound", strong(1)),
        ],
    );
    commit(&storage, &[(11, holder)]);
    commit(
        &storage,
        &[
            (
                10,
                record("Folder", &[("holder", strong(11)), ("up", strong(0))]),
            ),
            (20, record("Garbage", &[("lost", strong(99))])),
            (0, record("Root", &[("folder", strong(10))])),
        ],
    );
    disk.contents(PATH.as_ref()).unwrap()
}

#[test]
fn dangling_references_are_named_with_their_paths() {
    let (verdict, heard) = run(fstools::references, &survey(&disk(&file())));
    assert_eq!(verdict, Verdict::Wrong);
    let mut found: Vec<_> = heard
        .json()
        .into_iter()
        .filter(|line| line["kind"] == "dangling")
        .map(|line| {
            json!([
                line["oid"],
                line["target"],
                line["reason"],
                line["path"],
                line["path_oids"]
            ])
        })
        .collect();
    found.sort_by_key(ToString::to_string);
    let way = json!(["0x00", "0x0a", "0x0b"]);
    assert_eq!(
        found,
        [
            json!([
                "0x0b",
                "0x04",
                Reason::Undone,
                "/folder/holder/deleted",
                way
            ]),
            json!(["0x0b", "0x05", Reason::Undone, "/folder/holder/undone", way]),
            json!([
                "0x0b",
                "0x63",
                Reason::Missing,
                "/folder/holder/missing",
                way
            ]),
            json!(["0x14", "0x63", Reason::Missing, null, []]),
        ]
    );
    let summary = heard.json().pop().unwrap();
    assert_eq!(summary["kind"], "references-checked");
    assert_eq!(summary["dangling"], 4);
    assert_eq!(summary["objects"], 10);
}

#[test]
fn an_object_that_cannot_be_read_is_named_and_those_who_refer_to_it() {
    let disk = disk(PLAIN);
    let storage = open(&disk);
    commit(&storage, &[(9, b"no pickle".to_vec().into())]);
    commit(&storage, &[(0, record("Root", &[("bad", strong(9))]))]);
    drop(storage);
    let (verdict, heard) = run(fstools::references, &survey(&disk));
    assert_eq!(verdict, Verdict::Wrong);
    assert_eq!(heard.kinds(), ["damage", "dangling", "references-checked"]);
    let lines = heard.json();
    assert_eq!(lines[0]["oid"], "0x09");
    assert_eq!(lines[1]["reason"], "unreadable");
    assert_eq!(lines[1]["path"], "/bad");
    assert_eq!(lines[2]["unreadable"], 1);
}

#[test]
fn an_object_shows_its_records_and_both_directions() {
    let survey = survey(&disk(&file()));
    let mut heard = Heard::default();
    let oids = [Oid::new(1), Oid::new(10)];
    let verdict = fstools::objects(&survey, &oids, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    let lines = heard.json();
    let references: Vec<_> = lines
        .iter()
        .filter(|line| line["kind"] == "reference")
        .map(|line| json!([line["from"], line["from_class"], line["to"]]))
        .collect();
    assert_eq!(
        references,
        [
            json!(["0x0b", "tests.Holder", "0x01"]),
            json!(["0x0a", "tests.Folder", "0x0b"]),
            json!(["0x0a", "tests.Folder", "0x00"]),
            json!(["0x00", "tests.Root", "0x0a"]),
        ]
    );
    let records = lines.iter().filter(|line| line["oid"] == "0x01").count();
    assert_eq!(records, 6, "all revisions of the original's object");

    let mut heard = Heard::default();
    let verdict = fstools::objects(&survey, &[Oid::new(99)], &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Wrong);
    let lines = heard.json();
    assert_eq!(lines[0], json!({"kind": "absent", "oid": "0x63"}));
    assert_eq!(lines.len(), 3, "two objects still refer to it");
}
