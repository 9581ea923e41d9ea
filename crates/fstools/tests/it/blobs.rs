//! Blobs: each has its file, and the tools take the files along.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use filestorage::{FileStorage, Options};
use fstools::{CopyOptions, ImportOptions, Verdict};
use pickle::Pickles;
use sim::SimDisk;
use storage::{Oid, Record, Storage, Tid, TransactionMeta};
use vfs::{Disk, OpenMode};

use crate::{Heard, PATH, commit, disk, record, strong, survey};

pub(crate) const DIRECTORY: &str = "/db/blobs";

/// Long behind the transactions of these tests.
const NOW: Duration = Duration::from_secs(1 << 33);

fn open(disk: &Arc<SimDisk>) -> Arc<FileStorage> {
    FileStorage::open(
        PATH,
        Options {
            disk: disk.clone(),
            blob_dir: Some(DIRECTORY.into()),
            ..Options::default()
        },
    )
    .unwrap()
}

fn blob_record() -> Record {
    let mut pickles = Pickles::new();
    let (class, state) = (pickles.global("ZODB.blob", "Blob"), pickles.none());
    pickles.push_root(class);
    pickles.push_root(state);
    Record::from(pickles.encode())
}

fn store_blob(disk: &SimDisk, storage: &Arc<FileStorage>, oid: u64, data: &[u8]) -> Tid {
    let oid = Oid::new(oid);
    let blobs = storage.blobs().unwrap();
    let path = blobs.staging_directory().join("new");
    let file = disk.open(&path, OpenMode::Truncate).unwrap();
    file.write_at(data, 0).unwrap();
    let base = storage.current_tid(oid).unwrap_or(Tid::ZERO);
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    commit.store_blob(oid, base, blob_record(), path).unwrap();
    commit.vote().unwrap().finish(Box::new(|_| {})).unwrap()
}

fn load_blob(disk: &SimDisk, storage: &dyn Storage, oid: Oid) -> Vec<u8> {
    let tid = storage.current_tid(oid).unwrap();
    let path = storage.blobs().unwrap().load_blob(oid, tid).unwrap();
    disk.contents(&path).unwrap()
}

/// A root that holds the blob 7, of which there are two revisions, and a third by an undo.
pub(crate) fn site() -> (Arc<SimDisk>, Arc<FileStorage>) {
    let disk = Arc::new(SimDisk::new());
    let storage = open(&disk);
    commit(&storage, &[(0, record("Root", &[("blob", strong(7))]))]);
    store_blob(&disk, &storage, 7, b"first");
    let second = store_blob(&disk, &storage, 7, b"second");
    let undoing: Arc<dyn Storage> = storage.clone();
    let mut heard = Heard::default();
    let meta = TransactionMeta::default();
    let verdict = fstools::undo(&undoing, &[second], meta, None, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
    (disk, storage)
}

fn verify(disk: &Arc<SimDisk>) -> (Verdict, Heard) {
    let mut heard = Heard::default();
    let verdict = fstools::verify_blobs(
        &survey(disk),
        &**disk,
        Path::new(DIRECTORY),
        NOW,
        &mut heard,
    )
    .unwrap();
    (verdict, heard)
}

#[test]
fn each_record_has_its_file_and_each_file_its_record() {
    let (disk, storage) = site();
    let (verdict, heard) = verify(&disk);
    assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
    let found = heard.json().pop().unwrap();
    assert_eq!((&found["records"], &found["files"]), (&3.into(), &3.into()));

    let oid = Oid::new(7);
    let tid = storage.current_tid(oid).unwrap();
    let path = storage.blobs().unwrap().load_blob(oid, tid).unwrap();
    let other = path.parent().unwrap().join("0x03f0000100000000.blob");
    disk.rename(&path, &other).unwrap();
    let (verdict, heard) = verify(&disk);
    assert_eq!(verdict, Verdict::Wrong);
    let lines = heard.json();
    assert_eq!(heard.kinds(), ["broken", "blob-absent", "blobs-verified"]);
    assert_eq!(lines[0]["path"], other.display().to_string());
    assert_eq!(lines[1]["tid"], tid.to_string());
    let found = &lines[2];
    assert_eq!((&found["absent"], &found["stray"]), (&1.into(), &1.into()));

    let mut heard = Heard::default();
    let verdict = fstools::blob_directory(&*disk, Path::new(DIRECTORY), &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    let line = &heard.json()[0];
    assert_eq!((&line["files"], &line["bytes"]), (&3.into(), &16.into()));
    assert_eq!(line["layout"], "bushy");
}

/// An older Data.fs, or an empty one, beside the directory of blobs.
#[test]
fn files_of_later_transactions_are_told() {
    let (place, storage) = site();
    let bytes = place.contents(PATH.as_ref()).unwrap();
    let newest = storage.last_tid().to_unix_time();
    drop(storage);
    let at = |bytes: &[u8], now: Duration| {
        place.put(PATH.as_ref(), bytes);
        let mut heard = Heard::default();
        let survey = survey(&place);
        let directory = Path::new(DIRECTORY);
        let verdict = fstools::verify_blobs(&survey, &*place, directory, now, &mut heard).unwrap();
        let found = heard.json().pop().unwrap();
        let count = |key: &str| found[key].as_u64().unwrap();
        (verdict, count("files"), count("stray"), count("later"))
    };
    let hour = Duration::from_secs(3601);
    assert_eq!(at(&bytes, newest + hour), (Verdict::Sound, 3, 0, 0));
    // Without the last transaction: a server may be finishing it.
    let length = u64::from_be_bytes(*bytes.last_chunk().unwrap());
    let end = bytes.len() - 8 - usize::try_from(length).unwrap();
    assert_eq!(at(&bytes[..end], newest), (Verdict::Sound, 2, 0, 1));
    assert_eq!(at(&bytes[..end], newest + hour), (Verdict::Wrong, 3, 1, 0));
    // The first transaction of a file has no blobs.
    assert_eq!(at(b"FS30", newest), (Verdict::Wrong, 3, 3, 0));
}

#[test]
fn a_copy_takes_blobs_along() {
    let (disk, storage) = site();
    let target = FileStorage::open(
        "/db/copy/Data.fs",
        Options {
            disk: disk.clone(),
            blob_dir: Some("/db/copy/blobs".into()),
            ..Options::default()
        },
    )
    .unwrap();
    let to: Arc<dyn Storage> = target.clone();
    let mut heard = Heard::default();
    let options = CopyOptions::default();
    let verdict = fstools::copy(&*storage, &to, &*disk, options, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);
    assert_eq!(heard.json()[0]["blobs"], 3);
    assert_eq!(load_blob(&disk, &*target, Oid::new(7)), b"first");
    let mut heard = Heard::default();
    let copy = filestorage::Survey::open("/db/copy/Data.fs", disk.clone()).unwrap();
    let directory = Path::new("/db/copy/blobs");
    let verdict = fstools::verify_blobs(&copy, &*disk, directory, NOW, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);

    // Where the target has no place for them, nothing is left out unless that is asked for.
    let plain: Arc<dyn Storage> = crate::open(&self::disk(b"FS30"));
    let mut heard = Heard::default();
    let refused = fstools::copy(&*storage, &plain, &*disk, options, &mut heard).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("--blobs-to DIR"), "{refused}");
    let copied = plain.last_tid();
    assert!(copied < storage.last_tid());
    let options = CopyOptions {
        resume: true,
        without_blobs: true,
    };
    let verdict = fstools::copy(&*storage, &plain, &*disk, options, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    let line = heard.json().pop().unwrap();
    assert_eq!(
        (&line["blobs"], &line["blobs_left_out"]),
        (&0.into(), &3.into())
    );
    assert_eq!(plain.last_tid(), storage.last_tid());
}

#[test]
fn an_export_that_lacks_blobs_is_not_written() {
    let (disk, storage) = site();
    let tid = storage.current_tid(Oid::new(7)).unwrap();
    let file = storage
        .blobs()
        .unwrap()
        .load_blob(Oid::new(7), tid)
        .unwrap();
    disk.remove(&file).unwrap();
    let plain = crate::open(&{
        let copy = SimDisk::new();
        copy.put(Path::new(PATH), &disk.contents(PATH.as_ref()).unwrap());
        Arc::new(copy)
    });
    let storages: [(Arc<dyn Storage>, &str); 2] = [
        (storage, "its file is missing"),
        (plain, "--blobs DIR names it"),
    ];
    for (storage, said) in storages {
        let mut heard = Heard::default();
        let out = Path::new("/db/out.zexp");
        let before = storage.last_tid().next();
        let verdict =
            fstools::export(&*storage, before, Oid::ROOT, &*disk, out, &mut heard).unwrap();
        assert_eq!(verdict, Verdict::Wrong);
        assert_eq!(heard.kinds(), ["blob-absent", "broken"]);
        assert!(heard.0[0].to_string().contains(said), "{}", heard.0[0]);
        assert!(heard.0[1].to_string().contains("not written"));
        assert_eq!(disk.contents(out), None);
        assert_eq!(disk.contents("/db/out.zexp.part".as_ref()), None);
    }
}

#[test]
fn blobs_are_in_exports() {
    let (disk, storage) = site();
    let mut heard = Heard::default();
    let out = Path::new("/db/out.zexp");
    let before = storage.last_tid().next();
    let verdict = fstools::export(&*storage, before, Oid::ROOT, &*disk, out, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    assert_eq!(heard.json()[0]["blobs"], 1);
    let bytes = disk.contents(out).unwrap();
    let mark = b"\0BLOBSTART\0\0\0\0\0\0\0\x05first\xff";
    assert!(bytes.windows(mark.len()).any(|window| window == mark));

    let to: Arc<dyn Storage> = storage.clone();
    let options = ImportOptions::default();
    let mut heard = Heard::default();
    let verdict = fstools::import(&to, &*disk, &mut &bytes[..], &options, &mut heard).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    let line = &heard.json()[0];
    assert_eq!((&line["objects"], &line["blobs"]), (&2.into(), &1.into()));
    assert_eq!(load_blob(&disk, &*storage, Oid::new(9)), b"first");
    let (verdict, heard) = verify(&disk);
    assert_eq!(verdict, Verdict::Sound, "{:?}", heard.0);

    // A storage without blobs takes none in, and exports say what they lack.
    let plain: Arc<dyn Storage> = crate::open(&self::disk(b"FS30"));
    let mut heard = Heard::default();
    let refused = fstools::import(&plain, &*disk, &mut &bytes[..], &options, &mut heard);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("--blobs DIR names it")
    );
    assert_eq!(plain.last_tid(), Tid::ZERO);
}
