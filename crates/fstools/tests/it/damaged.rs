//! Broken bytes: what is broken is named, the rest is read, nothing panics.

use fstools::{Span, Verdict};
use serde_json::Value;
use storage::{Oid, Storage, StorageError};

use crate::{Heard, PLAIN, UNFINISHED, disk, run, survey};

/// The second and the third transaction of the file, and the second's first record.
const SECOND: usize = 259;
const THIRD: usize = 556;
const RECORD: usize = 338;

fn changed(changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = PLAIN.to_vec();
    for (at, new) in changes {
        bytes[*at..at + new.len()].copy_from_slice(new);
    }
    bytes
}

/// The damages that verify finds, and its summary.
fn verified(bytes: &[u8]) -> (Vec<Value>, Value) {
    let (verdict, heard) = run(fstools::verify, &survey(&disk(bytes)));
    assert_eq!(verdict, Verdict::Wrong, "{:?}", heard.0);
    let mut lines = heard.json();
    let summary = lines.pop().unwrap();
    lines.retain(|line| line["kind"] == "damage");
    assert_eq!(summary["damages"], lines.len());
    (lines, summary)
}

#[test]
fn a_broken_transaction_header_costs_that_transaction_only() {
    let damages: [&[(usize, &[u8])]; 5] = [
        // Zeros, a length beyond the file, one too short, texts longer than the transaction, status c.
        &[(SECOND, &[0; 60])],
        &[(SECOND + 8, &[1])],
        &[(SECOND + 8, &[0; 8])],
        &[(SECOND + 17, &[0xff])],
        &[(SECOND + 16, b"c")],
    ];
    for damage in damages {
        let (lines, summary) = verified(&changed(damage));
        let skipped = lines.iter().find(|line| !line["resumed"].is_null());
        let skipped = skipped.unwrap_or_else(|| panic!("{lines:?}"));
        assert_eq!(skipped["offset"], SECOND, "{damage:?}");
        assert_eq!(skipped["resumed"], THIRD, "{damage:?}");
        assert_eq!(summary["transactions"], 11);
        assert_eq!(summary["skipped_bytes"], THIRD - SECOND);
    }
}

#[test]
fn a_wrong_closing_length_is_named() {
    let (lines, summary) = verified(&changed(&[(THIRD - 1, &[0])]));
    assert_eq!(lines[0]["offset"], SECOND);
    assert_eq!(lines[0]["tid"], "0x03f0000200000000");
    assert_eq!(lines[0]["resumed"], THIRD);
    let what = lines[0]["what"].as_str().unwrap();
    assert!(what.contains("289") && what.contains("256"), "{what}");
    assert_eq!(summary["transactions"], 11);
}

#[test]
fn a_broken_record_header_costs_the_rest_of_its_transaction() {
    for damage in [34, 24, 8, 32] {
        let (lines, summary) = verified(&changed(&[(RECORD + damage, &[0x7f])]));
        assert_eq!(lines[0]["offset"], RECORD, "{damage}");
        assert_eq!(summary["transactions"], 12);
    }
}

#[test]
fn a_broken_pickle_is_named_with_its_object() {
    let (lines, summary) = verified(&changed(&[(RECORD + 42 + 2, &[0xff])]));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["offset"], RECORD);
    assert_eq!(lines[0]["oid"], "0x01");
    assert_eq!(lines[0]["tid"], "0x03f0000200000000");
    assert_eq!(summary["transactions"], 12);
    assert_eq!(summary["skipped_bytes"], 0);
}

#[test]
fn wrong_pointers_are_named() {
    // The previous record of the second revision of object 1.
    let (lines, _) = verified(&changed(&[(RECORD + 16 + 7, &[42])]));
    assert_eq!(lines[0]["offset"], RECORD);
    let what = lines[0]["what"].as_str().unwrap();
    assert!(what.contains("said to be at 42, it is at 143"), "{what}");
    // It says that there is none. A packed transaction may.
    let (lines, _) = verified(&changed(&[(RECORD + 16, &[0; 8])]));
    assert_eq!((lines.len(), &lines[0]["offset"]), (1, &RECORD.into()));
    let what = lines[0]["what"].as_str().unwrap();
    assert!(what.contains("there is one at 143"), "{what}");
    let packed = changed(&[(RECORD + 16, &[0; 8]), (SECOND + 16, b"p")]);
    let (verdict, heard) = run(fstools::verify, &survey(&disk(&packed)));
    assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
    // The back pointer of the first undo.
    let (lines, _) = verified(&changed(&[(585 + 42 + 7, &[42])]));
    assert_eq!(lines[0]["oid"], "0x01");
}

#[test]
fn ids_that_do_not_rise_are_named() {
    let mut bytes = PLAIN.to_vec();
    let tid = bytes[4..12].to_vec();
    for at in [SECOND, RECORD + 8, 447 + 8] {
        bytes[at..at + 8].copy_from_slice(&tid);
    }
    let (lines, summary) = verified(&bytes);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["offset"], SECOND);
    assert!(lines[0]["what"].as_str().unwrap().contains("not later"));
    assert_eq!(summary["transactions"], 12);
}

/// A Data.fs inside a record of a Data.fs is no place to go on.
#[test]
fn a_stored_copy_of_a_file_is_no_transaction() {
    let storage = disk(&PLAIN[..SECOND]);
    let open = crate::open(&storage);
    let mut record = crate::record("Backup", &[]).to_vec();
    record.extend(&PLAIN[4..]);
    crate::commit(&open, &[(7, record.into())]);
    let after = open.stats().bytes;
    crate::commit(&open, &[(8, crate::record("Later", &[]))]);
    drop(open);
    let mut bytes = storage.contents(crate::PATH.as_ref()).unwrap();
    bytes[SECOND..SECOND + 20].fill(0);
    let (lines, _) = verified(&bytes);
    assert_eq!(lines[0]["resumed"], after);
}

#[test]
fn a_dump_goes_on_behind_damage() {
    let bytes = changed(&[(SECOND, &[0; 60])]);
    let mut heard = Heard::default();
    let verdict = fstools::dump(&survey(&disk(&bytes)), Span::ALL, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Wrong);
    let kinds = heard.kinds();
    let transactions = kinds.iter().filter(|kind| *kind == "transaction").count();
    assert_eq!(transactions, 11);
    assert_eq!(kinds.iter().filter(|kind| *kind == "damage").count(), 1);
}

#[test]
fn another_file_is_refused() {
    for bytes in [&b"SQLite format 3"[..], b"", b"FS3"] {
        let refused = filestorage::Survey::open(crate::PATH, disk(bytes));
        let Some(StorageError::Corrupt {
            offset: 0, what, ..
        }) = refused.err()
        else {
            panic!("{bytes:?}");
        };
        assert!(what.contains("not a Data.fs"), "{what}");
    }
}

/// The index knows what is current, so the file opens; what is broken in it is told.
#[test]
fn tools_that_need_the_index_tell_of_damage_too() {
    for (at, zeros) in [(SECOND, &[0; 60][..]), (RECORD + 24, &[0; 8])] {
        let disk = disk(&changed(&[(at, zeros)]));
        disk.put(
            format!("{}.index", crate::PATH).as_ref(),
            crate::PLAIN_INDEX,
        );
        for tool in [
            fstools::references,
            fstools::statistics,
            (|survey, listener| fstools::objects(survey, &[Oid::ROOT], listener)) as crate::Tool,
        ] {
            let (verdict, heard) = run(tool, &survey(&disk));
            assert_eq!(verdict, Verdict::Wrong, "{:?}", heard.0);
            let lines = heard.json();
            let first = lines.iter().find(|line| line["kind"] == "damage").unwrap();
            let begin = if at == SECOND { SECOND } else { RECORD };
            assert_eq!(first["offset"], begin);
        }
    }
}

/// Any byte may be broken: tools end, in order or with an error about the file.
#[test]
fn no_byte_makes_a_tool_panic_or_run_forever() {
    for (at, sound) in UNFINISHED.iter().enumerate().skip(4).step_by(3) {
        for byte in [0, 0xff, sound ^ 1] {
            let mut bytes = UNFINISHED.to_vec();
            bytes[at] = byte;
            let survey = survey(&disk(&bytes));
            let mut heard = Heard::default();
            let mut ended = vec![
                fstools::verify(&survey, &mut heard).unwrap(),
                fstools::info(&survey, &mut heard).unwrap(),
                fstools::dump(&survey, Span::ALL, &mut heard).unwrap(),
                fstools::tail(&survey, 2, &mut heard).unwrap(),
            ];
            for tool in [fstools::references, fstools::statistics] {
                // A file that is broken before its end is refused by these.
                ended.extend(tool(&survey, &mut heard).ok());
            }
            ended.extend(fstools::objects(&survey, &[Oid::ROOT], &mut heard).ok());
            assert!(ended.len() >= 4);
        }
    }
}

#[test]
fn what_the_index_contradicts_is_damage() {
    let disk = disk(b"FS30");
    let storage = crate::open(&disk);
    for oid in 0..9 {
        crate::commit(&storage, &[(oid, crate::record("User", &[]))]);
    }
    storage.close().unwrap();
    let (verdict, heard) = run(fstools::verify, &survey(&disk));
    assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
    let path = std::path::Path::new(crate::PATH);
    let survey_before = survey(&disk);
    let at = survey_before.positions().unwrap().get(Oid::new(4)).unwrap();
    let place = usize::try_from(at).unwrap();
    let mut bytes = disk.contents(path).unwrap();
    bytes[place..place + 8].copy_from_slice(&0x77_u64.to_be_bytes());
    disk.put(path, &bytes);
    let (verdict, heard) = run(fstools::verify, &survey(&disk));
    assert_eq!(verdict, Verdict::Wrong);
    let lines = heard.json();
    let told = lines.iter().find(|line| line["kind"] == "damage").unwrap();
    assert_eq!(told["offset"], at);
    assert_eq!(told["oid"], "0x04");
}
