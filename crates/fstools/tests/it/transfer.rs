//! Export files: what is in them, and what becomes of them.

use std::path::Path;
use std::sync::Arc;

use fstools::{ImportError, ImportOptions, Place, PlaceError, ToolError, Verdict};
use pickle::Pickles;
use serde_json::Value;
use sim::SimDisk;
use storage::{Oid, Record, Storage, StorageError, Tid};
use vfs::Disk;
use zodb::Reference;

use crate::{Heard, PLAIN, commit, disk, open, record, strong, survey};

const OUT: &str = "/db/out.zexp";
const BTREES: &[u8] = include_bytes!("../golden/btrees.fs");

/// A record of a Zope folder with these items.
fn folder(items: &[(&str, u64)]) -> Record {
    let mut pickles = Pickles::new();
    let class = pickles.global("OFS.Folder", "Folder");
    let (key, id) = (pickles.str("id"), pickles.str("folder"));
    let mut state = vec![(key, id)];
    let mut entries = Vec::new();
    for (name, oid) in items {
        let (key, reference) = (pickles.str(name), strong(*oid).write(&mut pickles));
        state.push((key, reference));
        let (key, id) = (pickles.str("id"), pickles.str(name));
        entries.push(pickles.dict(vec![(key, id)]));
    }
    let (key, entries) = (pickles.str("_objects"), pickles.tuple(entries));
    state.push((key, entries));
    let state = pickles.dict(state);
    pickles.push_root(class);
    pickles.push_root(state);
    Record::from(pickles.encode())
}

/// `/folder` (10) holds `one` (11) and `two` (12), which refer to each other; `one` weakly to 13.
fn site() -> (Arc<SimDisk>, Arc<dyn Storage>) {
    let disk = disk(PLAIN);
    let storage = open(&disk);
    let weak = Reference::Weak {
        oid: Oid::new(13),
        database: None,
    };
    let foreign = Reference::Foreign {
        database: "other".to_owned(),
        oid: Oid::new(12),
        class: None,
    };
    let one = [
        ("mate", strong(12)),
        ("again", strong(12)),
        ("weak", weak),
        ("far", foreign),
    ];
    commit(&storage, &[(0, record("Root", &[("folder", strong(10))]))]);
    commit(
        &storage,
        &[
            (10, folder(&[("one", 11), ("two", 12)])),
            (11, record("One", &one)),
            (12, record("Two", &[("mate", strong(11))])),
            (13, record("Three", &[])),
        ],
    );
    (disk, storage)
}

fn export(disk: &SimDisk, storage: &dyn Storage, oid: u64) -> (Verdict, Vec<u8>) {
    let mut heard = Heard::default();
    let (oid, before) = (Oid::new(oid), storage.last_tid().next());
    disk.remove(OUT.as_ref()).ok();
    let verdict = fstools::export(storage, before, oid, disk, Path::new(OUT), &mut heard).unwrap();
    (verdict, disk.contents(OUT.as_ref()).unwrap())
}

fn import(
    disk: &SimDisk,
    storage: &Arc<dyn Storage>,
    bytes: &[u8],
    options: &ImportOptions,
) -> Result<(Verdict, Value), ToolError> {
    let mut heard = Heard::default();
    let verdict = fstools::import(storage, disk, &mut &bytes[..], options, &mut heard)?;
    Ok((verdict, heard.json().pop().unwrap()))
}

fn into(path: &str, name: Option<&str>, storage: &dyn Storage) -> ImportOptions {
    let place = Place::Path(path.to_owned());
    ImportOptions {
        into: Some(place.resolve(storage, Tid::MAX).unwrap()),
        name: name.map(str::to_owned),
        meta_type: Some("Thing".to_owned()),
        ..ImportOptions::default()
    }
}

fn resolve(storage: &dyn Storage, path: &str) -> Result<u64, PlaceError> {
    let oid = Place::Path(path.to_owned()).resolve(storage, Tid::MAX)?;
    Ok(oid.number())
}

#[test]
fn an_import_has_the_same_shape_under_new_ids() {
    let (disk, storage) = site();
    let (verdict, bytes) = export(&disk, &*storage, 10);
    assert_eq!(verdict, Verdict::Sound);
    let options = into("/folder", Some("copy"), &*storage);
    let (verdict, line) = import(&disk, &storage, &bytes, &options).unwrap();
    assert_eq!(verdict, Verdict::Sound, "{line}");
    assert_eq!(
        (&line["objects"], &line["dangling"]),
        (&3.into(), &0.into())
    );

    let copy = resolve(&*storage, "/folder/copy").unwrap();
    assert!(copy > 13);
    let one = resolve(&*storage, "/folder/copy/one").unwrap();
    let two = resolve(&*storage, "/folder/copy/two").unwrap();
    assert!(one != two && one > 13 && two > 13);
    assert_eq!(resolve(&*storage, "/folder/copy/one/mate").unwrap(), two);
    assert_eq!(
        resolve(&*storage, "/folder/copy/one/again/mate").unwrap(),
        one
    );
    assert_eq!(
        resolve(&*storage, "/folder/one/mate").unwrap(),
        12,
        "untouched"
    );

    let (verdict, _) = crate::run(fstools::references, &survey(&disk));
    assert_eq!(verdict, Verdict::Sound);
}

#[test]
fn an_imported_object_is_listed_and_knows_its_name() {
    let (disk, storage) = site();
    let (_, bytes) = export(&disk, &*storage, 10);
    let options = into("/folder", Some("copy"), &*storage);
    let _ = import(&disk, &storage, &bytes, &options).unwrap();
    let copy = resolve(&*storage, "/folder/copy").unwrap();
    let one = resolve(&*storage, "/folder/copy/one").unwrap();

    // A weak reference goes with the rest, one to another database stays.
    let record = storage
        .load_before(Oid::new(one), Tid::MAX)
        .unwrap()
        .unwrap()
        .record;
    let pickles = Pickles::decode(&record).unwrap();
    let references: Vec<Reference> = pickles.references().filter_map(Reference::read).collect();
    assert!(
        references
            .iter()
            .any(|it| matches!(it, Reference::Weak { oid, .. } if oid.number() > 13))
    );
    assert!(
        references
            .iter()
            .any(|it| matches!(it, Reference::Foreign { oid, .. } if oid.number() == 12))
    );

    // The folder lists it, and the object knows its name.
    let record = storage
        .load_before(Oid::new(10), Tid::MAX)
        .unwrap()
        .unwrap()
        .record;
    let pickles = Pickles::decode(&record).unwrap();
    let objects = pickles.root(1).unwrap().get("_objects").unwrap();
    let last = objects.elements().next_back().unwrap();
    assert_eq!(last.get("id").unwrap().as_str(), Some("copy"));
    assert_eq!(last.get("meta_type").unwrap().as_str(), Some("Thing"));
    let record = storage
        .load_before(Oid::new(copy), Tid::MAX)
        .unwrap()
        .unwrap()
        .record;
    let pickles = Pickles::decode(&record).unwrap();
    assert_eq!(
        pickles.root(1).unwrap().get("id").unwrap().as_str(),
        Some("copy")
    );
}

#[test]
fn a_folder_takes_no_name_twice_and_none_that_zope_does_not_take() {
    let (disk, storage) = site();
    let (_, bytes) = export(&disk, &*storage, 10);
    let last = storage.last_tid();
    for (name, what) in [
        ("one", "is taken"),
        ("_private", "is none that an item can have"),
        ("a/b", "is none that an item can have"),
    ] {
        let options = into("/folder", Some(name), &*storage);
        let refused = import(&disk, &storage, &bytes, &options).unwrap_err();
        assert!(refused.to_string().contains(what), "{refused}");
    }
    let options = into("/folder/two", None, &*storage);
    let refused = import(&disk, &storage, &bytes, &options).unwrap_err();
    assert!(
        refused.to_string().contains("is no folder of Zope"),
        "{refused}"
    );
    assert_eq!(storage.last_tid(), last, "nothing was committed");
}

#[test]
fn what_is_missing_is_said_on_both_sides() {
    let (disk, file) = site();
    let storage = open(&self::disk(&disk.contents(crate::PATH.as_ref()).unwrap()));
    drop(file);
    commit(
        &storage,
        &[(
            11,
            record("One", &[("lost", strong(99)), ("mate", strong(12))]),
        )],
    );
    let storage: Arc<dyn Storage> = storage;
    let (verdict, bytes) = export(&disk, &*storage, 10);
    assert_eq!(verdict, Verdict::Wrong);
    let (verdict, line) = import(&disk, &storage, &bytes, &ImportOptions::default()).unwrap();
    assert_eq!(verdict, Verdict::Wrong);
    assert_eq!(
        (&line["objects"], &line["dangling"]),
        (&3.into(), &1.into())
    );
    assert_eq!(line["name"], Value::Null);

    let mut heard = Heard::default();
    let (oid, before) = (Oid::new(99), storage.last_tid().next());
    let absent = fstools::export(
        &*storage,
        before,
        oid,
        &*disk,
        Path::new("/db/x"),
        &mut heard,
    );
    assert!(matches!(
        absent,
        Err(ToolError::Storage(StorageError::NotFound { oid })) if oid == Oid::new(99)
    ));
    assert_eq!(disk.contents("/db/x".as_ref()), None);
    assert_eq!(disk.contents("/db/x.part".as_ref()), None);
}

#[test]
fn an_export_writes_over_nothing() {
    let (disk, storage) = site();
    let data = disk.contents(crate::PATH.as_ref()).unwrap();
    let other = Path::new("/db/other.fs");
    disk.put(other, b"other");
    disk.put(Path::new("/db/begun.part"), b"begun");
    for taken in [crate::PATH, "/db/other.fs", "/db/begun"] {
        let mut heard = Heard::default();
        let (oid, before) = (Oid::new(10), storage.last_tid().next());
        let path = Path::new(taken);
        let refused = fstools::export(&*storage, before, oid, &*disk, path, &mut heard);
        assert!(
            matches!(refused, Err(ToolError::Exists(_))),
            "{taken}: {refused:?}"
        );
        assert!(heard.0.is_empty());
    }
    assert_eq!(disk.contents(crate::PATH.as_ref()).unwrap(), data);
    assert_eq!(disk.contents(other).unwrap(), b"other");
    assert_eq!(disk.contents("/db/begun.part".as_ref()).unwrap(), b"begun");
    assert_eq!(disk.contents("/db/other.fs.part".as_ref()), None);
}

#[test]
fn a_broken_file_imports_nothing() {
    let (disk, storage) = site();
    let (_, bytes) = export(&disk, &*storage, 10);
    let last = storage.last_tid();
    let refused = |bytes: &[u8]| match import(&disk, &storage, bytes, &ImportOptions::default()) {
        Err(ToolError::Import(error)) => error,
        other => panic!("{other:?}"),
    };
    for length in 0..bytes.len() {
        let error = refused(&bytes[..length]);
        if length < 4 {
            assert!(matches!(error, ImportError::Magic), "{length}: {error}");
        } else {
            assert!(matches!(error, ImportError::Truncated), "{length}: {error}");
        }
    }
    let mut strange = bytes.clone();
    strange[4 + 8] = 0xff;
    assert!(matches!(refused(&strange), ImportError::Length(_)));
    let mut strange = bytes.clone();
    strange[4 + 16] = b'?';
    assert!(matches!(refused(&strange), ImportError::Record { .. }));
    let empty = [&b"ZEXP"[..], &[0xff; 16]].concat();
    assert!(matches!(refused(&empty), ImportError::Empty));
    // A second record that nothing refers to.
    let mut strange = bytes[..bytes.len() - 16].to_vec();
    let copy = strange[4..].to_vec();
    strange.extend(&copy);
    strange.extend([0xff; 16]);
    let at = bytes.len() - 16;
    strange[at..at + 8].copy_from_slice(&[0x77; 8]);
    assert!(matches!(refused(&strange), ImportError::Unreferenced(_)));
    assert_eq!(storage.last_tid(), last, "nothing was committed");
}

#[test]
fn an_import_into_a_btree_or_into_nothing_says_so() {
    let (disk, storage) = site();
    let (_, bytes) = export(&disk, &*storage, 10);
    let trees: Arc<dyn Storage> = open(&self::disk(BTREES));
    let options = into("/nested", Some("copy"), &*trees);
    let refused = import(&disk, &trees, &bytes, &options).unwrap_err();
    assert!(refused.to_string().contains("is a BTree"), "{refused}");

    let mut heard = Heard::default();
    let options = ImportOptions::default();
    let verdict = fstools::import(&storage, &*disk, &mut &bytes[..], &options, &mut heard);
    assert_eq!(verdict.unwrap(), Verdict::Sound);
    let line = heard.0[0].to_string();
    assert!(line.contains("the next pack removes them"), "{line}");
}

#[test]
fn a_path_goes_through_btrees() {
    let storage = open(&disk(BTREES));
    let tree = resolve(&*storage, "/nested").unwrap();
    assert!(tree > 0);
    let missing = resolve(&*storage, "/nested/none").unwrap_err();
    assert!(
        matches!(missing, PlaceError::NoSuchName { .. }),
        "{missing}"
    );

    let (_, storage) = site();
    assert_eq!(resolve(&*storage, "/").unwrap(), 0);
    assert_eq!(resolve(&*storage, "/folder//one/").unwrap(), 11);
    let missing = resolve(&*storage, "/folder/three").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "/folder/three: 0x0a refers to nothing under the name \"three\""
    );
}
