//! Our side of each row, in a process of its own: one task as JSON in, what was found as JSON out.
//! The judge's `client_bench.py` does the same with the originals, and says what the tasks are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use conformance::{Stopwatch, memory};
use serde_json::{Value, json};
use storage::{Oid, Storage, TransactionMeta};
use zeo_net::{ClientOptions, DiskCache, ZeoStorage};
use zodb::{Connection, Database, DatabaseOptions};

use crate::storage::worker::{count, number, print, text};

/// What this program is called by to do a task.
pub(super) const NAME: &str = "client-worker";

const CACHE_BYTES: usize = 512 << 20;
/// Coprime to the numbers of objects: every one is read once, and not its neighbour next.
const STRIDE: u64 = 7919;
/// How many hits there are between two looks at the clock.
const HITS: usize = 100;

/// Reads the task from the standard input and prints the answer.
pub(crate) fn run() -> Result<()> {
    let task: Value = serde_json::from_reader(std::io::stdin())?;
    let found = match text(&task, "task")? {
        "reads" => reads(&task),
        "prefetch" => prefetch(&task),
        "keep" => keep(&task),
        "restart" => restart(&task),
        "commits" => commits(&task),
        other => bail!("an unknown task: {other}"),
    };
    print(&found?);
    Ok(())
}

fn opened(task: &Value) -> Result<Arc<ZeoStorage>> {
    let directory = task["cache"].as_str().map(Path::new);
    let options = ClientOptions {
        servers: vec![text(&task["place"], "server")?.to_owned()],
        cache_bytes: CACHE_BYTES,
        disk_cache: directory.map(|directory| DiskCache {
            directory: directory.to_owned(),
            bytes_max: CACHE_BYTES as u64,
        }),
        ..ClientOptions::default()
    };
    Ok(ZeoStorage::connect(options)?)
}

/// A database with room for all.
fn database(storage: &Arc<ZeoStorage>) -> Arc<Database> {
    let options = DatabaseOptions {
        cache_bytes: 1 << 30,
        ..DatabaseOptions::default()
    };
    Database::new(storage.clone(), options)
}

fn order(task: &Value) -> Result<Vec<Oid>> {
    let objects = count(task, "objects")?;
    let oid = |number: u64| Oid::new(1 + number * STRIDE % objects);
    Ok((0..objects).map(oid).collect())
}

fn read(connection: &Connection, oid: Oid) -> Result<i64> {
    let object = connection.load(oid)?;
    let data = object.state().get("data");
    let number = data.and_then(|data| data.get("number"));
    let number = number.and_then(|number| number.as_int());
    number.with_context(|| format!("{oid} has no number"))
}

fn read_all(connection: &Connection, oids: &[Oid]) -> Result<()> {
    let mut total = 0;
    for oid in oids {
        total += read(connection, *oid)?;
    }
    check(total, oids)
}

fn check(total: i64, oids: &[Oid]) -> Result<()> {
    let count = i64::try_from(oids.len())?;
    ensure!(total == count * (count + 1) / 2, "a sum of {total}");
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
fn rate(count: usize, work: impl FnOnce() -> Result<()>) -> Result<Value> {
    let (watch, before) = (Stopwatch::start(), memory::processor_seconds()?);
    work()?;
    let seconds = watch.elapsed().as_secs_f64();
    let computed = memory::processor_seconds()? - before;
    Ok(json!({
        "per_second": count as f64 / seconds,
        "cpu_us": computed / count as f64 * 1e6,
    }))
}

/// Lets the threads, which count what they do, run until the time is over.
fn side_by_side(
    threads: u64,
    seconds: f64,
    work: impl Fn(u64, &dyn Fn() -> bool) -> Result<usize> + Sync,
) -> Result<Value> {
    let mut count = 0;
    let watch = Stopwatch::start();
    let end = Duration::from_secs_f64(seconds);
    let before = memory::processor_seconds()?;
    std::thread::scope(|scope| {
        let work = &work;
        let start = |number| scope.spawn(move || work(number, &|| watch.elapsed() >= end));
        let running: Vec<_> = (0..threads).map(start).collect();
        for thread in running {
            count += thread.join().expect("no thread panics")?;
        }
        anyhow::Ok(())
    })?;
    let seconds = watch.elapsed().as_secs_f64();
    let computed = memory::processor_seconds()? - before;
    #[allow(clippy::cast_precision_loss, reason = "a count of a few seconds")]
    let count = count as f64;
    Ok(json!({ "per_second": count / seconds, "cpu_us": computed / count * 1e6 }))
}

/// Reads one after the other until the time is over.
fn hits(
    oids: &[Oid],
    is_over: &dyn Fn() -> bool,
    read: impl Fn(Oid) -> Result<()>,
) -> Result<usize> {
    let mut count = 0;
    loop {
        for oids in oids.chunks(HITS) {
            for oid in oids {
                read(*oid)?;
            }
            count += oids.len();
            if is_over() {
                return Ok(count);
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "bytes of a small program")]
fn reads(task: &Value) -> Result<Value> {
    let oids = order(task)?;
    let (threads, seconds) = (count(task, "threads")?, number(task, "seconds")?);
    let before = memory::resident_bytes()?;
    let bytes = || {
        let grown = memory::resident_bytes()?.saturating_sub(before);
        anyhow::Ok(grown as f64 / oids.len() as f64)
    };
    let storage = opened(task)?;
    let shared = database(&storage);
    let one = shared.connect();
    let mut found = json!({ "cold": rate(oids.len(), || read_all(&one, &oids))? });
    found["bytes"] = json!(bytes()?);
    let other = shared.connect();
    found["warm"] = rate(oids.len(), || read_all(&other, &oids))?;
    found["hot"] = rate(oids.len(), || read_all(&other, &oids))?;
    for _ in 1..threads {
        read_all(&shared.connect(), &oids)?;
    }
    found["bytes_of_all"] = json!(bytes()?);
    found["hits"] = side_by_side(threads, seconds, |_, is_over| {
        let connection = shared.connect();
        hits(&oids, is_over, |oid| read(&connection, oid).map(drop))
    })?;
    let last = storage.last_tid().next();
    found["records"] = side_by_side(threads, seconds, |_, is_over| {
        hits(&oids, is_over, |oid| {
            let found = storage.load_before(oid, last)?;
            ensure!(found.is_some(), "{oid} is not there");
            Ok(())
        })
    })?;
    drop((one, other, shared));
    let anew = database(&storage).connect();
    found["decoded"] = rate(oids.len(), || read_all(&anew, &oids))?;
    Ok(found)
}

fn prefetch(task: &Value) -> Result<Value> {
    let oids = order(task)?;
    let storage = opened(task)?;
    rate(oids.len(), || read_ahead(&storage, &oids, task))
}

fn read_ahead(storage: &Arc<ZeoStorage>, oids: &[Oid], task: &Value) -> Result<()> {
    let connection = database(storage).connect();
    let ahead = usize::try_from(count(task, "ahead")?)?;
    let mut total = 0;
    for oids in oids.chunks(ahead) {
        storage.prefetch(oids, connection.before());
        for oid in oids {
            total += read(&connection, *oid)?;
        }
    }
    check(total, oids)
}

fn keep(task: &Value) -> Result<Value> {
    let storage = opened(task)?;
    read_ahead(&storage, &order(task)?, task)?;
    storage.close();
    Ok(json!({}))
}

fn restart(task: &Value) -> Result<Value> {
    let oids = order(task)?;
    let watch = Stopwatch::start();
    let storage = opened(task)?;
    read_all(&database(&storage).connect(), &oids)?;
    let seconds = watch.elapsed().as_secs_f64();
    storage.close();
    Ok(json!({ "seconds": seconds }))
}

/// Each thread changes an object of its own.
fn commits(task: &Value) -> Result<Value> {
    let database = database(&opened(task)?);
    let (threads, seconds) = (count(task, "threads")?, number(task, "seconds")?);
    side_by_side(threads, seconds, |number, is_over| {
        let oid = Oid::new(1 + number);
        let mut count = 0;
        while !is_over() {
            change(&database, oid)?;
            count += 1;
        }
        Ok(count)
    })
}

fn change(database: &Arc<Database>, oid: Oid) -> Result<()> {
    let mut connection = database.connect();
    let object = connection.load(oid)?;
    let data = object.state().get("data").context("a mapping")?;
    let changed = data.get("changed").and_then(|count| count.as_int());
    let mut pickles = object.pickles().clone();
    let changed = pickles.int(changed.unwrap_or(0) + 1);
    pickles.dict_set(data.id(), "changed", changed);
    connection.store(oid, pickles)?;
    connection.commit(TransactionMeta::default())?;
    Ok(())
}
