//! `zodiac zeoctl`: starts a server in the background, watches over it, and passes orders on, as ZEO's zeoctl
//! does (zdaemon with a `zeo.conf`).
//!
//! Two processes have a part in it. The one that a person calls reads the configuration, speaks with the
//! manager through a socket in the file system, and ends. The manager stays: it is the server's parent,
//! starts it again when it fails, and keeps what it prints. The words on the socket are zdaemon's, so that
//! either program can give orders to the other's manager.

mod control;
mod manager;
mod runner;
mod signals;
mod tail;
mod transcript;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgAction, Args};

use crate::roles::Misuse;
use control::Control;
use runner::Runner;

/// `zodiac zeoctl`
#[derive(Debug, Args)]
#[command(disable_help_subcommand = true, after_help = HELP)]
pub(crate) struct Zeoctl {
    /// The zeo.conf; its section "runner" says what is run, and how
    #[arg(short = 'C', long, value_name = "FILE")]
    configure: Option<String>,
    /// The program and its arguments, in one word
    #[arg(short, long, value_name = "PROGRAM")]
    program: Option<String>,
    /// Give up after so many failures in a row, and wait so many seconds at most between them [default: 10]
    #[arg(short, long, value_name = "SECONDS")]
    backoff_limit: Option<u32>,
    /// Run in the background: the default, unless the section "runner" says "daemon off"
    #[arg(short, long)]
    daemon: bool,
    /// Never give up
    #[arg(short, long)]
    forever: bool,
    /// Where all that the program prints is kept [default: nowhere]
    #[arg(short, long, value_name = "FILE")]
    transcript: Option<PathBuf>,
    /// The log that logtail shows
    #[arg(short, long, value_name = "FILE")]
    logfile: Option<PathBuf>,
    /// How long a start may take [default: 300]
    #[arg(short = 'T', long, value_name = "SECONDS")]
    start_timeout: Option<u32>,
    /// The socket of the manager [default: zdsock]
    #[arg(short, long, value_name = "PATH")]
    socket_name: Option<PathBuf>,
    /// Run as this user
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// The umask in the background, octal [default: 022]
    #[arg(short = 'm', long, value_name = "UMASK", value_parser = octal)]
    umask: Option<u32>,
    /// Do not start the program again after these statuses [default: 0,2]
    #[arg(short = 'x', long, value_name = "LIST", allow_hyphen_values = true, value_parser = exit_codes)]
    exit_codes: Option<ExitCodes>,
    /// Where the program runs in the background
    #[arg(short = 'z', long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Refused: the schema is known
    #[arg(short = 'S', long, hide = true, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Refused: change the file
    #[arg(short = 'X', hide = true, value_name = "OVERRIDE")]
    overrides: Vec<String>,
    /// Be the manager: what to do is on standard input
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    manage: bool,
    /// What to do; what follows start, restart or fg is added to the program's arguments
    #[arg(
        value_name = "ACTION",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    action: Vec<String>,
}

const HELP: &str = "\
Actions:
  start               start the server; waits until it takes connections
  stop                stop it (SIGTERM; SIGKILL after <runner> stop-timeout), and wait for its end
  restart             stop and start it
  status [-l]         say whether it runs; exit status 3 where there is no manager
  fg, foreground      run the program here instead
  kill [SIGNAL]       send it a signal, SIGTERM by default
  wait                wait until it has ended
  logtail [FILE]      show the end of its log, and what is added
  logreopen           have it open its logs again (SIGUSR2), and the manager the transcript
  reopen_transcript   have the manager open the transcript again

Examples:
  zodiac zeoctl -C etc/zeo.conf start
  zodiac zeoctl -C etc/zeo.conf status
  zodiac zeoctl -p 'zodiac zeo -a 8100 -f var/Data.fs' -s var/zdsock start";

/// A list of exit statuses.
#[derive(Clone, Debug)]
struct ExitCodes(Vec<i64>);

/// Does what the command line asks for.
pub(crate) fn run(arguments: &Zeoctl) -> Result<ExitCode> {
    if arguments.manage {
        return manager::run();
    }
    if arguments.schema.is_some() {
        return Err(Misuse::error(
            "-S is not there: the schema is that of zeo.conf",
        ));
    }
    if !arguments.overrides.is_empty() {
        return Err(Misuse::error("-X is not there: change the file instead"));
    }
    let Some((action, words)) = arguments.action.split_first() else {
        return Err(Misuse::error(
            "an action argument is required; --help lists them",
        ));
    };
    let runner = Runner::new(arguments)?;
    Control::new(runner)?.act(action, words)
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).map_err(|_| "an octal number such as 022 is needed".to_owned())
}

fn exit_codes(text: &str) -> Result<ExitCodes, String> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let codes = words.map(str::parse).collect::<Result<_, _>>();
    codes
        .map(ExitCodes)
        .map_err(|_| "numbers with commas between them are needed".to_owned())
}
