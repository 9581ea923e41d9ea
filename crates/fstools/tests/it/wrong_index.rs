//! What tools say of a sound file whose index is wrong about some of its objects, or knows more than the
//! file.

use std::path::Path;
use std::sync::Arc;

use filestorage::{Positions, RawRecord, Rebuild};
use fstools::{BackupOptions, Repository, Span, ToolError, Verdict};
use serde_json::json;
use sim::SimDisk;
use storage::{Oid, Record, StorageError, Tid};
use vfs::Disk;

use crate::{Heard, PATH, Tool, commit, disk, open, record, run, strong, survey};

const INDEX: &str = "/db/Data.fs.index";

/// A root that refers to three objects, one of which was changed twice.
fn site() -> Arc<SimDisk> {
    let place = disk(b"FS30");
    let storage = open(&place);
    let names = ["one", "two", "three"];
    let references: Vec<_> = names.into_iter().zip((1..).map(strong)).collect();
    commit(&storage, &[(0, record("Root", &references))]);
    for class in ["First", "Second", "Third"] {
        commit(&storage, &[(2, record(class, &[]))]);
    }
    commit(
        &storage,
        &[(1, record("One", &[])), (3, record("Three", &[]))],
    );
    storage.close().unwrap();
    place
}

/// Another index in the place of the one that is there; nothing where the object is not in it.
fn rewrite(place: &Arc<SimDisk>, entry: impl Fn(Oid, u64) -> Option<u64>) {
    let saved = survey(place).saved_index().unwrap();
    let mut wrong = Positions::default();
    wrong.set_end(saved.end());
    for (oid, at) in saved.iter() {
        if let Some(at) = entry(oid, at) {
            wrong.set(oid, at);
        }
    }
    wrong.save(&**place, INDEX.as_ref()).unwrap();
}

fn copy(place: &SimDisk) -> Arc<SimDisk> {
    let copy = disk(&place.contents(PATH.as_ref()).unwrap());
    copy.put(INDEX.as_ref(), &place.contents(INDEX.as_ref()).unwrap());
    copy
}

/// The site with an index that does not know an object, and with one that knows an older record.
fn wrong_ones(site: &SimDisk) -> [Arc<SimDisk>; 2] {
    let [missing, older] = [copy(site), copy(site)];
    rewrite(&missing, |oid, at| Some(at).filter(|_| oid != Oid::new(2)));
    rewrite(&older, |oid, at| {
        let mut header = [0; RawRecord::LEN];
        survey(&older).read_exact(at, &mut header).unwrap();
        let previous = RawRecord::decode(&header).previous;
        Some(if oid == Oid::new(2) { previous } else { at })
    });
    [missing, older]
}

fn said(heard: &Heard) -> String {
    let lines: Vec<_> = heard.0.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn of_two(
    survey: &filestorage::Survey,
    heard: &mut dyn fstools::Listener,
) -> Result<Verdict, ToolError> {
    fstools::objects(survey, &[Oid::new(2)], heard)
}

fn whole_dump(
    survey: &filestorage::Survey,
    heard: &mut dyn fstools::Listener,
) -> Result<Verdict, ToolError> {
    fstools::dump(survey, Span::ALL, heard)
}

fn last_one(
    survey: &filestorage::Survey,
    heard: &mut dyn fstools::Listener,
) -> Result<Verdict, ToolError> {
    fstools::tail(survey, 1, heard)
}

#[test]
fn whoever_reads_all_says_that_the_index_is_wrong() {
    let tools: [(&str, Tool); 6] = [
        ("info", fstools::info),
        ("verify", fstools::verify),
        ("refs", fstools::references),
        ("oids", of_two),
        ("stats", fstools::statistics),
        ("index --check", fstools::index_check),
    ];
    let sound = site();
    for place in wrong_ones(&sound) {
        for (name, tool) in tools {
            let (verdict, heard) = run(tool, &survey(&place));
            let said = said(&heard);
            assert_eq!(verdict, Verdict::Wrong, "{name}: {said}");
            assert!(said.contains("`zodiac fs index`"), "{name}: {said}");
            assert!(said.contains("disagrees"), "{name}: {said}");
            if name != "info" {
                assert!(said.contains("object 0x02"), "{name}: {said}");
            }
            assert!(!said.contains("damaged at"), "{name}: {said}");
            // What is told beside that is by the file.
            let (verdict, expected) = run(tool, &survey(&sound));
            assert_eq!(verdict, Verdict::Sound, "{name}");
            if ["refs", "oids", "stats"].contains(&name) {
                let told: Vec<_> = heard.json();
                for line in expected.json() {
                    assert!(told.contains(&line), "{name}: {line} is not in {told:?}");
                }
                assert_eq!(heard.0.len(), expected.0.len() + 1, "{name}: {said}");
            }
        }
        let rebuild = Rebuild::begin(PATH, place.clone()).unwrap();
        let mut heard = Heard::default();
        let verdict = fstools::index_rebuild(rebuild, false, &mut heard).unwrap();
        assert_eq!(verdict, Verdict::Sound, "{}", said(&heard));
        let right = sound.contents(INDEX.as_ref());
        assert_eq!(place.contents(INDEX.as_ref()), right);
    }
}

#[test]
fn scripts_are_told_how_the_index_is() {
    let [place, _] = wrong_ones(&site());
    let (_, heard) = run(fstools::verify, &survey(&place));
    let verified = heard.json().pop().unwrap();
    assert_eq!(verified["index"], json!({"state": "wrong", "objects": 1}));
    assert_eq!(
        (&verified["damages"], &verified["checkpoint"]["state"]),
        (&json!(0), &json!("missing"))
    );
    // Another file's costs nothing but the time of opening.
    let place = site();
    place.put(INDEX.as_ref(), crate::PLAIN_INDEX);
    let (verdict, heard) = run(fstools::verify, &survey(&place));
    assert_eq!(verdict, Verdict::Sound);
    assert!(said(&heard).contains("zodiac fs index"), "{}", said(&heard));
    // Behind damage nobody can say what should be in it.
    let mut bytes = place.contents(PATH.as_ref()).unwrap();
    bytes[4 + 8 + 7] ^= 1;
    let place = disk(&bytes);
    place.put(INDEX.as_ref(), crate::PLAIN_INDEX);
    let (_, heard) = run(fstools::verify, &survey(&place));
    assert_eq!(heard.json().pop().unwrap()["index"], json!(null));
}

#[test]
fn a_full_backup_gets_the_right_index() {
    let site = site();
    let right = site.contents(INDEX.as_ref()).unwrap();
    for place in wrong_ones(&site) {
        let repository = Path::new("/rep");
        place.put(&repository.join("x"), b"");
        let repository = Repository::open(repository, place.clone()).unwrap();
        let options = BackupOptions {
            now: std::time::Duration::from_secs(1_800_000_000),
            ..BackupOptions::default()
        };
        let mut heard = Heard::default();
        let verdict = fstools::backup(PATH.as_ref(), &repository, &options, &mut heard).unwrap();
        assert_eq!(verdict, Verdict::Wrong);
        assert!(
            said(&heard).contains("`zodiac fs index`"),
            "{}",
            said(&heard)
        );
        let names = place.list_directory("/rep".as_ref()).unwrap();
        let mut names = names.iter().map(|entry| entry.name.to_string_lossy());
        let index = names.find(|name| name.ends_with(".index")).unwrap();
        let index = Path::new("/rep").join(&*index);
        assert_eq!(place.contents(&index).unwrap(), right);
    }
}

/// A file that was cut off, or an older one in the place of a newer one.
#[test]
fn whoever_looks_at_a_file_whose_end_is_missing_hears_of_it() {
    let place = disk(b"FS30");
    let storage = open(&place);
    let mut ends = Vec::new();
    for oid in 0..12 {
        commit(&storage, &[(oid, record("Item", &[]))]);
        ends.push(place.contents(PATH.as_ref()).unwrap().len());
    }
    storage.close().unwrap();
    let bytes = place.contents(PATH.as_ref()).unwrap();
    place.put(PATH.as_ref(), &bytes[..ends[9]]);
    let tools: [(&str, Tool); 5] = [
        ("refs", fstools::references),
        ("oids", of_two),
        ("stats", fstools::statistics),
        ("dump", whole_dump),
        ("tail", last_one),
    ];
    for (name, tool) in tools {
        let (verdict, heard) = run(tool, &survey(&place));
        let said = said(&heard);
        assert_eq!(verdict, Verdict::Wrong, "{name}: {said}");
        let missing = "finished transactions are missing at the end";
        assert!(said.contains(missing), "{name}: {said}");
        assert!(said.contains("missing: 2 (0x0a at "), "{name}: {said}");
    }
    let refused = |result: Result<Verdict, ToolError>| match result.unwrap_err() {
        ToolError::Storage(StorageError::Corrupt { what, .. }) => {
            assert!(
                what.contains("missing at the end") && what.contains("move"),
                "{what}"
            );
        }
        error => panic!("{error}"),
    };
    let mut heard = Heard::default();
    refused(fstools::undo_preview(
        &survey(&place),
        &[Tid::new(1)],
        None,
        &mut heard,
    ));
    place.put("/rep/x".as_ref(), b"");
    let repository = Repository::open(Path::new("/rep"), place.clone()).unwrap();
    let options = BackupOptions::default();
    refused(fstools::backup(
        PATH.as_ref(),
        &repository,
        &options,
        &mut heard,
    ));
    assert!(heard.0.is_empty(), "{:?}", heard.0);
}

#[test]
fn a_lost_transaction_without_records_took_no_object_with_it() {
    let place = disk(b"FS30");
    let storage = open(&place);
    for oid in 0..12 {
        commit(&storage, &[(oid, Record::from(&b"x"[..]))]);
    }
    let end = place.contents(PATH.as_ref()).unwrap().len();
    commit(&storage, &[]);
    storage.close().unwrap();
    let bytes = place.contents(PATH.as_ref()).unwrap();
    place.put(PATH.as_ref(), &bytes[..end]);
    let (verdict, heard) = run(last_one, &survey(&place));
    assert_eq!(verdict, Verdict::Wrong);
    let said = said(&heard);
    assert!(
        said.contains("No object's newest record") && !said.contains(": 0"),
        "{said}"
    );
}
