//! Bytes that were put into a file, or taken out of it: what follows is finished, wherever it lies. And
//! stored data that look like that are data.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filestorage::{FileStorage, Options, Step, Survey};
use sim::SimDisk;
use storage::{Storage, StorageError};

use crate::{PATH, change, open, open_read_only, options, path};

/// A Data.fs with these records, one a transaction, a second apart from `second` on; and where its
/// transactions begin, with its length in the end.
fn file(second: u64, records: &[&[u8]]) -> (Vec<u8>, Vec<usize>) {
    let disk = SimDisk::new();
    let seconds = AtomicU64::new(second);
    let clock = move || Duration::from_secs(seconds.fetch_add(1, Ordering::Relaxed));
    let options = Options {
        clock: Arc::new(clock),
        ..options(&disk)
    };
    let storage = FileStorage::open(PATH, options).unwrap();
    let mut starts = vec![4];
    for (oid, record) in (0..3).cycle().zip(records) {
        change(&storage, oid, record);
        starts.push(usize::try_from(storage.stats().bytes).unwrap());
    }
    (disk.contents(path()).unwrap(), starts)
}

fn five() -> (Vec<u8>, Vec<usize>) {
    file(EARLY, &[&[1; 50], &[2; 300], &[3; 5], &[4; 1200], &[5; 40]])
}

const EARLY: u64 = 1_700_000_000;
const LATER: u64 = 1_700_100_000;
const LATEST: u64 = 1_700_200_000;

fn disk(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.put(path(), bytes);
    disk
}

/// It is neither opened nor touched, and a look at it does not call it an unfinished end.
fn is_refused(bytes: &[u8], offset: usize, context: &str) {
    let disk = disk(bytes);
    for opened in [open(&disk), open_read_only(&disk)] {
        let error = opened.err().unwrap_or_else(|| panic!("{context}"));
        let is_there =
            matches!(&error, StorageError::Corrupt { offset: at, .. } if *at >= offset as u64);
        assert!(is_there, "{context}: {error}");
    }
    assert!(disk.contents(path()).unwrap() == bytes, "{context}");
    let damages = look(bytes);
    assert_eq!(damages.map(|damages| damages > 0), Some(true), "{context}");
}

/// The number of damages; nothing where there is an unfinished end.
fn look(bytes: &[u8]) -> Option<usize> {
    let survey = Survey::open(PATH, Arc::new(disk(bytes))).unwrap();
    let mut walk = survey.walk();
    let mut damages = 0;
    while let Some(step) = walk.next_step().unwrap() {
        match step {
            Step::Transaction(_) => {}
            Step::Damage(_) => damages += 1,
            Step::Unfinished(_) => return None,
        }
    }
    Some(damages)
}

/// The end is cut off, and that was no damage.
fn is_cut(bytes: &[u8], end: usize, context: &str) {
    assert_eq!(look(bytes), None, "{context}");
    let disk = disk(bytes);
    drop(open_read_only(&disk).unwrap_or_else(|error| panic!("{context}: {error}")));
    drop(open(&disk).unwrap_or_else(|error| panic!("{context}: {error}")));
    assert!(disk.contents(path()).unwrap() == bytes[..end], "{context}");
}

fn put_in(bytes: &[u8], at: usize, foreign: &[u8]) -> Vec<u8> {
    [&bytes[..at], foreign, &bytes[at..]].concat()
}

#[test]
fn nothing_is_cut_where_bytes_were_put_between_transactions() {
    let (bytes, starts) = five();
    for &at in &starts[..5] {
        for foreign in [&[7][..], &[0], &[7; 65], &[0; 512], &[0; 4096], b"FS30"] {
            let context = format!("{} of {:?} at {at}", foreign.len(), foreign[0]);
            is_refused(&put_in(&bytes, at, foreign), at, &context);
        }
    }
}

/// The byte of the status says that a transaction is unfinished, and the others that it is long.
#[test]
fn foreign_bytes_that_look_unfinished_hide_nothing() {
    let (sound, starts) = five();
    for at in &starts[..starts.len() - 1] {
        for foreign in [
            &b"Connection to bacula lost\n"[..],
            b"Connect\xff\0\0\0\0\0\0\x01\0c\0\0\0\0\0\0",
        ] {
            let broken = put_in(&sound, *at, foreign);
            is_refused(&broken, *at, &format!("{foreign:?} at {at}"));
        }
    }
}

#[test]
fn nothing_is_cut_where_bytes_were_put_into_a_header() {
    let (bytes, starts) = five();
    for &start in &starts[..4] {
        for inside in 1..17 {
            for foreign in [&[0x77][..], &[0xff; 40]] {
                let context = format!("{} at {start} + {inside}", foreign.len());
                is_refused(&put_in(&bytes, start + inside, foreign), start, &context);
            }
        }
    }
}

#[test]
fn nothing_is_cut_where_bytes_are_missing() {
    let (bytes, starts) = five();
    for &start in &starts[..4] {
        for missing in [1, 2, 7, 8, 16, 22] {
            let cut = [&bytes[..start], &bytes[start + missing..]].concat();
            is_refused(&cut, start, &format!("{missing} at {start}"));
        }
    }
}

/// An unfinished end behind all that, and another place that is displaced as well.
#[test]
fn nothing_is_cut_where_the_end_is_broken_too() {
    let (bytes, starts) = five();
    for at in [starts[1], starts[2]] {
        let displaced = put_in(&bytes, at, &[7; 30]);
        for short in [1, 9, 50] {
            is_refused(&displaced[..displaced.len() - short], at, "a short end");
        }
        let twice = put_in(&displaced, displaced.len() - 20, &[7; 30]);
        is_refused(&twice, at, "put in twice");
    }
}

/// A log, and a transaction behind it that stores a Data.fs which is later, and longer than `longer`
/// says. Gives also where that transaction begins.
fn with_a_stored_file(before: &[u8], longer: bool) -> (Vec<u8>, usize) {
    let (stored, _) = match longer {
        true => file(LATER, &[&[8; 600], &[8; 3000], &[8; 2000], &[8; 100]]),
        false => file(LATER, &[&[8; 60], &[8; 300], &[8; 100]]),
    };
    let (log, starts) = five();
    assert_eq!(stored.len() > log.len(), longer);
    let record = [before, &stored, b"and behind it."].concat();
    let seconds = AtomicU64::new(LATEST);
    let clock = move || Duration::from_secs(seconds.fetch_add(1, Ordering::Relaxed));
    let disk = disk(&log);
    let options = Options {
        clock: Arc::new(clock),
        ..options(&disk)
    };
    let storage = FileStorage::open(PATH, options).unwrap();
    change(&storage, 9, &record);
    drop(storage);
    let mut bytes = disk.contents(path()).unwrap();
    let start = starts[5];
    bytes[start + 16] = b'c';
    (bytes, start)
}

/// Where stored bytes begin behind the place where a transaction with one record does.
const DATA: usize = 23 + 42;

#[test]
fn a_stored_data_fs_in_an_unfinished_transaction_is_cut_with_it() {
    for longer in [false, true] {
        let (bytes, start) = with_a_stored_file(b"in a record ", longer);
        is_cut(&bytes, start, "whole");
        for end in (start + 24..bytes.len()).step_by(101) {
            is_cut(&bytes[..end], start, &format!("up to {end}"));
        }
        // It ends where a transaction of the stored file does.
        let end = bytes.len() - 8 - b"and behind it.".len();
        is_cut(&bytes[..end], start, "up to the end of what is stored");
    }
}

#[test]
fn a_stored_data_fs_is_no_evidence_where_the_header_was_never_written() {
    for longer in [false, true] {
        let (bytes, start) = with_a_stored_file(b"", longer);
        for zeros in (23..=DATA).chain(if longer { 0..0 } else { DATA..DATA + 700 }) {
            let mut torn = bytes.clone();
            torn[start..start + zeros].fill(0);
            is_cut(&torn, start, &format!("{zeros} zeros, longer: {longer}"));
            let end = torn.len() - 8 - b"and behind it.".len();
            is_cut(&torn[..end], start, &format!("{zeros} zeros and no end"));
        }
    }
}

/// The transaction's header is lost, the one of the record is not.
#[test]
fn what_a_record_holds_is_no_evidence() {
    let (bytes, start) = with_a_stored_file(&[b'x'; 200], true);
    for stored in start + DATA + 200..start + DATA + 204 {
        let mut torn = bytes.clone();
        torn[start..start + 23].fill(0);
        // Nor where the stored file lost its beginning.
        torn[stored] = 0;
        is_cut(&torn, start, "no beginning");
    }
}

/// Nothing tells that from finished transactions which are displaced: to refuse is the safe side.
#[test]
fn a_stored_data_fs_of_which_nothing_shows_that_it_is_stored_is_not_cut() {
    let (mut bytes, start) = with_a_stored_file(b"", true);
    bytes[start..start + DATA + 4].fill(0);
    is_refused(&bytes, start, "all headers are lost");
}
