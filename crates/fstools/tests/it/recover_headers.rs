//! Recovering files of which one field of a header is wrong: nothing may be lost or changed without a
//! word.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use filestorage::{RawRecord, Step, Survey};
use fstools::{Line, RecoverLine, RecoverOptions, Verdict};
use sim::SimDisk;
use storage::{Oid, Storage, Tid, TransactionMeta};

use crate::{Heard, PATH, commit, disk, open, record};

const NEW: &str = "/new/Data.fs";
const INDEX: &str = "/db/Data.fs.index";

/// A file, and where everything is in it.
struct Sound {
    bytes: Vec<u8>,
    index: Vec<u8>,
    content: Content,
    /// Begin, records' begin, and end of each transaction.
    transactions: Vec<(usize, usize, usize)>,
    records: Vec<(usize, RawRecord)>,
}

/// What each record of a file stands for, and where it is.
type Content = BTreeMap<(Tid, Oid), Vec<Option<Vec<u8>>>>;

fn content(disk: &Arc<SimDisk>, path: &str) -> Content {
    let survey = Survey::open(path, disk.clone()).unwrap();
    let mut walk = survey.walk();
    let mut content = Content::new();
    while let Some(step) = walk.next_step().unwrap() {
        let Step::Transaction(transaction) = step else {
            panic!("{step:?}");
        };
        while let Some(record) = walk.next_record().unwrap() {
            let data = survey.data(&record).unwrap().record;
            let data = data.map(|data| data.to_vec());
            let key = (transaction.tid, record.oid);
            content.entry(key).or_default().push(data);
        }
    }
    content
}

fn undo(storage: &Arc<filestorage::FileStorage>, tids: &[Tid]) {
    let mut undo = storage.clone().begin(TransactionMeta::default()).unwrap();
    for tid in tids {
        undo.undo(*tid).unwrap();
    }
    undo.vote().unwrap().finish(Box::new(|_| {})).unwrap();
}

/// Objects with several revisions, an undo, and one of two transactions at once, which writes an
/// object twice.
fn sound() -> Sound {
    let disk = disk(b"FS30");
    let storage = open(&disk);
    let user = |name: &str| record(name, &[]);
    commit(
        &storage,
        &[(0, user("Root")), (1, user("One")), (2, user("Two"))],
    );
    commit(&storage, &[(1, user("OneB")), (3, user("Three"))]);
    let undone = commit(&storage, &[(1, user("OneC"))]);
    commit(&storage, &[(2, user("TwoB")), (5, user("Five"))]);
    undo(&storage, &[undone]);
    let first = commit(&storage, &[(3, user("ThreeB")), (0, user("RootB"))]);
    let second = commit(&storage, &[(3, user("ThreeC"))]);
    undo(&storage, &[second, first]);
    commit(&storage, &[(2, user("TwoC")), (7, user("Seven"))]);
    commit(&storage, &[(1, user("OneD"))]);
    let sound = Sound::of(&disk, &storage);
    let twice = sound
        .records
        .iter()
        .map(|(_, record)| (record.tid, record.oid));
    assert_eq!(
        twice.collect::<BTreeSet<_>>().len(),
        sound.records.len() - 1
    );
    sound
}

struct Recovered {
    verdict: Verdict,
    line: RecoverLine,
    content: Content,
    lines: Vec<Line>,
}

impl Sound {
    /// What was committed, and closed now.
    fn of(disk: &Arc<SimDisk>, storage: &Arc<filestorage::FileStorage>) -> Self {
        storage.close().unwrap();
        let bytes = disk.contents(Path::new(PATH)).unwrap();
        let index = disk.contents(Path::new(INDEX)).unwrap();
        let survey = Survey::open(PATH, disk.clone()).unwrap();
        let mut walk = survey.walk();
        let (mut transactions, mut records) = (Vec::new(), Vec::new());
        while let Some(Step::Transaction(found)) = walk.next_step().unwrap() {
            let start = usize::try_from(found.offset).unwrap();
            let end = start + usize::try_from(found.bytes).unwrap();
            let first = records.len();
            while let Some(record) = walk.next_record().unwrap() {
                let at = usize::try_from(record.offset).unwrap();
                let header = bytes[at..].first_chunk().unwrap();
                records.push((at, RawRecord::decode(header)));
            }
            transactions.push((start, records[first].0, end));
        }
        let content = content(disk, PATH);
        Self {
            bytes,
            index,
            content,
            transactions,
            records,
        }
    }

    fn recover(&self, broken: &[u8], with_index: bool, partial: bool) -> Recovered {
        let disk = disk(broken);
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
        let Some(Line::Recovered(line)) = heard.0.pop() else {
            panic!("no summary");
        };
        Recovered {
            verdict,
            line,
            content: content(&disk, NEW),
            lines: heard.0,
        }
    }

    /// What recovery makes of the file with other bytes at that place.
    fn check(&self, at: usize, bytes: &[u8], with_index: bool) -> Recovered {
        let mut broken = self.bytes.clone();
        broken[at..at + bytes.len()].copy_from_slice(bytes);
        let whole = self.recover(&broken, with_index, false);
        self.check_told(&whole, at);
        self.check_told(&self.recover(&broken, with_index, true), at);
        whole
    }

    /// Everything that is not as it was is told.
    fn check_told(&self, recovered: &Recovered, at: usize) {
        let Recovered {
            verdict,
            content,
            lines,
            ..
        } = recovered;
        let context = || {
            let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
            let record = self.records.iter().rev().find(|(start, _)| *start <= at);
            format!("byte {at} near {record:?}: {lines:#?} {:?}", recovered.line)
        };
        assert_eq!(*verdict, Verdict::Wrong, "{}", context());
        assert!(!lines.is_empty(), "{}", context());
        for (key, data) in content {
            if self.content.get(key) != Some(data) {
                let tid = key.0;
                let told = lines.iter().any(|line| names(line, tid, u64::MAX));
                assert!(told, "{key:?} is new: {}", context());
                // Under its object it stands all the same.
                let same = self.content.iter().any(|(other, was)| {
                    other.1 == key.1 && data.iter().all(|data| was.contains(data))
                });
                assert!(same, "{key:?} is another's: {}", context());
            }
        }
        for key in self.content.keys() {
            if content.get(key) != self.content.get(key) {
                let record = self.records.iter().find(|(_, record)| record.tid == key.0);
                let start = record.unwrap().1.transaction;
                let told = lines.iter().any(|line| names(line, key.0, start));
                assert!(told, "{key:?} is gone: {}", context());
            }
        }
    }

    /// The last record of each object.
    fn is_last(&self, number: usize) -> bool {
        let oid = self.records[number].1.oid;
        !self.records[number + 1..]
            .iter()
            .any(|(_, next)| next.oid == oid)
    }
}

/// Whether the line names the transaction, or the place of it.
fn names(line: &Line, tid: Tid, start: u64) -> bool {
    match line {
        Line::Lost(line) => {
            line.tid == Some(tid) || (line.offset..line.offset + line.bytes).contains(&start)
        }
        Line::Doubtful(line) => line.tid == tid,
        Line::Mended(line) => line.tid == tid || line.offset == start,
        _ => false,
    }
}

/// Each bit of that field in turn.
fn flips(bytes: &[u8], at: usize, length: usize) -> impl Iterator<Item = Vec<u8>> {
    let field = bytes[at..at + length].to_vec();
    (0..length * 8).map(move |bit| {
        let mut field = field.clone();
        field[bit / 8] ^= 1 << (bit % 8);
        field
    })
}

#[test]
fn no_bit_of_a_records_header_is_wrong_without_a_word() {
    let sound = sound();
    let mut mended = 0;
    for (number, &(at, header)) in sound.records.iter().enumerate() {
        for (field, length) in [(0, 8), (8, 8), (16, 8), (24, 8), (32, 2), (34, 8), (42, 8)] {
            if field == 42 && header.data_bytes != 0 {
                continue;
            }
            for bytes in flips(&sound.bytes, at + field, length) {
                let with = sound.check(at + field, &bytes, true);
                if field < 32 {
                    assert_eq!(with.line.lost_spans, 0, "{at} {field}: {:?}", with.lines);
                    mended += with.line.mended;
                }
                // A record that is the only one of its object has no witness but the index.
                let is_alone = header.previous == 0 && sound.is_last(number);
                if field != 0 || !is_alone {
                    sound.check(at + field, &bytes, false);
                }
            }
        }
    }
    assert!(mended > 1000, "{mended}");
}

#[test]
fn no_bit_of_a_transactions_header_is_wrong_without_a_word() {
    let sound = sound();
    for &(start, records, end) in &sound.transactions {
        for at in (start..start + 23).chain(end - 8..end) {
            for bytes in flips(&sound.bytes, at, 1) {
                for with_index in [true, false] {
                    sound.check(at, &bytes, with_index);
                }
            }
        }
        assert!(start + 23 <= records);
    }
}

#[test]
fn values_from_elsewhere_in_the_file_are_noticed() {
    let sound = sound();
    let oids: BTreeSet<u64> = sound
        .records
        .iter()
        .map(|(_, one)| one.oid.number())
        .collect();
    let places: BTreeSet<u64> = sound.records.iter().map(|(at, _)| *at as u64).collect();
    let tids: BTreeSet<u64> = sound
        .records
        .iter()
        .map(|(_, one)| one.tid.number())
        .collect();
    let starts: BTreeSet<u64> = sound.transactions.iter().map(|of| of.0 as u64).collect();
    for (number, &(at, header)) in sound.records.iter().enumerate() {
        let is_alone = header.previous == 0 && sound.is_last(number);
        for (field, values) in [(0, &oids), (8, &tids), (16, &places), (24, &starts)] {
            let was: [u8; 8] = sound.bytes[at + field..][..8].try_into().unwrap();
            for value in values.iter().copied().chain([0, 0x1234]) {
                let value = value.to_be_bytes();
                // The second of two in one transaction may lead to the first as well.
                let beside = number > 0 && sound.records[number - 1].1.tid == header.tid;
                let first = sound.records[number.saturating_sub(1)].0 as u64;
                let is_as_right = beside && field == 16 && value == first.to_be_bytes();
                if value == was || (is_as_right && header.oid == sound.records[number - 1].1.oid) {
                    continue;
                }
                let with = sound.check(at + field, &value, true);
                assert_eq!(with.line.lost_spans, 0, "{at} {field}: {:?}", with.lines);
                if field != 0 || !is_alone {
                    sound.check(at + field, &value, false);
                }
            }
        }
    }
}

/// Of two objects with one record each, one has the other's id: without an index nobody can say which.
/// Both are set aside, and what else their transactions hold is copied.
#[test]
fn of_two_records_that_claim_to_be_the_first_both_are_set_aside_and_nothing_else() {
    let disk = disk(b"FS30");
    let storage = open(&disk);
    let user = |name: &str| record(name, &[]);
    commit(&storage, &[(0, user("Root")), (1, user("One"))]);
    commit(&storage, &[(0, user("RootB")), (5, user("Five"))]);
    commit(&storage, &[(1, user("OneB")), (7, user("Seven"))]);
    commit(&storage, &[(0, user("RootC")), (1, user("OneC"))]);
    let sound = Sound::of(&disk, &storage);
    let alone: Vec<_> = sound
        .records
        .iter()
        .filter(|(_, one)| one.oid > Oid::new(1))
        .collect();
    let [(five, first), (seven, second)] = alone[..] else {
        panic!("{alone:?}");
    };
    for (at, other) in [(*five, second), (*seven, first)] {
        let oid = other.oid.to_bytes();
        for partial in [false, true] {
            let mut broken = sound.bytes.clone();
            broken[at..at + 8].copy_from_slice(&oid);
            let recovered = sound.recover(&broken, false, partial);
            sound.check_told(&recovered, at);
            let doubtful = recovered.lines.iter().filter_map(|line| match line {
                Line::Doubtful(line) => Some(usize::try_from(line.offset).unwrap()),
                _ => None,
            });
            assert_eq!(
                doubtful.collect::<Vec<_>>(),
                [*five, *seven],
                "{:?}",
                recovered.lines
            );
            let mut expected = sound.content.clone();
            expected.remove(&(first.tid, first.oid));
            expected.remove(&(second.tid, second.oid));
            assert_eq!(recovered.content, expected);
            assert_eq!((recovered.line.partial, recovered.line.mended), (2, 0));
        }
        let with_index = sound.check(at, &oid, true);
        assert_eq!(with_index.content, sound.content);
    }
}

/// Where the next record speaks for the later one of both, it stays.
#[test]
fn a_record_with_a_witness_stays_and_one_without_does_not() {
    let disk = disk(b"FS30");
    let storage = open(&disk);
    let user = |name: &str| record(name, &[]);
    commit(&storage, &[(0, user("Root")), (5, user("Five"))]);
    commit(&storage, &[(0, user("RootB")), (7, user("Seven"))]);
    commit(&storage, &[(7, user("SevenB"))]);
    let sound = Sound::of(&disk, &storage);
    let find = |oid| {
        sound
            .records
            .iter()
            .find(|(_, one)| one.oid == Oid::new(oid))
    };
    let &(at, five) = find(5).unwrap();
    let mut broken = sound.bytes.clone();
    broken[at..at + 8].copy_from_slice(&Oid::new(7).to_bytes());
    let recovered = sound.recover(&broken, false, false);
    sound.check_told(&recovered, at);
    let mut expected = sound.content.clone();
    expected.remove(&(five.tid, five.oid));
    assert_eq!(recovered.content, expected, "{:?}", recovered.lines);
    assert_eq!((recovered.line.doubtful, recovered.line.mended), (1, 0));
}
