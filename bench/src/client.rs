//! Our client beside ZEO's, at the same server and each at its own, and beside RelStorage on
//! PostgreSQL, in one run.
//!
//! Every measurement is a process of its own: ours is this program again, theirs is the judge's
//! `client_bench.py`. All get the same task, and read the same objects in the same order.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use conformance::paths;
use serde_json::Value;

mod made;
mod places;
mod postgres;
mod rows;
pub(crate) mod worker;

use made::Size;
use places::Places;

use crate::sheet::{Column, Sheet};

/// What is measured, and where.
#[derive(Clone, Debug)]
pub(crate) struct ClientBench {
    size: Size,
    directory: PathBuf,
    only: Option<String>,
    has_relstorage: bool,
}

/// Ours at `zodiac zeo`, ZEO's client there, ZEO's client at `runzeo`, RelStorage.
const COLUMNS: [Column; 4] = [
    Column {
        key: "ours",
        title: "ours",
    },
    Column {
        key: "same_server",
        title: "ZEO's client at our server",
    },
    Column {
        key: "zeo",
        title: "ZEO",
    },
    Column {
        key: "relstorage",
        title: "RelStorage",
    },
];

impl ClientBench {
    /// Reads `[--size full|small|tiny] [--directory PATH] [--only ROW] [--relstorage yes|no]`.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut bench = Self {
            size: Size::parse("full")?,
            directory: paths::target().join("bench"),
            only: None,
            has_relstorage: true,
        };
        while let Some(word) = words.next() {
            let value = words.next();
            let value = value.with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--size" => bench.size = Size::parse(&value)?,
                "--directory" => bench.directory = value.into(),
                "--only" if rows::NAMES.contains(&value.as_str()) => bench.only = Some(value),
                "--only" => bail!("there is no row {value:?} among {:?}", rows::NAMES),
                "--relstorage" => bench.has_relstorage = value == "yes",
                _ => {
                    bail!("unknown: {word}; known are --size, --directory, --only and --relstorage")
                }
            }
        }
        Ok(bench)
    }

    /// Makes the file, starts the servers, measures, prints and writes the sheet.
    pub(crate) fn run(&self) -> Result<()> {
        fs::create_dir_all(&self.directory)?;
        let scratch = tempfile::tempdir_in(&self.directory)?;
        let data = made::make(self.size, scratch.path())?;
        let mut sheet = self.sheet();
        let places = Places::start(scratch.path(), &data, self.size, self.has_relstorage)?;
        for (name, measure) in rows::NAMES.into_iter().zip(rows::ROWS) {
            if self.only.as_ref().is_none_or(|only| only == name) {
                eprintln!("bench: {name}");
                measure(&places, &mut sheet)?;
            }
        }
        sheet.publish(&self.directory)?;
        places.stop()
    }

    fn sheet(&self) -> Sheet {
        let size = self.size;
        let conditions = format!(
            "Size {}: {} objects. Ours: `zodiac zeo` and our client. ZEO 6.2 with uvloop, ZODB 6.4: its client at our \
             server, and at `runzeo`. RelStorage 4.3 with PostgreSQL, keeping history. All on loopback, what \
             the servers have in the page cache, best of {} interleaved rounds.",
            size.name, size.objects, size.rounds,
        );
        let title = "Our client beside ZEO's and RelStorage";
        Sheet::new("client", title, &conditions, &COLUMNS)
    }
}

/// The figure at a place in what was found.
fn figure(found: &Value, pointer: &str) -> Result<f64> {
    let figure = found.pointer(pointer).and_then(Value::as_f64);
    figure.with_context(|| format!("no {pointer} in {found}"))
}
