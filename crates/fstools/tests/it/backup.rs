//! Backups and what is restored from them, on a disk in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use filestorage::Survey;
use fstools::{
    BackupDate, BackupLine, BackupOptions, BackupVerifyOptions, Line, Repository, RestoreLine,
    RestoreOptions, Target, ToolError, Verdict,
};
use sim::SimDisk;
use storage::Oid;
use vfs::Disk;

use crate::{Heard, PATH, PLAIN, PLAIN_INDEX, UNFINISHED, commit, disk, open, record};

pub(crate) const REPOSITORY: &str = "/backup";
/// A blob as old as any transaction.
pub(crate) const PATH_OF_BLOB: &str = "/blobs/0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x05/0x01.blob";
pub(crate) const OUTPUT: &str = "/new/Data.fs";

/// A Data.fs that grows, and one that is something else: as after a pack.
pub(crate) fn versions() -> [Vec<u8>; 4] {
    let disk = disk(PLAIN);
    let mut grown = Vec::new();
    for round in 0..2u64 {
        let storage = open(&disk);
        for oid in 100..103 {
            commit(&storage, &[(oid + round, record(&format!("C{oid}"), &[]))]);
        }
        storage.close().unwrap();
        grown.push(contents(&disk, PATH));
    }
    let other = crate::disk(b"FS30");
    let storage = open(&other);
    commit(&storage, &[(0, record("Other", &[]))]);
    storage.close().unwrap();
    let [second, third] = grown.try_into().unwrap();
    [PLAIN.to_vec(), second, third, contents(&other, PATH)]
}

pub(crate) fn contents(disk: &SimDisk, path: &str) -> Vec<u8> {
    disk.contents(Path::new(path)).unwrap()
}

pub(crate) fn set(disk: &SimDisk, bytes: &[u8]) {
    disk.put(Path::new(PATH), bytes);
    disk.remove(Path::new("/db/Data.fs.index")).ok();
}

pub(crate) fn repository(disk: &Arc<SimDisk>) -> Repository {
    disk.create_directory(Path::new(REPOSITORY)).unwrap();
    Repository::open(REPOSITORY, disk.clone()).unwrap()
}

/// The options of a backup made so many seconds after 2026-01-01.
pub(crate) fn at(second: u64) -> BackupOptions {
    BackupOptions {
        now: Duration::from_secs(1_767_225_600 + second),
        ..BackupOptions::default()
    }
}

fn date(second: u64) -> BackupDate {
    BackupDate::at(at(second).now)
}

pub(crate) fn back_up(
    disk: &Arc<SimDisk>,
    options: &BackupOptions,
) -> Result<BackupLine, ToolError> {
    let mut heard = Heard::default();
    let verdict = fstools::backup(Path::new(PATH), &repository(disk), options, &mut heard)?;
    assert_eq!(verdict, Verdict::Sound);
    let Some(Line::Backup(line)) = heard.0.pop() else {
        panic!("{:?}", heard.0);
    };
    Ok(line)
}

pub(crate) fn verify(disk: &Arc<SimDisk>, quick: bool) -> (Verdict, Vec<String>) {
    let mut heard = Heard::default();
    let options = BackupVerifyOptions { quick };
    let verdict = fstools::backup_verify(&repository(disk), options, &mut heard).unwrap();
    (verdict, heard.0.iter().map(ToString::to_string).collect())
}

/// What is restored to standard output.
pub(crate) fn restored(disk: &Arc<SimDisk>, until: Option<BackupDate>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let options = RestoreOptions {
        until,
        ..RestoreOptions::default()
    };
    let mut heard = Heard::default();
    let target = Target::Stream(&mut bytes);
    let verdict = fstools::restore(&repository(disk), target, &options, &mut heard).ok()?;
    (verdict == Verdict::Sound).then_some(bytes)
}

pub(crate) fn restore(
    disk: &Arc<SimDisk>,
    options: &RestoreOptions,
) -> Result<(Verdict, Option<RestoreLine>), ToolError> {
    let mut heard = Heard::default();
    let target = Target::File(Path::new(OUTPUT));
    let verdict = fstools::restore(&repository(disk), target, options, &mut heard)?;
    let line = match heard.0.pop() {
        Some(Line::Restored(line)) => Some(line),
        _ => None,
    };
    Ok((verdict, line))
}

fn list(disk: &SimDisk) -> Vec<String> {
    let entries = disk.list_directory(Path::new(REPOSITORY)).unwrap();
    let names = entries
        .into_iter()
        .map(|entry| entry.name.into_string().unwrap());
    names.filter(|name| name != "blobs").collect()
}

#[test]
fn each_backup_holds_what_was_added_and_each_date_can_be_restored() {
    for compress in [false, true] {
        for quick in [false, true] {
            let [first, second, third, packed] = versions();
            let disk = disk(&first);
            let options = |second| BackupOptions {
                compress,
                quick,
                ..at(second)
            };
            assert_eq!(
                back_up(&disk, &options(10)).unwrap().reason.unwrap(),
                "it is the first"
            );
            let line = back_up(&disk, &options(11)).unwrap();
            assert_eq!((line.file, line.end), (None, first.len() as u64));
            set(&disk, &second);
            let line = back_up(&disk, &options(20)).unwrap();
            assert_eq!((line.full, line.start), (false, first.len() as u64));
            set(&disk, &third);
            assert!(!back_up(&disk, &options(30)).unwrap().full);
            set(&disk, &packed);
            assert!(back_up(&disk, &options(40)).unwrap().full);
            for (until, bytes) in [
                (10, &first),
                (19, &first),
                (20, &second),
                (39, &third),
                (40, &packed),
            ] {
                assert!(
                    restored(&disk, Some(date(until))).unwrap() == *bytes,
                    "{until}"
                );
            }
            assert_eq!(restored(&disk, Some(date(9))), None);
            assert_eq!(verify(&disk, quick).0, Verdict::Sound);
        }
    }
}

#[test]
fn the_files_are_those_of_the_original() {
    let [first, second, ..] = versions();
    let disk = disk(&first);
    back_up(&disk, &at(10)).unwrap();
    set(&disk, &second);
    let compress = BackupOptions {
        compress: true,
        ..at(20)
    };
    back_up(&disk, &compress).unwrap();
    let [a, b] = ["2026-01-01-00-00-10", "2026-01-01-00-00-20"];
    let names = [
        format!("{a}.dat"),
        format!("{a}.fs"),
        format!("{a}.index"),
        format!("{b}.deltafsz"),
        format!("{b}.index"),
    ];
    assert_eq!(list(&disk), names);
    let lines = String::from_utf8(contents(&disk, &format!("{REPOSITORY}/{a}.dat"))).unwrap();
    let (end, later) = (first.len(), second.len());
    let lines: Vec<Vec<&str>> = lines
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    assert_eq!(
        lines[0][..3],
        [&format!("{REPOSITORY}/{a}.fs"), "0", &end.to_string()]
    );
    assert_eq!(
        lines[1][..3],
        [
            &format!("{REPOSITORY}/{b}.deltafsz"),
            &end.to_string(),
            &later.to_string()
        ]
    );
    assert_eq!(
        contents(&disk, &format!("{REPOSITORY}/{a}.index")),
        PLAIN_INDEX
    );
}

#[test]
fn what_is_not_finished_is_not_backed_up() {
    let disk = disk(UNFINISHED);
    let end = Survey::open(PATH, disk.clone())
        .unwrap()
        .positions()
        .unwrap()
        .end();
    let line = back_up(&disk, &at(10)).unwrap();
    assert!(line.end == end && end < UNFINISHED.len() as u64);
    assert_eq!(
        restored(&disk, None).unwrap(),
        UNFINISHED[..usize::try_from(end).unwrap()]
    );
    let line = back_up(&disk, &at(20)).unwrap();
    assert_eq!(line.file, None, "the tail alone is nothing new");
}

#[test]
fn a_change_before_the_last_piece_is_noticed_unless_quick_was_asked_for() {
    let [first, second, third, _] = versions();
    for (quick, full) in [(false, true), (true, false)] {
        let disk = disk(&first);
        back_up(&disk, &at(10)).unwrap();
        set(&disk, &second);
        back_up(&disk, &at(20)).unwrap();
        let mut changed = third.clone();
        // The user's name in the first transaction.
        changed[4 + 23] ^= 1;
        set(&disk, &changed);
        let options = BackupOptions { quick, ..at(30) };
        assert_eq!(back_up(&disk, &options).unwrap().full, full);
    }
}

#[test]
fn a_new_name_comes_after_all_others() {
    let [first, second, ..] = versions();
    let disk = disk(&first);
    back_up(&disk, &at(10)).unwrap();
    set(&disk, &second);
    for second in [10, 9] {
        let refused = back_up(&disk, &at(second)).unwrap_err().to_string();
        assert!(refused.contains("2026-01-01-00-00-10 already"), "{refused}");
    }
    assert!(restored(&disk, None).unwrap() == first);
}

#[test]
fn older_backups_go_when_a_full_one_stands_for_them() {
    let [first, second, _, packed] = versions();
    let disk = disk(&first);
    back_up(&disk, &at(10)).unwrap();
    set(&disk, &second);
    let options = |second| BackupOptions {
        kill_old: true,
        ..at(second)
    };
    assert_eq!(back_up(&disk, &options(20)).unwrap().removed, 0);
    set(&disk, &packed);
    assert_eq!(back_up(&disk, &options(30)).unwrap().removed, 2);
    let name = "2026-01-01-00-00-30";
    assert_eq!(
        list(&disk),
        ["dat", "fs", "index"].map(|kind| format!("{name}.{kind}"))
    );
}

#[test]
fn every_broken_byte_of_a_repository_is_noticed() {
    let [first, second, ..] = versions();
    let disk = disk(&first);
    back_up(&disk, &at(10)).unwrap();
    set(&disk, &second);
    let compress = BackupOptions {
        compress: true,
        ..at(20)
    };
    back_up(&disk, &compress).unwrap();
    for name in ["10.fs", "20.deltafsz", "10.dat"] {
        let path = format!("{REPOSITORY}/2026-01-01-00-00-{name}");
        let sound = contents(&disk, &path);
        let step = (sound.len() / 97).max(1);
        for at in (0..sound.len()).step_by(step) {
            let mut broken = sound.clone();
            broken[at] ^= 0x10;
            disk.put(Path::new(&path), &broken);
            // Some bits change nothing: a directory in the list, the time in a gzip header.
            let restored = restored(&disk, None);
            let verdict = verify(&disk, false).0;
            assert_eq!(restored.is_some(), verdict == Verdict::Sound, "{name} {at}");
            assert!(restored.is_none_or(|bytes| bytes == second), "{name} {at}");
            disk.put(Path::new(&path), &sound[..at]);
            if at > 0 && sound[at - 1] == b'\n' && name == "10.dat" {
                continue; // A backup that was interrupted leaves the list so.
            }
            assert_eq!(verify(&disk, false).0, Verdict::Wrong, "{name} cut at {at}");
        }
        disk.put(Path::new(&path), &sound);
    }
    disk.remove(Path::new("/backup/2026-01-01-00-00-20.deltafsz"))
        .unwrap();
    let (verdict, lines) = verify(&disk, true);
    assert_eq!(verdict, Verdict::Wrong);
    assert!(lines[0].contains("20.deltafsz: missing"), "{lines:?}");
}

#[test]
fn a_restore_extends_the_beginning_of_a_backup_and_replaces_nothing_else_unasked() {
    let [first, second, third, packed] = versions();
    for quick in [false, true] {
        let disk = disk(&first);
        for (at_second, version) in [(10, &first), (20, &second), (30, &third)] {
            set(&disk, version);
            back_up(&disk, &at(at_second)).unwrap();
        }
        let options = |until| RestoreOptions {
            until: Some(date(until)),
            quick,
            ..RestoreOptions::default()
        };
        let kept = |until| {
            restore(&disk, &options(until))
                .unwrap()
                .1
                .unwrap()
                .kept_bytes
        };
        assert_eq!(kept(10), 0);
        assert_eq!(kept(20), first.len() as u64);
        assert_eq!(kept(20), second.len() as u64);
        let survey = Survey::open(OUTPUT, disk.clone()).unwrap();
        assert!(survey.saved_index().unwrap().end() == second.len() as u64);
        disk.put(Path::new("/new/Data.fs"), &packed);
        let refused = restore(&disk, &options(30)).unwrap_err().to_string();
        assert!(refused.contains("--full"), "{refused}");
        assert_eq!(contents(&disk, OUTPUT), packed);
        // An older state than the one that is there.
        disk.put(Path::new("/new/Data.fs"), &third);
        restore(&disk, &options(20)).unwrap_err();
        let full = RestoreOptions {
            full: true,
            ..options(30)
        };
        assert_eq!(restore(&disk, &full).unwrap().0, Verdict::Sound);
        assert!(contents(&disk, OUTPUT) == third);
        assert!(!disk.exists(Path::new("/new/Data.fs.part")).unwrap());
    }
}

#[test]
fn a_file_in_use_is_not_replaced() {
    let [first, ..] = versions();
    let disk = disk(&first);
    back_up(&disk, &at(10)).unwrap();
    let lock = disk.lock(Path::new("/new/Data.fs.lock")).unwrap();
    let refused = restore(&disk, &RestoreOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    drop(lock);
    assert_eq!(
        restore(&disk, &RestoreOptions::default()).unwrap().0,
        Verdict::Sound
    );
}

fn blob_path(top: &str, oid: u64, tid: u64) -> String {
    let oid = Oid::new(oid).to_bytes().map(|byte| format!("0x{byte:02x}"));
    format!("{top}/{}/{tid:#018x}.blob", oid.join("/"))
}

/// Backups of two states, with blobs: 5 in both, 6 before and 7 after. The transactions of 5 and 7.
fn with_blobs() -> (Arc<SimDisk>, [u64; 2]) {
    let [first, second, ..] = versions();
    let tids = [&first, &second].map(|bytes| {
        let positions = Survey::open(PATH, disk(bytes))
            .unwrap()
            .positions()
            .unwrap();
        positions.last_tid().unwrap().number()
    });
    let [early, late] = tids;
    let disk = disk(&first);
    let put = |path: &str, bytes: &[u8]| disk.put(Path::new(path), bytes);
    put("/blobs/.layout", b"bushy");
    put(&blob_path("/blobs", 5, early), b"five");
    put(&blob_path("/blobs", 6, early - 1), b"six");
    put(&blob_path("/blobs", 7, late), b"seven");
    let options = |second| BackupOptions {
        blobs: Some("/blobs".into()),
        ..at(second)
    };
    let line = back_up(&disk, &options(10)).unwrap().blobs.unwrap();
    assert_eq!((line.files, line.bytes, line.new_files), (2, 7, 2));
    // Of the same once more nothing is copied.
    let again = back_up(&disk, &options(11)).unwrap();
    assert_eq!(again.file, None);
    let line = again.blobs.unwrap();
    assert_eq!((line.files, line.bytes, line.new_files), (2, 7, 0));
    set(&disk, &second);
    // As a pack removes it.
    disk.remove(Path::new(&blob_path("/blobs", 6, early - 1)))
        .unwrap();
    let line = back_up(&disk, &options(20)).unwrap().blobs.unwrap();
    assert_eq!((line.files, line.new_files, line.new_bytes), (2, 1, 5));
    (disk, tids)
}

fn restore_blobs(until: u64, full: bool) -> RestoreOptions {
    RestoreOptions {
        until: Some(date(until)),
        blobs: Some("/new/blobs".into()),
        full,
        ..RestoreOptions::default()
    }
}

#[test]
fn blobs_are_those_of_the_transaction_that_is_backed_up() {
    let (disk, [early, late]) = with_blobs();
    let has = |oid, tid| {
        disk.exists(Path::new(&blob_path("/new/blobs", oid, tid)))
            .unwrap()
    };
    let present = || [has(5, early), has(6, early - 1), has(7, late)];
    let done = restore(&disk, &restore_blobs(10, false)).unwrap().0;
    assert_eq!((done, present()), (Verdict::Sound, [true, true, false]));
    assert_eq!(
        contents(&disk, &blob_path("/new/blobs", 6, early - 1)),
        b"six"
    );
    assert_eq!(contents(&disk, "/new/blobs/.layout"), b"bushy");
    let refused = restore(&disk, &restore_blobs(20, false))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("is not in the backup"), "{refused}");
    let done = restore(&disk, &restore_blobs(20, true)).unwrap().0;
    assert_eq!((done, present()), (Verdict::Sound, [true, false, true]));
}

#[test]
fn a_broken_blob_is_noticed() {
    let (disk, [early, _]) = with_blobs();
    assert_eq!(verify(&disk, false).0, Verdict::Sound);
    disk.put(Path::new(&blob_path("/backup/blobs", 6, early - 1)), b"sex");
    assert_eq!(verify(&disk, true).0, Verdict::Sound, "the length is right");
    let (verdict, lines) = verify(&disk, false);
    assert_eq!(verdict, Verdict::Wrong, "an earlier date needs it");
    assert!(lines[0].contains("checksum"), "{lines:?}");
    let restored = restore(&disk, &restore_blobs(10, true)).unwrap().0;
    assert_eq!(restored, Verdict::Wrong);
}

#[test]
fn a_backup_without_blobs_is_not_restored_with_blobs() {
    let [first, second, ..] = versions();
    let disk = disk(&first);
    disk.create_directory(Path::new("/blobs")).unwrap();
    back_up(&disk, &at(10)).unwrap();
    let options = RestoreOptions {
        blobs: Some("/new/blobs".into()),
        ..RestoreOptions::default()
    };
    let refused = restore(&disk, &options).unwrap_err().to_string();
    assert!(refused.contains("without blobs"), "{refused}");
    // The same state with its blobs: nothing is copied again but what was lacking.
    let with_blobs = |second| BackupOptions {
        blobs: Some("/blobs".into()),
        ..at(second)
    };
    let line = back_up(&disk, &with_blobs(20)).unwrap();
    assert_eq!((line.file, line.blobs.unwrap().files), (None, 0));
    assert_eq!(restore(&disk, &options).unwrap().0, Verdict::Sound);
    set(&disk, &second);
    back_up(&disk, &at(30)).unwrap();
    restore(&disk, &options).unwrap_err();
}
