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
        let verdict = fstools::index_rebuild(rebuild, &mut heard).unwrap();
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
    assert_eq!(check(&PLAIN[..7854], Some(PLAIN_INDEX)), wrong("disagrees"));
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
    let verdict = fstools::index_rebuild(rebuild, &mut heard).unwrap();
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
