//! `zodiac fs`: the tools for a Data.fs. Each is a file of this folder: its arguments, its help, and what it does.
//! A new one is a module, a line in [`Tool`] and one in [`Tool::run`].

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fstools::{ToolError, Verdict};
use storage::StorageError;

mod arguments;
mod backup;
mod backup_verify;
mod console;
mod copy;
mod dump;
mod export;
mod import;
mod index;
mod info;
mod oids;
mod pack;
mod progress;
mod recover;
mod refs;
mod restore;
mod stats;
mod storages;
mod tail;
mod undo;
mod verify;

/// `zodiac fs`
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Fs {
    #[command(subcommand)]
    tool: Tool,
}

const AFTER_HELP: &str = "\
The tools that look open the file for reading only and without its lock: a server may go on using it.
What it writes after the start of a tool is not looked at. Those that write take the lock, and say so
where a server has it.

Exit status: 0 nothing is wrong; 1 something is wrong, and the output says what and where;
2 the tool could not do its work: the file cannot be read, is no Data.fs, or the arguments make no
sense.

With --json each line of standard output is one object; its \"kind\" says what it tells of. Object and
transaction ids are text such as \"0x1f\"; offsets and lengths are numbers; what is not known is null.

Examples:
  zodiac fs info var/Data.fs
  zodiac fs verify var/Data.fs && zodiac fs refs var/Data.fs
  zodiac fs dump var/Data.fs --from 2026-11-01 --to 2026-11-02
  zodiac fs tail var/Data.fs -n 3
  zodiac fs oids var/Data.fs 0x1f 31
  zodiac fs stats var/Data.fs --json
  zodiac fs backup var/Data.fs --repository /backup/site
  zodiac fs restore --repository /backup/site --output var/Data.fs
  zodiac fs pack var/Data.fs --days 7";

/// The tools.
#[derive(Debug, Subcommand)]
enum Tool {
    /// Size, transactions, objects, the state of the index
    Info(info::Info),
    /// All transactions with their records, or those of a span of time
    Dump(dump::Dump),
    /// The newest transactions with their records
    Tail(tail::Tail),
    /// All records of some objects, and the references from and to them now
    Oids(oids::Oids),
    /// References that lead nowhere, with the path from the root
    Refs(refs::Refs),
    /// Check the structure of every transaction, every pointer, every pickle and every BTree
    Verify(verify::Verify),
    /// Bytes and records by class, the largest first
    Stats(stats::Stats),
    /// Copy all transactions from one storage to another
    Copy(copy::Copy),
    /// Write an object and all that it holds to an export file (.zexp)
    Export(export::Export),
    /// Take the objects of an export file in
    Import(import::Import),
    /// Check the .index beside the file, or make it anew
    Index(index::Index),
    /// List what may be undone; say what an undo would change; undo
    Undo(undo::Undo),
    /// Back up into a repository as repozo does: all, or what was added since the last time
    Backup(backup::Backup),
    /// Make a Data.fs from its backup
    Restore(restore::Restore),
    /// Check that a backup can be restored
    BackupVerify(backup_verify::BackupVerify),
    /// Take out old revisions and what cannot be reached
    Pack(pack::Pack),
    /// Copy what is sound in a damaged Data.fs into a new one
    Recover(recover::Recover),
}

impl Tool {
    fn run(&self) -> anyhow::Result<Verdict> {
        match self {
            Self::Info(tool) => tool.run(),
            Self::Dump(tool) => tool.run(),
            Self::Tail(tool) => tool.run(),
            Self::Oids(tool) => tool.run(),
            Self::Refs(tool) => tool.run(),
            Self::Verify(tool) => tool.run(),
            Self::Stats(tool) => tool.run(),
            Self::Copy(tool) => tool.run(),
            Self::Export(tool) => tool.run(),
            Self::Import(tool) => tool.run(),
            Self::Index(tool) => tool.run(),
            Self::Undo(tool) => tool.run(),
            Self::Backup(tool) => tool.run(),
            Self::Restore(tool) => tool.run(),
            Self::BackupVerify(tool) => tool.run(),
            Self::Pack(tool) => tool.run(),
            Self::Recover(tool) => tool.run(),
        }
    }
}

/// Runs the tool; the exit status says how it went.
pub(crate) fn run(arguments: &Fs) -> ExitCode {
    crate::logging::start_for_tools();
    match arguments.tool.run() {
        Ok(Verdict::Sound) => ExitCode::SUCCESS,
        Ok(Verdict::Wrong) => ExitCode::from(WRONG),
        Err(error) => {
            if !is_unheard(&error) {
                let text = crate::explain(&error);
                eprintln!("zodiac: {text}");
                if is_damage(&error) && !text.contains("zodiac fs ") {
                    eprintln!("{DAMAGE_HINT}");
                }
            }
            ExitCode::from(FAILED)
        }
    }
}

/// Whether a Data.fs is damaged, and not something else.
fn is_damage(error: &anyhow::Error) -> bool {
    let is_damage = |error: &StorageError| match error {
        StorageError::Corrupt { what, .. } => !what.starts_with("not a Data.fs"),
        _ => false,
    };
    error.chain().any(|cause| {
        let of_tool = match cause.downcast_ref() {
            Some(ToolError::Storage(error)) => Some(error),
            _ => None,
        };
        of_tool
            .or_else(|| cause.downcast_ref())
            .is_some_and(is_damage)
    })
}

/// Whether whoever read the output had enough of it.
fn is_unheard(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ToolError::Output(cause)) if cause.kind() == io::ErrorKind::BrokenPipe
    )
}

const DAMAGE_HINT: &str = "zodiac: `zodiac fs verify FILE` says more; restore a backup, or let `zodiac fs \
                           recover` copy what is sound";
const WRONG: u8 = 1;
const FAILED: u8 = 2;
