//! Tools for a Data.fs: dump, verify, references, statistics, undo, index, backups, recovery.
//!
//! A tool that looks reads a [`filestorage::Survey`], takes no lock and writes nothing, so it may run
//! beside a server that uses the file. It goes through the file once (few go twice), holds one record in
//! memory at a time and at most some twenty bytes an object, and tells a [`Listener`] of each thing
//! as it is found.
//!
//! ```
//! use std::io;
//! use std::sync::Arc;
//! use filestorage::{FileStorage, Options, Survey};
//! use fstools::{Line, Listener, Verdict};
//!
//! #[derive(Default)]
//! struct Printer(Vec<String>);
//!
//! impl Listener for Printer {
//!     fn tell(&mut self, line: Line) -> io::Result<()> {
//!         self.0.push(line.to_string());
//!         Ok(())
//!     }
//! }
//!
//! # let disk = Arc::new(sim::SimDisk::new());
//! # FileStorage::open("Data.fs", Options { disk: disk.clone(), ..Options::default() })?.close()?;
//! let survey = Survey::open("Data.fs", disk)?;
//! let mut printer = Printer::default();
//! assert_eq!(fstools::verify(&survey, &mut printer)?, Verdict::Sound);
//! assert!(printer.0[0].contains("no damage"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backup;
mod backup_verify;
mod blobs;
mod btrees;
mod content;
mod copy;
mod current;
mod dump;
mod export;
mod import;
mod index;
mod info;
mod line;
mod listener;
mod objects;
mod oid_set;
mod output;
mod parents;
mod paths;
mod quick;
mod recover;
mod references;
mod resolve;
mod restore;
mod stamp;
mod statistics;
mod sweep;
mod testimony;
mod undo;
mod verify;
mod zexp;

pub use backup::catalog::{Repository, RepositoryError};
pub use backup::lines::{BackupLine, BackupVerifyLine, BlobsLine, RestoreLine};
pub use backup::names::{BackupDate, BackupDateError};
pub use backup::{BackupOptions, backup};
pub use backup_verify::{BackupVerifyOptions, backup_verify};
pub use blobs::{
    BlobDirectoryLine, BlobsVerifiedLine, blob_directory, blobs_beside, check_no_blobs,
    verify_blobs,
};
pub use btrees::BTreeLine;
pub use copy::{CopyError, CopyLine, CopyOptions, copy};
pub use dump::{Span, dump, tail};
pub use export::{ExportLine, export};
pub use import::{ImportLine, ImportOptions, import};
pub use index::{IndexLine, index_check, index_rebuild};
pub use info::info;
pub use line::{
    ClassLine, IndexState, InfoLine, Line, RecordLine, TransactionLine, VerifyLine, counted,
};
pub use listener::{Listener, ToolError, Verdict};
pub use objects::objects;
pub use recover::lines::{
    DoubtfulLine, LostLine, LostObjectLine, MendedLine, RecoverLine, UnreadableLine,
};
pub use recover::{RecoverOptions, recover};
pub use references::{DanglingLine, Reason, references};
pub use resolve::{Place, PlaceError};
pub use restore::{RestoreOptions, Target, restore};
pub use stamp::{Stamp, StampError};
pub use statistics::statistics;
pub use undo::{UndoObjectLine, UndoableLine, UndoneLine, undo, undo_preview, undoable};
pub use verify::verify;
pub use zexp::ImportError;
