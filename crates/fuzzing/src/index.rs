//! The readers of saved indexes: a small Data.fs, and an index beside it made of the bytes.

use sim::SimDisk;
use storage::{Oid, Storage, Tid};

use crate::world::{change, look_at_all, open, put};

/// Opens a sound file beside that `.index`; see [`checkpoint`].
///
/// # Panics
/// As [`checkpoint`].
pub fn index(bytes: &[u8]) {
    open_beside(".index", bytes);
}

/// Opens a sound file beside that `.zidx`. An index that looks right to the original may still be
/// wrong, so loads may fail; iteration, which does not use it, may not.
///
/// # Panics
/// Where the file cannot be opened, or shows fewer transactions than it has.
pub fn checkpoint(bytes: &[u8]) {
    open_beside(".zidx", bytes);
}

fn open_beside(suffix: &str, bytes: &[u8]) {
    if bytes.len() > BYTES_MAX {
        return;
    }
    let disk = SimDisk::new();
    {
        let storage = open(&disk, false).expect("a new file");
        for number in [0, 1, 2, 1, 0x1_0000, 3] {
            change(&storage, Oid::new(number)).expect("a change of a new file");
        }
    }
    disk.restart_process();
    put(&disk, suffix, bytes);
    for read_only in [true, false] {
        let storage = open(&disk, read_only).expect("the file itself is sound");
        assert_eq!(look_at_all(&storage), Some(6));
        for number in 0..5 {
            let _ = storage.load_before(Oid::new(number), Tid::MAX);
        }
        if !read_only {
            let _ = storage.new_oids(1);
            storage.close().expect("nothing is wrong with this disk");
        }
    }
}

const BYTES_MAX: usize = 1 << 16;
