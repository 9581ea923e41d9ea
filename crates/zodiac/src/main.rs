//! Zodiac: a Zope cluster in one binary. Each subcommand is one role; `up` runs them all.

mod cli;
mod clock;
mod config;
mod events;
mod logging;
mod portal;
mod roles;
mod shutdown;
mod supervise;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zodiac: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Up(arguments) => roles::up::run(&arguments),
        Command::Zeo(arguments) => roles::zeo::run(&arguments),
        Command::Publish(arguments) => roles::publish::run(&arguments),
        Command::Balance(arguments) => roles::balance::run(&arguments),
        Command::Config(arguments) => roles::config::run(&arguments),
    }
}
