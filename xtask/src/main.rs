//! Automation of this repository: `cargo xtask`.

mod ci;
mod shell;
mod tidy;

use std::process::{Command, ExitCode};

use shell::{cargo, succeeds};

const HELP: &str = "\
Automation of this repository.

Usage: cargo xtask <command>

  ci                       everything the machine checks; the last line is 'N passed, N failed'
  tidy                     the crate graph against ARCHITECTURE.md, file and function lengths,
                           stray white space and paths
  conformance [--full] [NAME]
                           the tests against the real binary and genuine Python; --full runs the
                           long rounds, those of `sim` too, NAME chooses tests
  sim [--seed N | --seeds N | --full]
                           clients, hub, storage, disk and clock under one seed: lives through that
                           one, through as many, or through some ten thousand
  fuzz [TARGET [SECONDS]]  checks that the fuzz targets compile, or lets one run (with cargo-fuzz
                           and a nightly compiler); `cargo test` replays their corpus
  bench [http|clients|all] timings side by side with Zope and ZEO, written to target/bench/
  bench storage [--size full|small|tiny] [--directory PATH] [--only ROW]
                           the same with FileStorage, on a file of 5 GB that is made once
  bench zeo [--size full|small|tiny] [--directory PATH] [--only ROW]
                           the same with runzeo, with and without uvloop, by raw clients
  bench client [--size full|small|tiny] [--directory PATH] [--only ROW] [--relstorage yes|no]
                           our client beside ZEO's and RelStorage: reads, caches, commits
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let passed = match words.as_slice() {
        ["ci"] => ci::run(),
        ["tidy"] => report(tidy::run()),
        ["conformance", rest @ ..] => report(conformance(rest)),
        ["sim"] => report(simulation(None)),
        ["sim", "--full"] => report(simulation(Some(ALL_SEEDS))),
        ["sim", "--seed", seed] => report(simulation(Some(("ZODIAC_SEED", seed)))),
        ["sim", "--seeds", count] => report(simulation(Some(("ZODIAC_SEEDS", count)))),
        ["fuzz"] => report(succeeds(cargo().args(["check", "--manifest-path", FUZZ]))),
        ["fuzz", target] => report(fuzz(target, "60")),
        ["fuzz", target, seconds] => report(fuzz(target, seconds)),
        ["bench"] => report(bench(&["all"])),
        ["bench", "http" | "clients" | "all"] | ["bench", "storage" | "zeo" | "client", ..] => {
            report(bench(&words[1..]))
        }
        ["-h" | "--help" | "help"] => {
            eprint!("{HELP}");
            true
        }
        _ => {
            eprint!("{HELP}");
            false
        }
    };
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn report(outcome: Result<(), String>) -> bool {
    if let Err(message) = &outcome {
        eprintln!("xtask: {message}");
    }
    outcome.is_ok()
}

fn conformance(arguments: &[&str]) -> Result<(), String> {
    let mut command = cargo();
    command.args(["test", "--package", "conformance", "--test", "it", "--"]);
    for argument in arguments {
        match *argument {
            "--full" => {
                command.env("ZODIAC_CONFORMANCE", "full");
            }
            name => {
                command.arg(name);
            }
        }
    }
    succeeds(&mut command)?;
    match arguments {
        ["--full"] => simulation(Some(ALL_SEEDS)),
        _ => Ok(()),
    }
}

const ALL_SEEDS: (&str, &str) = ("ZODIAC_SEEDS", "40000");

fn simulation(seeds: Option<(&str, &str)>) -> Result<(), String> {
    let mut command = cargo();
    command.args(["test", "--package", "zeo", "--test", "it", "--"]);
    command.args(["simulation::any_interleaving", "--nocapture"]);
    command.envs(seeds);
    succeeds(&mut command)
}

const FUZZ: &str = "fuzz/Cargo.toml";

/// What it finds anew goes to the corpus, what breaks to `fuzz/artifacts/`.
fn fuzz(target: &str, seconds: &str) -> Result<(), String> {
    let limit = format!("-max_total_time={seconds}");
    succeeds(
        Command::new("cargo")
            .current_dir(shell::root())
            .args(["+nightly", "fuzz", "run", target, "--", &limit]),
    )
}

fn bench(arguments: &[&str]) -> Result<(), String> {
    succeeds(cargo().args([
        "build",
        "--release",
        "--package",
        "zodiac",
        "--package",
        "bench",
    ]))?;
    let release = shell::target().join("release");
    succeeds(
        Command::new(release.join("bench"))
            .args(arguments)
            .env("ZODIAC_BINARY", release.join("zodiac")),
    )
}
