//! What a backup does where something of the original was lost: it keeps what it has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use filestorage::FileStorage;
use fstools::{BackupOptions, Line, RestoreOptions, ToolError, Verdict};
use sim::SimDisk;
use storage::Oid;
use vfs::Disk;

use crate::backup::{at, back_up, contents, repository, restore, restored, set, verify, versions};
use crate::blobs::{DIRECTORY, site};
use crate::{Heard, PATH, commit, disk, record};

fn options(second: u64) -> BackupOptions {
    BackupOptions {
        blobs: Some(DIRECTORY.into()),
        ..at(second)
    }
}

fn run(disk: &Arc<SimDisk>, options: &BackupOptions) -> (Verdict, Vec<Line>) {
    let mut heard = Heard::default();
    let verdict = fstools::backup(Path::new(PATH), &repository(disk), options, &mut heard);
    (verdict.unwrap(), heard.0)
}

fn said(lines: &[Line]) -> String {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The files of the blob 7.
fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let top = Path::new(DIRECTORY).join("0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x07");
    let entries = disk.list_directory(&top).unwrap().into_iter();
    entries.map(|entry| top.join(entry.name)).collect()
}

/// A backup of the site with its three revisions of a blob, and then a change of the root.
fn backed_up_site() -> (Arc<SimDisk>, Arc<FileStorage>) {
    let (disk, storage) = site();
    let line = back_up(&disk, &options(10)).unwrap();
    assert_eq!(line.blobs.unwrap().files, 3);
    (disk, storage)
}

fn restored_blobs(disk: &Arc<SimDisk>) -> u64 {
    let options = RestoreOptions {
        blobs: Some("/new/blobs".into()),
        full: true,
        ..RestoreOptions::default()
    };
    let (verdict, line) = restore(disk, &options).unwrap();
    assert_eq!(verdict, Verdict::Sound);
    line.unwrap().blobs.unwrap().files
}

#[test]
fn a_blob_that_vanished_stays_in_the_backup() {
    let (disk, storage) = backed_up_site();
    disk.remove(&files(&disk)[2]).unwrap();
    commit(
        &storage,
        &[(0, record("Root", &[("blob", crate::strong(7))]))],
    );
    for quick in [true, false] {
        let second = if quick { 20 } else { 30 };
        commit(&storage, &[(1, record("Other", &[]))]);
        let (verdict, lines) = run(
            &disk,
            &BackupOptions {
                quick,
                ..options(second)
            },
        );
        assert_eq!(verdict, Verdict::Wrong);
        assert!(said(&lines).contains("the copy in the repository stays"));
        assert_eq!(restored_blobs(&disk), 3);
    }
    let kill = BackupOptions {
        full: true,
        kill_old: true,
        ..options(40)
    };
    let (verdict, lines) = run(&disk, &kill);
    assert_eq!(verdict, Verdict::Wrong);
    assert!(said(&lines).contains("nothing older was removed"));
    assert_eq!(restored_blobs(&disk), 3);
    assert_eq!(verify(&disk, false).0, Verdict::Sound);
}

#[test]
fn an_empty_directory_of_blobs_removes_nothing() {
    let (disk, _storage) = backed_up_site();
    for file in files(&disk) {
        disk.remove(&file).unwrap();
    }
    disk.remove(&Path::new(DIRECTORY).join(".layout")).unwrap();
    let (verdict, lines) = run(&disk, &options(20));
    assert_eq!(verdict, Verdict::Wrong, "nothing changed, and yet");
    assert!(said(&lines).contains("files of blobs missing: 3"));
    let kill = BackupOptions {
        full: true,
        kill_old: true,
        ..options(30)
    };
    assert_eq!(run(&disk, &kill).0, Verdict::Wrong);
    assert_eq!(restored_blobs(&disk), 3);
}

#[test]
fn a_blob_that_no_backup_has_is_named() {
    let (disk, storage) = site();
    let lost = files(&disk)[0].clone();
    disk.remove(&lost).unwrap();
    for second in [10, 20] {
        commit(&storage, &[(1, record("Other", &[]))]);
        let (verdict, lines) = run(&disk, &options(second));
        assert_eq!(verdict, Verdict::Wrong);
        assert!(said(&lines).contains("no earlier backup has it"));
        let Some(Line::BlobAbsent { oid, .. }) = lines.first() else {
            panic!("{lines:?}");
        };
        assert_eq!(*oid, Oid::new(7));
        let (verdict, lines) = verify(&disk, false);
        assert_eq!(verdict, Verdict::Wrong, "{lines:?}");
        assert!(lines[0].contains("the backup has none"), "{lines:?}");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(verify(&disk, true).0, Verdict::Sound);
    }
}

#[test]
fn a_directory_of_blobs_that_is_away_is_told_also_where_nothing_changed() {
    let (disk, storage) = backed_up_site();
    for second in [20, 30] {
        let refused = back_up(&disk, &at(second));
        assert!(matches!(refused, Err(ToolError::BlobsUnknown { .. })));
        // Without a new blob.
        commit(&storage, &[(1, record("Other", &[]))]);
    }
}

#[test]
fn the_blobs_of_the_repository_are_nobodys_originals() {
    let (disk, _storage) = backed_up_site();
    let own = BackupOptions {
        blobs: Some("/backup/blobs".into()),
        full: true,
        kill_old: true,
        ..at(20)
    };
    let refused = back_up(&disk, &own).unwrap_err().to_string();
    assert!(refused.contains("keeps its own blobs"), "{refused}");
}

#[test]
fn a_file_that_was_cut_off_takes_no_backup_with_it() {
    let [first, second, third, _] = versions();
    for (compress, cut) in [(false, &first), (true, &second)] {
        let disk = disk(&first);
        for (at_second, version) in [(10, &first), (20, &third)] {
            set(&disk, version);
            let options = BackupOptions {
                compress,
                ..at(at_second)
            };
            back_up(&disk, &options).unwrap();
        }
        set(&disk, cut);
        let kill = BackupOptions {
            kill_old: true,
            ..at(30)
        };
        let (verdict, lines) = run(&disk, &kill);
        assert_eq!(verdict, Verdict::Wrong);
        let said = said(&lines);
        assert!(said.contains("cut off"), "{said}");
        assert!(said.contains("restore --date"), "{said}");
        assert!(!said.contains("packed, probably"), "{said}");
        let until = fstools::BackupDate::at(at(20).now);
        assert!(restored(&disk, Some(until)).unwrap() == third);
        assert!(restored(&disk, None).unwrap() == *cut);
        assert!(contents(&disk, PATH) == *cut);
        let (verdict, _) = run(&disk, &at(40));
        assert_eq!(verdict, Verdict::Sound, "told once");
    }
}

#[test]
fn a_restore_that_ended_among_the_blobs_goes_on() {
    let (disk, _storage) = backed_up_site();
    let options = RestoreOptions {
        blobs_beside: true,
        ..RestoreOptions::default()
    };
    let image = disk.image();
    for step in 0.. {
        let other = Arc::new(SimDisk::with(&image));
        other.fail_at(other.operations() + step, sim::Fault::PowerLoss);
        let ended = restore(&other, &options);
        other.restart(step);
        let (verdict, line) = restore(&other, &options).unwrap();
        assert_eq!(verdict, Verdict::Sound, "killed at {step}");
        assert_eq!(line.unwrap().blobs.unwrap().files, 3);
        assert!(!other.exists(Path::new("/new/Data.fs.part")).unwrap());
        if ended.is_ok() {
            break;
        }
    }
    // Blobs of nobody are still nobody's.
    disk.create_directory(Path::new("/new/blobs/0x01")).unwrap();
    disk.put(Path::new("/new/blobs/0x01/0x01.blob"), b"x");
    let refused = restore(&disk, &options).unwrap_err().to_string();
    assert!(refused.contains("perhaps another Data.fs's"), "{refused}");
    assert!(!disk.exists(Path::new("/new/Data.fs.part")).unwrap());
}

#[test]
fn a_restore_writes_over_no_file_of_its_backup() {
    let (disk, _storage) = backed_up_site();
    let full = "/backup/2026-01-01-00-00-10.fs";
    let before = contents(&disk, full);
    let mut heard = Heard::default();
    let options = RestoreOptions {
        full: true,
        ..RestoreOptions::default()
    };
    let target = fstools::Target::File(Path::new(full));
    let refused = fstools::restore(&repository(&disk), target, &options, &mut heard);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("file of this backup"), "{refused}");
    assert!(contents(&disk, full) == before);
}
