//! A file that lost finished transactions at its end, or records of objects, as the index beside it
//! tells.

use std::path::{Path, PathBuf};

use filestorage::{FileStorage, Options, PackOptions, Survey};
use sim::SimDisk;
use storage::{Oid, Storage, StorageError, Tid};

use crate::{PATH, change, open, open_read_only, options, path};

fn beside(suffix: &str) -> PathBuf {
    format!("{PATH}{suffix}").into()
}

/// Some objects, changed one after the other; where each transaction began, and the disk when the
/// storage was closed, without a checkpoint.
fn written() -> (SimDisk, Vec<usize>) {
    let disk = SimDisk::new();
    let storage = FileStorage::open(PATH, without_checkpoints(&disk)).unwrap();
    let mut starts = Vec::new();
    for number in 0..24 {
        starts.push(disk.contents(path()).unwrap().len());
        change(&storage, number % 16, &[1; 100]);
    }
    storage.close().unwrap();
    assert!(disk.contents(&beside(".zidx")).is_none());
    (disk, starts)
}

fn without_checkpoints(disk: &SimDisk) -> Options {
    Options {
        checkpoint_every: None,
        ..options(disk)
    }
}

fn cut(disk: &SimDisk, bytes: usize) {
    let all = disk.contents(path()).unwrap();
    disk.put(path(), &all[..bytes]);
}

/// What is refused leaves everything as it was.
fn refused(disk: &SimDisk, options: Options) {
    let before = disk.contents(path());
    let index = disk.contents(&beside(".index"));
    let error = FileStorage::open(PATH, options).err().unwrap();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("missing at the end") && said.contains("recover"),
        "{said}"
    );
    assert_eq!(disk.contents(path()), before);
    assert_eq!(disk.contents(&beside(".index")), index);
    for suffix in [".tr0", ".index.kept0"] {
        assert_eq!(disk.contents(&beside(suffix)), None, "{suffix}");
    }
}

fn strict(disk: &SimDisk) -> Options {
    Options {
        refuse_missing_end: true,
        ..without_checkpoints(disk)
    }
}

#[test]
fn a_server_goes_on_where_nothing_is_cut_and_keeps_the_index() {
    let (disk, starts) = written();
    let index = disk.contents(&beside(".index"));
    cut(&disk, starts[20]);
    refused(&disk, strict(&disk));
    let longer = Survey::open(PATH, std::sync::Arc::new(disk.clone())).unwrap();
    let longer = longer.longer(starts[20] as u64).unwrap().unwrap();
    assert_eq!((longer.found, longer.objects), (starts[20] as u64, 4));
    assert_eq!(longer.first[0], (Oid::new(4), starts[20] as u64 + 23));
    // A look changes nothing.
    open_read_only(&disk).unwrap();
    assert_eq!(disk.contents(&beside(".index")), index);
    let storage = FileStorage::open(PATH, without_checkpoints(&disk)).unwrap();
    assert_eq!(disk.contents(&beside(".index.kept0")), index);
    assert!(
        storage
            .load_before(Oid::new(4), Tid::MAX)
            .unwrap()
            .is_some()
    );
    change(&storage, 1, b"after");
    storage.close().unwrap();
    // Now all fits together, and the tools write again.
    FileStorage::open(PATH, strict(&disk))
        .unwrap()
        .close()
        .unwrap();

    // A second time the first witness stays.
    cut(&disk, starts[18]);
    open(&disk).unwrap().close().unwrap();
    assert_eq!(disk.contents(&beside(".index.kept0")), index);
    assert!(disk.contents(&beside(".index.kept1")).is_some());
}

#[test]
fn what_was_finished_is_not_cut() {
    for bytes in [5, 30, 100] {
        let (disk, starts) = written();
        cut(&disk, starts[20] + bytes);
        refused(&disk, without_checkpoints(&disk));
        refused(&disk, strict(&disk));
        // Whoever knows better takes the index away.
        disk.put(&beside(".index"), b"");
        open(&disk).unwrap();
        assert_eq!(disk.contents(path()).unwrap().len(), starts[20]);
    }
    // The last transaction says that it was never finished.
    let (disk, starts) = written();
    let mut bytes = disk.contents(path()).unwrap();
    bytes[starts[23] + 16] = b'c';
    disk.put(path(), &bytes);
    refused(&disk, without_checkpoints(&disk));
}

#[test]
fn a_checkpoint_is_a_witness_too() {
    let disk = SimDisk::new();
    let often = |disk: &SimDisk| Options {
        checkpoint_every: Some(1000),
        background: std::sync::Arc::new(|work| work()),
        ..options(disk)
    };
    let storage = FileStorage::open(PATH, often(&disk)).unwrap();
    for number in 0..24 {
        change(&storage, number % 16, &[1; 100]);
    }
    drop(storage);
    assert!(disk.contents(&beside(".zidx")).is_some());
    let size = disk.contents(path()).unwrap().len();
    cut(&disk, size * 2 / 3);
    let error = FileStorage::open(PATH, often(&disk)).err().unwrap();
    assert!(error.to_string().contains("Data.fs.zidx knows"), "{error}");
}

/// What is left of the index by a pack of the original that was killed before its last step.
#[test]
fn an_index_from_before_a_pack_proves_nothing() {
    let (disk, _) = written();
    let storage = FileStorage::open(PATH, without_checkpoints(&disk)).unwrap();
    for _ in 0..3 {
        change(&storage, 3, b"once more");
    }
    storage.close().unwrap();
    let index = disk.contents(&beside(".index")).unwrap();
    let storage = FileStorage::open(PATH, without_checkpoints(&disk)).unwrap();
    let all = PackOptions {
        to: Tid::MAX,
        gc: false,
        ..PackOptions::default()
    };
    assert!(storage.pack(&all).unwrap().packed);
    storage.close().unwrap();
    let old = disk.contents(&beside(".old")).unwrap();
    for old in [Some(old), None] {
        match &old {
            Some(old) => disk.put(&beside(".old"), old),
            None => disk.put(&beside(".old"), b""),
        }
        disk.put(&beside(".index"), &index);
        FileStorage::open(PATH, strict(&disk))
            .unwrap()
            .close()
            .unwrap();
        assert_eq!(disk.contents(&beside(".index.kept0")), None);
    }
}

/// A new Data.fs in the place of one that was removed, with its index left behind.
#[test]
fn an_index_of_another_file_proves_nothing() {
    let (other, _) = written();
    let index = other.contents(&beside(".index")).unwrap();
    for objects in [0, 3] {
        let disk = SimDisk::new();
        disk.put(Path::new(&beside(".index")), &index);
        let storage = FileStorage::open(PATH, strict(&disk)).unwrap();
        for oid in 0..objects {
            change(&storage, oid, &[2; 17]);
        }
        // Killed, without an index of its own.
        drop(storage);
        disk.restart_process();
        disk.put(Path::new(&beside(".index")), &index);
        FileStorage::open(PATH, strict(&disk)).unwrap();
    }
}

/// What the last transaction says is what the original looks at.
#[test]
fn an_index_that_mostly_leads_elsewhere_is_not_believed() {
    let file = |first: u64| {
        let disk = SimDisk::new();
        let storage = FileStorage::open(PATH, without_checkpoints(&disk)).unwrap();
        for oid in first..first + 16 {
            change(&storage, oid, &[1; 100]);
        }
        change(&storage, 200, &[1; 100]);
        storage.close().unwrap();
        disk
    };
    let (disk, other) = (file(0), file(100));
    disk.put(
        &beside(".index"),
        &other.contents(&beside(".index")).unwrap(),
    );
    let storage = FileStorage::open(PATH, without_checkpoints(&disk)).unwrap();
    for oid in (0..16).chain([200]) {
        assert!(
            storage.load_before(Oid::new(oid), Tid::MAX).is_ok(),
            "{oid}"
        );
    }
    assert_eq!(disk.contents(&beside(".index.kept0")), None);
}

/// A new index would hide what is wrong with the file.
#[test]
fn an_index_that_the_file_contradicts_is_kept() {
    let (disk, starts) = written();
    let index = disk.contents(&beside(".index"));
    let bytes = disk.contents(path()).unwrap();
    // A record says that it is of object 0x50: the only one of object 12, and that of the last
    // transaction, where the index is not believed any more.
    for (number, oid) in [(12, 12), (23, 7)] {
        let mut broken = bytes.clone();
        let at = starts[number] + 23 + 7;
        assert_eq!(broken[at], oid);
        broken[at] = 0x50;
        disk.put(path(), &broken);
        disk.put(&beside(".index"), index.as_ref().unwrap());
        // A look changes nothing.
        open_read_only(&disk).unwrap();
        assert_eq!(disk.contents(&beside(".index")), index);
        let storage = FileStorage::open(PATH, without_checkpoints(&disk)).unwrap();
        let read = storage.load_before(Oid::new(oid.into()), Tid::MAX);
        if number == 12 {
            assert!(
                matches!(read, Err(StorageError::Corrupt { .. })),
                "{read:?}"
            );
            assert_eq!(disk.contents(&beside(".index")), index);
            assert_eq!(disk.contents(&beside(".index.kept0")), None);
        } else {
            assert!(read.is_ok());
            assert_ne!(disk.contents(&beside(".index")), index);
            assert_eq!(disk.contents(&beside(".index.kept0")), index);
        }
        drop(storage);
        disk.restart_process();
    }
}
