//! Power losses and failing operations at every step of scripted histories.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use filestorage::{FileStorage, Options};
use sim::{Fault, SimDisk};
use storage::{CommitError, Oid, Record, Storage, StorageError, Tid, TransactionMeta};

use crate::{PATH, open, path};

/// The records of one transaction; nothing where the object does not exist any more.
type Content = Vec<(Oid, Option<Vec<u8>>)>;

/// What a history was promised.
#[derive(Default)]
struct Story {
    /// The transactions whose finish returned, in order.
    acknowledged: Vec<(Tid, Content)>,
    /// The transaction under way when the fault came: it may be there or not.
    in_flight: Option<Content>,
}

impl Story {
    /// Opens, commits, aborts, closes, opens again; until done or until something fails.
    fn run(&mut self, disk: &SimDisk, seed: u64) -> Result<(), CommitError> {
        let mut rng = fastrand::Rng::with_seed(seed);
        for _session in 0..2 {
            let storage = open(disk)?;
            for _ in 0..4 {
                self.transaction(&storage, &mut rng)?;
            }
            if rng.bool() {
                storage.close()?;
            }
        }
        Ok(())
    }

    fn transaction(
        &mut self,
        storage: &Arc<FileStorage>,
        rng: &mut fastrand::Rng,
    ) -> Result<(), CommitError> {
        let undone = self.acknowledged.last().filter(|_| rng.u8(..3) == 0);
        let (undone, content) = match undone {
            Some((tid, content)) => (Some(*tid), self.undo_of(*tid, content)),
            None => (None, Self::stores(rng)),
        };
        let meta = TransactionMeta {
            user: b"u".to_vec(),
            description: vec![b'd'; rng.usize(..700)],
            extension: Vec::new(),
        };
        let mut commit = storage.clone().begin(meta)?;
        match undone {
            Some(tid) => commit.undo(tid)?,
            None => {
                for (oid, record) in &content {
                    let record = Record::from(record.clone().unwrap());
                    commit.store(*oid, self.current(*oid), record)?;
                }
            }
        }
        let aborts = rng.u8(..4) == 0;
        if !aborts {
            self.in_flight = Some(content.clone());
        }
        let voted = commit.vote()?;
        if !aborts {
            let tid = voted.finish(Box::new(|_| {}))?;
            self.in_flight = None;
            self.acknowledged.push((tid, content));
        }
        Ok(())
    }

    fn stores(rng: &mut fastrand::Rng) -> Content {
        let record =
            |rng: &mut fastrand::Rng| (0..rng.usize(1..1500)).map(|_| rng.u8(..)).collect();
        (0..rng.u64(..4))
            .map(|number| (Oid::new(number * 3 % 7), Some(record(rng))))
            .collect()
    }

    /// What an undo of the last transaction brings back.
    fn undo_of(&self, tid: Tid, content: &Content) -> Content {
        let older = |oid: Oid| {
            let mut newest_first = self.acknowledged.iter().rev();
            newest_first.find_map(|(written, content)| {
                let record = content.iter().find(|(changed, _)| *changed == oid);
                record.filter(|_| *written < tid)?.1.clone().into()
            })
        };
        content
            .iter()
            .map(|(oid, _)| (*oid, older(*oid).flatten()))
            .collect()
    }

    /// Whether the object exists.
    fn exists(&self, oid: Oid) -> bool {
        let mut newest_first = self.acknowledged.iter().rev();
        newest_first
            .find_map(|(_, content)| content.iter().find(|(changed, _)| *changed == oid))
            .is_some_and(|(_, record)| record.is_some())
    }

    fn current(&self, oid: Oid) -> Tid {
        let changed = |content: &Content| content.iter().any(|(changed, _)| *changed == oid);
        let mut newest_first = self.acknowledged.iter().rev();
        let last = newest_first.find(|(_, content)| changed(content));
        last.map_or(Tid::ZERO, |(tid, _)| *tid)
    }

    /// What is in the file must be what was acknowledged, and at most the transaction in flight
    /// behind it, and nothing in part.
    fn verify(&mut self, storage: &Arc<FileStorage>, context: &str) {
        let found = read_all(storage);
        let (sure, rest) = found
            .split_at_checked(self.acknowledged.len())
            .unwrap_or_else(|| panic!("{context}: acknowledged transactions are lost"));
        assert!(sure == self.acknowledged, "{context}: the past has changed");
        match rest {
            [] => {}
            [(tid, content)] => {
                assert!(
                    Some(content) == self.in_flight.as_ref(),
                    "{context}: who wrote this?"
                );
                self.acknowledged.push((*tid, content.clone()));
            }
            _ => panic!("{context}: more transactions than were made"),
        }
        self.in_flight = None;
        let last = self.acknowledged.last().map_or(Tid::ZERO, |last| last.0);
        assert_eq!(storage.last_tid(), last, "{context}");
        for oid in (0..7).map(Oid::new) {
            let seen = match storage.load_before(oid, Tid::MAX) {
                Ok(seen) => seen.unwrap().tid,
                Err(StorageError::NotFound { .. }) => Tid::ZERO,
                Err(error) => panic!("{context}: {error}"),
            };
            let wanted = if self.exists(oid) {
                self.current(oid)
            } else {
                Tid::ZERO
            };
            assert_eq!(seen, wanted, "{context}");
        }
    }
}

fn read_all(storage: &FileStorage) -> Vec<(Tid, Content)> {
    let transactions = storage.transactions(Tid::ZERO, Tid::MAX).unwrap();
    let content = |record: Result<filestorage::DataRecord, _>| {
        let record = record.unwrap();
        (record.oid, record.data.map(|data| data.to_vec()))
    };
    transactions
        .map(|transaction| {
            let transaction = transaction.unwrap();
            (
                transaction.tid,
                transaction.records().map(content).collect(),
            )
        })
        .collect()
}

/// How many operations the history has when nothing goes wrong.
fn operations(seed: u64) -> u64 {
    let disk = SimDisk::new();
    let mut story = Story::default();
    story.run(&disk, seed).unwrap();
    assert!(
        story.acknowledged.len() > 2,
        "the history is worth the test"
    );
    disk.operations()
}

#[test]
fn a_power_loss_at_any_operation_keeps_what_was_acknowledged() {
    for seed in 0..6 {
        for operation in 1..=operations(seed) {
            for coin in 0..12 {
                let context = format!("seed {seed}, operation {operation}, coin {coin}");
                let disk = SimDisk::new();
                let mut story = Story::default();
                disk.fail_at(operation, Fault::PowerLoss);
                // The last operation may be one whose failure is told to nobody: an abort.
                story.run(&disk, seed).ok();
                assert!(disk.is_faultless(), "{context}: the fault came");
                disk.restart(coin);
                let storage = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
                story.verify(&storage, &context);

                // Life goes on, and with an index.
                let mut rng = fastrand::Rng::with_seed(coin);
                story.transaction(&storage, &mut rng).unwrap();
                storage.close().unwrap();
                story.verify(&open(&disk).unwrap(), &context);
            }
        }
    }
}

#[test]
fn a_second_power_loss_during_recovery_keeps_it_too() {
    for seed in 0..3 {
        for operation in 1..=operations(seed) {
            for second in 1..=8 {
                let context = format!("seed {seed}, operations {operation} and {second}");
                let disk = SimDisk::new();
                let mut story = Story::default();
                disk.fail_at(operation, Fault::PowerLoss);
                // The last operation may be one whose failure is told to nobody: an abort.
                story.run(&disk, seed).ok();
                assert!(disk.is_faultless(), "{context}: the fault came");
                disk.restart(operation ^ second);
                disk.fail_at(disk.operations() + second, Fault::PowerLoss);
                open(&disk).ok();
                disk.restart(operation * second);
                story.verify(&open(&disk).unwrap(), &context);
            }
        }
    }
}

#[test]
fn a_failed_operation_is_the_last_write_and_costs_nothing_acknowledged() {
    for seed in 0..6 {
        let mut poisoned = 0;
        for operation in 1..=operations(seed) {
            let context = format!("seed {seed}, operation {operation}");
            let disk = SimDisk::new();
            let mut story = Story::default();
            disk.fail_at(operation, Fault::Error);
            let storage = open(&disk).ok();
            let result = story.failing_session(storage.as_ref(), seed);
            if let (Some(storage), Err(_)) = (&storage, result) {
                let refused = storage.clone().begin(TransactionMeta::default()).err();
                assert!(
                    matches!(refused, Some(StorageError::Poisoned { .. })),
                    "{context}"
                );
                storage.new_oids(1).unwrap_err();
                story.read_on(storage, &context);
                poisoned += 1;
            }
            drop(storage);
            disk.restart_process();
            story.verify(&open(&disk).unwrap(), &context);
        }
        assert!(poisoned > 5, "faults hit commits");
    }
}

impl Story {
    fn failing_session(
        &mut self,
        storage: Option<&Arc<FileStorage>>,
        seed: u64,
    ) -> Result<(), CommitError> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let Some(storage) = storage else {
            return Ok(());
        };
        for _ in 0..6 {
            self.transaction(storage, &mut rng)?;
        }
        Ok(())
    }

    /// A storage that writes no more still shows what was acknowledged.
    fn read_on(&self, storage: &FileStorage, context: &str) {
        assert!(read_all(storage) == self.acknowledged, "{context}");
    }
}

/// Every bit of the status byte's way is tried above; this one states the rule by itself.
#[test]
fn the_data_is_synced_before_the_byte_that_makes_it_count() {
    for coin in 0..200 {
        let disk = SimDisk::new();
        let storage = open(&disk).unwrap();
        let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
        let record = Record::from(vec![7; 5000]);
        commit.store(Oid::ROOT, Tid::ZERO, record.clone()).unwrap();
        let voted = commit.vote().unwrap();
        // The data, their sync, the status byte, and then the power goes off before that is synced.
        disk.fail_at(disk.operations() + 4, Fault::PowerLoss);
        assert!(matches!(
            voted.finish(Box::new(|_| panic!("published"))),
            Err(CommitError::Unknown)
        ));
        disk.restart(coin);
        let size = disk.contents(path()).unwrap().len();
        assert!(size > 5000, "the data were durable at {PATH}");
        match open(&disk).unwrap().load_before(Oid::ROOT, Tid::MAX) {
            Ok(found) => assert_eq!(found.unwrap().record, record),
            Err(error) => assert!(matches!(error, StorageError::NotFound { .. }), "{error}"),
        }
    }
}

/// A process killed between the last write of a finish and its sync leaves a transaction that counts
/// but is not on the medium. Whoever opens the file next shows it, so it must be durable by then.
#[test]
fn what_an_opened_storage_shows_survives_a_power_loss() {
    for with_index in [false, true] {
        for coin in 0..100 {
            let disk = SimDisk::new();
            let storage = open(&disk).unwrap();
            crate::change(&storage, 0, b"acknowledged");
            if with_index {
                storage.close().unwrap();
            }
            drop(storage);
            disk.restart_process();

            let storage = open(&disk).unwrap();
            let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
            let record = Record::from(&b"not acknowledged"[..]);
            commit.store(Oid::new(1), Tid::ZERO, record).unwrap();
            let voted = commit.vote().unwrap();
            // The status byte is written; the sync behind it never happens.
            disk.fail_at(disk.operations() + 4, Fault::Error);
            let unknown = voted.finish(Box::new(|_| {})).unwrap_err();
            assert!(matches!(unknown, CommitError::Unknown), "{unknown}");
            drop(storage);
            disk.restart_process();

            let shown = open(&disk).unwrap().last_tid();
            disk.restart(coin);
            let storage = open(&disk).unwrap();
            assert_eq!(storage.last_tid(), shown, "index {with_index}, coin {coin}");
            assert!(
                storage
                    .load_before(Oid::new(1), Tid::MAX)
                    .unwrap()
                    .is_some()
            );
        }
    }
}

/// A full disk costs the transaction that did not fit, and no other.
#[test]
fn a_full_disk_refuses_one_transaction_and_takes_the_next() {
    let disk = SimDisk::new();
    let storage = open(&disk).unwrap();
    crate::change(&storage, 0, b"before");
    let before = storage.last_tid();
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let record = Record::from(&b"does not fit"[..]);
    commit.store(Oid::new(1), Tid::ZERO, record).unwrap();
    disk.fail_at(disk.operations() + 1, Fault::Full);
    let refused = commit.vote().unwrap().finish(Box::new(|_| {}));
    assert!(matches!(
        refused,
        Err(CommitError::Storage(StorageError::Io { .. }))
    ));
    assert_eq!(storage.last_tid(), before);
    crate::change(&storage, 2, b"after");
    disk.restart(7);
    let storage = open(&disk).unwrap();
    assert!(storage.last_tid() > before);
    assert!(storage.load_before(Oid::new(1), Tid::MAX).is_err());
    assert!(storage.load_before(Oid::new(2), Tid::MAX).is_ok());
}

/// Any other failure ends all writing, with an alarm.
#[test]
fn a_failed_write_ends_all_writing_and_raises_the_alarm_once() {
    let disk = SimDisk::new();
    let alarms = Arc::new(AtomicU32::new(0));
    let raised = alarms.clone();
    let options = Options {
        disk: Arc::new(disk.clone()),
        on_poison: Arc::new(move || {
            raised.fetch_add(1, Ordering::Relaxed);
        }),
        ..Options::default()
    };
    let storage = FileStorage::open(PATH, options).unwrap();
    let mut commit = storage.clone().begin(TransactionMeta::default()).unwrap();
    let record = Record::from(&b"lost"[..]);
    commit.store(Oid::new(1), Tid::ZERO, record).unwrap();
    disk.fail_at(disk.operations() + 1, Fault::Error);
    assert!(commit.vote().unwrap().finish(Box::new(|_| {})).is_err());
    for _ in 0..2 {
        let refused = storage.clone().begin(TransactionMeta::default());
        assert!(matches!(refused, Err(StorageError::Poisoned { .. })));
    }
    assert_eq!(alarms.load(Ordering::Relaxed), 1);
}
