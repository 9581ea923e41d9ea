//! An index of this very file that does not name the newest records of some objects; and the ids of
//! objects that only an index still knows.

use std::path::PathBuf;
use std::sync::Arc;

use filestorage::{FileStorage, Options, Positions, Survey};
use sim::SimDisk;
use storage::{Oid, Storage, StorageError, Tid};

use crate::{PATH, change, open, open_read_only, options, path};

const OBJECTS: u64 = 16;

fn beside(suffix: &str) -> PathBuf {
    format!("{PATH}{suffix}").into()
}

/// Some objects, most of them changed, without a checkpoint.
fn written() -> SimDisk {
    let disk = SimDisk::new();
    let options = Options {
        checkpoint_every: None,
        ..options(&disk)
    };
    let storage = FileStorage::open(PATH, options).unwrap();
    for number in 0..OBJECTS + 9 {
        change(&storage, number % OBJECTS, &number.to_be_bytes());
    }
    storage.close().unwrap();
    assert_eq!(disk.contents(&beside(".zidx")), None);
    disk
}

/// Puts another index in the place of the one that is there; nothing where the object is not in it.
fn rewrite(disk: &SimDisk, entry: impl Fn(Oid, u64) -> Option<u64>) {
    let survey = Survey::open(PATH, Arc::new(disk.clone())).unwrap();
    let saved = survey.saved_index().unwrap();
    let mut wrong = Positions::default();
    wrong.set_end(saved.end());
    for (oid, at) in saved.iter() {
        if let Some(at) = entry(oid, at) {
            wrong.set(oid, at);
        }
    }
    wrong.save(disk, &beside(".index")).unwrap();
}

fn all(storage: &FileStorage) -> Vec<Vec<u8>> {
    let load = |oid| storage.load_before(Oid::new(oid), Tid::MAX).unwrap();
    (0..OBJECTS)
        .map(|oid| load(oid).unwrap().record.to_vec())
        .collect()
}

#[test]
fn an_index_that_is_wrong_about_an_object_is_not_believed() {
    let disk = written();
    let right = disk.contents(&beside(".index")).unwrap();
    let expected = all(&open_read_only(&disk).unwrap());
    // Object 3 was changed; its older record is where that of object 3 was first written.
    let older = {
        let survey = Survey::open(PATH, Arc::new(disk.clone())).unwrap();
        let mut walk = survey.walk();
        loop {
            walk.next_step().unwrap().unwrap();
            let record = walk.next_record().unwrap().unwrap();
            if record.oid == Oid::new(3) {
                break record.offset;
            }
        }
    };
    for named in [None, Some(older)] {
        rewrite(&disk, |oid, at| match oid.number() {
            3 => named,
            _ => Some(at),
        });
        let wrong = disk.contents(&beside(".index")).unwrap();
        assert_ne!(wrong, right);
        assert_eq!(all(&open_read_only(&disk).unwrap()), expected);
        assert_eq!(disk.contents(&beside(".index")).unwrap(), wrong);
        let storage = open(&disk).unwrap();
        assert_eq!(all(&storage), expected);
        storage.close().unwrap();
        assert_eq!(disk.contents(&beside(".index")).unwrap(), right);
    }
}

/// The ids of objects whose creation is lost are still known to clients, and to those who have a backup.
#[test]
fn the_ids_of_a_lost_end_are_not_given_to_new_objects() {
    let disk = written();
    let bytes = disk.contents(path()).unwrap();
    let without = |disk: &SimDisk| {
        let options = Options {
            checkpoint_every: None,
            ..options(disk)
        };
        FileStorage::open(PATH, options).unwrap()
    };
    // Where the fourteenth object was about to be made.
    let cut = bytes.len() * 13 / usize::try_from(OBJECTS + 9).unwrap();
    let survey = Survey::open(PATH, Arc::new(disk.clone())).unwrap();
    let mut walk = survey.walk();
    while walk.next_offset() < cut as u64 {
        walk.next_step().unwrap().unwrap();
    }
    let cut = usize::try_from(walk.next_offset()).unwrap();
    disk.put(path(), &bytes[..cut]);
    for _ in 0..3 {
        let storage = without(&disk);
        let lost = storage.load_before(Oid::new(OBJECTS - 1), Tid::MAX);
        assert!(matches!(lost, Err(StorageError::NotFound { .. })));
        let new = storage.new_oids(2).unwrap();
        assert_eq!(new, [Oid::new(OBJECTS), Oid::new(OBJECTS + 1)]);
        storage.close().unwrap();
    }
    // Whoever put the shorter file there on purpose takes the index away.
    let kept = beside(".index.kept0");
    assert!(disk.contents(&kept).is_some());
    vfs::Disk::remove(&disk, &kept).unwrap();
    let new = without(&disk).new_oids(1).unwrap();
    assert!(new[0] < Oid::new(OBJECTS), "{}", new[0]);
}

/// A damaged id must not use up those that are left.
#[test]
fn an_id_that_is_far_away_in_a_kept_index_is_not_believed() {
    let disk = written();
    let survey = Survey::open(PATH, Arc::new(disk.clone())).unwrap();
    let mut far = Positions::default();
    far.set_end(survey.saved_index().unwrap().end());
    far.set(Oid::new(u64::MAX - 1), 30);
    far.save(&disk, &beside(".index.kept0")).unwrap();
    let new = open(&disk).unwrap().new_oids(1).unwrap();
    assert_eq!(new, [Oid::new(OBJECTS)]);
}
