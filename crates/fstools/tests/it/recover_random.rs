//! Recovering files with damages drawn at random: a record is never copied under another object's id.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use filestorage::{RawRecord, Step, Survey};
use fstools::{Line, RecoverOptions, Verdict};
use sim::SimDisk;
use storage::{Oid, Tid};

use crate::{Heard, PATH, commit, disk, open, record};

const NEW: &str = "/new/Data.fs";
const INDEX: &str = "/db/Data.fs.index";

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 8).unwrap() % bound
    }
}

type Content = BTreeMap<(Tid, Oid), Vec<u8>>;

struct History {
    bytes: Vec<u8>,
    index: Vec<u8>,
    content: Content,
    /// Where transactions begin, and the end.
    starts: Vec<usize>,
    records: Vec<(usize, RawRecord)>,
}

fn read(disk: &Arc<SimDisk>, path: &str) -> (Content, Vec<usize>, Vec<usize>) {
    let survey = Survey::open(path, disk.clone()).unwrap();
    let mut walk = survey.walk();
    let (mut content, mut starts, mut records) = (Content::new(), Vec::new(), Vec::new());
    while let Some(step) = walk.next_step().unwrap() {
        let Step::Transaction(transaction) = step else {
            panic!("{step:?}");
        };
        starts.push(usize::try_from(transaction.offset).unwrap());
        while let Some(record) = walk.next_record().unwrap() {
            let data = survey.data(&record).unwrap().record.unwrap();
            content.insert((transaction.tid, record.oid), data.to_vec());
            records.push(usize::try_from(record.offset).unwrap());
        }
    }
    starts.push(usize::try_from(walk.next_offset()).unwrap());
    (content, starts, records)
}

/// Records of one length, so that what is displaced lies where others were.
fn history(seed: u64) -> History {
    let disk = disk(b"FS30");
    let storage = open(&disk);
    let mut dice = Dice(seed);
    let mut known = 1;
    for round in 0..40 {
        let mut changed = BTreeSet::new();
        for _ in 0..=dice.below(4) {
            if dice.below(2) == 0 {
                changed.insert(known);
                known += 1;
            } else {
                changed.insert(dice.below(usize::try_from(known).unwrap()) as u64);
            }
        }
        let changed: Vec<_> = changed.into_iter().collect();
        let changed: Vec<_> = changed
            .iter()
            .map(|oid| (*oid, record(&format!("{oid:04}-{round:04}"), &[])))
            .collect();
        commit(&storage, &changed);
    }
    storage.close().unwrap();
    let (content, starts, places) = read(&disk, PATH);
    let bytes = disk.contents(Path::new(PATH)).unwrap();
    let header = |at: usize| RawRecord::decode(bytes[at..].first_chunk().unwrap());
    let records = places.into_iter().map(|at| (at, header(at))).collect();
    History {
        index: disk.contents(Path::new(INDEX)).unwrap(),
        bytes,
        content,
        starts,
        records,
    }
}

impl History {
    /// A damaged file, what was done, and whether the rest of the file can tell without an index.
    fn damage(&self, dice: &mut Dice) -> (Vec<u8>, String, bool) {
        let mut bytes = self.bytes.clone();
        let transaction = dice.below(self.starts.len() - 1);
        let range = self.starts[transaction]..self.starts[transaction + 1];
        let one = dice.below(self.records.len());
        let other = dice.below(self.records.len());
        let put = |bytes: &mut Vec<u8>, number: usize, oid: u64| {
            let at = self.records[number].0;
            bytes[at..at + 8].copy_from_slice(&oid.to_be_bytes());
        };
        let oid = |number: usize| self.records[number].1.oid.number();
        match dice.below(6) {
            0 => {
                let twice = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, twice);
                (bytes, format!("{range:?} twice"), true)
            }
            1 => {
                bytes.drain(range.clone());
                let is_last = range.end == self.bytes.len();
                (bytes, format!("without {range:?}"), !is_last)
            }
            2 => {
                let garbage: Vec<u8> = (0..=dice.below(300))
                    .map(|_| u8::try_from(dice.below(256)).unwrap())
                    .collect();
                let at = 4 + dice.below(bytes.len() - 4);
                bytes.splice(at..at, garbage);
                (bytes, format!("garbage at {at}"), true)
            }
            3 => {
                put(&mut bytes, one, oid(other));
                put(&mut bytes, other, oid(one));
                // Two wrong headers at once need the index.
                (bytes, format!("swapped {one} and {other}"), false)
            }
            4 => {
                put(&mut bytes, one, oid(other));
                let what = format!("{one} is of {:x}", oid(other));
                // Of two that are alone neither is copied.
                let is_decidable = !self.is_alone(one) || self.is_alone(other);
                (bytes, what, is_decidable)
            }
            _ => {
                put(&mut bytes, one, 0x1234);
                (bytes, format!("{one} is new"), !self.is_alone(one))
            }
        }
    }

    fn is_alone(&self, number: usize) -> bool {
        let oid = self.records[number].1.oid;
        self.records.iter().filter(|one| one.1.oid == oid).count() == 1
    }

    fn check(&self, damaged: &[u8], with_index: bool, partial: bool, what: &str) {
        let disk = disk(damaged);
        if with_index {
            disk.put(Path::new(INDEX), &self.index);
        }
        let mut heard = Heard::default();
        let survey = Survey::open(PATH, disk.clone()).unwrap();
        let options = RecoverOptions {
            partial,
            ..RecoverOptions::default()
        };
        let verdict =
            fstools::recover(&survey, &*disk, Path::new(NEW), options, &mut heard).unwrap();
        let lines: Vec<_> = heard.0.iter().map(ToString::to_string).collect();
        let context = format!("{what}, index: {with_index}, partial: {partial}: {lines:#?}");
        let (content, ..) = read(&disk, NEW);
        let is_cut = heard
            .0
            .iter()
            .any(|line| matches!(line, Line::UnfinishedTail { .. }));
        let same = content == self.content;
        assert!(same || is_cut || verdict == Verdict::Wrong, "{context}");
        for (key, data) in &content {
            assert_eq!(self.content.get(key), Some(data), "{key:?}: {context}");
        }
    }
}

#[test]
fn no_record_becomes_another_objects() {
    for seed in 1..=4 {
        let history = history(seed);
        let mut dice = Dice(seed * 1000);
        for round in 0..150 {
            let (damaged, what, is_decidable) = history.damage(&mut dice);
            if damaged == history.bytes {
                continue;
            }
            let what = format!("seed {seed}, round {round}: {what}");
            for partial in [false, true] {
                history.check(&damaged, true, partial, &what);
                if is_decidable {
                    history.check(&damaged, false, partial, &what);
                }
            }
        }
    }
}
