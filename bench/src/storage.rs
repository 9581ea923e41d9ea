//! The Data.fs engine beside genuine FileStorage, on one file in one run.
//!
//! Every measurement is a process of its own on either side: ours is this program again, theirs is
//! the judge's `storage_bench.py`. Both get the same task.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use conformance::judge;
use serde_json::{Value, json};

mod made;
mod raw;
mod records;
mod rows;
mod sheet;
pub(crate) mod worker;

pub(crate) use raw::RawWriter;
pub(crate) use sheet::{Better, short};
pub(crate) use worker::syncs_per_second;

use made::{Made, Size};
use sheet::Sheet;

use crate::choice::Choice;

/// What is measured, and where.
#[derive(Clone, Debug)]
pub(crate) struct StorageBench(Choice<Size>);

impl StorageBench {
    /// Reads `[--size full|small|tiny] [--directory PATH] [--only ROW]`.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        Choice::parse(words, &rows::NAMES).map(Self)
    }

    /// Makes the file where it is missing, measures, prints and writes the sheet.
    pub(crate) fn run(&self) -> Result<()> {
        let Choice {
            size, directory, ..
        } = &self.0;
        fs::create_dir_all(directory)?;
        let made = made::make(*size, directory)?;
        let scratch = tempfile::tempdir_in(directory)?;
        let mut sheet = Sheet::new(size.name, &made);
        let place = Place {
            made: &made,
            scratch: scratch.path(),
            seconds: size.seconds,
        };
        for (name, measure) in rows::NAMES.into_iter().zip(rows::ROWS) {
            if self.0.is_wanted(name) {
                eprintln!("bench: {name}");
                measure(&place, &mut sheet)?;
            }
        }
        sheet.publish(directory)
    }
}

/// What the rows work with.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    made: &'a Made,
    /// A directory on the same disk, removed at the end.
    scratch: &'a Path,
    seconds: f64,
}

/// The two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Ours, Self::Theirs];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        }
    }

    /// Lets a fresh process of that side do the task.
    fn perform(self, task: &Value) -> Result<Value> {
        let found = match self {
            Self::Ours => perform("storage-worker", task),
            Self::Theirs => judge::run("storage_bench.py", task),
        };
        found.with_context(|| format!("{} side: {task}", self.name()))
    }
}

/// Lets this program do a task of that worker in a process of its own.
pub(crate) fn perform(worker: &str, task: &Value) -> Result<Value> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(worker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("the stream is piped")?;
    stdin.write_all(task.to_string().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("our worker failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("our worker says no JSON")
}

/// A figure of what a side found.
fn figure(found: &Value, key: &str) -> Result<f64> {
    let figure = found[key].as_f64();
    figure.with_context(|| format!("no {key} in {found}"))
}

/// Both sides in turn, so often; what each found.
fn alternate(
    rounds: usize,
    mut task: impl FnMut(Side) -> Result<Value>,
) -> Result<[Vec<Value>; 2]> {
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (side, found) in Side::BOTH.into_iter().zip(&mut found) {
            found.push(side.perform(&task(side)?)?);
        }
    }
    Ok(found)
}

/// The medians of one figure.
fn medians(found: &[Vec<Value>; 2], key: &str) -> Result<[f64; 2]> {
    let median = |rounds: &[Value]| {
        let figures = rounds.iter().map(|found| figure(found, key));
        let mut figures = figures.collect::<Result<Vec<_>>>()?;
        figures.sort_by(f64::total_cmp);
        Ok::<_, anyhow::Error>(figures[figures.len() / 2])
    };
    Ok([median(&found[0])?, median(&found[1])?])
}

/// A path as JSON has it.
fn path_value(path: &Path) -> Result<Value> {
    Ok(json!(path.to_str().context("the path is text")?))
}
