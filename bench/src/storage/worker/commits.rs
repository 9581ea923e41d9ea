//! Commits, and the syncs of the same disk that they have to wait for.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use conformance::Stopwatch;
use filestorage::{FileStorage, Options};
use serde_json::{Value, json};
use storage::{Oid, Record, Storage, Tid, TransactionMeta};

use super::{count, number, text};

pub(super) fn syncs(task: &Value) -> Result<Value> {
    let directory = Path::new(text(task, "directory")?);
    let per_second = syncs_per_second(directory, number(task, "seconds")?)?;
    Ok(json!({ "per_second": per_second }))
}

/// How often a second the disk takes a kilobyte at the end of a file and keeps it.
pub(crate) fn syncs_per_second(directory: &Path, seconds: f64) -> Result<f64> {
    let mut file = File::create(directory.join("syncs"))?;
    let mut done = 0_u32;
    let watch = Stopwatch::start();
    while watch.elapsed().as_secs_f64() < seconds {
        file.write_all(&[7; RECORD_BYTES + 100])?;
        file.sync_data()?;
        done += 1;
    }
    Ok(f64::from(done) / watch.elapsed().as_secs_f64())
}

/// Commits of one object each, by several writers, each with an object of its own.
pub(super) fn commits(task: &Value) -> Result<Value> {
    let path = Path::new(text(task, "directory")?).join("commits-ours.fs");
    let storage = FileStorage::open(path, Options::default())?;
    let (writers, seconds) = (count(task, "writers")?, number(task, "seconds")?);
    let watch = Stopwatch::start();
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=writers)
            .map(|writer| {
                let storage = &storage;
                scope.spawn(move || {
                    let (mut done, mut base) = (0_u32, Tid::ZERO);
                    while watch.elapsed().as_secs_f64() < seconds {
                        base = commit(storage, Oid::new(writer), base, &[b'x'; RECORD_BYTES])?;
                        done += 1;
                    }
                    anyhow::Ok(done)
                })
            })
            .collect();
        let mut done = 0;
        for thread in threads {
            done += thread.join().expect("no thread panics")?;
        }
        anyhow::Ok(done)
    })?;
    let seconds = watch.elapsed().as_secs_f64();
    storage.close()?;
    Ok(json!({ "per_second": f64::from(done) / seconds }))
}

pub(super) fn commit(
    storage: &Arc<FileStorage>,
    oid: Oid,
    base: Tid,
    record: &[u8],
) -> Result<Tid> {
    let mut commit = storage.clone().begin(TransactionMeta::default())?;
    commit.store(oid, base, Record::from(record))?;
    Ok(commit.vote()?.finish(Box::new(|_| {}))?)
}

const RECORD_BYTES: usize = 1_000;
