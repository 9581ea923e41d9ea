//! Recovering files into which bytes were put, or transactions once more; and what is told of records
//! that cannot be read.

use std::collections::BTreeSet;
use std::path::Path;

use filestorage::{RawRecord, Survey};
use fstools::{RecoverOptions, Verdict};
use storage::{Oid, Storage, Tid};

use crate::recover::{Content, NEW, Recovered, content, recover, sound};
use crate::{Heard, PATH, commit, disk, open, record, run};

impl Recovered {
    fn bytes(&self) -> Vec<u8> {
        self.disk.contents(Path::new(NEW)).unwrap()
    }
}

fn tids(content: &Content) -> BTreeSet<Tid> {
    content.iter().map(|entry| entry.0).collect()
}

#[test]
fn bytes_put_between_transactions_are_all_that_is_left_out() {
    let (bytes, starts) = sound();
    for &at in &starts[..starts.len() - 1] {
        for foreign in [&[7][..], &[0], &[7; 65], &[0; 512], &[0; 4096], b"FS30"] {
            let mut displaced = bytes.clone();
            displaced.splice(at..at, foreign.iter().copied());
            let recovered = recover(&displaced, false);
            let context = format!("{} at {at}: {:?}", foreign.len(), recovered.told);
            assert!(recovered.bytes() == bytes, "{context}");
            assert_eq!(recovered.verdict, Verdict::Wrong, "{context}");
            let lost: Vec<_> = recovered
                .lost
                .iter()
                .map(|line| (line.offset, line.bytes))
                .collect();
            assert_eq!(lost, [(at as u64, foreign.len() as u64)], "{context}");
            assert!(
                recovered.told[0].contains("belong to no transaction"),
                "{context}"
            );
            assert_eq!(recovered.line.mended, 0, "{context}");
        }
    }
}

#[test]
fn bytes_put_into_a_transaction_cost_no_other() {
    let (bytes, starts) = sound();
    let all = content(&disk(&bytes), PATH);
    for pair in starts.windows(2) {
        // Where no other follows, nothing says where it ends.
        for at in (pair[0] + 1..pair[1]).step_by(3) {
            for foreign in [&[0x77][..], &[0; 40], &[0xff; 600]] {
                let mut displaced = bytes.clone();
                displaced.splice(at..at, foreign.iter().copied());
                let recovered = recover(&displaced, true);
                let context = format!("{} at {at}: {:?}", foreign.len(), recovered.told);
                let kept = recovered.content();
                let missing = &tids(&all) - &tids(&kept);
                // The undo needs the second transaction, or its data.
                assert!(missing.len() <= 2, "{context}");
                assert!(kept.is_subset(&all), "{context}");
            }
        }
    }
}

#[test]
fn bytes_put_into_several_places_are_all_found() {
    let (bytes, starts) = sound();
    let mut displaced = bytes.clone();
    for (number, &at) in starts[..6].iter().enumerate().rev() {
        displaced.splice(at..at, vec![7; number + 1]);
    }
    let recovered = recover(&displaced, false);
    assert!(recovered.bytes() == bytes, "{:?}", recovered.told);
    assert_eq!(recovered.lost.len(), 6);
}

#[test]
fn transactions_that_are_there_twice_count_once_wherever_they_are() {
    let (bytes, starts) = sound();
    let count = starts.len() - 1;
    for from in 0..count {
        for to in from + 1..=count {
            for at in to..=count {
                let block = &bytes[starts[from]..starts[to]];
                let at = starts[at];
                let twice = [&bytes[..at], block, &bytes[at..]].concat();
                let recovered = recover(&twice, false);
                let context = format!("{from}..{to} at {at}: {:?}", recovered.told);
                assert!(recovered.bytes() == bytes, "{context}");
                let lost: Vec<_> = recovered.lost.iter().map(|line| line.bytes).collect();
                assert_eq!(lost, [block.len() as u64], "{context}");
                assert_eq!(
                    (recovered.line.retimed, recovered.line.mended),
                    (0, 0),
                    "{context}"
                );
            }
        }
    }
}

/// Behind them, bytes are put in or missing.
#[test]
fn what_is_there_twice_hides_no_other_damage() {
    let (bytes, starts) = sound();
    let block = &bytes[starts[1]..starts[3]];
    for (missing, foreign) in [(0, &[7; 11][..]), (5, b"")] {
        let twice = [
            &bytes[..starts[3]],
            block,
            &bytes[starts[3]..starts[4]],
            foreign,
            &bytes[starts[4] + missing..],
        ];
        let recovered = recover(&twice.concat(), false);
        let kept = recovered.content().len();
        let lost = if missing > 0 { 1 } else { 0 };
        assert_eq!(
            kept + lost,
            content(&disk(&bytes), PATH).len(),
            "{:?}",
            recovered.told
        );
        assert_eq!(recovered.lost.len(), 2, "{:?}", recovered.told);
    }
}

/// The data that an undo leads to are behind a broken record of their transaction.
#[test]
fn a_broken_record_takes_none_along_that_others_lead_to() {
    let place = disk(b"FS30");
    let storage = open(&place);
    commit(
        &storage,
        &[(1, record("One", &[])), (2, record("Two", &[]))],
    );
    let before = usize::try_from(storage.stats().bytes).unwrap();
    let changed = commit(
        &storage,
        &[(1, record("Changed", &[])), (2, record("Also", &[]))],
    );
    let undone = commit(&storage, &[(2, record("Later", &[]))]);
    let mut undo = storage
        .clone()
        .begin(storage::TransactionMeta::default())
        .unwrap();
    undo.undo(undone).unwrap();
    let undo = undo.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    storage.close().unwrap();
    let mut bytes = place.contents(Path::new(PATH)).unwrap();
    let broken = before + 23;
    let header = RawRecord::decode(bytes[broken..].first_chunk().unwrap());
    assert_eq!((header.oid, header.tid), (Oid::new(1), changed));
    // Its length.
    bytes[broken + 37] ^= 0x10;
    let recovered = recover(&bytes, false);
    let also = record("Also", &[]).to_vec();
    let kept = recovered.content();
    assert!(
        kept.contains(&(undo, Oid::new(2), Some(also))),
        "{:?}",
        recovered.told
    );
    assert!(!tids(&kept).contains(&changed));
}

#[test]
fn a_record_that_cannot_be_read_is_copied_and_told() {
    let (mut bytes, starts) = sound();
    // The last transaction has one record; its first byte is no opcode then.
    let at = starts[5] + 23 + 42;
    bytes[at] = 0xff;
    let recovered = recover(&bytes, false);
    assert!(recovered.bytes() == bytes, "as it is");
    assert_eq!(recovered.verdict, Verdict::Wrong);
    assert_eq!(
        (recovered.line.unreadable, recovered.line.lost_spans),
        (1, 0)
    );
    let line = "unreadable: object 0x05, transaction";
    assert!(recovered.told[0].starts_with(line), "{:?}", recovered.told);
    assert!(recovered.told[0].contains(&format!("offset {}:", starts[5] + 23)));
    let last = recovered.told.last().unwrap();
    assert!(last.ends_with("; nothing else is lost"), "{last}");
}

#[test]
fn no_more_are_told_one_by_one_than_wanted() {
    let (mut bytes, starts) = sound();
    let told = |bytes: &[u8], told_max| {
        let disk = disk(bytes);
        let survey = Survey::open(PATH, disk.clone()).unwrap();
        let options = RecoverOptions {
            told_max,
            ..RecoverOptions::default()
        };
        let mut heard = Heard::default();
        let wrong = fstools::recover(&survey, &*disk, Path::new(NEW), options, &mut heard).unwrap();
        assert_eq!(wrong, Verdict::Wrong);
        let lines: Vec<_> = heard.0.iter().map(ToString::to_string).collect();
        let of = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
        let more = lines.iter().find(|line| line.starts_with("...")).cloned();
        (of("object "), of("unreadable: "), more)
    };
    let mut unreadable = bytes.clone();
    unreadable[starts[5] + 23 + 42] = 0xff;
    unreadable[starts[2] + 23 + 42] = 0xff;
    assert_eq!(told(&unreadable, None), (0, 2, None));
    let more = "... and 1 more records that cannot be read".to_owned();
    assert_eq!(told(&unreadable, Some(1)), (0, 1, Some(more)));
    // The fourth transaction has three records, whose headers can be read.
    bytes[starts[4] - 8..starts[4]].fill(0xff);
    bytes[starts[3]..starts[3] + 23].fill(0xff);
    assert_eq!(told(&bytes, Some(3)), (3, 0, None));
    let more = "... and 2 more objects that lost their newest record".to_owned();
    assert_eq!(told(&bytes, Some(1)), (1, 0, Some(more)));
}

#[test]
fn no_tool_calls_displaced_transactions_an_unfinished_end() {
    let (bytes, starts) = sound();
    for &at in &starts[..starts.len() - 1] {
        let mut displaced = bytes.clone();
        displaced.splice(at..at, [7; 11]);
        let disk = disk(&displaced);
        let survey = Survey::open(PATH, disk.clone()).unwrap();
        let (verdict, heard) = run(fstools::verify, &survey);
        assert_eq!(verdict, Verdict::Wrong);
        let first = heard.0[0].to_string();
        assert!(first.contains("11 bytes behind its place"), "{first}");
        assert_eq!(run(fstools::info, &survey).0, Verdict::Wrong);
        assert!(survey.positions().is_err());
    }
}

/// An unfinished transaction that stores a Data.fs is no file with displaced transactions.
#[test]
fn what_an_unfinished_transaction_stores_is_not_recovered() {
    let (stored, starts) = sound();
    // All but the first are later than what is before.
    let bytes = &stored[..starts[1]];
    let storage = disk(bytes);
    let opened = open(&storage);
    let mut pickles = pickle::Pickles::new();
    let head = pickles.global("OFS.Image", "File");
    pickles.push_root(head);
    let data = pickles.bytes(&stored);
    pickles.push_root(data);
    commit(&opened, &[(9, storage::Record::from(pickles.encode()))]);
    opened.close().unwrap();
    let mut whole = storage.contents(Path::new(PATH)).unwrap();
    whole[bytes.len() + 16] = b'c';
    for end in (bytes.len() + 30..whole.len())
        .step_by(37)
        .chain([whole.len()])
    {
        let recovered = recover(&whole[..end], false);
        assert!(recovered.bytes() == bytes, "{end}: {:?}", recovered.told);
        assert_eq!(recovered.verdict, Verdict::Sound, "{end}");
    }
}
