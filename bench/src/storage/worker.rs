//! Our side of each row, in a process of its own: one task as JSON in, what was found as JSON out.
//! The judge's `storage_bench.py` does the same with the original.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use conformance::{Stopwatch, memory};
use filestorage::{FileStorage, Options, Survey};
use fstools::{BackupOptions, Line, Listener, Repository, Verdict};
use serde_json::{Value, json};
use storage::{Oid, Storage, Tid};
use vfs::RealDisk;

mod commits;
mod packing;

pub(crate) use commits::syncs_per_second;

/// Reads the task from the standard input and prints the answer.
pub(crate) fn run() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let task: Value = serde_json::from_str(&text)?;
    memory::forget_peak()?;
    let before = memory::processor_seconds()?;
    let mut found = perform(&task)?;
    found["processor_seconds"] = json!(memory::processor_seconds()? - before);
    found["peak_bytes"] = json!(memory::peak_bytes()?);
    print(&found);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the answer is the result")]
pub(crate) fn print(found: &Value) {
    println!("{found}");
}

fn perform(task: &Value) -> Result<Value> {
    match text(task, "task")? {
        "open" => open(task),
        "loads" => loads(task),
        "syncs" => commits::syncs(task),
        "commits" => commits::commits(task),
        "pack" => packing::pack(task),
        "write" => packing::write(task),
        "verify" => look(task, |survey, listener| fstools::verify(survey, listener)),
        "refs" => look(task, |survey, listener| {
            fstools::references(survey, listener)
        }),
        "backup" => backup(task),
        other => bail!("an unknown task: {other}"),
    }
}

pub(crate) fn text<'a>(task: &'a Value, key: &str) -> Result<&'a str> {
    let found = task[key].as_str();
    found.with_context(|| format!("the task has no {key}"))
}

pub(crate) fn number(task: &Value, key: &str) -> Result<f64> {
    let found = task[key].as_f64();
    found.with_context(|| format!("the task has no {key}"))
}

pub(crate) fn count(task: &Value, key: &str) -> Result<u64> {
    let found = task[key].as_u64();
    found.with_context(|| format!("the task has no {key}"))
}

/// The sidecar files that make an open quick.
fn sidecars(path: &Path) -> impl Iterator<Item = PathBuf> {
    [".index", ".zidx"].into_iter().map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

/// Opens, looks at one object of each five hundred, so that all of the index is in memory, and
/// closes.
fn open(task: &Value) -> Result<Value> {
    let path = Path::new(text(task, "path")?);
    if task["index"] == false {
        for sidecar in sidecars(path) {
            if sidecar.exists() {
                std::fs::remove_file(sidecar)?;
            }
        }
    }
    let before = memory::anonymous_bytes()?;
    let watch = Stopwatch::start();
    let storage = FileStorage::open(path, Options::default())?;
    let seconds = watch.elapsed().as_secs_f64();
    let objects = count(task, "objects")?;
    for number in (0..objects).step_by(500) {
        storage.load_before(Oid::new(number), Tid::MAX)?;
    }
    let anonymous = memory::anonymous_bytes()?;
    let watch = Stopwatch::start();
    storage.close()?;
    Ok(json!({
        "seconds": seconds,
        "close_seconds": watch.elapsed().as_secs_f64(),
        "objects": storage.stats().objects,
        "anonymous_bytes": anonymous.saturating_sub(before),
    }))
}

/// Loads objects at random from several threads.
fn loads(task: &Value) -> Result<Value> {
    let storage = FileStorage::open(text(task, "path")?, Options::default())?;
    let (objects, seconds) = (count(task, "objects")?, number(task, "seconds")?);
    let threads = count(task, "threads")?;
    let watch = Stopwatch::start();
    let (loaded, bytes) = std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..threads)
            .map(|seed| {
                let storage = &storage;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    let (mut loaded, mut bytes) = (0, 0);
                    while watch.elapsed().as_secs_f64() < seconds {
                        for _ in 0..LOADS_AT_ONCE {
                            let oid = Oid::new(rng.u64(..objects));
                            let found = storage.load_before(oid, Tid::MAX)?;
                            bytes += found.context("it has a revision")?.record.len();
                        }
                        loaded += LOADS_AT_ONCE;
                    }
                    anyhow::Ok((loaded, bytes))
                })
            })
            .collect();
        let mut sum = (0, 0);
        for loader in loaders {
            let (loaded, bytes) = loader.join().expect("no thread panics")?;
            sum = (sum.0 + loaded, sum.1 + bytes);
        }
        anyhow::Ok(sum)
    })?;
    let seconds = watch.elapsed().as_secs_f64();
    storage.close()?;
    let loaded = f64::from(loaded);
    Ok(json!({ "per_second": loaded / seconds, "bytes": bytes }))
}

/// Hears nothing but what is wrong, of which there must be nothing.
struct Deaf;

impl Listener for Deaf {
    fn tell(&mut self, line: Line) -> std::io::Result<()> {
        match line {
            Line::Dangling(_) | Line::Damage { .. } => Err(std::io::Error::other(line.to_string())),
            _ => Ok(()),
        }
    }
}

fn look(
    task: &Value,
    tool: impl FnOnce(&Survey, &mut dyn Listener) -> Result<Verdict, fstools::ToolError>,
) -> Result<Value> {
    let survey = Survey::open(text(task, "path")?, Arc::new(RealDisk))?;
    let watch = Stopwatch::start();
    let verdict = tool(&survey, &mut Deaf)?;
    if verdict != Verdict::Sound {
        bail!("the file is not sound");
    }
    Ok(json!({ "seconds": watch.elapsed().as_secs_f64() }))
}

fn backup(task: &Value) -> Result<Value> {
    let repository = Repository::open(text(task, "directory")?, Arc::new(RealDisk))?;
    let options = BackupOptions {
        full: true,
        now: vfs::unix_time(),
        ..BackupOptions::default()
    };
    let watch = Stopwatch::start();
    let path = Path::new(text(task, "path")?);
    let verdict = fstools::backup(path, &repository, &options, &mut Deaf)?;
    if verdict != Verdict::Sound {
        bail!("something is wrong with the file or its backup");
    }
    Ok(json!({ "seconds": watch.elapsed().as_secs_f64() }))
}

/// Between two looks at the clock.
const LOADS_AT_ONCE: u32 = 16;
