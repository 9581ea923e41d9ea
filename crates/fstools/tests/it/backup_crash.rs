//! Backups and restores that are interrupted at every operation in turn.

use std::path::Path;
use std::sync::Arc;

use fstools::{BackupOptions, RestoreOptions, Verdict};
use sim::{Fault, SimDisk};
use vfs::Disk;

use crate::backup::{
    OUTPUT, PATH_OF_BLOB, REPOSITORY, at, back_up, contents, restore, restored, set, verify,
    versions,
};
use crate::disk;

/// The states that are backed up, one after the other, and how.
fn steps() -> Vec<(Vec<u8>, BackupOptions)> {
    let [first, second, third, packed] = versions();
    let with_blobs = |second| BackupOptions {
        blobs: Some("/blobs".into()),
        ..at(second)
    };
    vec![
        (first, with_blobs(10)),
        (second, with_blobs(20)),
        (
            third,
            BackupOptions {
                compress: true,
                ..with_blobs(30)
            },
        ),
        (
            packed,
            BackupOptions {
                kill_old: true,
                ..with_blobs(40)
            },
        ),
    ]
}

/// A disk on which all steps before that one were done.
fn prepared(steps: &[(Vec<u8>, BackupOptions)]) -> Arc<SimDisk> {
    let disk = disk(b"FS30");
    disk.put(Path::new("/blobs/.layout"), b"bushy");
    disk.put(Path::new(PATH_OF_BLOB), b"blob");
    for (version, options) in steps {
        set(&disk, version);
        back_up(&disk, options).unwrap();
    }
    disk
}

#[test]
fn an_interrupted_backup_leaves_a_repository_that_is_sound_and_can_be_continued() {
    let steps = steps();
    for count in 0..steps.len() {
        let mut operation = 1;
        while [Fault::PowerLoss, Fault::Error]
            .into_iter()
            .any(|fault| interrupt(&steps[..=count], operation, fault))
        {
            operation += 1;
        }
        assert!(operation > 10, "the backup has more operations than that");
    }
}

/// Does the last step with a fault in it; whether the fault came before the step was done.
fn interrupt(steps: &[(Vec<u8>, BackupOptions)], operation: u64, fault: Fault) -> bool {
    let ((version, options), earlier) = steps.split_last().unwrap();
    for seed in 0..6 {
        let disk = prepared(earlier);
        set(&disk, version);
        disk.fail_at(disk.operations() + operation, fault);
        let made = back_up(&disk, options).is_ok();
        if !disk.is_faultless() {
            return false;
        }
        match fault {
            Fault::PowerLoss => disk.restart(seed),
            _ => disk.restart_process(),
        }
        let case = format!(
            "step {}, {fault:?} at {operation}, seed {seed}",
            steps.len()
        );
        check(&disk, steps, made, seed % 2 == 0, &case);
    }
    true
}

fn check(
    disk: &Arc<SimDisk>,
    steps: &[(Vec<u8>, BackupOptions)],
    made: bool,
    quick: bool,
    case: &str,
) {
    let ((version, options), earlier) = steps.split_last().unwrap();
    let newest = restored(disk, None);
    let is_new = newest.as_ref() == Some(version);
    let is_old = newest.as_ref() == earlier.last().map(|(version, _)| version);
    assert!(is_new || (is_old && !made), "{case}");
    if newest.is_some() {
        assert_eq!(
            verify(disk, false),
            (Verdict::Sound, verify(disk, false).1),
            "{case}"
        );
    }
    // The original would make a Data.fs of the rest of a chain.
    let oldest = data_files(disk).into_iter().next();
    assert!(oldest.is_none_or(|name| !name.contains("delta")), "{case}");
    for (version, options) in earlier {
        let old = restored(disk, Some(fstools::BackupDate::at(options.now)));
        let is_gone = steps.last().unwrap().1.kill_old && old.is_none();
        assert!(
            is_gone || old.as_ref() == Some(version),
            "{case}: an older date"
        );
    }
    let next = BackupOptions {
        quick,
        now: at(100).now,
        ..options.clone()
    };
    let line = back_up(disk, &next).unwrap();
    assert_eq!(
        line.file.is_none(),
        is_new,
        "{case}: what is there is not copied again"
    );
    assert_eq!(verify(disk, false).0, Verdict::Sound, "{case}");
    assert!(restored(disk, None).as_ref() == Some(version), "{case}");
    let options = RestoreOptions {
        blobs: Some("/new/blobs".into()),
        ..RestoreOptions::default()
    };
    assert_eq!(restore(disk, &options).unwrap().0, Verdict::Sound, "{case}");
    assert_eq!(
        contents(disk, &PATH_OF_BLOB.replace("/blobs", "/new/blobs")),
        b"blob"
    );
    // The original understands the list: every data file has its line.
    assert_eq!(unlisted(disk), Vec::<String>::new(), "{case}");
}

/// The data files, oldest first.
fn data_files(disk: &SimDisk) -> Vec<String> {
    let entries = disk.list_directory(Path::new(REPOSITORY)).unwrap();
    let names = entries
        .into_iter()
        .map(|entry| entry.name.into_string().unwrap());
    let mut data: Vec<String> = names
        .filter(|name| {
            let kind = name.split('.').nth(1);
            matches!(kind, Some("fs" | "fsz" | "deltafs" | "deltafsz"))
        })
        .collect();
    data.sort();
    data
}

/// The data files of the newest chain that its list does not name.
fn unlisted(disk: &SimDisk) -> Vec<String> {
    let mut names = data_files(disk);
    let full = names.iter().rposition(|name| !name.contains("delta"));
    names.drain(..full.unwrap());
    let stem = names[0].split('.').next().unwrap();
    let list = contents(disk, &format!("{REPOSITORY}/{stem}.dat"));
    let list = String::from_utf8(list).unwrap();
    names.retain(|name| !list.contains(&format!("/{name} ")));
    names
}

#[test]
fn an_interrupted_restore_leaves_a_whole_file_or_none_and_can_be_repeated() {
    let steps = steps();
    let [first, second] = [0, 1].map(|at: usize| steps[at].0.clone());
    for replaced in [None, Some(&first)] {
        let mut operation = 1;
        loop {
            let mut came = false;
            for seed in 0..6 {
                let disk = prepared(&steps[..2]);
                if let Some(bytes) = replaced {
                    disk.put(Path::new(OUTPUT), bytes);
                }
                disk.fail_at(disk.operations() + operation, Fault::PowerLoss);
                let options = RestoreOptions::default();
                let done = restore(&disk, &options).is_ok();
                if !disk.is_faultless() {
                    break;
                }
                came = true;
                disk.restart(seed);
                let case = format!("power loss at {operation}, seed {seed}");
                let found = disk.contents(Path::new(OUTPUT));
                let whole = |bytes: &Vec<u8>| *bytes == second || Some(bytes) == replaced;
                assert!(found.as_ref().is_none_or(whole), "{case}");
                assert!(!done || found.as_ref() == Some(&second), "{case}");
                assert_eq!(restore(&disk, &options).unwrap().0, Verdict::Sound);
                assert!(contents(&disk, OUTPUT) == second, "{case}");
            }
            if !came {
                break;
            }
            operation += 1;
        }
        assert!(operation > 4, "the restore has more operations than that");
    }
}
