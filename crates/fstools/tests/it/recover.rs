//! Recovering damaged files, on a disk in memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use filestorage::{Step, Survey};
use fstools::{Line, LostLine, LostObjectLine, RecoverLine, RecoverOptions, ToolError, Verdict};
use sim::SimDisk;
use storage::{Oid, Storage, Tid};
use vfs::Disk;

use crate::{Heard, PATH, commit, disk, open, record, run};

const UNDO: &[u8] = include_bytes!("../../../filestorage/tests/golden/undo.fs");
const PACKED_UNDO: &[u8] = include_bytes!("../../../filestorage/tests/golden/packed_undo.fs");
pub(crate) const NEW: &str = "/new/Data.fs";

pub(crate) struct Recovered {
    pub(crate) verdict: Verdict,
    pub(crate) line: RecoverLine,
    pub(crate) lost: Vec<LostLine>,
    pub(crate) objects: Vec<LostObjectLine>,
    pub(crate) disk: Arc<SimDisk>,
    /// Everything that was told, as people see it.
    pub(crate) told: Vec<String>,
}

fn recover_on(disk: Arc<SimDisk>, partial: bool) -> Result<Recovered, ToolError> {
    let mut heard = Heard::default();
    let survey = Survey::open(PATH, disk.clone())?;
    let options = RecoverOptions {
        partial,
        ..RecoverOptions::default()
    };
    let verdict = fstools::recover(&survey, &*disk, Path::new(NEW), options, &mut heard)?;
    let told = heard.0.iter().map(ToString::to_string).collect();
    let (mut lost, mut objects, mut summary) = (Vec::new(), Vec::new(), None);
    for line in heard.0 {
        match line {
            Line::Lost(line) => lost.push(line),
            Line::LostObject(line) => objects.push(line),
            Line::Recovered(line) => summary = Some(line),
            _ => {}
        }
    }
    let line = summary.unwrap();
    Ok(Recovered {
        verdict,
        line,
        lost,
        objects,
        disk,
        told,
    })
}

pub(crate) fn recover(bytes: &[u8], partial: bool) -> Recovered {
    let recovered = recover_on(disk(bytes), partial).unwrap();
    recovered.check(bytes);
    recovered
}

/// What each record of a file stands for.
pub(crate) type Content = BTreeSet<(Tid, Oid, Option<Vec<u8>>)>;

pub(crate) fn content(disk: &Arc<SimDisk>, path: &str) -> Content {
    let survey = Survey::open(path, disk.clone()).unwrap();
    let mut walk = survey.walk();
    let mut content = Content::new();
    while let Some(step) = walk.next_step().unwrap() {
        let Step::Transaction(transaction) = step else {
            continue;
        };
        while let Ok(Some(record)) = walk.next_record() {
            if let Ok(data) = survey.data(&record) {
                let data = data.record.map(|data| data.to_vec());
                content.insert((transaction.tid, record.oid, data));
            }
        }
    }
    content
}

impl Recovered {
    /// The new file is sound in every byte, its index agrees, and the old one is as it was.
    fn check(&self, damaged: &[u8]) {
        let survey = Survey::open(NEW, self.disk.clone()).unwrap();
        let (verdict, heard) = run(fstools::verify, &survey);
        let damage: Vec<String> = heard.0.iter().map(ToString::to_string).collect();
        let structure = |line: &&String| line.contains("offset") && !line.contains("pickle");
        assert_eq!(damage.iter().find(structure), None, "{verdict:?}");
        if self.line.records > 0 {
            let saved = survey.saved_index().unwrap();
            assert!(saved.agrees_with(&survey.positions().unwrap()));
            assert_eq!(saved.end(), survey.size());
        }
        assert_eq!(survey.size(), self.line.bytes);
        assert_eq!(self.disk.contents(Path::new(PATH)).unwrap(), damaged);
        assert!(!self.disk.exists(Path::new("/new/Data.fs.part")).unwrap());
    }

    pub(crate) fn content(&self) -> Content {
        content(&self.disk, NEW)
    }
}

/// A file with an undo in it, and where its transactions begin; the last is its length.
pub(crate) fn sound() -> (Vec<u8>, Vec<usize>) {
    let disk = disk(b"FS30");
    let storage = open(&disk);
    commit(
        &storage,
        &[(0, record("Root", &[])), (1, record("First", &[]))],
    );
    commit(
        &storage,
        &[(1, record("Second", &[])), (2, record("Other", &[]))],
    );
    let third = commit(&storage, &[(1, record("Third", &[]))]);
    commit(
        &storage,
        &[
            (2, record("Another", &[])),
            (3, record("New", &[])),
            (4, record("Four", &[])),
        ],
    );
    let mut undo = storage
        .clone()
        .begin(storage::TransactionMeta::default())
        .unwrap();
    undo.undo(third).unwrap();
    undo.vote().unwrap().finish(Box::new(|_| {})).unwrap();
    commit(&storage, &[(5, record("Last", &[]))]);
    storage.close().unwrap();
    let bytes = disk.contents(Path::new(PATH)).unwrap();
    let survey = Survey::open(PATH, disk).unwrap();
    let mut walk = survey.walk();
    let mut starts = Vec::new();
    while let Some(Step::Transaction(found)) = walk.next_step().unwrap() {
        starts.push(usize::try_from(found.offset).unwrap());
    }
    starts.push(bytes.len());
    (bytes, starts)
}

#[test]
fn a_sound_file_is_copied_as_it_is() {
    let (bytes, starts) = sound();
    let recovered = recover(&bytes, false);
    assert_eq!(recovered.verdict, Verdict::Sound);
    assert_eq!(recovered.line.transactions, starts.len() as u64 - 1);
    assert!(recovered.disk.contents(Path::new(NEW)).unwrap() == bytes);
}

#[test]
fn files_with_many_undos_and_packs_are_copied_as_they_are() {
    for bytes in [UNDO, PACKED_UNDO, crate::PLAIN] {
        let recovered = recover(bytes, true);
        assert_eq!(recovered.verdict, Verdict::Sound);
        assert!(recovered.disk.contents(Path::new(NEW)).unwrap() == bytes);
    }
}

/// Every page in turn: pointers into what is lost must not lead anywhere else.
#[test]
fn a_lost_page_leaves_sound_pointers() {
    for at in (512..UNDO.len()).step_by(512) {
        let mut broken = UNDO.to_vec();
        let end = broken.len().min(at + 512);
        broken[at..end].fill(0);
        let all = content(&disk(UNDO), PATH);
        for partial in [false, true] {
            let recovered = recover(&broken, partial);
            let kept = recovered.content();
            let wrong: Vec<_> = kept.difference(&all).collect();
            assert_eq!(
                wrong,
                Vec::<&(Tid, Oid, _)>::new(),
                "page at {at}: {:?}",
                recovered.lost
            );
        }
    }
}

#[test]
fn nothing_is_written_over() {
    let (bytes, _) = sound();
    let disk = disk(&bytes);
    disk.put(Path::new(NEW), b"precious");
    let refused = recover_on(disk.clone(), false).err().unwrap().to_string();
    assert!(refused.contains("it is there"), "{refused}");
    assert_eq!(disk.contents(Path::new(NEW)).unwrap(), b"precious");
}

#[test]
fn a_broken_transaction_is_lost_and_no_other() {
    let (bytes, starts) = sound();
    let all = content(&disk(&bytes), PATH);
    for pair in starts.windows(2) {
        let mut broken = bytes.clone();
        broken[pair[0] + 23..pair[1] - 9].fill(0);
        let recovered = recover(&broken, false);
        assert_eq!(recovered.verdict, Verdict::Wrong);
        // The undo refers to data that are lost when the second transaction is.
        let count = if pair[0] == starts[1] { 2 } else { 1 };
        assert_eq!(recovered.lost.len(), count);
        let lost = &recovered.lost[0];
        assert_eq!(
            (lost.offset, lost.bytes),
            (pair[0] as u64, (pair[1] - pair[0]) as u64)
        );
        let kept = recovered.content();
        let missing: BTreeSet<Tid> = all.difference(&kept).map(|entry| entry.0).collect();
        assert_eq!(missing.len(), count);
    }
}

#[test]
fn one_broken_byte_of_a_header_costs_at_most_its_transaction() {
    let (bytes, starts) = sound();
    let all = content(&disk(&bytes), PATH);
    let mut whole = 0;
    for pair in starts.windows(2) {
        for at in (pair[0]..pair[0] + 23 + 42).chain(pair[1] - 8..pair[1]) {
            for bit in [0x01, 0x80] {
                let mut broken = bytes.clone();
                broken[at] ^= bit;
                let recovered = recover(&broken, true);
                let kept = recovered.content();
                let missing: BTreeSet<Tid> = all.difference(&kept).map(|entry| entry.0).collect();
                // The undo needs the second transaction, or its data. With a wrong object id nobody can
                // say without an index whose a record and the one before it are.
                let bound = 2;
                assert!(missing.len() <= bound, "byte {at}: {:?}", recovered.lost);
                whole += usize::from(missing.is_empty());
            }
        }
    }
    assert!(whole > 200, "most broken fields are mended: {whole}");
}

#[test]
fn what_lies_behind_missing_bytes_is_found() {
    let (bytes, starts) = sound();
    let all = content(&disk(&bytes), PATH);
    for (from, to) in [
        (starts[1] + 30, starts[1] + 37),
        (starts[2] + 1, starts[3] + 10),
    ] {
        let cut = [&bytes[..from], &bytes[to..]].concat();
        let recovered = recover(&cut, false);
        let kept = recovered.content();
        let tids =
            |content: &Content| -> BTreeSet<Tid> { content.iter().map(|entry| entry.0).collect() };
        let missing = &tids(&all) - &tids(&kept);
        assert!((1..=2).contains(&missing.len()), "{missing:?}");
        assert!(kept.is_subset(&all));
    }
}

#[test]
fn the_beginning_of_a_transaction_is_copied_if_that_is_asked_for() {
    let (bytes, starts) = sound();
    let mut broken = bytes.clone();
    let end = starts[4] - 8;
    broken[end - 60..end].fill(0);
    let without = recover(&broken, false);
    let with = recover(&broken, true);
    let more: Vec<Oid> = with
        .content()
        .difference(&without.content())
        .map(|entry| entry.1)
        .collect();
    assert_eq!(more, [Oid::new(2), Oid::new(3)]);
    assert_eq!((with.line.partial, with.lost[0].kept_records), (1, 2));
    assert!(with.lost[0].bytes < without.lost[0].bytes);
}

#[test]
fn objects_whose_newest_revision_is_gone_are_told() {
    let (bytes, starts) = sound();
    let disk = disk(&bytes);
    open(&disk).close().unwrap();
    let mut broken = bytes.clone();
    broken[starts[3]..starts[4]].fill(0xff);
    disk.put(Path::new(PATH), &broken);
    // Nothing in the span can be read: the index tells what was there.
    let told = |disk| {
        let objects = recover_on(disk, false).unwrap().objects;
        let objects = objects
            .into_iter()
            .map(|line| (line.oid.number(), line.left.is_some()));
        objects.collect::<Vec<_>>()
    };
    assert_eq!(told(disk), [(2, true), (3, false), (4, false)]);
    // Without, the records that can still be read.
    let mut broken = bytes.clone();
    broken[starts[4] - 8..starts[4]].fill(0xff);
    broken[starts[3]..starts[3] + 23].fill(0xff);
    assert_eq!(
        told(crate::disk(&broken)),
        [(2, true), (3, false), (4, false)]
    );
}

#[test]
fn any_bytes_are_gone_through_without_a_panic() {
    let (bytes, _) = sound();
    let mut rng = Rng(7);
    for _ in 0..300 {
        let mut broken = bytes.clone();
        for _ in 0..1 + rng.below(6) {
            let at = rng.below(broken.len() - 4) + 4;
            let end = (at + 1 + rng.below(40)).min(broken.len());
            match rng.below(3) {
                0 => broken[at..end].fill(0),
                1 => broken[at] = u8::try_from(rng.below(256)).unwrap(),
                _ => drop(broken.drain(at..end)),
            }
        }
        recover(&broken, rng.below(2) == 0);
    }
}

/// Numbers that look random, the same each time.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

#[test]
fn a_broken_id_hides_nothing_that_follows_other_damage() {
    let (bytes, starts) = sound();
    let mut broken = bytes.clone();
    broken[starts[2]] ^= 0x80;
    broken[starts[3]..starts[3] + 23].fill(0xff);
    let recovered = recover(&broken, false);
    assert_eq!((recovered.line.transactions, recovered.lost.len()), (5, 1));
}

#[test]
fn a_back_pointer_that_does_not_lead_back_is_no_pointer() {
    let (bytes, starts) = sound();
    // The undo has one record: header, then the pointer, then the closing length.
    let pointer = starts[5] - 16;
    for target in [starts[5] - 16 - 42, starts[5] + 23, usize::MAX >> 1] {
        let mut broken = bytes.clone();
        broken[pointer..pointer + 8].copy_from_slice(&(target as u64).to_be_bytes());
        let recovered = recover(&broken, false);
        assert_eq!((recovered.line.transactions, recovered.lost.len()), (5, 1));
    }
}

/// What a pack that was killed before its last step may leave beside the packed file.
#[test]
fn an_index_from_before_a_pack_raises_no_alarm() {
    let place = disk(b"FS30");
    let storage = open(&place);
    let once = |oids: std::ops::Range<u64>| {
        for oid in oids {
            commit(&storage, &[(oid, record("Item", &[]))]);
        }
    };
    once(0..40);
    for class in ["One", "Two", "Three"] {
        commit(&storage, &[(40, record(class, &[]))]);
    }
    once(41..60);
    storage.close().unwrap();
    let index = place.contents(&beside(".index")).unwrap();
    let storage = open(&place);
    let everything = filestorage::PackOptions {
        to: Tid::MAX,
        gc: false,
        ..filestorage::PackOptions::default()
    };
    assert!(storage.pack(&everything).unwrap().packed);
    storage.close().unwrap();
    let packed = place.contents(Path::new(PATH)).unwrap();
    let old = place.contents(&beside(".old")).unwrap();
    for old in [Some(old), None] {
        // With what a writer was about to write, and without.
        for tail in [&b""[..], &packed[4..30]] {
            let place = disk(&[&packed, tail].concat());
            place.put(&beside(".index"), &index);
            if let Some(old) = &old {
                place.put(&beside(".old"), old);
            }
            let recovered = recover_on(place, false).unwrap();
            assert_eq!(recovered.lost, []);
            assert_eq!(recovered.objects, []);
            assert_eq!(recovered.verdict, Verdict::Sound);
        }
    }
    // The same file, cut off, with its own index.
    let place = disk(&packed[..packed.len() - 20]);
    let storage = disk(&packed);
    open(&storage).close().unwrap();
    place.put(
        &beside(".index"),
        &storage.contents(&beside(".index")).unwrap(),
    );
    let recovered = recover_on(place, false).unwrap();
    assert_eq!(recovered.verdict, Verdict::Wrong);
    assert_eq!(recovered.objects.len(), 1);
}

fn beside(suffix: &str) -> std::path::PathBuf {
    format!("{PATH}{suffix}").into()
}
