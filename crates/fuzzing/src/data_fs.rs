//! The record reader: a Data.fs made of the bytes.

use std::io;
use std::sync::Arc;

use filestorage::Survey;
use fstools::{Line, Listener};
use sim::SimDisk;
use storage::{Oid, PackOptions, Storage, Tid};

use crate::world::{PATH, change, look_at_all, open, put};

/// Looks at the file as the tools do, then opens it, uses and changes it.
///
/// # Panics
/// Where a file that could be opened and written cannot be opened again, or has lost something.
pub fn data_fs(bytes: &[u8]) {
    if bytes.len() > BYTES_MAX {
        return;
    }
    let disk = SimDisk::new();
    put(&disk, "", bytes);
    survey(&disk);
    if let Ok(storage) = open(&disk, true) {
        look_at_all(&storage);
    }
    use_it(&disk);
}

fn survey(disk: &SimDisk) {
    let Ok(survey) = Survey::open(PATH, Arc::new(disk.clone())) else {
        return;
    };
    let mut walk = survey.walk();
    while let Ok(Some(_)) = walk.next_step() {
        while let Ok(Some(record)) = walk.next_record() {
            let _ = survey.data(&record);
        }
    }
    let _ = fstools::info(&survey, &mut Deaf);
    let _ = fstools::verify(&survey, &mut Deaf);
    let _ = fstools::references(&survey, &mut Deaf);
    let _ = fstools::statistics(&survey, &mut Deaf);
}

struct Deaf;

impl Listener for Deaf {
    fn tell(&mut self, line: Line) -> io::Result<()> {
        let _ = line.to_string();
        Ok(())
    }
}

fn use_it(disk: &SimDisk) {
    let Ok(storage) = open(disk, false) else {
        return;
    };
    let before = look_at_all(&storage);
    let _ = storage.recent_changes(3);
    if let Some(undo) = storage.undo() {
        let _ = undo.undo_log(0, 10, &mut |_| true);
    }
    let Ok(tid) = change(&storage, Oid::new(OID)) else {
        return; // behind the last id that there is, say
    };
    let after = look_at_all(&storage);
    assert_eq!(after, before.map(|before| before + 1), "one more");
    storage.close().expect("nothing is wrong with this disk");
    drop(storage);
    disk.restart_process();
    let storage = open(disk, false).expect("it was open before");
    assert_eq!(storage.last_tid(), tid);
    assert_eq!(look_at_all(&storage), after);
    let packer = storage.packer().expect("a file can be packed");
    if packer.pack(&PackOptions::default()).is_ok() {
        let packed = look_at_all(&storage);
        disk.restart_process();
        let storage = open(disk, false).expect("it was just packed");
        assert_eq!(look_at_all(&storage), packed);
        assert_eq!(
            storage.load_before(Oid::new(OID), Tid::MAX).is_ok(),
            OID == 0
        );
    }
}

/// The object that is changed: the root, so that a pack keeps it.
const OID: u64 = 0;

/// Longer inputs tell nothing new.
const BYTES_MAX: usize = 1 << 16;
