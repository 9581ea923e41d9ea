//! What several tools take.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use filestorage::Survey;
use fstools::{Listener, Place, Stamp, ToolError, Verdict};
use storage::{Oid, StorageError, Tid};
use vfs::RealDisk;

use super::console::Console;

/// The file that a tool looks into.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The Data.fs
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How a tool says what it finds.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl Target {
    pub(crate) fn survey(&self) -> Result<Survey, StorageError> {
        Survey::open(&self.file, Arc::new(RealDisk))
    }

    /// Opens the file, looks into it, and prints what is found.
    pub(crate) fn look(
        &self,
        tool: impl FnOnce(&Survey, &mut dyn Listener) -> Result<Verdict, ToolError>,
    ) -> anyhow::Result<Verdict> {
        self.look_for(None, tool)
    }

    /// The same, where nothing may be found, of which people are told with that line.
    pub(crate) fn look_for(
        &self,
        nothing: Option<&'static str>,
        tool: impl FnOnce(&Survey, &mut dyn Listener) -> Result<Verdict, ToolError>,
    ) -> anyhow::Result<Verdict> {
        let survey = self.survey()?;
        let mut console = self.output.console();
        if let Some(nothing) = nothing {
            console.or_else(nothing);
        }
        console.begins(survey.size());
        let verdict = tool(&survey, &mut console);
        console.finish(verdict)
    }
}

impl Output {
    pub(crate) fn console(&self) -> Console {
        Console::new(self.json)
    }
}

/// The first transaction that the text may stand for.
pub(crate) fn first(text: &str) -> Result<Tid, String> {
    Ok(Stamp::parse(text).map_err(|error| error.to_string())?.0)
}

/// The last transaction that the text may stand for.
pub(crate) fn last(text: &str) -> Result<Tid, String> {
    Ok(Stamp::parse(text).map_err(|error| error.to_string())?.1)
}

/// A transaction's id.
pub(crate) fn tid(text: &str) -> Result<Tid, String> {
    match Stamp::parse(text) {
        Ok((first, last)) if first == last => Ok(first),
        _ => Err("a transaction id is a number such as 0x03f0000100000000".to_owned()),
    }
}

/// How many.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "a number such as 10 is needed".to_owned())
}

/// An object, by its id or its path.
pub(crate) fn place(text: &str) -> Result<Place, String> {
    if text.starts_with('/') {
        return Ok(Place::Path(text.to_owned()));
    }
    let wrong = |_| "an object is a path such as /news/2026, or an id such as 0x1f".to_owned();
    oid(text).map(Place::Oid).map_err(wrong)
}

/// An object's id.
pub(crate) fn oid(text: &str) -> Result<Oid, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number
        .map(Oid::new)
        .map_err(|_| "an object id is a number such as 31 or 0x1f".to_owned())
}
