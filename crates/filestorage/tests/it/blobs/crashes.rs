//! Power losses at every step of what is done with blobs. After each, every blob whose record is there
//! has its file, whole, and nothing else is in the directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use filestorage::FileStorage;
use sim::{Crash, Fault, SimDisk};
use storage::{
    Blobs, CommitError, Oid, Record, Storage, StorageError, Tid, TransactionMeta, is_blob_record,
};
use vfs::{Disk, OpenMode};

use super::{BLOB, BLOBS, ONE, Stage, current, files, finish, listed, pack, packable};

/// What each revision says that was committed at any time.
type Texts = BTreeMap<(Oid, Tid), String>;

/// Plays a script on a disk that writes down all that happens; then lets the power go off everywhere.
fn meets(name: &str, play: impl Fn(&Stage, &Arc<FileStorage>, &mut Texts)) {
    let stage = Stage::new();
    stage.disk.record();
    let storage = stage.open();
    let mut texts = Texts::new();
    play(&stage, &storage, &mut texts);
    note_texts(&stage, &storage, &mut texts);
    drop(storage);
    let (mut leftovers, mut lists) = (0, 0);
    let count = stage.disk.trace().crashes(10, |crash| {
        leftovers += usize::from(has(crash, "tmp/zodiac-"));
        lists += usize::from(has(crash, ".removed"));
        check(crash, &stage, &texts, &format!("{name}: {crash}"));
    });
    eprintln!("{name}: {count:?}, {leftovers} with leftovers, {lists} with lists");
    assert!(
        count.distinct > 150 && leftovers > 50,
        "{name} is worth less"
    );
}

fn has(crash: &Crash<'_>, beginning: &str) -> bool {
    let beginning = format!("{BLOBS}/{beginning}");
    let mut paths = crash.image.files.keys();
    paths.any(|path| path.to_str().unwrap().starts_with(&beginning))
}

fn note_texts(stage: &Stage, storage: &FileStorage, texts: &mut Texts) {
    for (oid, tid) in listed(storage) {
        texts.insert((oid, tid), stage.loaded(storage, oid, tid).unwrap());
    }
}

fn check(crash: &Crash<'_>, played: &Stage, texts: &Texts, context: &str) {
    let mut stage = Stage::on(SimDisk::with(&crash.image));
    stage.options.clock = Arc::clone(&played.options.clock);
    let storage = stage.open();
    for tid in crash.notes {
        assert!(storage.last_tid() >= Tid::new(*tid), "{context}: lost");
    }
    let mut wanted = BTreeMap::new();
    for transaction in storage.transactions(Tid::ZERO, Tid::MAX).unwrap() {
        for record in transaction.unwrap().records() {
            let record = record.unwrap();
            if record.data.is_some_and(|data| is_blob_record(&data)) {
                let path = storage.blob_directory().unwrap();
                let path = path.path(record.oid, record.tid);
                let path = path.strip_prefix(BLOBS).unwrap().to_owned();
                wanted.insert(path, texts[&(record.oid, record.tid)].clone());
            }
        }
    }
    assert_eq!(files(&stage.disk.image()), wanted, "{context}");
    let changed = stage.change(&storage, ONE, "life goes on");
    assert!(storage.load_blob(ONE, changed).is_ok(), "{context}");
    drop(storage);
    stage.disk.restart_process();
    wanted.insert(
        Path::new("0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x01")
            .join(format!("0x{:016x}.blob", changed.number())),
        "life goes on".to_owned(),
    );
    stage.open();
    assert_eq!(files(&stage.disk.image()), wanted, "{context}: later");
}

/// A text that spans sectors, so that losing a part of it shows.
fn long(text: &str) -> String {
    format!("{text} ").repeat(300)
}

fn note(stage: &Stage, tid: Tid) -> Tid {
    stage.disk.note(tid.number());
    tid
}

#[test]
fn commits_and_undos_of_blobs_survive_power_losses() {
    meets("commits", |stage, storage, _| {
        note(stage, stage.change(storage, ONE, &long("one")));
        let mut commit = stage.begin(storage);
        stage.store(&mut *commit, storage, ONE, &long("uno"));
        stage.store(&mut *commit, storage, Oid::new(0x300), &long("other"));
        let second = note(stage, finish(commit).unwrap());
        let mut commit = stage.begin(storage);
        stage.store(&mut *commit, storage, ONE, &long("aborted"));
        drop(commit.vote().unwrap());
        let undone = note(stage, stage.undo(storage, second).unwrap());
        note(stage, stage.undo(storage, undone).unwrap());
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        let (oid, record) = (Oid::new(5), Record::from(&b"plain"[..]));
        commit.store(oid, current(storage, oid), record).unwrap();
        note(stage, finish(commit).unwrap());
    });
}

#[test]
fn packs_of_blobs_survive_power_losses() {
    for keep_old in [true, false] {
        meets(&format!("pack, old {keep_old}"), |stage, storage, texts| {
            let [.., undone] = packable(stage, storage);
            note(stage, undone);
            note_texts(stage, storage, texts);
            pack(storage, undone, keep_old);
            note(stage, stage.change(storage, ONE, &long("later")));
            note_texts(stage, storage, texts);
            pack(storage, Tid::MAX, !keep_old);
            note(stage, stage.change(storage, ONE, "at the end"));
        });
    }
}

/// A failing operation costs the transaction at most. Either the storage says so from then on, or it is
/// as well as before; nothing that was acknowledged is lost, and nothing stays behind.
#[test]
fn failing_operations_cost_no_other_blob() {
    for fault in [Fault::Error, Fault::Full] {
        let (mut refused, mut poisoned) = (0, 0);
        for operation in 1.. {
            let stage = Stage::new();
            let storage = stage.open();
            stage
                .disk
                .fail_at(stage.disk.operations() + operation, fault);
            let mut acknowledged = Texts::new();
            let result = failing_session(&stage, &storage, &mut acknowledged);
            if !stage.disk.is_faultless() {
                break;
            }
            refused += usize::from(result.is_err());
            let context = format!("{fault:?} at {operation}: {result:?}");
            if result.is_err() {
                match storage.clone().begin(TransactionMeta::default()) {
                    Ok(_) => {
                        let tid = stage.change(&storage, Oid::new(8), "well");
                        acknowledged.insert((Oid::new(8), tid), "well".to_owned());
                    }
                    Err(error) => {
                        let is_poison = matches!(error, StorageError::Poisoned { .. });
                        assert!(is_poison, "{context}: {error}");
                        poisoned += 1;
                    }
                }
            }
            drop(storage);
            stage.disk.restart_process();
            let storage = stage.open();
            let mut found = Texts::new();
            note_texts(&stage, &storage, &mut found);
            // Where the outcome is unknown, both files of the transaction are there, or none.
            let more = found.len() - acknowledged.len();
            let is_unknown = matches!(result, Err(CommitError::Unknown));
            assert!(more == 0 || (is_unknown && more == 2), "{context}");
            found.retain(|revision, _| acknowledged.contains_key(revision));
            assert_eq!(found, acknowledged, "{context}");
            for (oid, tid) in listed(&storage) {
                assert!(storage.load_serial(oid, tid).is_ok(), "{context}");
            }
            let files = files(&stage.disk.image());
            assert_eq!(files.len(), listed(&storage).len(), "{context}");
        }
        assert!(refused > 20 && poisoned > 3, "{refused}, {poisoned}");
        assert!(refused > poisoned, "most failures cost one transaction");
    }
}

fn failing_session(
    stage: &Stage,
    storage: &Arc<FileStorage>,
    acknowledged: &mut Texts,
) -> Result<(), CommitError> {
    let mut last = Tid::ZERO;
    for text in ["one", "two"] {
        let mut commit = storage.clone().begin(TransactionMeta::default())?;
        for oid in [1, 0x300] {
            let path = storage.staging_file();
            let file = stage.disk.open(&path, OpenMode::Create);
            let file = file.map_err(|error| StorageError::io(&path, "open", error))?;
            file.write_at(text.as_bytes(), 0)
                .map_err(|error| StorageError::io(&path, "write", error))?;
            let record = Record::from(BLOB);
            commit.store_blob(Oid::new(oid), last, record, path)?;
        }
        last = finish(commit)?;
        acknowledged.extend([1, 0x300].map(|oid| ((Oid::new(oid), last), text.to_owned())));
    }
    let mut commit = storage.clone().begin(TransactionMeta::default())?;
    commit.undo(last)?;
    let undone = finish(commit)?;
    acknowledged.extend([1, 0x300].map(|oid| ((Oid::new(oid), undone), "one".to_owned())));
    Ok(())
}
