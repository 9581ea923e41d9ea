use std::collections::BTreeMap;

use sim::{Fault, SimDisk};
use storage::Oid;
use vfs::OpenMode;

use super::*;
use crate::format::{DataHeader, LOG_START, MAGIC_NEW, Status, TransactionHeader};
use crate::index::PAGE_SLOTS;
use crate::saved_index;
use crate::scan::UncheckedTail;

/// A log with its index, written as the storage writes it, without the storage.
struct World {
    disk: SimDisk,
    log: Log,
    index: Index,
    end: Offset,
    last_tid: Tid,
    checkpointer: Checkpointer,
}

impl World {
    fn new() -> Self {
        Self::on(SimDisk::new())
    }

    fn on(disk: SimDisk) -> Self {
        let file = disk.open(data_path(), OpenMode::Create).unwrap();
        file.write_at(MAGIC_NEW, 0).unwrap();
        file.sync_data().unwrap();
        disk.sync_directory(Path::new("")).unwrap();
        let every = Some(EVERY);
        Self {
            log: Log::new(file, data_path().to_owned()),
            index: Index::default(),
            end: LOG_START,
            last_tid: Tid::ZERO,
            checkpointer: Checkpointer::new(Arc::new(disk.clone()), data_path(), every, LOG_START),
            disk,
        }
    }

    /// Appends a transaction that changes these objects, durably, and shows it.
    fn commit(&mut self, oids: impl IntoIterator<Item = u64>) {
        let places = self.append(oids);
        self.log.file.sync_data().unwrap();
        self.show(places);
    }

    fn append(&mut self, oids: impl IntoIterator<Item = u64>) -> Vec<(Oid, Offset)> {
        let start = self.end;
        let tid = self.last_tid.next();
        let mut records = Vec::new();
        let mut places = Vec::new();
        for oid in oids {
            let oid = Oid::new(oid);
            let at = start + (TransactionHeader::LEN + records.len()) as u64;
            let header = DataHeader {
                oid,
                tid,
                previous: self.index.get(oid).unwrap_or_default(),
                transaction: start,
                version_length: 0,
                data_length: 1,
            };
            records.extend(header.encode());
            records.push(b'x');
            places.push((oid, at));
        }
        let header = TransactionHeader {
            tid,
            length: (TransactionHeader::LEN + records.len()) as u64,
            status: Status::COMPLETE,
            user_length: 0,
            description_length: 0,
            extension_length: 0,
        };
        let length = header.length.to_be_bytes();
        let bytes = [&header.encode()[..], &records, &length].concat();
        self.log.file.write_at(&bytes, start.number()).unwrap();
        self.end = start + bytes.len() as u64;
        self.last_tid = tid;
        places
    }

    fn show(&self, places: Vec<(Oid, Offset)>) {
        for (oid, at) in places {
            self.index.insert(oid, at);
        }
    }

    fn checkpoint(&self) {
        self.write().unwrap();
    }

    fn write(&self) -> Result<(), StorageError> {
        self.checkpointer
            .write(&self.log, &self.index, self.end, self.last_tid)
    }

    /// How many operations the disk does for a checkpoint.
    fn cost(&self) -> u64 {
        let before = self.disk.operations();
        self.checkpoint();
        self.disk.operations() - before
    }
}

/// A log that was opened again with what is saved beside it.
struct Reopened {
    /// Up to where the saved index saved the scan; nothing where none was believed.
    saved_to: Option<Offset>,
    world: World,
}

fn reopen(disk: &SimDisk) -> Reopened {
    let file = disk.open(data_path(), OpenMode::Write).unwrap();
    let log = Log::new(file, data_path().to_owned());
    let saved = saved_index::newest(&log, disk, OpenMode::Write).unwrap();
    let saved_to = saved.as_ref().map(|saved| saved.tail.start);
    let (tail, tree) = match saved {
        Some(saved) => (saved.tail, saved.tree),
        None => (UncheckedTail::everything(), None),
    };
    let checked = tail.check(&log).unwrap();
    let start = saved_to.unwrap_or(LOG_START);
    let checkpointer = Checkpointer::new(Arc::new(disk.clone()), data_path(), Some(EVERY), start);
    if let Some(tree) = tree {
        checkpointer.adopt(tree);
    }
    let world = World {
        disk: disk.clone(),
        log,
        index: checked.index,
        end: checked.end,
        last_tid: checked.last_tid,
        checkpointer,
    };
    // What is found with a checkpoint is what is found without one.
    let everything = UncheckedTail::everything().check(&world.log).unwrap();
    assert!(world.index.iter().eq(everything.index.iter()));
    assert_eq!(world.index.len(), everything.index.len());
    assert_eq!(world.end, everything.end);
    assert_eq!(world.last_tid, everything.last_tid);
    Reopened { saved_to, world }
}

fn data_path() -> &'static Path {
    Path::new("Data.fs")
}

/// Whatever the sparse and dense parts of an index are made of: three full pages, a few ids each in
/// many ranges, and ids that lie far out.
fn all_kinds() -> impl Iterator<Item = u64> {
    let scattered = (10..2000u64).map(|number| number << 20);
    (0..3 * PAGE_SLOTS as u64)
        .chain(scattered)
        .chain([u64::MAX])
}

#[test]
fn an_open_goes_on_where_the_checkpoint_ends() {
    let mut world = World::new();
    world.commit(all_kinds());
    world.commit([1, 5, 77 << 20]);
    world.checkpoint();
    let end = world.end;
    world.commit([2, 1 << 30, u64::MAX]);
    let reopened = reopen(&world.disk);
    assert_eq!(reopened.saved_to, Some(end));
    assert_eq!(reopened.world.end, world.end);
}

#[test]
fn a_checkpoint_costs_what_has_changed() {
    let mut world = World::new();
    world.commit(0..100 * 1024);
    let first = world.cost();
    assert!(first > 100, "{first}: a page for each thousand objects");
    // One page, one table, the header, two syncs.
    world.commit([7]);
    assert_eq!(world.cost(), 5);
    world.commit([7, 8, 50_000, 1 << 40]);
    assert_eq!(world.cost(), 7);
    assert_eq!(world.cost(), 3, "nothing but the header and two syncs");
    // Also in the next process, which has read the file.
    let mut next = reopen(&world.disk).world;
    next.commit([9]);
    assert_eq!(next.cost(), 5);
    let size = |world: &World| world.disk.contents(&path_of(data_path())).unwrap().len();
    let before = size(&next);
    for round in 0..50 {
        next.commit([round * 1024]);
        assert_eq!(next.cost(), 5);
    }
    assert!(size(&next) <= before + 8 * 8192, "slots are used again");
    assert_eq!(reopen(&next.disk).saved_to, Some(next.end));
}

/// What changes between the moment that a checkpoint stands for and its writing is not in it.
#[test]
fn a_checkpoint_says_what_was_true_at_its_end() {
    let mut world = World::new();
    world.commit(all_kinds());
    world.commit([3, 4]);
    let (end, last_tid) = (world.end, world.last_tid);
    let expected: BTreeMap<Oid, Offset> = world.index.iter().collect();
    // New objects (among them a page of its own), changed ones of both kinds, changed again.
    world.commit((4000 << 10)..(4001 << 10));
    world.commit([3, 1000, 77 << 20, 1 << 50]);
    world.commit([3, u64::MAX]);
    // One is shown whose transaction the power loss takes away.
    let unfinished = world.end + TransactionHeader::STATUS_OFFSET;
    let lost = world.append([4, 5, 99 << 20]);
    world.log.file.write_at(b"c", unfinished.number()).unwrap();
    world.show(lost);
    world
        .checkpointer
        .write(&world.log, &world.index, end, last_tid)
        .unwrap();
    let found = find(&world.disk, data_path(), OpenMode::Read).unwrap();
    let loaded = found.load(&world.log).unwrap();
    assert!(loaded.index.iter().eq(expected));
    assert_eq!(loaded.last_tid, last_tid);
    for seed in 0..10 {
        let disk = world.disk.clone();
        disk.restart(seed);
        assert_eq!(reopen(&disk).saved_to, Some(end));
    }
    // The next one has everything, though the states that it finds have not changed since.
    let next = reopen(&world.disk).world;
    next.checkpoint();
    assert_eq!(reopen(&next.disk).saved_to, Some(next.end));
}

#[test]
fn a_checkpoint_is_written_while_commits_go_on() {
    for _ in 0..10 {
        let mut world = World::new();
        // Each page's range has entries that are shown already and become a page while the
        // checkpoint looks for them.
        let slots = |slots: std::ops::Range<u64>| {
            (0..200).flat_map(move |page| slots.clone().map(move |slot| page << 10 | slot))
        };
        world.commit(slots(0..100));
        world.commit(slots(3..5));
        let (end, last_tid) = (world.end, world.last_tid);
        // Appended before, because the log has one writer; shown while the checkpoint runs.
        let places = [world.append(slots(100..140)), world.append(slots(0..9))].concat();
        world.log.file.sync_data().unwrap();
        std::thread::scope(|scope| {
            let world = &world;
            let write = || {
                world
                    .checkpointer
                    .write(&world.log, &world.index, end, last_tid)
            };
            let written = scope.spawn(write);
            world.show(places);
            written.join().unwrap().unwrap();
        });
        let next = reopen(&world.disk);
        assert_eq!(next.saved_to, Some(end));
        next.world.checkpoint();
        assert_eq!(reopen(&next.world.disk).saved_to, Some(world.end));
    }
}

/// The power goes off at each operation of each of three checkpoints: the first, one that goes on,
/// and one of a process that has read the file.
#[test]
fn every_crash_leaves_a_log_that_opens_as_if_there_were_no_checkpoint() {
    let mut believed = BTreeMap::new();
    for at in 1.. {
        let mut all_done = true;
        for seed in 0..12 {
            let (world, ends, is_done) = crash(at, seed);
            all_done &= is_done;
            world.disk.restart(seed);
            let reopened = reopen(&world.disk);
            let known = reopened
                .saved_to
                .map(|end| ends.iter().position(|known| *known == end));
            *believed.entry(known).or_insert(0) += 1;
            // The one before the crash is there, or the one that it interrupted.
            let written = if is_done { ends.len() } else { ends.len() - 1 };
            let last = written.checked_sub(1).map(|last| ends[last]);
            assert!(
                reopened.saved_to >= last,
                "{at} {seed}: {:?} {ends:?}",
                reopened.saved_to
            );
            // And the next checkpoints work, one that follows at once and one behind another crash.
            let mut next = reopened.world;
            next.commit([1, 2, 50 << 20]);
            next.checkpoint();
            assert_eq!(reopen(&next.disk).saved_to, Some(next.end));
            next.disk.restart(seed);
            assert_eq!(reopen(&next.disk).saved_to, Some(next.end));
        }
        if all_done {
            break;
        }
    }
    let cases: Vec<_> = believed.keys().copied().collect();
    let expected = [None, Some(Some(0)), Some(Some(1)), Some(Some(2))];
    assert_eq!(cases, expected, "{believed:?}");
}

/// Commits and checkpoints until the disk fails at that operation; the ends of the checkpoints, and
/// whether all of them were written.
fn crash(at: u64, seed: u64) -> (World, Vec<Offset>, bool) {
    let mut world = World::new();
    let mut ends = Vec::new();
    let mut rng = fastrand::Rng::with_seed(seed);
    world.commit((0..300).chain((10..700).map(|number| number << 20)));
    let mut left = at;
    for round in 0..3 {
        let changed: Vec<u64> = (0..20).map(|_| rng.u64(..400)).collect();
        let sparse = rng.u64(10..900) << 20;
        world.commit(changed.into_iter().chain([sparse]));
        if round == 2 {
            world = reopen(&world.disk).world;
        }
        ends.push(world.end);
        let before = world.disk.operations();
        if left > 0 {
            world.disk.fail_at(before + left, Fault::PowerLoss);
        }
        if world.write().is_err() {
            return (world, ends, false);
        }
        left = left.saturating_sub(world.disk.operations() - before);
        world.disk.fail_at(u64::MAX, Fault::PowerLoss);
    }
    (world, ends, true)
}

#[test]
fn a_first_checkpoint_that_fails_leaves_nothing_behind() {
    let mut world = World::new();
    world.commit(0..300);
    world.disk.fail_at(world.disk.operations() + 3, Fault::Full);
    world.write().unwrap_err();
    assert!(!world.disk.exists(Path::new("Data.fs.zidx_tmp")).unwrap());
    assert!(!world.disk.exists(Path::new("Data.fs.zidx")).unwrap());
    world.checkpoint();
    assert_eq!(reopen(&world.disk).saved_to, Some(world.end));
}

/// A disk that fails and goes on: the checkpoint that is there stays good, and the next one works.
#[test]
fn a_failed_write_costs_one_checkpoint() {
    for fault in [Fault::Error, Fault::Full] {
        for at in 1..20 {
            let mut world = World::new();
            world.commit(0..300);
            world.checkpoint();
            let first = world.end;
            world.commit([1, 299, 1 << 30]);
            world.disk.fail_at(world.disk.operations() + at, fault);
            let failed = world.write().is_err();
            let found = reopen(&world.disk).saved_to;
            assert!(
                found == Some(first) || found == Some(world.end),
                "{found:?}"
            );
            assert!(failed || found == Some(world.end));
            world.disk.fail_at(u64::MAX, fault);
            world.commit([2]);
            world.checkpoint();
            assert_eq!(reopen(&world.disk).saved_to, Some(world.end));
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_not_believed() {
    let mut world = World::new();
    world.commit((0..300).chain((10..700).map(|number| number << 20)));
    world.checkpoint();
    let path = path_of(data_path());
    let sound = world.disk.contents(&path).unwrap();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut refused = 0;
    for _ in 0..300 {
        let mut bytes = sound.clone();
        let at = rng.usize(..bytes.len());
        bytes[at] ^= 1 << rng.u8(..8);
        if rng.u8(..4) == 0 {
            bytes.truncate(rng.usize(..=bytes.len()));
        }
        world.disk.put(&path, &bytes);
        // It checks that what is found is right.
        refused += u32::from(reopen(&world.disk).saved_to.is_none());
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn the_checkpoint_of_another_log_is_not_believed() {
    let path = path_of(data_path());
    let mut world = World::new();
    world.commit(0..300);
    world.commit([1]);
    world.checkpoint();
    let foreign = world.disk.contents(&path).unwrap();

    // As long, with the same transactions, and two objects that have changed places.
    let mut other = World::new();
    other.commit((0..5).chain([6, 5]).chain(7..300));
    other.commit([1]);
    other.disk.put(&path, &foreign);
    assert_eq!(reopen(&other.disk).saved_to, None);

    // One that was cut.
    let mut shorter = World::new();
    shorter.commit(0..200);
    shorter.disk.put(&path, &foreign);
    assert_eq!(reopen(&shorter.disk).saved_to, None);
}

#[test]
fn of_two_saved_indexes_the_newer_is_taken() {
    let mut world = World::new();
    let save = |world: &World| {
        crate::index_file::save(&world.disk, data_path(), &world.index, world.end).unwrap();
    };
    world.commit(0..300);
    world.checkpoint();
    let first = world.end;
    save(&world);
    let reopened = reopen(&world.disk);
    assert_eq!(reopened.saved_to, Some(first));
    assert!(
        reopened.world.checkpointer.is_begun(),
        "of two equal ones the checkpoint"
    );

    world.commit([1]);
    save(&world);
    let second = world.end;
    let reopened = reopen(&world.disk);
    assert_eq!(reopened.saved_to, Some(second));
    assert!(!reopened.world.checkpointer.is_begun());

    world.commit([2]);
    world.checkpoint();
    let third = world.end;
    assert_eq!(reopen(&world.disk).saved_to, Some(third));

    // The newer one is damaged: then the older one.
    let path = path_of(data_path());
    let mut bytes = world.disk.contents(&path).unwrap();
    bytes
        .iter_mut()
        .skip(8192)
        .step_by(8192)
        .for_each(|first| *first ^= 1);
    world.disk.put(&path, &bytes);
    let found = reopen(&world.disk).saved_to;
    assert_eq!(found, Some(second));
}

/// The original reads the whole file then, though the index is right.
#[test]
fn an_index_is_believed_where_the_last_transaction_has_an_object_twice() {
    let mut world = World::new();
    world.commit([1, 2, 1]);
    crate::index_file::save(&world.disk, data_path(), &world.index, world.end).unwrap();
    assert_eq!(reopen(&world.disk).saved_to, Some(world.end));
    // But not where it names the first of the two.
    world
        .index
        .insert(Oid::new(1), LOG_START + TransactionHeader::LEN as u64);
    crate::index_file::save(&world.disk, data_path(), &world.index, world.end).unwrap();
    assert_eq!(reopen(&world.disk).saved_to, None);
}

#[test]
fn a_retired_checkpoint_is_gone_and_stays_so() {
    let mut world = World::new();
    world.commit(0..300);
    world.checkpoint();
    world.checkpointer.retire().unwrap();
    world.disk.sync_directory(Path::new("")).unwrap();
    world.disk.restart(1);
    let mut world = reopen(&world.disk).world;
    assert!(!world.disk.exists(&path_of(data_path())).unwrap());

    world.commit([1]);
    world.checkpoint();
    world.checkpointer.retire().unwrap();
    world.commit([2]);
    world.checkpoint();
    assert!(!world.disk.exists(&path_of(data_path())).unwrap());
    assert!(!world.checkpointer.due(Offset::new(EVERY * 2)));

    world.checkpointer.resume();
    world.checkpoint();
    assert_eq!(reopen(&world.disk).saved_to, Some(world.end));
}

#[test]
fn one_of_those_who_ask_is_told_that_a_checkpoint_is_due() {
    let world = World::new();
    let checkpointer = &world.checkpointer;
    assert!(!checkpointer.due(LOG_START + (EVERY - 1)));
    assert!(checkpointer.due(LOG_START + EVERY));
    assert!(!checkpointer.due(LOG_START + (EVERY + 1)));
    assert!(checkpointer.due(LOG_START + 2 * EVERY));
    let never = Checkpointer::new(Arc::new(SimDisk::new()), data_path(), None, LOG_START);
    assert!(!never.due(Offset::new(1 << 47)));
}

const EVERY: u64 = 100_000;
