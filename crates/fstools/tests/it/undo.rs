//! Undo: what the preview says is what the undo then does.

use std::sync::Arc;

use fstools::Verdict;
use serde_json::json;
use storage::{CommitError, Storage, Tid, TransactionMeta};

use crate::{Heard, PLAIN, commit, disk, open, record, strong, survey};

/// 400 random stores and undos by the original, and the same with a packed beginning.
const HISTORIES: [&[u8]; 2] = [
    include_bytes!("../../../filestorage/tests/golden/undo.fs"),
    include_bytes!("../../../filestorage/tests/golden/packed_undo.fs"),
];

/// What stands in the way: of an object, or of the whole transaction.
fn refused(storage: &Arc<dyn Storage>, tids: &[Tid]) -> Vec<(Option<String>, String)> {
    let mut commit = Arc::clone(storage)
        .begin(TransactionMeta::default())
        .unwrap();
    let mut undo = || {
        for tid in tids {
            commit.undo(*tid)?;
        }
        Ok(())
    };
    let asked: Result<(), storage::StorageError> = undo();
    asked.unwrap();
    match commit.vote() {
        Ok(_) => Vec::new(),
        Err(CommitError::Undo(obstacles)) => obstacles
            .into_iter()
            .map(|obstacle| (Some(obstacle.oid.to_string()), obstacle.reason.to_string()))
            .collect(),
        Err(CommitError::NotUndoable { reason, .. }) => vec![(None, reason.to_string())],
        Err(error) => panic!("{error}"),
    }
}

/// The same as the preview tells it, in the order of the objects.
fn previewed(bytes: &[u8], tids: &[Tid]) -> Vec<(Option<String>, String)> {
    let mut heard = Heard::default();
    let verdict = fstools::undo_preview(&survey(&disk(bytes)), tids, None, &mut heard).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let found: Vec<_> = heard
        .json()
        .iter()
        .filter_map(|line| match text(&line["reason"]) {
            Some(reason) => Some((None, reason)),
            None => Some((text(&line["oid"]), text(&line["obstacle"])?)),
        })
        .collect();
    assert_eq!(verdict == Verdict::Sound, found.is_empty());
    found
}

#[test]
fn the_preview_of_every_undo_is_right() {
    let (mut possible, mut impossible) = (0, 0);
    for bytes in HISTORIES {
        let file = open(&disk(bytes));
        let all = file.transactions(Tid::ZERO, Tid::MAX).unwrap();
        let tids: Vec<Tid> = all.map(|transaction| transaction.unwrap().tid).collect();
        let storage: Arc<dyn Storage> = file;

        for tid in tids.iter().step_by(3) {
            let expected = refused(&storage, &[*tid]);
            assert_eq!(previewed(bytes, &[*tid]), expected, "{tid}");
            if expected.is_empty() {
                possible += 1;
            } else {
                impossible += 1;
            }
        }
    }
    assert!(possible > 5 && impossible > 20, "{possible} {impossible}");
}

#[test]
fn several_undos_are_previewed_together() {
    let bytes = HISTORIES[0];
    let file = open(&disk(bytes));
    let all = file.transactions(Tid::ZERO, Tid::MAX).unwrap();
    let tids: Vec<Tid> = all.map(|transaction| transaction.unwrap().tid).collect();
    let storage: Arc<dyn Storage> = file;
    let mut more_than_one_alone = 0;
    for count in 1..60 {
        let newest: Vec<Tid> = tids.iter().rev().take(count).copied().collect();
        let expected = refused(&storage, &newest);
        let found = previewed(bytes, &newest);
        assert_eq!(
            found.is_empty(),
            expected.is_empty(),
            "{count}: {found:?} {expected:?}"
        );
        let alone = refused(&storage, &newest[count - 1..]);
        more_than_one_alone += u32::from(expected.is_empty() && !alone.is_empty());
    }
    assert!(more_than_one_alone > 0, "undos make other undos possible");
}

#[test]
fn objects_are_named_by_their_paths_and_come_back() {
    let disk = disk(PLAIN);
    let file = open(&disk);
    commit(
        &file,
        &[
            (50, record("Page", &[])),
            (0, record("Root", &[("page", strong(50))])),
        ],
    );
    let before = file.last_tid();
    let changed = commit(&file, &[(50, record("Page", &[("more", strong(1))]))]);
    let mut heard = Heard::default();
    let verdict = fstools::undo_preview(&survey(&disk), &[changed], None, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    assert_eq!(
        heard.json(),
        [
            json!({"kind": "undo-object", "tid": changed.to_string(), "oid": "0x32",
                "class": "tests.Page", "path": "/page", "restored": before.to_string(),
                "obstacle": null})
        ]
    );
    let created = [before];
    let mut heard = Heard::default();
    let _ = fstools::undo_preview(&survey(&disk), &created, None, &mut heard).unwrap();
    assert_eq!(
        heard.json()[0]["obstacle"],
        "it was created by the transaction and changed by a later one"
    );

    let storage: Arc<dyn Storage> = file.clone();
    let (mut heard, meta) = (Heard::default(), TransactionMeta::default());
    let file_now = survey(&disk);
    let verdict = fstools::undo(&storage, &created, meta, Some(&file_now), &mut heard);
    assert_eq!(verdict.unwrap(), Verdict::Wrong);
    assert_eq!(heard.json()[0]["path"], "/page", "the refusal names it too");

    let meta = TransactionMeta {
        user: b"/ admin".to_vec(),
        ..TransactionMeta::default()
    };
    let mut heard = Heard::default();
    let verdict = fstools::undo(&storage, &[before, changed], meta, None, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    let line = &heard.json()[0];
    assert_eq!(line["kind"], "undone");
    assert_eq!(
        line["undone"],
        json!([changed.to_string(), before.to_string()])
    );
    assert!(
        file.load_before(storage::Oid::new(50), Tid::MAX).is_err(),
        "its creation is undone"
    );

    let mut heard = Heard::default();
    let meta = TransactionMeta::default();
    let verdict = fstools::undo(&storage, &[before], meta, None, &mut heard);
    assert_eq!(verdict.unwrap(), Verdict::Wrong);
    assert!(heard.json()[0]["obstacle"].is_string());
    let mut heard = Heard::default();
    let _ = fstools::undoable(&*storage, 2, &mut heard).unwrap();
    assert_eq!(heard.json()[0]["user"], "/ admin");
    assert_eq!(heard.json()[1]["tid"], changed.to_string());
}
