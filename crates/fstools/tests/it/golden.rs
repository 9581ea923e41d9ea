//! Files that the original wrote: the tools say what the original says.

use fstools::{Span, Verdict};
use serde_json::{Value, json};
use storage::Tid;

use crate::{Heard, PATH, PLAIN, PLAIN_INDEX, UNFINISHED, disk, run, survey};

const EXPECTED: &str = include_str!("../../../filestorage/tests/golden/plain.json");

fn hex(number: &Value, digits: usize) -> Value {
    match number.as_u64() {
        Some(number) => json!(format!("0x{number:0digits$x}")),
        None => Value::Null,
    }
}

/// The length of what base64 holds.
fn length(text: &Value) -> Value {
    match text.as_str() {
        Some(text) => json!(text.len() / 4 * 3 - text.matches('=').count()),
        None => Value::Null,
    }
}

#[test]
fn a_dump_holds_the_transactions_and_records_of_the_original() {
    let survey = survey(&disk(PLAIN));
    let mut heard = Heard::default();
    let verdict = fstools::dump(&survey, Span::ALL, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let mut lines = heard.json().into_iter();
    for transaction in expected["transactions"].as_array().unwrap() {
        let line = lines.next().unwrap();
        assert_eq!(line["kind"], "transaction");
        assert_eq!(line["tid"], hex(&transaction["tid"], 16));
        assert_eq!(line["status"], transaction["status"]);
        for record in transaction["records"].as_array().unwrap() {
            let line = lines.next().unwrap();
            assert_eq!(line["kind"], "record");
            assert_eq!(line["oid"], hex(&record["oid"], 2));
            assert_eq!(line["data_bytes"], length(&record["data"]));
            assert_eq!(line["back"], hex(&record["data_tid"], 16));
            let class = record["data"].as_str().map(|_| "golden.Thing");
            assert_eq!(line["class"], json!(class));
        }
    }
    assert_eq!(lines.next(), None);
}

/// The shape that the help describes.
#[test]
fn lines_have_the_documented_form() {
    let survey = survey(&disk(PLAIN));
    let mut heard = Heard::default();
    let only = Tid::new(0x03f0_0002_0000_0000);
    let span = Span {
        from: only,
        to: only,
    };
    assert_eq!(
        fstools::dump(&survey, span, &mut heard).unwrap(),
        Verdict::Sound
    );
    let lines = heard.json();
    assert_eq!(
        lines[0],
        json!({"kind": "transaction", "offset": 259, "bytes": 297, "tid": "0x03f0000200000000",
               "time": "2023-04-27T04:50:00.000000Z", "status": " ", "user": "",
               "description": "/folder/page ä", "extension_bytes": 41})
    );
    assert_eq!(
        lines[2],
        json!({"kind": "record", "offset": 447, "oid": "0x02", "tid": "0x03f0000200000000",
               "class": "golden.Thing", "data_bytes": 59, "back": null})
    );
    assert_eq!(lines.len(), 3);
    let text = heard.0[2].to_string();
    assert_eq!(
        text,
        "  record 0x02 0x03f0000200000000 offset=447 size=59 class=golden.Thing"
    );
}

#[test]
fn sound_files_are_found_sound() {
    for bytes in [PLAIN, UNFINISHED] {
        let survey = survey(&disk(bytes));
        for tool in [
            fstools::info,
            fstools::verify,
            fstools::references,
            fstools::statistics,
        ] {
            let (verdict, heard) = run(tool, &survey);
            assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
        }
    }
    let (_, heard) = run(fstools::verify, &survey(&disk(UNFINISHED)));
    assert_eq!(heard.kinds(), ["unfinished-tail", "verified"]);
    let lines = heard.json();
    assert_eq!(lines[0]["offset"], PLAIN.len());
    assert_eq!(lines[0]["bytes"], UNFINISHED.len() - PLAIN.len());
    assert_eq!(lines[1]["transactions"], 12);
    assert_eq!(lines[1]["records"], 17);
}

#[test]
fn info_counts_as_the_original_does() {
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let (_, heard) = run(fstools::info, &survey(&disk(PLAIN)));
    let line = &heard.json()[0];
    assert_eq!(line["objects"], expected["objects"]);
    assert_eq!(line["last_tid"], hex(&expected["last_tid"], 16));
    assert_eq!(line["bytes"], expected["size"]);
    assert_eq!(line["transactions"], 12);
    assert_eq!(line["magic"], "FS30");
}

#[test]
fn info_compares_the_index_with_the_file() {
    let index = format!("{PATH}.index");
    let state = |file: &[u8], saved: Option<&[u8]>| {
        let disk = disk(file);
        if let Some(saved) = saved {
            disk.put(index.as_ref(), saved);
        }
        let (_, heard) = run(fstools::info, &survey(&disk));
        heard.json().pop().unwrap()["index"].clone()
    };
    assert_eq!(state(PLAIN, None), json!({"state": "missing"}));
    assert_eq!(state(PLAIN, Some(b"what")), json!({"state": "broken"}));
    let agrees = json!({"state": "agrees", "behind_transactions": 0, "behind_bytes": 0});
    assert_eq!(state(PLAIN, Some(PLAIN_INDEX)), agrees);
    assert_eq!(state(UNFINISHED, Some(PLAIN_INDEX)), agrees);

    // An offset of a record in the middle of a bucket, and a file that is older than its index.
    let mut other = PLAIN_INDEX.to_vec();
    let at = other.len() - 7;
    other[at] ^= 1;
    let wrong = json!({"state": "wrong", "objects": 1});
    assert_eq!(state(PLAIN, Some(&other)), wrong);
    let longer = json!({"state": "longer", "end": PLAIN.len(), "objects": 1});
    assert_eq!(state(&PLAIN[..7854], Some(PLAIN_INDEX)), longer);

    let disk = disk(PLAIN);
    let storage = crate::open(&disk);
    storage.close().unwrap();
    let saved = disk.contents(index.as_ref()).unwrap();
    crate::commit(&crate::open(&disk), &[(9, crate::record("Late", &[]))]);
    let longer = disk.contents(PATH.as_ref()).unwrap();
    let behind = json!({"state": "agrees", "behind_transactions": 1,
                        "behind_bytes": longer.len() - PLAIN.len()});
    assert_eq!(state(&longer, Some(&saved)), behind);
}

#[test]
fn the_tail_is_the_end_of_the_dump() {
    for bytes in [PLAIN, UNFINISHED, &UNFINISHED[..UNFINISHED.len() - 20]] {
        let survey = survey(&disk(bytes));
        let mut all = Heard::default();
        let _ = fstools::dump(&survey, Span::ALL, &mut all).unwrap();
        for count in [0, 1, 3, 12, 100] {
            let mut heard = Heard::default();
            let verdict = fstools::tail(&survey, count, &mut heard).unwrap();
            assert_eq!(verdict, Verdict::Sound);
            let shown = heard.kinds();
            let shown = shown.iter().filter(|kind| *kind == "transaction");
            assert_eq!(shown.count(), count.min(12));
            assert!(all.0.ends_with(&heard.0), "{count}: {:?}", heard.0);
        }
    }
}

#[test]
fn statistics_add_up() {
    let (_, heard) = run(fstools::statistics, &survey(&disk(PLAIN)));
    let lines = heard.json();
    let sum = |key: &str| lines.iter().filter_map(|line| line[key].as_u64()).sum();
    let (objects, old): (u64, u64) = (sum("objects"), sum("old_records"));
    assert_eq!((objects, old), (7, 10));
    assert_eq!(lines[0]["class"], "golden.Thing");
    assert_eq!(lines[1]["class"], "(creation undone or deleted)");
    assert_eq!(lines[1]["objects"], 2);
}

#[test]
fn several_undos_in_one_transaction_are_no_damage() {
    let undo = include_bytes!("../../../filestorage/tests/golden/undo.fs");
    let (verdict, heard) = run(fstools::verify, &survey(&disk(undo)));
    assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0.first());
}
