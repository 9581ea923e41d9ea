//! `zodiac config`: print the defaults, check a file.

use std::io::Write;

use anyhow::Result;

use crate::cli::ConfigCommand;
use crate::config::{Config, DEFAULTS};

/// Does what was asked.
pub(crate) fn run(arguments: &ConfigCommand) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if arguments.print_defaults {
        out.write_all(DEFAULTS.as_bytes())?;
    } else if let Some(path) = &arguments.check {
        if path.extension().is_some_and(|ending| ending == "conf") {
            super::zeo::check(path)?;
        } else {
            Config::load(Some(path))?;
        }
        writeln!(out, "{}: no errors", path.display())?;
    }
    Ok(())
}
