//! Backups: what is restored is what some backup saw, the last acknowledged one or a later one, by our
//! program and by genuine repozo.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fstools::{
    BackupOptions, Line, Listener, Repository, RestoreOptions, Target, ToolError, Verdict,
};
use sha1::{Digest, Sha1};
use sim::SimDisk;

use super::original::Original;
use super::scripts::{pack, seeds, text};
use super::stage::{PATH, Stage, hex};

const REPOSITORY: &str = "/db/repository";

struct Deaf;

impl Listener for Deaf {
    fn tell(&mut self, line: Line) -> std::io::Result<()> {
        let _ = line.to_string();
        Ok(())
    }
}

/// A tool that found something wrong has failed, here.
fn sound(verdict: Result<Verdict, ToolError>) -> Result<(), String> {
    match verdict {
        Ok(Verdict::Sound) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn repository(disk: &SimDisk) -> Result<Repository, String> {
    Repository::open(REPOSITORY, Arc::new(disk.clone())).map_err(|error| error.to_string())
}

fn back_up(disk: &SimDisk, second: u64, options: BackupOptions) -> Result<(), String> {
    let options = BackupOptions {
        now: Duration::from_secs(1_700_000_000 + second),
        ..options
    };
    let repository = repository(disk)?;
    sound(fstools::backup(
        Path::new(PATH),
        &repository,
        &options,
        &mut Deaf,
    ))
}

fn restore(disk: &SimDisk) -> Result<Vec<u8>, String> {
    let mut restored = Vec::new();
    let target = Target::Stream(&mut restored);
    let options = RestoreOptions::default();
    sound(fstools::restore(
        &repository(disk)?,
        target,
        &options,
        &mut Deaf,
    ))?;
    Ok(restored)
}

/// Commits, packs and backs up; the file as each backup saw it. Acknowledged backups are noted by
/// their numbers.
fn play(stage: &Stage, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let disk = stage.disk();
    vfs::Disk::create_directory(disk, Path::new(REPOSITORY)).unwrap();
    vfs::Disk::sync_directory(disk, Path::new("/db")).unwrap();
    let storage = stage.open();
    stage.create(&storage, &[1, 2]);
    let mut versions = Vec::new();
    for number in 0..5 {
        for _ in 0..rng.usize(1..3) {
            let text = text(&mut rng, "between two backups");
            stage.commit(&storage, &[(1, &text, &[]), (2, "two", &[])]);
        }
        if number == 3 {
            pack(&storage, storage::Tid::MAX, true);
        }
        let options = BackupOptions {
            compress: seed.is_multiple_of(2),
            kill_old: number == 3,
            ..BackupOptions::default()
        };
        back_up(disk, number, options).unwrap();
        disk.note(number);
        versions.push(disk.contents(Path::new(PATH)).unwrap());
    }
    versions
}

#[test]
fn backups_survive_power_losses() {
    let mut original = Original::new();
    let mut seen_by_ours = Vec::new();
    let mut distinct = 0;
    for seed in seeds(6) {
        let stage = Stage::new();
        let versions = play(&stage, seed);
        let count = stage.disk().trace().crashes(4, |crash| {
            let context = format!("seed {seed}: {crash}");
            let acknowledged = crash.notes.iter().filter(|note| **note < 5).count();
            let disk = SimDisk::with(&crash.image);
            let restored = restore(&disk);
            let place = restored
                .as_ref()
                .ok()
                .map(|found| versions.iter().position(|version| version == found));
            match place {
                None => assert_eq!(acknowledged, 0, "{context}: {restored:?}"),
                Some(place) => assert!(
                    place.is_some_and(|place| place + 1 >= acknowledged),
                    "{context}: {place:?} of {acknowledged}"
                ),
            }
            if original.add(&crash.image) {
                let digest = |bytes: Vec<u8>| hex(&Sha1::digest(bytes));
                seen_by_ours.push((restored.map(digest).ok(), context.clone()));
            }
            if acknowledged > 0 {
                back_up(&disk, 9, BackupOptions::default())
                    .unwrap_or_else(|error| panic!("{context}: the next backup: {error}"));
                restore(&disk).unwrap_or_else(|error| panic!("{context}: behind it: {error}"));
            }
        });
        distinct += count.distinct;
    }
    let (mut restored, mut refused) = (0, 0);
    for (found, (ours, context)) in original.restore_backups().iter().zip(&seen_by_ours) {
        match (found, ours) {
            (Ok(theirs), Some(ours)) => {
                assert_eq!(theirs, ours, "{context}");
                restored += 1;
            }
            (Err(_), None) => refused += 1,
            other => panic!("{context}: {other:?}"),
        }
    }
    eprintln!(
        "backup: {distinct} disks or promises of their own; {restored} repositories restored by \
         repozo, {refused} with nothing in them"
    );
    assert!(distinct >= 1_000, "this is worth less");
}
