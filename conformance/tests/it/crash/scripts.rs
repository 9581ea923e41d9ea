//! The histories.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use filestorage::FileStorage;
use storage::{Oid, PackOptions, Storage, Tid};

use super::Proof;
use super::stage::{CHECKPOINT_EVERY, Stage, base, record};
use crate::is_full;

pub(super) fn seeds(few: u64) -> std::ops::Range<u64> {
    0..if is_full() { few * 10 } else { few }
}

/// Texts from a few bytes to several sectors.
pub(super) fn text(rng: &mut fastrand::Rng, words: &str) -> String {
    let times = [1, 1, 10, 60, 300][rng.usize(..5)];
    format!("{words} {} ", rng.u16(..)).repeat(times)
}

#[test]
fn commits_survive_power_losses() {
    let mut proof = Proof::of("commit");
    for seed in seeds(50) {
        proof.meets(&format!("seed {seed}"), 0, |stage, _| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut storage = stage.open();
            let objects: Vec<u64> = (1..6).collect();
            stage.create(&storage, &objects);
            for _ in 0..6 {
                match rng.u8(..8) {
                    0 => abort(stage, &storage, &mut rng),
                    1 => storage = stage.reopen(storage),
                    _ => change(stage, &storage, &mut rng),
                }
            }
        });
    }
    proof.ends(3_500);
}

fn change(stage: &Stage, storage: &Arc<FileStorage>, rng: &mut fastrand::Rng) {
    let texts: Vec<_> = (0..rng.usize(1..4)).map(|_| text(rng, "changed")).collect();
    let mut changes: Vec<_> = texts
        .iter()
        .map(|text| (rng.u64(1..6), text.as_str(), &[][..]))
        .collect();
    // An object may be stored twice in a transaction, but the second is made from the first.
    changes.sort_by_key(|(oid, ..)| *oid);
    changes.dedup_by_key(|(oid, ..)| *oid);
    stage.commit(storage, &changes);
}

fn abort(stage: &Stage, storage: &Arc<FileStorage>, rng: &mut fastrand::Rng) {
    let mut commit = stage.begin(storage, "aborted");
    let oid = Oid::new(1);
    let record = record(&text(rng, "aborted"), &[]);
    commit.store(oid, base(storage, oid), record).unwrap();
    let voted = commit.vote().unwrap();
    drop(voted);
}

/// The index is saved beside the log again and again, and a pack makes another log.
#[test]
fn checkpoints_survive_power_losses() {
    let mut proof = Proof::on("checkpoint", Stage::with_checkpoints);
    for seed in seeds(10) {
        proof.meets(&format!("seed {seed}"), 1, |stage, packs| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let storage = stage.open();
            stage.create(&storage, &(1..6).collect::<Vec<_>>());
            (0..5).for_each(|_| change(stage, &storage, &mut rng));
            let storage = stage.reopen(storage);
            (0..3).for_each(|_| change(stage, &storage, &mut rng));
            if packs > 0 {
                pack(&storage, Tid::MAX, true);
            }
            (0..4).for_each(|_| change(stage, &storage, &mut rng));
            // The pack took the checkpoint away, and what was drawn since may be too short for another.
            let long = "long ".repeat(CHECKPOINT_EVERY);
            stage.commit(&storage, &[(1, &long, &[])]);
            let path = std::path::Path::new("/db/Data.fs.zidx");
            assert!(
                stage.disk().contents(path).is_some(),
                "a checkpoint was made"
            );
        });
    }
    proof.ends(1_500);
}

/// Several transactions wait for the disk at the same time, so that one sync serves many.
#[test]
fn batches_survive_power_losses() {
    let mut proof = Proof::of("group commit");
    let syncs_spared = AtomicU64::new(0);
    for seed in seeds(24) {
        proof.meets(&format!("seed {seed}"), 0, |stage, _| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let storage = stage.open();
            stage.create(&storage, &(1..=WRITERS).collect::<Vec<_>>());
            for _ in 0..3 {
                let before = stage.disk().syncs();
                finish_together(stage, &storage, &mut rng);
                let syncs = stage.disk().syncs() - before;
                let spared = (2 * WRITERS).saturating_sub(syncs);
                syncs_spared.fetch_add(spared, Ordering::Relaxed);
            }
        });
    }
    let syncs_spared = syncs_spared.into_inner();
    assert!(syncs_spared > 10 * WRITERS, "there were batches");
    proof.ends(2_000);
}

/// Votes one after the other; finishes at the same time, all but the first while that one syncs.
fn finish_together(stage: &Stage, storage: &Arc<FileStorage>, rng: &mut fastrand::Rng) {
    let voted = (1..=WRITERS).map(|number| {
        let oid = Oid::new(number);
        let mut commit = stage.begin(storage, "together");
        let record = record(&text(rng, "together"), &[]);
        commit.store(oid, base(storage, oid), record).unwrap();
        commit.vote().unwrap()
    });
    let mut voted: Vec<_> = voted.collect();
    let first = voted.remove(0);
    let syncs = Arc::new(Barrier::new(WRITERS_LATER + 1));
    let first_syncs = Arc::clone(&syncs);
    stage.disk().before_next_sync(move || {
        first_syncs.wait();
        // The others are about to finish, and the sync may last as long as they take for that.
        (0..1_000).for_each(|_| std::thread::yield_now());
    });
    std::thread::scope(|scope| {
        scope.spawn(|| stage.finish_voted(first));
        for later in voted {
            let syncs = &syncs;
            scope.spawn(move || {
                syncs.wait();
                stage.finish_voted(later);
            });
        }
    });
}

const WRITERS: u64 = 6;
const WRITERS_LATER: usize = 5;

#[test]
fn undos_survive_power_losses() {
    let mut proof = Proof::of("undo");
    for seed in seeds(36) {
        proof.meets(&format!("seed {seed}"), 0, |stage, _| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let storage = stage.open();
            stage.create(&storage, &[1]);
            let long = text(&mut rng, "one, changed");
            let changed = stage.commit(&storage, &[(1, &long, &[])]);
            let two = (2, "two", &[][..]);
            let created = stage.commit(&storage, &[(0, "root", &[1, 2]), two]);
            undo(stage, &storage, &[changed]);
            let undone = undo(stage, &storage, &[created]);
            let storage = stage.reopen(storage);
            undo(stage, &storage, &[undone]);
            let again = stage.commit(&storage, &[(1, &long, &[])]);
            let text = text(&mut rng, "more");
            let more = stage.commit(&storage, &[(1, &text, &[]), (2, &text, &[])]);
            undo(stage, &storage, &[more, again]);
            stage.commit(&storage, &[(2, "two at the end", &[])]);
        });
    }
    proof.ends(2_500);
}

fn undo(stage: &Stage, storage: &Arc<FileStorage>, tids: &[Tid]) -> Tid {
    let mut commit = stage.begin(storage, "undo");
    for tid in tids {
        commit.undo(*tid).unwrap();
    }
    stage.finish(commit)
}

#[test]
fn packs_survive_power_losses() {
    let mut proof = Proof::of("pack");
    for seed in seeds(36) {
        proof.meets(&format!("seed {seed}"), 2, |stage, packs| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let storage = stage.open();
            stage.create(&storage, &[1, 2, 3]);
            let long = text(&mut rng, "longer");
            stage.commit(&storage, &[(1, &long, &[]), (3, &long, &[])]);
            stage.commit(&storage, &[(0, "root without three", &[1, 2])]);
            let changed = stage.commit(&storage, &[(1, "one, changed", &[])]);
            undo(stage, &storage, &[changed]);
            let to = stage.now();
            stage.commit(&storage, &[(1, "one, later", &[])]);
            let keep_old = rng.bool();
            if packs > 0 {
                meanwhile(stage, &storage);
                pack(&storage, to, keep_old);
            } else {
                stage.commit(&storage, &[(2, "during the pack", &[])]);
            }
            stage.commit(&storage, &[(2, &text(&mut rng, "behind the pack"), &[])]);
            let storage = stage.reopen(storage);
            stage.commit(&storage, &[(1, &text(&mut rng, "behind the pack"), &[])]);
            if packs > 1 {
                pack(&storage, Tid::MAX, !keep_old);
            }
            stage.commit(&storage, &[(1, "one, at the end", &[])]);
        });
    }
    proof.ends(2_500);
}

/// A commit at the moment when most of the new file is about to be synced.
fn meanwhile(stage: &Stage, storage: &Arc<FileStorage>) {
    let (busy, storage) = (stage.clone(), storage.clone());
    stage.disk().before_next_sync(move || {
        busy.commit(&storage, &[(2, "during the pack", &[])]);
    });
}

pub(super) fn pack(storage: &FileStorage, to: Tid, keep_old: bool) {
    let options = PackOptions {
        to,
        keep_old,
        ..PackOptions::default()
    };
    let packer = storage.packer().unwrap();
    assert!(packer.pack(&options).unwrap().packed);
}

#[test]
fn blobs_survive_power_losses() {
    let mut proof = Proof::on("blobs", Stage::with_blobs);
    for seed in seeds(4) {
        proof.meets(&format!("seed {seed}"), 1, |stage, packs| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let storage = stage.open();
            let mut commit = stage.begin(&storage, "created");
            let root = record("root", &[1, 2]);
            commit.store(Oid::ROOT, Tid::ZERO, root).unwrap();
            for oid in 1..4 {
                stage.store_blob(&mut *commit, &storage, oid, &text(&mut rng, "new"));
            }
            stage.finish(commit);
            let change = |rng: &mut fastrand::Rng, oid| {
                let mut commit = stage.begin(&storage, "changed");
                stage.store_blob(&mut *commit, &storage, oid, &text(rng, "changed"));
                commit
            };
            let changed = stage.finish(change(&mut rng, 1));
            drop(change(&mut rng, 2).vote().unwrap());
            let undone = undo(stage, &storage, &[changed]);
            if packs > 0 {
                pack(&storage, stage.now(), rng.bool());
            }
            undo_if_there(stage, &storage, undone, packs);
            stage.finish(change(&mut rng, 2));
        });
    }
    proof.ends(1_000);
}

/// Takes the last undo back, where no pack has taken that away.
fn undo_if_there(stage: &Stage, storage: &Arc<FileStorage>, undone: Tid, packs: usize) {
    if packs == 0 {
        undo(stage, storage, &[undone]);
    } else {
        stage.commit(storage, &[(5, "instead of an undo", &[])]);
    }
}
