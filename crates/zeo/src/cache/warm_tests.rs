//! A cache that outlives its process, whatever happens to its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vfs::RealDisk;

use super::*;

const OBJECTS: u64 = 12;

fn options(directory: &Path) -> DiskCacheOptions {
    DiskCacheOptions {
        directory: directory.to_owned(),
        bytes_max: 4 << 20,
        identity: "1 at here".to_owned(),
    }
}

fn open(directory: &Path) -> ClientCache {
    ClientCache::open(1 << 20, Arc::new(RealDisk), &options(directory)).unwrap()
}

fn record(oid: Oid, start: Tid) -> Record {
    let text = format!("{oid} as of {start} ").repeat(1 + usize::try_from(oid.number()).unwrap());
    Record::from(text.into_bytes())
}

/// All that was ever committed, and a cache that follows it.
struct Life {
    cache: ClientCache,
    folder: TempDir,
    /// The transactions of each object.
    history: BTreeMap<Oid, Vec<Tid>>,
    now: Tid,
    random: fastrand::Rng,
}

impl Life {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path());
        let start = Tid::new(100);
        cache.restart(start);
        Self {
            cache,
            folder,
            history: (1..=OBJECTS)
                .map(|oid| (Oid::new(oid), vec![start]))
                .collect(),
            now: start,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn revision(&self, oid: Oid, before: Tid) -> Option<Revision> {
        let tids = &self.history[&oid];
        let at = tids.partition_point(|tid| *tid < before).checked_sub(1)?;
        Some(revision(
            tids[at],
            tids.get(at + 1).copied(),
            record(oid, tids[at]),
        ))
    }

    fn step(&mut self) {
        let oid = Oid::new(self.random.u64(1..=OBJECTS));
        match self.random.u8(..10) {
            0..5 => {
                let before = Tid::new(self.random.u64(101..=self.now.number() + 1));
                let ticket = self.cache.begin_load(oid);
                self.cache.finish_load(ticket, self.revision(oid, before));
            }
            action => {
                self.now = Tid::new(self.now.number() + self.random.u64(1..4));
                let others = (1..=OBJECTS).map(Oid::new);
                let changed: Vec<_> = others.filter(|_| self.random.u8(..4) == 0).collect();
                for oid in &changed {
                    self.history.get_mut(oid).unwrap().push(self.now);
                }
                match action {
                    5..8 => self.cache.invalidate(self.now, changed),
                    8 => {
                        let stored = changed.iter().map(|oid| {
                            let stored = record(*oid, self.now);
                            (*oid, Some(stored).filter(|_| self.random.bool()))
                        });
                        let stored = stored.collect();
                        self.cache.committed(self.now, stored);
                    }
                    _ => self.cache.verify(self.now, changed),
                }
            }
        }
    }

    /// Nothing that a cache says is untrue as of the time that it names. How much it knows.
    fn check(&self, cache: &ClientCache) -> usize {
        let now = cache.last_tid();
        assert!(now <= self.now, "{now} is to come");
        let mut known = 0;
        for oid in (1..=OBJECTS).map(Oid::new) {
            for before in (101..=now.number() + 1).map(Tid::new) {
                let Some(found) = cache.lookup(oid, before) else {
                    continue;
                };
                let truth = self.revision(oid, before).unwrap();
                assert_eq!(
                    (found.tid, &found.record),
                    (truth.tid, &truth.record),
                    "{oid} before {before}"
                );
                // It may not know an end that was to come.
                assert!(found.next == truth.next || found.next.is_none() && truth.next > Some(now));
                known += 1;
            }
        }
        known
    }
}

fn files(directory: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(kind)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn what_was_known_is_known_after_a_restart() {
    let mut known = 0;
    for seed in 0..10 {
        let mut life = Life::new(seed);
        for _ in 0..100 {
            life.step();
            if life.random.u8(..20) == 0 {
                let before = life.check(&life.cache);
                let last = life.cache.last_tid();
                // Dropped first: two cannot have it.
                life.cache = ClientCache::new(0);
                life.cache = open(life.folder.path());
                assert_eq!(life.cache.last_tid(), last, "seed {seed}");
                assert!(life.check(&life.cache) >= before, "seed {seed}");
                known += before;
            }
        }
    }
    assert!(known > 1000, "{known}");
}

/// A process that is killed, or a machine that loses power, at any byte.
#[test]
fn a_torn_journal_is_an_earlier_time() {
    for seed in 0..3 {
        let mut life = Life::new(seed);
        (0..40).for_each(|_| life.step());
        life.cache.flush();
        let [journal] = &files(life.folder.path(), "journal-")[..] else {
            panic!("one journal");
        };
        let whole = fs::read(journal).unwrap();
        let mut most = 0;
        for length in (0..whole.len()).step_by(31) {
            let copy = tempfile::tempdir().unwrap();
            for segment in files(life.folder.path(), "segment-") {
                fs::copy(&segment, copy.path().join(segment.file_name().unwrap())).unwrap();
            }
            let torn = copy.path().join(journal.file_name().unwrap());
            // Cut off, or with something else from there on.
            let mut bytes = whole.clone();
            match length % 3 {
                0 => bytes.truncate(length),
                1 => bytes[length..].fill(0),
                _ => bytes[length] ^= 0x55,
            }
            fs::write(torn, bytes).unwrap();
            most = most.max(life.check(&open(copy.path())));
        }
        assert!(most > 0, "seed {seed}");
    }
}

#[test]
fn torn_bytes_are_missing_and_nothing_else() {
    let mut life = Life::new(7);
    (0..100).for_each(|_| life.step());
    let before = life.check(&life.cache);
    life.cache = ClientCache::new(0);
    let segments = files(life.folder.path(), "segment-");
    let segment = segments
        .iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(segment).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 5) {
        bytes[at] ^= 1;
    }
    fs::write(segment, bytes).unwrap();
    let cache = open(life.folder.path());
    let after = life.check(&cache);
    assert!((1..before).contains(&after), "{after} of {before}");
    // What the newest revision was is asked of those that are sound.
    assert!(cache.newest().is_some());
}

#[test]
fn a_cache_of_something_else_is_not_believed() {
    let mut life = Life::new(3);
    (0..100).for_each(|_| life.step());
    life.cache = ClientCache::new(0);
    let other = DiskCacheOptions {
        identity: "1 at there".to_owned(),
        ..options(life.folder.path())
    };
    let cache = ClientCache::open(1 << 20, Arc::new(RealDisk), &other).unwrap();
    assert_eq!(cache.last_tid(), Tid::ZERO);
    assert_eq!(life.check(&cache), 0);
    let again = ClientCache::open(1 << 20, Arc::new(RealDisk), &other);
    assert!(matches!(again.err(), Some(StorageError::Locked { .. })));
}

#[test]
fn a_restart_of_the_history_leaves_nothing_on_disk() {
    let mut life = Life::new(4);
    (0..100).for_each(|_| life.step());
    life.cache.flush();
    life.cache.restart(Tid::new(50));
    life.cache = ClientCache::new(0);
    life.cache = open(life.folder.path());
    assert_eq!(life.cache.last_tid(), Tid::new(50));
    for oid in (1..=OBJECTS).map(Oid::new) {
        assert_eq!(life.cache.lookup(oid, Tid::MAX), None);
    }
    let left = files(life.folder.path(), "segment-");
    let bytes: u64 = left
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(bytes, 0);
}

/// Ten times what fits on disk, a hundred times what fits in memory.
#[test]
fn both_bounds_hold_and_the_newest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let disk = DiskCacheOptions {
        bytes_max: 2 << 20,
        ..options(folder.path())
    };
    let memory = 256 << 10;
    let cache = ClientCache::open(memory, Arc::new(RealDisk), &disk).unwrap();
    cache.restart(Tid::new(100));
    let fill = |number: u64| {
        let ticket = cache.begin_load(Oid::new(number));
        let record = Record::from(vec![u8::try_from(number % 251).unwrap(); 2000]);
        cache.finish_load(ticket, Some(revision(Tid::new(100), None, record)));
    };
    for number in 0..10_000 {
        fill(number);
        assert!(cache.bytes() <= memory, "{} after {number}", cache.bytes());
    }
    cache.flush();
    let segments = files(folder.path(), "segment-");
    let bytes: u64 = segments
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(
        bytes <= 2 << 20,
        "{bytes} bytes in {} segments",
        segments.len()
    );
    let known = |cache: &ClientCache, numbers: std::ops::Range<u64>| {
        let found = numbers.filter(|number| {
            let found = cache.lookup(Oid::new(*number), Tid::new(101));
            found.is_some_and(|found| found.record[0] == u8::try_from(number % 251).unwrap())
        });
        found.count()
    };
    assert_eq!(known(&cache, 0..8000), 0);
    // More than memory holds.
    assert!(
        known(&cache, 9600..10_000) > 300,
        "{}",
        known(&cache, 9600..10_000)
    );
    assert!(cache.bytes() <= memory);
    drop(cache);
    let cache = ClientCache::open(memory, Arc::new(RealDisk), &disk).unwrap();
    assert!(known(&cache, 9600..10_000) > 300);
}

/// Whether the journal is long or short, it says the same.
#[test]
fn a_journal_that_grows_is_written_anew() {
    let mut life = Life::new(5);
    for _ in 0..100 {
        life.step();
    }
    let oids: Vec<_> = (1000..4000).map(Oid::new).collect();
    let mut longest = 0;
    for _ in 0..400 {
        life.now = life.now.next();
        life.cache.invalidate(life.now, oids.clone());
        let journals = files(life.folder.path(), "journal-");
        assert_eq!(journals.len(), 1);
        longest = longest.max(fs::metadata(&journals[0]).unwrap().len());
    }
    assert!(longest < 6 << 20, "{longest}");
    let before = life.check(&life.cache);
    life.cache = ClientCache::new(0);
    life.cache = open(life.folder.path());
    assert_eq!(life.cache.last_tid(), life.now);
    assert!(life.check(&life.cache) >= before);
}
