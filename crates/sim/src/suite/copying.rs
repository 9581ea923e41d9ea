//! Copying transactions of another storage ([`storage::Storage::begin_restore`]).

use std::sync::Arc;

use storage::{
    CommitError, DataRecord, MemoryStorage, Oid, Record, StorageError, Tid, TransactionMeta,
};

use super::actions::Actor;
use super::iteration::{Iterated, iterated};
use super::{World, is_unsupported, meta};

impl World {
    /// Copies a transaction: its id, whether a pack wrote it, its texts and its records.
    fn copy(&self, transaction: &Iterated) -> Result<Tid, CommitError> {
        let (tid, is_packed, meta, records) = transaction;
        let storage = Arc::clone(&self.storage);
        let mut commit = storage.begin_restore(meta.clone(), *tid, *is_packed)?;
        for DataRecord {
            oid,
            data,
            data_tid,
            ..
        } in records
        {
            commit.restore(*oid, data.clone(), *data_tid)?;
        }
        commit.vote()?.finish(Box::new(|_| {}))
    }
}

/// Deletions and undos included, the copy shows at every point what the source shows.
pub fn a_copy_has_all_that_the_source_has(world: &World) {
    let mut source = Actor::new(Arc::new(MemoryStorage::new()));
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..60 {
        source.act(&mut rng).ok();
    }
    let source = source.storage;
    let transactions = iterated(source.iterate().unwrap(), Tid::ZERO, Tid::MAX);
    let mut transactions: Vec<_> = transactions.into_iter().map(spread).collect();
    for transaction in &mut transactions {
        assert_eq!(world.copy(transaction).unwrap(), transaction.0);
        assert_eq!(world.storage.last_tid(), transaction.0);
    }
    assert_eq!(world.storage.stats().objects, source.stats().objects);
    if world.storage.iterate().is_some() {
        assert_eq!(world.iterated(Tid::ZERO, Tid::MAX), transactions);
    }
    for oid in (0..Actor::OBJECTS).map(Oid::new) {
        for (tid, ..) in iterated(source.iterate().unwrap(), Tid::ZERO, Tid::MAX) {
            let wanted = source.load_before(oid, tid.next());
            let found = world.storage.load_before(oid, far(tid).next());
            let wanted = wanted.map(|found| found.map(|found| (far(found.tid), found.record)));
            let found = found.map(|found| found.map(|found| (found.tid, found.record)));
            assert_eq!(
                format!("{wanted:?}"),
                format!("{found:?}"),
                "{oid} at {tid}"
            );
        }
    }
    let last = world.storage.last_tid();
    assert!(world.change(Oid::ROOT, b"goes on") > last);
}

/// Ids that a clock would give, with room between them.
fn far(tid: Tid) -> Tid {
    Tid::new(0x0300_0000_0000_0000 + (tid.number() << 16))
}

fn spread((tid, is_packed, meta, mut records): Iterated) -> Iterated {
    for record in &mut records {
        record.tid = far(record.tid);
        record.data_tid = record.data_tid.map(far);
    }
    (far(tid), is_packed, meta, records)
}

/// The mark of a pack is copied as well.
pub fn a_copied_transaction_says_that_it_was_packed(world: &World) {
    let record = |oid, tid| DataRecord {
        oid,
        tid,
        data: Some(Record::from(&b"x"[..])),
        data_tid: None,
    };
    let transactions = [(10, true), (20, false)].map(|(number, is_packed)| {
        let tid = far(Tid::new(number));
        let meta = meta("packer", "kept");
        (tid, is_packed, meta, vec![record(Oid::new(number), tid)])
    });
    for transaction in &transactions {
        world.copy(transaction).unwrap();
    }
    assert_eq!(world.iterated(Tid::ZERO, Tid::MAX), transactions);
    if let Some(undo) = world.storage.undo() {
        let log = undo.undo_log(0, 9, &mut |_| true).unwrap();
        assert_eq!(log.len(), 1, "nothing before a packed one can be undone");
        let packed = world.undo(&[transactions[0].0]);
        assert!(
            matches!(packed, Err(CommitError::NotUndoable { .. })),
            "{packed:?}"
        );
    }
}

/// Nothing is put between transactions that are there, or in the place of one.
pub fn a_copy_of_an_older_transaction_is_refused(world: &World) {
    let oid = Oid::new(1);
    let transaction = |number| {
        let tid = far(Tid::new(number));
        let record = DataRecord {
            oid,
            tid,
            data: Some(Record::from(&[u8::try_from(number).unwrap()][..])),
            data_tid: None,
        };
        (tid, false, TransactionMeta::default(), vec![record])
    };
    let last = world.copy(&transaction(7)).unwrap();
    for number in [6, 7] {
        let refused = world.copy(&transaction(number));
        assert!(
            matches!(
                refused,
                Err(CommitError::Storage(StorageError::NotLater { tid, last: named }))
                    if tid == far(Tid::new(number)) && named == last
            ),
            "{refused:?}"
        );
    }
    assert_eq!(world.now(oid).as_deref(), Some(&[7][..]));
    world.copy(&transaction(8)).unwrap();
}

/// A record that claims to have the data of another one, which is not here or has others, keeps its
/// own.
pub fn a_copied_record_keeps_its_data_where_the_source_of_them_is_missing(world: &World) {
    let oid = Oid::new(1);
    let copy = |number, text: &str, data_tid: Option<u64>| {
        let tid = far(Tid::new(number));
        let data_tid = data_tid.map(|number| far(Tid::new(number)));
        let record = DataRecord {
            oid,
            tid,
            data: Some(Record::from(text.as_bytes())),
            data_tid,
        };
        world
            .copy(&(tid, false, TransactionMeta::default(), vec![record]))
            .unwrap();
        world.now(oid).unwrap()
    };
    assert_eq!(copy(10, "first", Some(3)), b"first");
    assert_eq!(copy(20, "second", Some(10)), b"second");
    assert_eq!(copy(30, "first", Some(10)), b"first");
    assert_eq!(copy(40, "third", Some(15)), b"third");
    let referred: Vec<_> = world
        .iterated(Tid::ZERO, Tid::MAX)
        .into_iter()
        .map(|(.., records)| records[0].data_tid)
        .collect();
    assert_eq!(referred, [None, None, Some(far(Tid::new(10))), None]);
}

/// The storage refuses.
pub fn copying_is_not_offered(world: &World) {
    let refused = world.copy(&(far(Tid::new(1)), false, TransactionMeta::default(), vec![]));
    assert!(is_unsupported(&refused.unwrap_err()));
}
