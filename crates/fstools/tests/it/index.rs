//! The `.index`: checked, and made anew.

use std::sync::Arc;

use filestorage::Rebuild;
use fstools::Verdict;
use serde_json::json;
use storage::{Storage, StorageError};

use crate::{Heard, PATH, PLAIN, PLAIN_INDEX, UNFINISHED, commit, disk, open, record, run, survey};

const INDEX: &str = "/db/Data.fs.index";
const CHECKPOINT: &str = "/db/Data.fs.zidx";

#[test]
fn the_index_is_what_the_original_writes() {
    for (bytes, before) in [
        (PLAIN, None),
        (PLAIN, Some(&b"broken"[..])),
        (UNFINISHED, None),
    ] {
        let disk = disk(bytes);
        if let Some(before) = before {
            disk.put(INDEX.as_ref(), before);
        }
        disk.put(CHECKPOINT.as_ref(), b"something wrong");
        let rebuild = Rebuild::begin(PATH, disk.clone()).unwrap();
        let mut heard = Heard::default();
        let verdict = fstools::index_rebuild(rebuild, false, &mut heard).unwrap();
        assert_eq!(verdict, Verdict::Sound);
        let line = heard.json().pop().unwrap();
        assert_eq!(line["written"], true);
        assert_eq!(line["objects"], 7);
        assert_eq!(disk.contents(INDEX.as_ref()).unwrap(), PLAIN_INDEX);
        assert_eq!(disk.contents(CHECKPOINT.as_ref()), None);
        assert_eq!(disk.contents(PATH.as_ref()).unwrap(), bytes);
        let (verdict, heard) = run(fstools::index_check, &survey(&disk));
        assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
    }
}

#[test]
fn a_check_says_what_is_wrong() {
    let check = |bytes: &[u8], index: Option<&[u8]>| {
        let disk = disk(bytes);
        if let Some(index) = index {
            disk.put(INDEX.as_ref(), index);
        }
        let (verdict, heard) = run(fstools::index_check, &survey(&disk));
        let line = heard.json().pop().unwrap();
        assert_eq!(line["written"], false);
        (verdict, line["index"]["state"].as_str().unwrap().to_owned())
    };
    let wrong = |state: &str| (Verdict::Wrong, state.to_owned());
    assert_eq!(check(PLAIN, None), wrong("missing"));
    assert_eq!(check(PLAIN, Some(b"x")), wrong("broken"));
    assert_eq!(check(&PLAIN[..7854], Some(PLAIN_INDEX)), wrong("longer"));
    let sound = (Verdict::Sound, "agrees".to_owned());
    assert_eq!(check(PLAIN, Some(PLAIN_INDEX)), sound);

    // Of an index that is behind, only the time of opening is lost.
    let disk = disk(PLAIN);
    let storage = open(&disk);
    storage.close().unwrap();
    let saved = disk.contents(INDEX.as_ref()).unwrap();
    commit(&open(&disk), &[(9, record("Late", &[]))]);
    let longer = disk.contents(PATH.as_ref()).unwrap();
    assert_eq!(check(&longer, Some(&saved)), sound);
}

#[test]
fn a_damaged_file_keeps_its_index_and_a_served_one_is_left_alone() {
    let mut bytes = PLAIN.to_vec();
    bytes[259 + 8] = 1;
    let broken = disk(&bytes);
    broken.put(INDEX.as_ref(), PLAIN_INDEX);
    let rebuild = Rebuild::begin(PATH, broken.clone()).unwrap();
    let mut heard = Heard::default();
    let verdict = fstools::index_rebuild(rebuild, false, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Wrong);
    assert_eq!(heard.json().pop().unwrap()["written"], json!(false));
    assert_eq!(broken.contents(INDEX.as_ref()).unwrap(), PLAIN_INDEX);

    let served = disk(PLAIN);
    let storage = open(&served);
    let refused = Rebuild::begin(PATH, served.clone());
    assert!(matches!(refused.err(), Some(StorageError::Locked { .. })));
    assert!(storage.stats().objects > 0);
    let absent = Rebuild::begin("/db/Other.fs", Arc::clone(&served) as _);
    assert!(matches!(absent.err(), Some(StorageError::Io { .. })));
    assert_eq!(served.contents("/db/Other.fs.lock".as_ref()), None);
}

#[test]
fn of_a_damaged_file_the_index_is_kept_and_a_checkpoint_is_looked_at() {
    let place = disk(b"FS30");
    let storage = open(&place);
    commit(
        &storage,
        &[(0, record("Root", &[])), (1, record("One", &[]))],
    );
    commit(&storage, &[(1, record("OneB", &[]))]);
    storage.close().unwrap();
    let bytes = place.contents(PATH.as_ref()).unwrap();
    let index = place.contents(INDEX.as_ref()).unwrap();
    let check = |bytes: &[u8], checkpoint: Option<&[u8]>| {
        let disk = disk(bytes);
        disk.put(INDEX.as_ref(), &index);
        if let Some(checkpoint) = checkpoint {
            disk.put(CHECKPOINT.as_ref(), checkpoint);
        }
        let (verdict, heard) = run(fstools::index_check, &survey(&disk));
        (verdict, heard.0.last().unwrap().to_string())
    };
    let (verdict, said) = check(&bytes, None);
    assert_eq!((verdict, said.lines().count()), (Verdict::Sound, 1));
    let (verdict, said) = check(&bytes, Some(b"broken"));
    assert_eq!(verdict, Verdict::Wrong);
    assert!(said.contains("checkpoint (.zidx): broken"), "{said}");
    // The last record says that it is the root's.
    let at = bytes.len() - 8 - 42 - record("OneB", &[]).len();
    let mut broken = bytes.clone();
    broken[at + 7] = 0;
    let (verdict, said) = check(&broken, None);
    assert_eq!(verdict, Verdict::Wrong);
    assert!(!said.contains("move it away"), "{said}");
    assert!(
        said.contains("damaged itself") && said.contains("recover"),
        "{said}"
    );
}

/// A file of some objects with a record each, and its index.
fn of_several() -> (Vec<u8>, Vec<u8>, Vec<usize>) {
    let place = disk(b"FS30");
    let storage = open(&place);
    commit(&storage, &[(0, record("Root", &[]))]);
    let mut ends = Vec::new();
    for oid in 1..=12 {
        ends.push(place.contents(PATH.as_ref()).unwrap().len());
        commit(&storage, &[(oid, record("Item", &[]))]);
    }
    storage.close().unwrap();
    let bytes = place.contents(PATH.as_ref()).unwrap();
    (bytes, place.contents(INDEX.as_ref()).unwrap(), ends)
}

/// Tries to make the index anew; whether it was, and what was said.
fn rebuilt(bytes: &[u8], index: &[u8], force: bool) -> (bool, String) {
    let place = disk(bytes);
    place.put(INDEX.as_ref(), index);
    let rebuild = Rebuild::begin(PATH, place.clone()).unwrap();
    let mut heard = Heard::default();
    let verdict = fstools::index_rebuild(rebuild, force, &mut heard).unwrap();
    let kept = place.contents(INDEX.as_ref()).unwrap() == index;
    let line = heard.json().pop().unwrap();
    assert_eq!(line["written"], json!(!kept));
    assert_eq!(verdict == Verdict::Sound, !kept);
    let said: Vec<_> = heard.0.iter().map(ToString::to_string).collect();
    (!kept, said.join("\n"))
}

/// A file that contradicts itself nowhere, and is not what it was.
#[test]
fn an_index_that_is_the_only_witness_is_not_written_over() {
    let (bytes, index, ends) = of_several();
    // The only record of object 5 says that it is of object 0x32.
    let at = ends[4] + 23;
    let mut other = bytes.clone();
    assert_eq!(other[at + 7], 5);
    other[at + 7] = 0x32;
    let (written, said) = rebuilt(&other, &index, false);
    assert!(!written, "{said}");
    let told = format!("offset {at}, object 0x05");
    assert!(
        said.contains(&told) && said.contains("the record here says 0x32"),
        "{said}"
    );
    assert!(
        said.contains("1 entry leads") && said.contains("recover"),
        "{said}"
    );
    let (_, heard) = run(fstools::index_check, &{
        let place = disk(&other);
        place.put(INDEX.as_ref(), &index);
        survey(&place)
    });
    assert!(heard.0[0].to_string().contains(&told), "{:?}", heard.0);
    let last = heard.0.last().unwrap().to_string();
    assert!(!last.contains("--check"), "{last}");
    assert!(rebuilt(&other, &index, true).0);

    // The newest transactions are missing: between two, and in the middle of one.
    for end in [ends[9], ends[9] + 30] {
        let (written, said) = rebuilt(&bytes[..end], &index, false);
        assert!(!written, "{said}");
        let told = format!("its last finished transaction ends at {}", ends[9]);
        assert!(said.contains(&told), "{said}");
        let objects = format!("missing: 3 (0x0a at {}, ", ends[9] + 23);
        assert!(said.contains(&objects), "{said}");
        assert!(rebuilt(&bytes[..end], &index, true).0);
    }
    // One that is merely of no use goes.
    assert!(rebuilt(&bytes, PLAIN_INDEX, false).0);
    assert!(rebuilt(PLAIN, &index, false).0);
    assert!(rebuilt(&bytes, b"broken", false).0);
}

#[test]
fn info_and_verify_say_that_the_end_is_missing() {
    let (bytes, index, ends) = of_several();
    let look = |bytes: &[u8]| {
        let place = disk(bytes);
        place.put(INDEX.as_ref(), &index);
        let (info, heard) = run(fstools::info, &survey(&place));
        let state = heard.json().pop().unwrap()["index"].clone();
        let (verify, heard) = run(fstools::verify, &survey(&place));
        let damages = heard.json().pop().unwrap()["damages"].clone();
        assert_eq!(info, verify);
        (info, state["state"].clone(), damages)
    };
    assert_eq!(look(&bytes), (Verdict::Sound, json!("agrees"), json!(0)));
    for end in [ends[9], ends[9] + 30] {
        let cut = look(&bytes[..end]);
        assert_eq!(cut, (Verdict::Wrong, json!("longer"), json!(1)), "{end}");
    }
    // The last transaction is there and says that it was never finished.
    let mut unfinished = bytes.clone();
    unfinished[ends[11] + 16] = b'c';
    let cut = look(&unfinished);
    assert_eq!(cut, (Verdict::Wrong, json!("longer"), json!(1)));
}

/// A server that writes on, and saves its index, while a tool looks at the file.
#[test]
fn a_file_that_grows_under_a_tool_is_not_taken_for_a_cut_one() {
    let place = disk(b"FS30");
    let storage = open(&place);
    for oid in 0..12 {
        commit(&storage, &[(oid, record("Item", &[]))]);
    }
    let survey = survey(&place);
    commit(&storage, &[(12, record("Item", &[]))]);
    storage.close().unwrap();
    for tool in [fstools::info, fstools::verify] {
        let (verdict, heard) = run(tool, &survey);
        assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
    }
    assert_eq!(survey.longer(survey.size()).unwrap(), None);
}
