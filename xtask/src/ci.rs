//! `cargo xtask ci`: everything the machine checks, in one go, and one last line of counts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::shell::{cargo, output, succeeds, target};
use crate::tidy;

/// Names the binary under test for the conformance tests.
const BINARY_VARIABLE: &str = "ZODIAC_BINARY";

/// Runs every step, also after one has failed, and tells whether all passed.
pub(crate) fn run() -> bool {
    let mut run = Run::default();
    run.step("fmt", |_| {
        succeeds(cargo().args(["fmt", "--all", "--check"]))
    });
    run.step("tidy", |_| tidy::run());
    run.step("clippy", |_| {
        let lint = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ];
        succeeds(cargo().args(lint))
    });
    run.step("fuzz", |_| check_fuzz_targets());
    run.step("build", build);
    run.step("test", test);
    run.step("doc", |_| {
        let doc = ["doc", "--workspace", "--no-deps", "--quiet"];
        succeeds(cargo().args(doc).env("RUSTDOCFLAGS", "--deny warnings"))
    });
    if cargo()
        .args(["deny", "--version"])
        .output()
        .is_ok_and(|found| found.status.success())
    {
        run.step("deny", |_| {
            succeeds(cargo().args(["deny", "--workspace", "check"]))
        });
    } else {
        eprintln!("\n==> deny: skipped, as cargo-deny is not installed");
    }
    run.summary()
}

/// What a run has found so far.
#[derive(Default)]
struct Run {
    steps: Vec<(&'static str, Duration, Result<(), String>)>,
    passed: u64,
    failed: u64,
    binary: Option<String>,
}

impl Run {
    #[allow(
        clippy::disallowed_methods,
        reason = "tells people how long a step took"
    )]
    fn step(&mut self, name: &'static str, work: impl FnOnce(&mut Self) -> Result<(), String>) {
        eprintln!("\n==> {name}");
        let start = Instant::now();
        let failed_before = self.failed;
        let outcome = work(self);
        if let Err(message) = &outcome {
            eprintln!("{name}: {message}");
            if self.failed == failed_before {
                self.failed += 1; // a step without tests, or tests that did not even build
            }
        }
        self.steps.push((name, start.elapsed(), outcome));
    }

    /// Adds the counts of a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
    fn count(&mut self, line: &str) {
        let Some((passed, failed)) = counts(line) else {
            return;
        };
        self.passed += passed;
        self.failed += failed;
    }

    #[allow(clippy::print_stdout, reason = "the last line is the result")]
    fn summary(&self) -> bool {
        eprintln!("\n==> summary");
        for (name, took, outcome) in &self.steps {
            let word = if outcome.is_ok() { "ok" } else { "FAILED" };
            eprintln!("{name:<8} {:>6.1} s  {word}", took.as_secs_f64());
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0
    }
}

/// Builds the binary that the conformance tests drive, with the features that the tests are built
/// with, so that nothing is built twice.
fn build(run: &mut Run) -> Result<(), String> {
    let json = "json-render-diagnostics";
    let messages = output(cargo().args(["build", "--workspace", "--message-format", json]))?;
    run.binary = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "zodiac")
        .find_map(|message| message["executable"].as_str().map(ToOwned::to_owned));
    run.binary
        .as_ref()
        .map(|_| ())
        .ok_or_else(|| "cargo built no `zodiac`".to_owned())
}

/// Compiles the fuzz targets, which are a workspace of their own. That they run takes a nightly compiler;
/// and what is only checked needs no libFuzzer, so none is built.
fn check_fuzz_targets() -> Result<(), String> {
    let check = ["check", "--quiet", "--manifest-path", "fuzz/Cargo.toml"];
    succeeds(
        cargo()
            .args(check)
            .env("CUSTOM_LIBFUZZER_PATH", target().join("unused"))
            .env("CARGO_TARGET_DIR", target()),
    )
}

fn test(run: &mut Run) -> Result<(), String> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if let Some(binary) = &run.binary {
        command.env(BINARY_VARIABLE, binary);
    }
    shown(&mut command, |line| run.count(line))
}

/// Runs a command whose standard output is both shown and read.
#[allow(clippy::print_stdout, reason = "shows what the command prints")]
fn shown(command: &mut Command, mut read: impl FnMut(&str)) -> Result<(), String> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    let stdout = child.stdout.take().expect("the stream is piped");
    for line in BufReader::new(stdout).lines() {
        let line = line.map_err(|error| error.to_string())?;
        println!("{line}");
        read(&line);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("tests failed ({status})"))
    }
}

fn counts(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.split_once("test result: ")?.1.split_once(". ")?;
    let number = |word: &str| {
        let count = counts.split("; ").find(|count| count.ends_with(word))?;
        count.split(' ').next()?.parse().ok()
    };
    Some((number(" passed")?, number(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_and_others_are_not() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("test result_lines ... ok"), None);
        assert_eq!(counts("running 3 tests"), None);
    }

    #[test]
    fn a_failed_step_counts_once_also_beside_failed_tests() {
        let mut run = Run::default();
        run.step("fmt", |_| Err("not formatted".to_owned()));
        run.step("test", |run| {
            run.count("test result: FAILED. 5 passed; 2 failed; 0 ignored");
            Err("tests failed".to_owned())
        });
        assert_eq!((run.passed, run.failed), (5, 3));
    }
}
