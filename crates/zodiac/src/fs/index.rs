//! `zodiac fs index`

use std::sync::Arc;

use clap::Args;
use filestorage::Rebuild;
use fstools::{Listener, Verdict};
use vfs::RealDisk;

use super::arguments::Target;

/// `zodiac fs index`
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Index {
    #[command(flatten)]
    target: Target,
    /// Only compare the .index with the file; needs no lock
    #[arg(long)]
    check: bool,
    /// Write it also where the old one says that the file is wrong, which nothing may tell any more then
    #[arg(long, conflicts_with = "check")]
    force: bool,
}

const HELP: &str = "\
The .index says where the current record of each object is, so that opening the file need not read all
of it. It is made anew by reading the whole file, whatever was there before; a checkpoint (.zidx) is
removed, as the next server makes it anew. That takes the file's lock: no server may use it meanwhile.
A damaged file gets no new index. Nor does one of which the old index says that its end is missing, or
that other objects' records are where those of some objects should be: that index is the witness.

Exit status 1 when the file is damaged, the old .index speaks against it, or (--check) is missing, broken,
wrong, or another file's.

Examples:
  zodiac fs index var/Data.fs --check
  zodiac fs index var/Data.fs";

impl Index {
    pub(super) fn run(&self) -> anyhow::Result<Verdict> {
        if self.check {
            return self.target.look(fstools::index_check);
        }
        let rebuild = Rebuild::begin(&self.target.file, Arc::new(RealDisk))?;
        let mut console = self.target.output.console();
        console.begins(rebuild.survey().size());
        let verdict = fstools::index_rebuild(rebuild, self.force, &mut console);
        console.finish(verdict)
    }
}
