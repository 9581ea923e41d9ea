//! The rows: what every side is asked, and what is to be reached.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::figure;
use super::places::{Places, Side};
use crate::sheet::Sheet;
use crate::storage::{Better, syncs_per_second};

/// What `--only` may name.
pub(super) const NAMES: [&str; 4] = ["reads", "prefetch", "restart", "commits"];

type Measure = fn(&Places<'_>, &mut Sheet) -> Result<()>;

pub(super) const ROWS: [Measure; NAMES.len()] = [reads, prefetch, restart, commits];

/// How many threads read at once.
const THREADS: usize = 4;
/// How many objects are asked for in advance.
const AHEAD: usize = 100;
/// How many threads commit at once.
const COMMITTERS: [usize; 2] = [1, 8];
/// How many times better ours has to be.
const COLD_TIMES: f64 = 5.0;
const WARM_TIMES: f64 = 20.0;
/// What a hit may cost, in microseconds.
const HIT_US_MAX: f64 = 1.0;

/// What all rounds of all sides found.
struct Found(Vec<Vec<Value>>);

impl Found {
    /// The best of each side: what else the machine does makes all of them worse, and none better. No
    /// number where a side was not measured.
    fn best(&self, pointer: &str, better: Better) -> Result<Vec<f64>> {
        let best = |rounds: &Vec<Value>| {
            let figures = rounds.iter().map(|found| figure(found, pointer));
            let figures = figures.collect::<Result<Vec<_>>>()?;
            let best = match better {
                Better::More => figures.into_iter().fold(f64::NAN, f64::max),
                Better::Less => figures.into_iter().fold(f64::NAN, f64::min),
            };
            Ok(best)
        };
        self.0.iter().map(best).collect()
    }
}

/// All sides in turn, so often.
fn ask(places: &Places<'_>, rounds: usize, task: impl Fn(Side) -> Result<Value>) -> Result<Found> {
    let mut found = vec![Vec::new(); Side::ALL.len()];
    for _ in 0..rounds {
        for (side, found) in Side::ALL.into_iter().zip(&mut found) {
            found.extend(places.perform(side, task(side)?)?);
        }
    }
    Ok(Found(found))
}

fn reads(places: &Places<'_>, sheet: &mut Sheet) -> Result<()> {
    let task = json!({ "task": "reads", "threads": THREADS });
    let found = ask(places, places.size.rounds, |_| Ok(task.clone()))?;
    let rate = |sheet: &mut Sheet, subject: &str, part: &str| {
        let figures = found.best(&format!("/{part}/per_second"), Better::More)?;
        sheet.add(subject, "per s", Better::More, figures);
        anyhow::Ok(())
    };
    let cost = |sheet: &mut Sheet, subject: &str, part: &str| {
        let figures = found.best(&format!("/{part}/cpu_us"), Better::Less)?;
        let ours = figures[0];
        sheet.add(subject, "us", Better::Less, figures);
        anyhow::Ok(ours)
    };
    rate(sheet, "cold reads, one after the other", "cold")?;
    sheet.reach_times(COLD_TIMES);
    cost(sheet, "client's processor time for a cold read", "cold")?;
    rate(
        sheet,
        "warm reads, by another connection of the process",
        "warm",
    )?;
    sheet.reach_times(WARM_TIMES);
    rate(sheet, "the same connection once more", "hot")?;
    sheet.note("theirs are live objects of that one connection".to_owned());
    rate(sheet, &format!("hot reads by {THREADS} threads"), "hits")?;
    for (among, part) in [("objects", "hits"), ("records", "records")] {
        let subject = format!("processor time for a hit among the {among}, {THREADS} threads");
        let ours = cost(sheet, &subject, part)?;
        sheet.reach(ours < HIT_US_MAX, "under 1 us");
    }
    rate(sheet, "objects decoded from cached records", "decoded")?;
    memory(&found, sheet)
}

fn memory(found: &Found, sheet: &mut Sheet) -> Result<()> {
    let subject = "memory for an object, read by one connection";
    let figures = found.best("/bytes", Better::Less)?;
    sheet.add(subject, "bytes", Better::Less, figures);
    sheet.note("ours with the record, which ZEO has in a file".to_owned());
    let subject = format!("memory for an object, read by {THREADS} connections");
    let figures = found.best("/bytes_of_all", Better::Less)?;
    sheet.add(&subject, "bytes", Better::Less, figures);
    Ok(())
}

fn prefetch(places: &Places<'_>, sheet: &mut Sheet) -> Result<()> {
    let task = json!({ "task": "prefetch", "ahead": AHEAD });
    let found = ask(places, places.size.rounds, |_| Ok(task.clone()))?;
    sheet.add(
        &format!("cold reads, {AHEAD} asked for in advance"),
        "per s",
        Better::More,
        found.best("/per_second", Better::More)?,
    );
    Ok(())
}

/// A process ends, and the next one finds its cache on the disk.
fn restart(places: &Places<'_>, sheet: &mut Sheet) -> Result<()> {
    let task = |task: &str, side: Side| {
        let cache = places.scratch.join(format!("cache of {side:?}"));
        fs::create_dir_all(&cache)?;
        let cache = cache.to_str().context("the path is text")?;
        Ok(json!({ "task": task, "ahead": AHEAD, "cache": cache }))
    };
    ask(places, 1, |side| task("keep", side))?;
    let rounds = places.size.rounds;
    let found = ask(places, rounds, |side| task("restart", side))?;
    sheet.add(
        "restart with a cache on disk, until all is read",
        "s",
        Better::Less,
        found.best("/seconds", Better::Less)?,
    );
    Ok(())
}

fn commits(places: &Places<'_>, sheet: &mut Sheet) -> Result<()> {
    let size = places.size;
    for threads in COMMITTERS {
        let syncs = syncs_per_second(places.scratch, size.seconds / 2.0)?;
        let task = json!({ "task": "commits", "threads": threads });
        let found = ask(places, size.rounds, |_| Ok(task.clone()))?;
        sheet.add(
            &format!("commits by {threads} thread(s)"),
            "per s",
            Better::More,
            found.best("/per_second", Better::More)?,
        );
        sheet.note(format!("the disk alone syncs {syncs:.0} times a second"));
    }
    Ok(())
}
