//! Finds the binary under test, building it where nobody did.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::paths;

/// Names the binary under test, for those who have built it already.
const BINARY_VARIABLE: &str = "ZODIAC_BINARY";

/// The path of the `zodiac` binary: from the environment variable `ZODIAC_BINARY`, or else built
/// by cargo in the development profile, once in this process.
///
/// # Errors
/// When it does not build.
pub fn zodiac_binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found.clone().map_err(|message| anyhow::anyhow!(message))
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        // Absolute, as the processes start in directories of their own.
        return path
            .canonicalize()
            .with_context(|| path.display().to_string());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "zodiac",
            "--message-format",
            "json",
        ])
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .output()
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!(
            "zodiac does not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo built no executable")
}
