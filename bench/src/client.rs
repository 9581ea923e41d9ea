//! Our client beside ZEO's, at the same server and each at its own, and beside RelStorage on
//! PostgreSQL, in one run.
//!
//! Every measurement is a process of its own: ours is this program again, theirs is the judge's
//! `client_bench.py`. All get the same task, and read the same objects in the same order.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

mod made;
mod places;
mod postgres;
mod rows;
pub(crate) mod worker;

use made::Size;
use places::Places;

use crate::choice::Choice;
use crate::sheet::{Column, Sheet};

/// What is measured, and where.
#[derive(Clone, Debug)]
pub(crate) struct ClientBench {
    choice: Choice<Size>,
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
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut has_relstorage = true;
        let choice = Choice::parse_with(words, &rows::NAMES, |flag, value| {
            has_relstorage = value == "yes";
            flag == "--relstorage"
        })?;
        Ok(Self {
            choice,
            has_relstorage,
        })
    }

    /// Makes the file, starts the servers, measures, prints and writes the sheet.
    pub(crate) fn run(&self) -> Result<()> {
        let Choice {
            size, directory, ..
        } = &self.choice;
        fs::create_dir_all(directory)?;
        let scratch = tempfile::tempdir_in(directory)?;
        let data = made::make(*size, scratch.path())?;
        let mut sheet = self.sheet();
        let places = Places::start(scratch.path(), &data, *size, self.has_relstorage)?;
        for (name, measure) in rows::NAMES.into_iter().zip(rows::ROWS) {
            if self.choice.is_wanted(name) {
                eprintln!("bench: {name}");
                measure(&places, &mut sheet)?;
            }
        }
        sheet.publish(directory)?;
        places.stop()
    }

    fn sheet(&self) -> Sheet {
        let size = self.choice.size;
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
