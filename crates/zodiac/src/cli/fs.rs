//! The command line of `zodiac fs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fstools::{Span, Stamp};
use storage::{Oid, Tid};

/// `zodiac fs`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Fs {
    #[command(subcommand)]
    pub(crate) tool: Tool,
}

const AFTER_HELP: &str = "\
The file is opened for reading only and without its lock: a server may go on using it. What it
writes after the start of a tool is not looked at.

Exit status: 0 nothing is wrong; 1 something is wrong, and the output says what and where;
2 the tool could not do its work: the file cannot be read, is no Data.fs, or the arguments make no
sense.

With --json each line of standard output is one object. Its \"kind\" is one of: info, transaction,
record, reference, dangling, absent, damage, unfinished-tail, class, verified, references-checked.
Object and transaction ids are text such as \"0x1f\"; offsets and lengths are numbers; what is not
known is null.

Examples:
  zodiac fs info var/Data.fs
  zodiac fs verify var/Data.fs && zodiac fs refs var/Data.fs
  zodiac fs dump var/Data.fs --from 2026-11-01 --to 2026-11-02
  zodiac fs tail var/Data.fs -n 3
  zodiac fs oids var/Data.fs 0x1f 31
  zodiac fs stats var/Data.fs --json";

const INFO_HELP: &str = "\
The whole file is read, to count what is in it and to compare the .index with it.

Examples:
  zodiac fs info var/Data.fs
  zodiac fs info var/Data.fs --json | jq .index.state";

const REFS_HELP: &str = "\
Weak references and those to other databases are not looked at. Exit status 1 when some reference
leads nowhere, or some object cannot be read.

Examples:
  zodiac fs refs var/Data.fs
  zodiac fs refs var/Data.fs --json | jq -r 'select(.kind == \"dangling\") | .path'";

const VERIFY_HELP: &str = "\
Goes on behind damage where it can. Exit status 1 when something is damaged; an unfinished tail is
not.

Examples:
  zodiac fs verify var/Data.fs
  zodiac fs verify var/Data.fs --json | jq 'select(.kind == \"damage\") | .offset'";

const STATS_HELP: &str = "\
Current records, then old revisions. A record with a back pointer has no bytes of its own.

Examples:
  zodiac fs stats var/Data.fs
  zodiac fs stats var/Data.fs --json | jq -r 'select(.old_bytes > .bytes) | .class'";

/// The tools.
#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Size, transactions, objects, the state of the index
    #[command(after_help = INFO_HELP)]
    Info(Target),
    /// All transactions with their records, or those of a span of time
    Dump(Dump),
    /// The newest transactions with their records
    Tail(Tail),
    /// All records of some objects, and the references from and to them now
    Oids(Oids),
    /// References that lead nowhere, with the path from the root
    #[command(after_help = REFS_HELP)]
    Refs(Target),
    /// Check the structure of every transaction, every pointer and every pickle
    #[command(after_help = VERIFY_HELP)]
    Verify(Target),
    /// Bytes and records by class, the largest first
    #[command(after_help = STATS_HELP)]
    Stats(Target),
}

impl Tool {
    pub(crate) fn target(&self) -> &Target {
        match self {
            Self::Info(target)
            | Self::Refs(target)
            | Self::Verify(target)
            | Self::Stats(target) => target,
            Self::Dump(Dump { target, .. })
            | Self::Tail(Tail { target, .. })
            | Self::Oids(Oids { target, .. }) => target,
        }
    }
}

/// What every tool takes.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The Data.fs
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `zodiac fs dump`
#[derive(Debug, Args)]
#[command(after_help = "\
A time is UTC and stands for all of itself: --to 2026-11-02 includes that day.

Examples:
  zodiac fs dump var/Data.fs
  zodiac fs dump var/Data.fs --from 2026-11-01T08:00 --to 2026-11-01T08:59
  zodiac fs dump var/Data.fs --from 0x03f0000100000000 --json")]
pub(crate) struct Dump {
    #[command(flatten)]
    target: Target,
    /// The first transaction: an id or a time
    #[arg(long, value_name = "TID|TIME", value_parser = first)]
    from: Option<Tid>,
    /// The last transaction: an id or a time
    #[arg(long, value_name = "TID|TIME", value_parser = last)]
    to: Option<Tid>,
}

impl Dump {
    pub(crate) fn span(&self) -> Span {
        Span {
            from: self.from.unwrap_or(Span::ALL.from),
            to: self.to.unwrap_or(Span::ALL.to),
        }
    }
}

/// `zodiac fs tail`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  zodiac fs tail var/Data.fs -n 3")]
pub(crate) struct Tail {
    #[command(flatten)]
    target: Target,
    /// How many transactions
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(crate) count: usize,
}

/// `zodiac fs oids`
#[derive(Debug, Args)]
#[command(after_help = "\
An id is decimal, or hexadecimal behind 0x. An object without any record makes the exit status 1.

Example:
  zodiac fs oids var/Data.fs 0 0x1f")]
pub(crate) struct Oids {
    #[command(flatten)]
    target: Target,
    /// The objects
    #[arg(value_name = "OID", required = true, value_parser = oid)]
    pub(crate) oids: Vec<Oid>,
}

fn first(text: &str) -> Result<Tid, String> {
    Ok(Stamp::parse(text).map_err(|error| error.to_string())?.0)
}

fn last(text: &str) -> Result<Tid, String> {
    Ok(Stamp::parse(text).map_err(|error| error.to_string())?.1)
}

fn oid(text: &str) -> Result<Oid, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number
        .map(Oid::new)
        .map_err(|_| "an object id is a number such as 31 or 0x1f".to_owned())
}
