//! The ids that were in use in a file whose end is missing.
//!
//! An index that knows more than the file is kept beside it, as `.index.kept0` and so on. Clients, backups
//! and other databases may still know the objects that are lost, so their ids are not given to new ones:
//! neither at the open that noticed, nor later, for as long as the kept index is there.

use std::path::Path;

use storage::Oid;
use vfs::{Disk, OpenMode};

use crate::open::with_suffix;
use crate::{checkpoint, index_file};

/// The largest id that is in the file or in an index that was kept beside it.
pub(crate) fn last_oid(disk: &dyn Disk, data_path: &Path, in_file: Option<Oid>) -> u64 {
    let in_file = in_file.map_or(0, Oid::number);
    let mut last = in_file;
    for kind in [Kind::Index, Kind::Checkpoint] {
        for number in 0..KEPT_MAX {
            let path = with_suffix(data_path, &format!("{}.kept{number}", kind.suffix()));
            if !disk.exists(&path).unwrap_or(false) {
                break;
            }
            let kept = kind.last_oid(disk, &path).map_or(0, Oid::number);
            // An id that is far away may be a damaged one, and would leave few for new objects.
            if kept.saturating_sub(in_file) < AHEAD_MAX {
                last = last.max(kept);
            }
        }
    }
    last
}

enum Kind {
    Index,
    Checkpoint,
}

impl Kind {
    fn suffix(&self) -> &'static str {
        match self {
            Self::Index => ".index",
            Self::Checkpoint => ".zidx",
        }
    }

    fn last_oid(&self, disk: &dyn Disk, path: &Path) -> Option<Oid> {
        let index = match self {
            Self::Index => index_file::load_from(disk, path)?.0,
            Self::Checkpoint => {
                let found = checkpoint::find_at(disk, path, OpenMode::Read)?;
                let end = found.end();
                found.read(end)?
            }
        };
        index.last_oid()
    }
}

/// So many indexes are kept at most.
pub(crate) const KEPT_MAX: u64 = 100;
const AHEAD_MAX: u64 = 1 << 40;
