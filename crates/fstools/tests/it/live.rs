//! A file that a server has open for writing.

use fstools::Verdict;
use sim::Fault;
use storage::{Oid, Storage, Tid, TransactionMeta};

use crate::{Heard, PATH, PLAIN, commit, disk, open, record, run, strong, survey};

#[test]
fn a_transaction_under_way_is_an_unfinished_tail() {
    let disk = disk(PLAIN);
    let storage = open(&disk);
    commit(&storage, &[(0, record("Root", &[("one", strong(1))]))]);
    let mut begun = storage.clone().begin(TransactionMeta::default()).unwrap();
    let missing = record("Root", &[("gone", strong(99))]);
    let base = storage.last_tid();
    begun.store(Oid::ROOT, base, missing).unwrap();
    // The data are written, and the status byte is not.
    disk.fail_at(disk.operations() + 3, Fault::Error);
    let voted = begun.vote().unwrap();
    voted.finish(Box::new(|_tid| {})).unwrap_err();

    let before = survey(&disk);
    for tool in [fstools::verify, fstools::references, fstools::statistics] {
        let (verdict, heard) = run(tool, &before);
        assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
    }
    let mut heard = Heard::default();
    assert_eq!(
        fstools::tail(&before, 1, &mut heard).unwrap(),
        Verdict::Sound
    );
    assert_eq!(heard.kinds(), ["transaction", "record", "unfinished-tail"]);

    drop(storage);
    disk.restart_process();
    let storage = open(&disk);
    commit(&storage, &[(0, record("Root", &[("gone", strong(99))]))]);
    let (verdict, _) = run(fstools::references, &survey(&disk));
    assert_eq!(verdict, Verdict::Wrong, "now it counts");
}

#[test]
fn what_comes_after_the_start_is_not_looked_at() {
    let disk = disk(PLAIN);
    let storage = open(&disk);
    let survey = survey(&disk);
    let tid = commit(&storage, &[(9, record("Late", &[]))]);
    let (_, heard) = run(fstools::info, &survey);
    let line = heard.json().pop().unwrap();
    assert_eq!(line["transactions"], 12);
    assert_eq!(line["bytes"], PLAIN.len());
    assert!(tid > Tid::ZERO);
}

/// The lock stays with the server, and no file is made or changed.
#[test]
fn looking_leaves_everything_as_it_is() {
    let disk = disk(PLAIN);
    let storage = open(&disk);
    let before = disk.contents(PATH.as_ref()).unwrap();
    let index = format!("{PATH}.index");
    let index_before = disk.contents(index.as_ref());
    for tool in [fstools::info, fstools::verify, fstools::references] {
        assert_eq!(run(tool, &survey(&disk)).0, Verdict::Sound);
    }
    assert_eq!(disk.contents(PATH.as_ref()).unwrap(), before);
    assert_eq!(disk.contents(index.as_ref()), index_before);
    drop(storage);
}
