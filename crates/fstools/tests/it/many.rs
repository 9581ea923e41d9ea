//! Files of many records, which two threads look at, and compressed records.

use fstools::Verdict;
use serde_json::json;
use storage::Record;

use crate::{PATH, commit, disk, open, record, run, strong, survey};

/// More than a few batches.
const OBJECTS: u64 = 20_000;
const BROKEN_EVERY: u64 = 700;
const DANGLING_EVERY: u64 = 900;

#[test]
fn what_is_wrong_is_told_in_the_order_of_the_file() {
    let disk = disk(b"FS30");
    let storage = open(&disk);
    let sound = record("Sound", &[("self", strong(1))]);
    let dangling = record("Dangling", &[("missing", strong(OBJECTS * 2))]);
    let broken = Record::from(&sound[..sound.len() - 1]);
    // One record is larger than what is read at a time.
    let large = record(&"L".repeat(3 << 20), &[]);
    let mut expected = Vec::new();
    for first in (1..OBJECTS).step_by(1000) {
        let records = (first..first + 1000).map(|oid| {
            let data = if oid % BROKEN_EVERY == 0 {
                expected.push((oid, "damage"));
                &broken
            } else if oid % DANGLING_EVERY == 0 {
                expected.push((oid, "dangling"));
                &dangling
            } else if oid == OBJECTS / 2 {
                &large
            } else {
                &sound
            };
            (oid, data.clone())
        });
        commit(&storage, &records.collect::<Vec<_>>());
    }
    drop(storage);
    disk.restart_process();

    let (verdict, heard) = run(fstools::references, &survey(&disk));
    assert_eq!(verdict, Verdict::Wrong);
    let found = |kinds: &[&str]| {
        let line = |oid: u64, kind: &str| json!([format!("{:#04x}", oid), kind]);
        let wanted = expected.iter().filter(|(_, kind)| kinds.contains(kind));
        wanted
            .map(|(oid, kind)| line(*oid, kind))
            .collect::<Vec<_>>()
    };
    let told = |heard: &crate::Heard| {
        let lines = heard.json();
        let lines = lines.iter().filter(|line| !line["oid"].is_null());
        lines
            .map(|line| json!([line["oid"], line["kind"]]))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&heard), found(&["damage", "dangling"]));
    let summary = heard.json().pop().unwrap();
    assert_eq!(summary["objects"], OBJECTS);

    let (verdict, heard) = run(fstools::verify, &survey(&disk));
    assert_eq!(verdict, Verdict::Wrong);
    assert_eq!(told(&heard), found(&["damage"]));
    assert_eq!(heard.json().pop().unwrap()["records"], OBJECTS);
}

/// `zc.zlibstorage.compress()` of the class `a.B` with a list of twenty references to object 1.
const COMPRESSED: &[u8] =
    b".zx\x9ck`NN\xe4r\xe2\xd2k`\x8e\xd5p\xe6`\x80\x00\xc6\xc0a\xc7L\xd5\x03\x00\xe9r\x0f\xab";

#[test]
fn compressed_records_are_looked_into() {
    let disk = disk(b"FS30");
    let storage = open(&disk);
    commit(&storage, &[(0, Record::from(COMPRESSED))]);
    let cut = &COMPRESSED[..COMPRESSED.len() - 3];
    commit(&storage, &[(1, Record::from(cut))]);
    drop(storage);
    disk.restart_process();
    assert!(disk.contents(PATH.as_ref()).is_some());

    let (_, heard) = run(fstools::verify, &survey(&disk));
    let lines = heard.json();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["oid"], "0x01");
    assert!(lines[0]["what"].as_str().unwrap().contains("cut off"));
    assert_eq!(lines[1]["compressed"], 2);

    // The root refers to what is there and cannot be read.
    let (_, heard) = run(fstools::references, &survey(&disk));
    let lines = heard.json();
    let dangling: Vec<_> = lines
        .iter()
        .filter(|line| line["kind"] == "dangling")
        .collect();
    assert_eq!(dangling.len(), 1, "{lines:?}");
    assert_eq!(dangling[0]["class"], "a.B");
    assert_eq!(dangling[0]["reason"], "unreadable");
}
