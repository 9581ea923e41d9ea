//! Who is asked: a server of each kind, with the same objects, and a process for each measurement.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use conformance::{Process, judge, zodiac_binary};
use serde_json::{Value, json};

use super::made::Size;
use super::postgres::Postgres;
use super::{COLUMNS, worker};
use crate::sides::Original;

/// The running servers.
pub(super) struct Places<'a> {
    ours: Process,
    zeo: Original,
    /// None where it is not wanted, or cannot be had.
    postgres: Option<Postgres>,
    pub(super) size: Size,
    /// A directory on the same disk, removed at the end.
    pub(super) scratch: &'a Path,
}

/// Who is measured: the columns of the sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    SameServer,
    Zeo,
    RelStorage,
}

impl Side {
    pub(super) const ALL: [Self; COLUMNS.len()] =
        [Self::Ours, Self::SameServer, Self::Zeo, Self::RelStorage];
}

impl<'a> Places<'a> {
    /// Starts the servers, each with a copy of the Data.fs.
    pub(super) fn start(
        scratch: &'a Path,
        data: &Path,
        size: Size,
        has_relstorage: bool,
    ) -> Result<Self> {
        zodiac_binary()?;
        judge::uvloop()?;
        let copy = |name: &str| {
            let directory = scratch.join(name);
            fs::create_dir(&directory)?;
            let own = directory.join("Data.fs");
            fs::copy(data, &own)?;
            anyhow::Ok(own)
        };
        let own = copy("ours")?;
        let words = [
            "zeo",
            "--data",
            own.to_str().context("the path is text")?,
            "--listen",
            "127.0.0.1:0",
        ];
        let mut places = Self {
            ours: Process::start(scratch, &words)?,
            zeo: Original::serve(&copy("zeo")?, true)?,
            postgres: None,
            size,
            scratch,
        };
        places.ours.listening()?;
        if has_relstorage {
            places.postgres = places
                .relstorage(data)
                .inspect_err(|error| eprintln!("bench: without RelStorage: {error:#}"))
                .ok();
        }
        Ok(places)
    }

    fn relstorage(&self, data: &Path) -> Result<Postgres> {
        judge::relstorage()?;
        let postgres = Postgres::start()?;
        eprintln!("bench: copying the objects to PostgreSQL");
        let task = json!({
            "task": "fill",
            "place": { "postgres": postgres.port() },
            "data": data.to_str().context("the path is text")?,
        });
        ask_python(&task)?;
        Ok(postgres)
    }

    /// Lets a fresh process of that side do the task; nothing where there is no such side.
    pub(super) fn perform(&self, side: Side, mut task: Value) -> Result<Option<Value>> {
        task["place"] = match side {
            Side::Ours | Side::SameServer => {
                json!({ "server": self.ours.listening()?.to_string() })
            }
            Side::Zeo => json!({ "server": self.zeo.address().to_string() }),
            Side::RelStorage => match &self.postgres {
                Some(postgres) => json!({ "postgres": postgres.port() }),
                None => return Ok(None),
            },
        };
        task["objects"] = json!(self.size.objects);
        task["seconds"] = json!(self.size.seconds);
        let found = match side {
            Side::Ours => crate::storage::perform(worker::NAME, &task),
            _ => ask_python(&task),
        };
        found.with_context(|| format!("{side:?}: {task}")).map(Some)
    }

    /// Stops our server cleanly, and the others as they go.
    pub(super) fn stop(self) -> Result<()> {
        self.ours.stop()?;
        Ok(())
    }
}

fn ask_python(task: &Value) -> Result<Value> {
    let mut paths = vec![judge::uvloop()?];
    if task["place"]["postgres"].is_u64() {
        paths.push(judge::relstorage()?);
    }
    let mut child = judge::command("client_bench.py")?
        .env("PYTHONPATH", std::env::join_paths(paths)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("the stream is piped")?;
    std::io::Write::write_all(&mut stdin, task.to_string().as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("client_bench.py failed ({}):\n{said}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON; it said:\n{said}"))
}
