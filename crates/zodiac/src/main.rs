//! Zodiac: a Zope cluster in one binary. Each subcommand is one role; `up` runs them all.

mod beside_zeo;
mod cli;
mod clock;
mod config;
mod event_log;
mod events;
mod fs;
mod help;
mod logging;
mod merging;
mod portal;
mod roles;
mod shutdown;
mod supervise;
mod tls_arguments;
mod top;
mod watching;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let words = beside_zeo::command_line(std::env::args_os().collect());
    let found = help::flowing(Cli::command()).get_matches_from(words);
    let cli = Cli::from_arg_matches(&found).unwrap_or_else(|error| error.exit());
    match run(cli) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("zodiac: {}", explain(&error).trim_end());
            if error.is::<roles::Misuse>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// The error and its causes, each said once: some messages quote their cause already.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text.push_str(separator);
            text.push_str(&cause);
        }
    }
    text
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Fs(arguments) => return Ok(fs::run(&arguments)),
        Command::Up(arguments) => roles::up::run(&arguments),
        Command::Zeo(arguments) => return roles::zeo::run(&arguments),
        Command::Publish(arguments) => roles::publish::run(&arguments),
        Command::Balance(arguments) => roles::balance::run(&arguments),
        Command::Top(arguments) => return top::run(&arguments),
        Command::Config(arguments) => roles::config::run(&arguments),
        Command::Zeopack(arguments) => return Ok(beside_zeo::pack::run(&arguments)?),
        Command::Zeoctl(arguments) => return beside_zeo::zeoctl::run(&arguments),
        Command::ZeoNagios(arguments) => return Ok(beside_zeo::nagios::run(&arguments)?),
    }?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_said_once() {
        let quoted = anyhow!("port taken").context("cannot listen: port taken; is it ours?");
        assert_eq!(
            super::explain(&quoted),
            "cannot listen: port taken; is it ours?"
        );
        let plain = anyhow!("no such file").context("cannot read it");
        assert_eq!(super::explain(&plain), "cannot read it: no such file");
    }
}
